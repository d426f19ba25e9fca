"""What torch.compile(backend="pyops") costs beside the Program itself: python -m
pyops.bench.torch_door [--shares] [--model NAME]

Prints the time of one call of ResNet-50, batch 1, 224 x 224: the native Program, torch.compile,
pyops.torch.compile, and that with freeze=True, calls in turn; then what a call of the compiled
callable costs when the network itself costs nothing (its Programs replaced by one that returns
at once). With --shares also the least share of FLOPs in our kernels over every classification
model of torchvision.
"""
from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch

import pyops
import pyops.torch as door

from . import zoo

BOUND_US, BOUND_RATIO, BOUND_SHARE = 60, 1.03, 0.99


def callables(model, x) -> dict:
    """Every door to the model, compiled and called twice."""
    made = {"Program": pyops.compile(model, x), "torch.compile": torch.compile(model, backend="pyops"),
            "pyops.torch.compile": door.compile(model), "freeze=True": door.compile(model, freeze=True)}
    for call in made.values():
        call(x), call(x)
    return made


def in_turn(calls: dict, x, seconds: float) -> dict[str, list[float]]:
    """Seconds of each call, one of each at a time, so that whatever else the machine does
    meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found["Program"]) < 5:
        for name, call in calls.items():
            start = time.perf_counter()
            call(x)
            found[name].append(time.perf_counter() - start)
    return found


def overheads(model, x, rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds of a call without the network: the shortest and the median, in a loop that
    leaves the caches as they are."""
    found = {}
    original = door.split.OnTensors.__call__
    result = (model(x),)
    door.split.OnTensors.__call__ = lambda self, *tensors: result
    try:
        for name, make in (("torch.compile", lambda: torch.compile(model, backend="pyops")),
                           ("pyops.torch.compile", lambda: door.compile(model)),
                           ("freeze=True", lambda: door.compile(model, freeze=True))):
            torch._dynamo.reset()
            call = make()
            call(x), call(x)
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                call(x)
                times.append(time.perf_counter() - start)
            found[name] = (1e6 * min(times), 1e6 * float(np.median(times)))
    finally:
        door.split.OnTensors.__call__ = original
    return found


def shares():
    """(share, name) of every classification model: batch 1, compiled and not compared
    (make zoo does that)."""
    for name in zoo.torchvision.models.list_models(module=zoo.torchvision.models):
        model, size = zoo.made(name)
        torch._dynamo.reset()
        door.compile_report(clear=True)
        torch.compile(model, backend="pyops", dynamic=False)(torch.randn(1, 3, size, size))
        reports = door.compile_report()
        total = sum(r.flops + r.torch_flops for r in reports)
        left = any(r.kind == "torch" for r in reports)
        yield 0.0 if left or not total else sum(r.flops for r in reports) / total, name


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.torch_door",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("--model", default="resnet50", help="of torchvision (default: resnet50)")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=20, help="of calls in turn (default: 20)")
    parser.add_argument("--shares", action="store_true",
                        help="also every classification model's share of FLOPs: some ten minutes")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(pyops.get_num_threads())
    model, x = zoo.made(arguments.model)[0], torch.randn(1, 3, arguments.size, arguments.size)
    with torch.no_grad():
        times = in_turn(callables(model, x), x, arguments.seconds)
        native = {"shortest": min(times["Program"]), "median": float(np.median(times["Program"]))}
        print(f"{arguments.model}, batch 1, {arguments.size} x {arguments.size}, {pyops.get_num_threads()} "
              f"threads, {len(times['Program'])} rounds")
        for name, seconds in times.items():
            print(f"{name:<20} {1e3 * min(seconds):8.3f} ms shortest "
                  f"({100 * (min(seconds) / native['shortest'] - 1):+.1f} "
                  f"%), {1e3 * np.median(seconds):8.3f} ms median "
                  f"({100 * (np.median(seconds) / native['median'] - 1):+.1f} %)")
        print(f"pyops.torch.compile within {100 * (BOUND_RATIO - 1):.0f} % of the Program (shortest): "
              + ", ".join(f"{name} {'yes' if min(times[name]) <= BOUND_RATIO * native['shortest'] else 'no'}"
                          for name in ("pyops.torch.compile", "freeze=True")))
        for name, (least, median) in overheads(model, x, 2000).items():
            print(f"a call without the network, {name:<20} {least:7.1f} us shortest, {median:7.1f} us "
                  f"median  (aim: {BOUND_US} with guards reduced)")
        if arguments.shares:
            found = sorted(shares())
            print(f"{len(found)} classification models of torchvision; least share of FLOPs in our kernels: "
                  f"{', '.join(f'{name} {100 * share:.3f} %' for share, name in found[:3])}; under "
                  f"{100 * BOUND_SHARE:.0f} %: {sum(s < BOUND_SHARE for s, _ in found)}")
            return int(found[0][0] < BOUND_SHARE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
