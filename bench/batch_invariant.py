"""What batch invariance costs: networks compiled with and without it, and called eagerly, in turn.

`python -m pyops.bench.batch_invariant [NETWORK ...]` prints, for each batch size, the time with it over
the time without (1.00: nothing), the shortest of the calls, and whether a sample's bits are the same in
every batch.
"""
from __future__ import annotations

import argparse
from functools import partial
from time import perf_counter

import numpy as np

import pyops
from pyops.models import create_model

NETWORKS, BATCHES = ("resnet50", "vgg16", "mobilenet_v2"), (1, 2, 8)


def shortest(calls: list, rounds: int) -> list[float]:
    """The shortest time of each, called in turn."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = perf_counter()
            call()
            best[i] = min(best[i], perf_counter() - start)
    return best


def rows(name: str, batches, rounds: int):
    """(how, batch, ratio, whether the first sample has the bits of the smallest batch's)."""
    model = create_model(name)
    model.eval()
    rng = np.random.default_rng(0)
    images = rng.standard_normal((max(batches), 3, 224, 224), np.float32)
    alone: dict[str, np.ndarray] = {}
    for n in batches:
        x = images[:n]
        free, bound = (pyops.compile(model, x, batch_invariant=on) for on in (False, True))

        def eager(x=x):
            with pyops.no_grad():
                result = model(x)
            return np.asarray(getattr(result, "data", result))

        def eager_bound(eager=eager):
            with pyops.batch_invariant():
                return eager()
        for how, without, within in (("compiled", partial(free, x), partial(bound, x)), ("eager", eager, eager_bound)):
            first = np.array(within()[:1])
            without()
            times = shortest([without, within], rounds)
            yield how, n, times[1] / times[0], np.array_equal(first, alone.setdefault(how, first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"default: {', '.join(NETWORKS)}")
    parser.add_argument("--batch", default=",".join(map(str, BATCHES)), help="sizes, comma-separated")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    batches = sorted(int(n) for n in args.batch.split(","))
    print(f"{'network':<16} {'how':<9} {'batch':>5} {'with / without':>15}  same bits")
    for name in args.networks or NETWORKS:
        for how, n, ratio, same in rows(name, batches, args.rounds):
            print(f"{name:<16} {how:<9} {n:>5} {ratio:>15.2f}  {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
