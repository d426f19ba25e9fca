"""NaN and infinity among the numbers of every row's cases: where they come out is where the
definition has them. And convolutions of huge pixels: an output that does not see one does not move.
"""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np

import pyops
import pyops.functional as F
from pyops import validate
from pyops.core.backends import available, use_backend
from pyops.core.tensor import Tensor

from .hunt import called

REFUSED = (ValueError,)
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0)
# Rows that are left out, and why
APART = {
    "dropout": "it draws",
    "resample": "the definition is a matrix with zeros, which make NaN of infinity where the kernel reads nothing",
    **dict.fromkeys(
        ("rnn", "lstm", "gru"),
        "the definition multiplies a state of zeros with the weights, the kernel leaves that out",
    ),
    **dict.fromkeys(
        ("dft", "overlap_add"),
        "whether infinities that meet are NaN depends on which of them a transform adds first",
    ),
    **dict.fromkeys(
        ("roi_align", "pyramid_roi_align", "ps_roi_align"),
        "weights of points that share a row are added before they meet its pixels, so that one of 0 is not seen",
    ),
    **dict.fromkeys(
        ("attention", "attention_within", "attention_stored", "attention_dropped"),
        "the definition multiplies masked values by 0, the kernel leaves them out",
    ),
    "permutohedral": "the definition multiplies points that share nothing by 0, the kernel leaves them out",
}


@lru_cache(1)
def rows() -> list:
    return [(op, case) for op, case in validate.rows() if op.name not in APART and not case.chain]


def spoil(draw: random.Random, value):
    """Some numbers of float arrays become special."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
        for _ in range(draw.choice((0, 1, 1, 3))):
            value.reshape(-1)[draw.randrange(value.size)] = draw.choice(SPECIAL)
    elif isinstance(value, (list, tuple)):
        for v in value:
            spoil(draw, v)
    elif isinstance(value, dict):
        spoil(draw, list(value.values()))


def nudged(rng, value):
    """float arrays as float64, each number moved by a rounding of float32."""
    if isinstance(value, dict):
        return {k: nudged(rng, v) for k, v in value.items()}
    if isinstance(value, list):
        return [nudged(rng, v) for v in value]
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64) * (1 + rng.choice((-1, 1), value.shape) * 2.0**-24)
    return value


def kinds(result) -> list:
    """For each float array: 0 where it is finite, else which of NaN and the infinities is there."""
    arrays = [np.asarray(a.data if isinstance(a, Tensor) else a) for a in result]
    return [
        np.where(np.isnan(a), 3, np.isposinf(a) + 2 * np.isneginf(a)) if a.dtype.kind == "f" else np.zeros(())
        for a in arrays
    ]


def masks(draw: random.Random, seed: int) -> None:
    op, case = draw.choice(rows())
    args, kwargs = case.arguments(np.float32, seed)
    spoil(draw, args)
    spoil(draw, kwargs)
    backend = draw.choice([name for name in available() if name not in ("reference", "cuda-emulated")])

    def defined(change) -> list:
        with use_backend("reference"), np.errstate(all="ignore"):
            return kinds(validate.flat(validate.call(case, change(args), change(kwargs))))

    called()
    with use_backend(backend):
        got = kinds(validate.flat(validate.call(case, args, kwargs)))
    for i, (g, w) in enumerate(zip(got, defined(validate.widen), strict=True)):
        differs = g != w
        if differs.any():  # where a rounding of the inputs changes the definition, it says nothing
            rng = np.random.default_rng(seed)
            for _ in range(8):
                differs &= w == defined(lambda value: nudged(rng, value))[i]  # noqa: B023
            where = np.argwhere(differs)[:3].tolist()
            assert not differs.any(), (
                f"{case.call}, {case.why}: NaN or infinity elsewhere in output {i} on {backend}, at {where}"
            )


def locality(draw: random.Random, seed: int) -> None:
    rng = np.random.default_rng(seed)
    c, k, h, w = (
        draw.choice((1, 3, 8, 16, 33)),
        draw.choice((1, 16, 17, 40)),
        draw.choice((5, 14, 23)),
        draw.choice((6, 13, 28)),
    )
    size, padding, stride = draw.choice((1, 3, 3, 3, 5)), draw.choice((0, 1, 2)), draw.choice((1, 1, 1, 2))
    x, weight = (
        rng.standard_normal((2, c, h, w)).astype(np.float32),
        rng.standard_normal((k, c, size, size)).astype(np.float32),
    )
    row, column = draw.randrange(h), draw.randrange(w)
    huge = x.copy()
    huge[0, draw.randrange(c), row, column] = draw.choice((1e5, 1e9, -1e9, np.inf, np.nan, 3e38))
    if draw.random() < 0.5:
        run = lambda v: F.conv2d(v, weight, padding=padding, stride=stride)  # noqa: E731
    else:
        run = pyops.compile(
            lambda v: F.relu(F.conv2d(v, weight, padding=padding, stride=stride)),
            x,
            draw.choice(("strict", "default", "fast")),
        )
    called(2)
    before, after = np.asarray(run(x)), np.asarray(run(huge))
    at = [np.arange(n) * stride - padding for n in before.shape[2:]]
    sees = ((at[0] <= row) & (row < at[0] + size))[:, None] & ((at[1] <= column) & (column < at[1] + size))
    unseen = np.broadcast_to(~sees, before.shape[1:])
    far = np.abs(after[0][unseen] - before[0][unseen]).max(initial=0)
    allowed = 2e-4 * max(np.abs(before).max(initial=0), 1)  # another algorithm may have been taken
    assert far <= allowed and np.abs(after[1] - before[1]).max(initial=0) <= allowed, (
        f"{x.shape} * {weight.shape}, stride {stride}: a pixel moved what does not see it by {far}"
    )


def one(seed: int) -> None:
    draw = random.Random(seed)
    (locality if draw.random() < 0.3 else masks)(draw, seed)
