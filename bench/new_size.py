"""What a new size of a network costs: pyops.compile(dynamic=...), called with sizes that it has not seen.

`python -m pyops.bench.new_size [NETWORK ...]` prints milliseconds of the calling thread (others
may be at work): to compile it first; to plan for a new
size (the least and the median of many); what the first call takes beyond the second, planning included;
to compile anew for that size. And how often the network was traced.
"""
from __future__ import annotations

import argparse
from statistics import median
from time import thread_time

import numpy as np

import pyops
from pyops.models import create_model

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"default: {', '.join(NETWORKS)}")
    parser.add_argument("--sizes", type=int, default=36)
    args = parser.parse_args()
    print(f"{'ms':<16} {'compile':>9} {'plan':>8} {'median':>8} {'1st-2nd':>8} {'median':>8} {'anew':>9} "
          f"{'traced':>7}")
    for name in args.networks or NETWORKS:
        print(row(name, args.sizes))


if __name__ == "__main__":
    main()
