"""docs/models.md's table: python -m pyops.bench.model_table [--time] [NAMES]

Parameters, multiply-adds at the published image size, and with --time the shortest call of the
compiled network at batch 1.
"""
from __future__ import annotations

import argparse
import time

import numpy as np

import pyops
from pyops.graph import describe
from pyops.models import create_model, list_models
from pyops.nn import init

SECONDS = 0.3


def shortest(call) -> float:
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def row(name: str, timed: bool) -> str:
    with init.skip_draws():
        model = create_model(name).eval()
    found = describe.summary(model)
    took = "not measured"
    if timed:
        # untouched memory may hold denormal numbers, on which arithmetic is slow
        for p in model.parameters():
            p.data[...] = 0.01
        x = np.random.default_rng(0).standard_normal((1, *model.image)).astype(np.float32)
        program = pyops.compile(model, x)
        took = f"{1e3 * shortest(lambda: program(x)):.2f} ms"
    return (f"| {name} | {'x'.join(map(str, model.image))} | {found.parameters:,} | {found.macs / 1e6:,.1f} "
            f"M | {took} |")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.model_table",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", help="networks (default: all)")
    parser.add_argument("--time", action="store_true", help="measure them too")
    args = parser.parse_args()
    print("| network | image | parameters | multiply-adds | one image |\n|---|---|---:|---:|---:|")
    for name in args.names or list_models(task="classification"):
        print(row(name, args.time), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
