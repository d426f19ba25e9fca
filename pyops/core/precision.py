"""Which algorithms eager float32 convolutions may use on the CPU.

    default   what is fastest: Winograd's for 3x3 filters of stride 1 on enough maps. F(2x2) errs
              less than a direct convolution (its sums are
              shorter), F(4x4) up to three times as much: 5e-6 of the greatest output for 512
              channels. An output depends on the pixels that it sees only: tiles with outliers,
              infinities or NaN are computed directly (kernels/convolution/winograd_uneven.h says
              which), and so are filters of little more than one tap. Whether it is used depends on
              the sizes, the batch among them, but for `with pyops.batch_invariant():`.
    strict    a direct convolution always: every output is the same chain of multiply-adds, whatever the batch

`pyops.compile` has an argument of its own for its programs. float64 is always strict.
PYOPS_PRECISION sets what holds at the start.
"""
from __future__ import annotations

import os

from .. import _C

PRECISIONS = ("default", "strict")


def set_precision(name: str) -> None:
    """Sets it for the whole process, all threads. Raises ValueError for an unknown name."""
    if name not in PRECISIONS:
        raise ValueError(f"set_precision: {name!r} is not one of {', '.join(PRECISIONS)}")
    _C.set_winograd(name == "default")


def get_precision() -> str:
    return "default" if _C.get_winograd() else "strict"


def _from_environment() -> None:
    value = os.environ.get("PYOPS_PRECISION")
    if value and value not in PRECISIONS:
        raise ValueError(f"PYOPS_PRECISION={value!r} is not one of {', '.join(PRECISIONS)}")
    set_precision(value or "default")


_from_environment()
