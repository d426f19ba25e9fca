"""All entries of an axis as one: behind the count stands the number that changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from ... import functional as F
from ...graph.counted import Counted
from ...ops.typed import as_type
from ..aten import numpys
from .lengths import INT
from .rules import RULES, extreme, filled, like, rank


def reduction(name: str, number: Callable, function):
    """number(dtype): what changes nothing."""
    def reduce(x, dim=None, keepdim=False, *, dtype=None):
        given = () if dim is None or dim in ([], ()) else tuple(dim) if isinstance(dim, (list, tuple)) else (dim,)
        axes = tuple(d % rank(x) for d in given) or tuple(range(rank(x)))
        if dtype is not None:
            x = like(x, as_type(x.values, numpys(dtype)), x.axis)
        whole = x.axis in axes
        found = function(filled(x, number(x.dtype)) if whole else x.values, axes, keepdim)
        if whole:
            return found
        return like(x, found, x.axis if keepdim else x.axis - sum(a < x.axis for a in axes))

    RULES[f"aten.{name}"] = reduce


def mean_of(x, dim=None, keepdim=False, *, dtype=None):
    total = RULES["aten.sum.dim_IntList"](x, dim, keepdim, dtype=dtype)
    axes = range(rank(x)) if not dim else [d % rank(x) for d in dim]
    if isinstance(total, Counted):
        return like(total, F.div(total.values, float(math.prod(x.shape[a] for a in axes))), total.axis)
    others = math.prod(x.shape[a] for a in axes if a != x.axis)
    return F.div(total, as_type(F.mul(x.count, np.asarray(others, INT)), total.dtype))


def whole_sum(x, axes, keepdim):
    return F.sum(as_type(x, INT) if x.dtype.kind in "bui" else x, axes, keepdim)


for _form in ("dim_IntList", "default"):
    reduction(f"sum.{_form}", lambda _: 0, whole_sum)
for _name, _sign in (("amax", -1), ("amin", 1)):
    reduction(f"{_name}.default", partial(extreme, sign=_sign), getattr(F, _name))
    reduction(f"{_name[1:]}.default", partial(extreme, sign=_sign), getattr(F, _name))
for _name in ("any", "all"):
    for _form in ("default", "dim", "dims"):
        reduction(f"{_name}.{_form}", partial(lambda name, _: name == "all", _name), getattr(F, _name))
RULES.update({"aten.mean.dim": mean_of, "aten.mean.default": mean_of})
