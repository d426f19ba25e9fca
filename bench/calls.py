"""What a call costs above its kernel: small calls of pyops, of the bare kernels, and
of torch, interleaved.

`python -m pyops.bench.calls` prints microseconds, the least and the median of many rounds,
on one thread. The least is what the road costs; a median far above it says that other
programs were on the core.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from pyops import functional as F
from pyops.core.backends import get_backend
from pyops.core.tensor import Tensor
from pyops.core.threads import num_threads

# microseconds on an idle core, by the way that a call comes in
LIMITS = {"relu (16)": 1.2, "add (16)": 1.2, "conv2d 3x3 (1, 1, 4, 4)": 3.0, "add into out": 3.5,
          "add of a number": 2.0, "add of a transposed array": 2.5, "add of Tensors": 2.5,
          "Tensor * number": 3.0, "embedding by int32": 3.0}


@dataclass
class Contender:
    """One way to make one call. `seconds` holds a call's time in each round."""
    row: str
    library: str
    call: Callable[[], object]
    seconds: list[float]


def contenders(with_torch: bool) -> list[Contender]:
    rng = np.random.default_rng(0)
    x, other, y = (rng.standard_normal(16, np.float32) for _ in range(3))
    image, weight, made = (rng.standard_normal((1, 1, 4, 4), np.float32),
                           rng.standard_normal((1, 1, 3, 3), np.float32), np.empty((1, 1, 2, 2), np.float32))
    square, ids, tensor = x.reshape(4, 4), np.arange(4, dtype=np.int32), Tensor(x)
    kernels = get_backend().sets["f32"]
    three = (1, 1, 1), (0, 0, 0), (1, 1, 1)
    relu, add, conv, out, number, turned, tensors, scaled, embedding = LIMITS
    found = [(relu, "kernel", lambda: kernels.relu(x, y)),
             (add, "kernel", lambda: kernels.add(x, other, (16,), (1,), (1,), 1.0, y)),
             (conv, "kernel", lambda: kernels.conv(image, weight, None, *three, 1, made)),
             (relu, "pyops", lambda: F.relu(x)), (add, "pyops", lambda: F.add(x, other)),
             (conv, "pyops", lambda: F.conv2d(image, weight)),
             (out, "pyops", lambda: F.add(x, other, out=y)), (number, "pyops", lambda: F.add(x, 2.0)),
             (turned, "pyops", lambda: F.add(square, square.T)), (tensors, "pyops", lambda: tensor + tensor),
             (scaled, "pyops", lambda: tensor * 2.0), (embedding, "pyops", lambda: F.embedding(ids, square))]
    if with_torch:
        import torch
        a, b, c, d, e, i, f = map(torch.from_numpy, (x, other, image, weight, y, ids, square))
        found += [(relu, "torch", lambda: torch.relu(a)), (add, "torch", lambda: torch.add(a, b)),
                  (conv, "torch", lambda: torch.conv2d(c, d)),
                  (out, "torch", lambda: torch.add(a, b, out=e)), (number, "torch", lambda: torch.add(a, 2.0)),
                  (turned, "torch", lambda: torch.add(f, f.T)), (tensors, "torch", lambda: a + a),
                  (scaled, "torch", lambda: a * 2.0),
                  (embedding, "torch", lambda: torch.nn.functional.embedding(i, f))]
    return [Contender(*each, []) for each in found]


def measure(every: list[Contender], rounds: int, calls: int) -> None:
    """Rounds of all contenders in turn, so that what disturbs one disturbs all."""
    for _ in range(rounds):
        for each in every:
            call, times = each.call, range(calls)
            start = perf_counter()
            for _ in times:
                call()
            each.seconds.append((perf_counter() - start) / calls)


def table(every: list[Contender]) -> list[str]:
    """A line a contender: microseconds of a call, the least and the median, and the limit that
    it must stay below."""
    lines = [f"{'call':<26} {'':<8} {'least':>8} {'median':>8}   microseconds"]
    for row, limit in LIMITS.items():
        for each in every:
            if each.row == row:
                bound = f"   at most {limit:g}" if each.library == "pyops" else ""
                lines.append(f"{row:<26} {each.library:<8} {1e6 * min(each.seconds):>8.2f} "
                             f"{1e6 * median(each.seconds):>8.2f}{bound}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.calls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--calls", type=int, default=200, help="of each contender in a round")
    args = parser.parse_args()
    try:
        import torch
        torch.set_num_threads(1)
        with_torch = True
    except ImportError:
        with_torch = False
    every = contenders(with_torch)
    with num_threads(1):
        measure(every, args.rounds, args.calls)
    print("\n".join(table(every)))


if __name__ == "__main__":
    main()
