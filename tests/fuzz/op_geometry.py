"""Every row's cases with some of their whole numbers and sizes changed, small, odd and far beyond
any array: refused, or as the definition has it.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np

from pyops import validate
from pyops.core import cases
from pyops.core.backends import available, use_backend
from pyops.core.tensor import Tensor

from .hunt import called

REFUSED = (ValueError, TypeError, IndexError, MemoryError)
MEMORY = 3 << 30
SILENCE = 60.0  # a padding of 1000 on every side is honest work
SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33)
FAR = (
    -1,
    64,
    100,
    1000,
    1 << 20,
    1 << 27,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 1,
    1 << 62,
    (1 << 63) - 1,
    1 << 64,
)
MOST_WORK = 1 << 18  # values of a result that the definition is asked for; it takes windows one by one


@lru_cache(1)
def rows() -> list:
    return [(op, case) for op, case in validate.rows() if not case.chain]


def number(draw: random.Random) -> int:
    return draw.choice(SMALL if draw.random() < 0.75 else FAR)


def changed(draw: random.Random, value, often: float):
    """The arguments with some whole numbers and sizes of arrays changed."""
    if isinstance(value, bool):
        return draw.random() < 0.5 if draw.random() < often else value
    if isinstance(value, int):
        return number(draw) if draw.random() < often else value
    if isinstance(value, cases.Array):
        shape = tuple(draw.choice(SMALL[:9]) if draw.random() < often / 4 else n for n in value.shape)
        if math.prod(shape) > MOST_WORK:
            shape = value.shape
        return cases.Array(shape, value.values, value.low, value.high, value.offset, value.grad, value.scale)
    if isinstance(value, (tuple, list)):
        return type(value)(changed(draw, v, often) for v in value)
    if isinstance(value, dict):
        return {k: changed(draw, v, often) for k, v in value.items()}
    return value


def one(seed: int) -> None:
    draw = random.Random(seed)
    op, case = draw.choice(rows())
    often = draw.choice((0.15, 0.4))
    if op.name == "resample":  # a table for 2^27 outputs is an honest half minute
        often = 0.05
    other = cases.Case(
        case.why, case.call, changed(draw, case.args, often), changed(draw, dict(case.kwargs), often)
    )
    args, kwargs = other.arguments(np.float32, seed)
    if op.name == "dropout":  # a case of evaluation, now in training, would draw
        kwargs.setdefault("seed", 1)
    if op.name == "resample" and any(n > 1 << 16 for n in whole(args) + whole(kwargs)):
        return
    says = (f"{case.call}{tuple(getattr(a, 'shape', a) for a in args)} "
            f"{ ({k: getattr(v, 'shape', v) for k, v in kwargs.items()}) }")
    backend = draw.choice([name for name in available() if name not in ("reference", "cuda-emulated")])
    called()
    with use_backend(backend):
        got = validate.flat(validate.call(other, args, kwargs))
    got = [np.asarray(g.data if isinstance(g, Tensor) else g) for g in got]
    if sum(g.size for g in got) > MOST_WORK or any(
        type(v) is int and v > 1000 for v in whole(args) + whole(kwargs)
    ):
        return
    want = defined(other, validate.widen(args), validate.widen(kwargs))
    eps = max(10_000, 100 * (case.tolerance or op.tolerance))
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        try:
            validate.assert_close(g, w, eps, f"output {i}")
        except AssertionError as why:
            single = defined(other, args, kwargs)[i]
            fits = np.isfinite(single) & ((single == 0) == (w == 0))
            try:
                validate.assert_close(np.where(fits, g, 0), np.where(fits, w, 0), eps, f"output {i}")
            except AssertionError:
                raise AssertionError(f"{why}: {says} on {backend}") from why


def defined(case, args, kwargs) -> list:
    """What the definition gives: of float64 the right answer, of float32 what overflows or vanishes
    on the way to it (a 64th power), so that no kernel of float32 need have it.
    """
    with use_backend("reference"), np.errstate(all="ignore"):
        return validate.flat(validate.call(case, args, kwargs))


def whole(value) -> list:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [n for v in value for n in whole(v)]
    return [value] if type(value) is int else []
