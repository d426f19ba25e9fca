"""What a new size of a network costs: pyops.compile(dynamic=...), called with sizes that it has not seen.

`python -m pyops.bench.new_size [NETWORK ...]` prints milliseconds of the calling thread (others
may be at work): to compile it first; to plan for a new
size (the least and the median of many); what the first call takes beyond the second, planning included;
to compile anew for that size. And how often the network was traced.
`--torchvision [DETECTOR ...]` does so for torchvision's detectors by torch.compile(backend="pyops"): seconds of the
process of the first call, of calls with new sizes beyond their second, and of the second; and graphs of dynamo.
"""
from __future__ import annotations

import argparse
from statistics import median
from time import process_time, thread_time

import numpy as np

import pyops
from pyops.models import create_model

DETECTORS = ("retinanet_resnet50_fpn", "fasterrcnn_resnet50_fpn", "ssd300_vgg16")
NETWORKS = ("resnet50", "mobilenet_v2", "vgg16", "densenet121")


def timed(call) -> tuple[float, object]:
    start = thread_time()
    result = call()
    return 1e3 * (thread_time() - start), result


def row(name: str, count: int) -> str:
    calls = 0

    def counting(x):
        nonlocal calls
        calls += 1
        return model(x)
    model = create_model(name)
    model.eval()
    shapes = [(1, 3, 192 + 8 * (i % 9), 224 + 16 * (i // 9)) for i in range(count)]
    first, program = timed(lambda: pyops.compile(counting, np.zeros((1, 3, 224, 224), np.float32),
                                                 dynamic={0: {0: None, 2: None, 3: None}}))
    program(np.zeros((1, 3, 224, 224), np.float32))
    plans, beyond = [], []
    for i, shape in enumerate(shapes):
        x = np.zeros(shape, np.float32)
        if i % 2:
            plans.append(timed(lambda x=x: program.program_for(x))[0])
        else:
            new, again = (timed(lambda x=x: program(x))[0] for _ in range(2))
            beyond.append(new - again)
    anew = timed(lambda: pyops.compile(model, np.zeros(shapes[-1], np.float32)))[0]
    return (f"{name:<16} {first:>9.1f} {min(plans):>8.2f} {median(plans):>8.2f} {min(beyond):>8.2f} "
            f"{median(beyond):>8.2f} {anew:>9.1f} {calls:>7}")


SMALLEST = {"min_size": 192, "max_size": 320}   # of the sides that images are scaled to


def detector_row(name: str, count: int) -> str:
    from .detectors_torchvision import torchvision_with_operators
    torch, torchvision = torchvision_with_operators()
    from pyops.torch import backend, compile as compiled
    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None,
                                                        **({} if "ssd" in name else SMALLEST)).eval()
    graphs, made = 0, backend.Compiled.__init__

    def counting(*args):
        nonlocal graphs
        graphs += 1
        made(*args)
    backend.Compiled.__init__ = counting
    run, taken = compiled(model), []
    with torch.no_grad():
        for i in range(count):
            image = [torch.rand(3, 200 + 8 * i, 280 - 8 * i)]
            taken.append([of_process(lambda image=image: run(image)) for _ in range(2)])
    new = [first - second for first, second in taken[1:]]
    return (f"{name:<40} {taken[0][0]:>8.1f} {min(new):>8.2f} {median(new):>8.2f} "
            f"{median(second for _, second in taken):>8.2f} {graphs:>7}")


def of_process(call) -> float:
    start = process_time()
    call()
    return process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"default: {', '.join(NETWORKS)}")
    parser.add_argument("--sizes", type=int, default=36)
    parser.add_argument("--torchvision", nargs="*", metavar="DETECTOR",
                        help=f"torchvision's detectors by torch.compile; default: {', '.join(DETECTORS)}")
    args = parser.parse_args()
    if args.torchvision is not None:
        print(f"{'seconds':<40} {'first':>8} {'new size':>8} {'median':>8} {'seen':>8} {'graphs':>7}")
        for name in args.torchvision or DETECTORS:
            print(detector_row(name, min(args.sizes, 6)), flush=True)
        return
    print(f"{'ms':<16} {'compile':>9} {'plan':>8} {'median':>8} {'1st-2nd':>8} {'median':>8} {'anew':>9} "
          f"{'traced':>7}")
    for name in args.networks or NETWORKS:
        print(row(name, args.sizes))


if __name__ == "__main__":
    main()
