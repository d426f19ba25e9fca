"""ATen calls that are several functions of ours: order statistics, windows and diagonals, boundaries,
logarithms of other bases. As torch.* documents them.
"""
from __future__ import annotations

import math

import numpy as np

from .. import functional as F
from ..ops.typed import as_type, dtype_of


def axis(dim, x):
    return dim % max(len(x.shape), 1)


def entry(ordered, at, dim, keepdim):
    """(value, index) at a place of what is sorted along dim, or of NaN, which comes last, where there
    is one."""
    values, indices = ordered
    n = values.shape[dim]
    found = [(F.narrow(v, dim, at, 1), F.narrow(v, dim, n - 1, 1)) for v in (values, indices)]
    if dtype_of(values).kind == "f":
        nan = F.isnan(found[0][1])
        found = [(F.where(nan, last, v), last) for v, last in found]
    return tuple(v if keepdim else F.squeeze(v, dim) for v, _ in found)


def median_dim(x, dim, keepdim=False):
    """The lower of two in the middle."""
    if not x.shape:
        return x, np.zeros((), np.int64)
    dim = axis(dim, x)
    return entry(F.sort(x, dim), (x.shape[dim] - 1) // 2, dim, keepdim)


def median(x):
    flat = F.reshape(x, (-1,))
    return median_dim(flat, 0)[0]


def kthvalue(x, k, dim=-1, keepdim=False):
    dim = axis(dim, x)
    values, indices = F.sort(x, dim)
    found = (F.narrow(v, dim, k - 1, 1) for v in (values, indices))
    return tuple(v if keepdim else F.squeeze(v, dim) for v in found)


def unfold(x, dim, size, step):
    """Windows of an axis, as a new last axis."""
    dim = axis(dim, x)
    starts = np.arange(0, x.shape[dim] - size + 1, step)
    taken = F.getitem(x, (slice(None),) * dim + (starts[:, None] + np.arange(size),))
    return F.movedim(taken, dim + 1, -1)


def diagonal(x, offset=0, dim1=0, dim2=1):
    x = F.movedim(x, (axis(dim1, x), axis(dim2, x)), (-2, -1))
    rows, columns = x.shape[-2:]
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    along = np.arange(count)
    flat = F.reshape(x, (*x.shape[:-2], rows * columns))
    return F.index_select(flat, -1, (along + max(-offset, 0)) * columns + along + max(offset, 0))


def boundaries_below(sequence, x, right):
    """How many numbers of an ascending last axis lie below x, or at it (right)."""
    x = F.reshape(x, (*x.shape, 1))
    if len(sequence.shape) > 1:
        sequence = F.reshape(sequence, (*sequence.shape[:-1], 1, sequence.shape[-1]))
    beyond = F.gt(sequence, x) if right else F.ge(sequence, x)   # none for NaN, which comes last
    return F.sum(as_type(F.logical_not(beyond), np.int64), -1)


def bucketize(x, boundaries, out_int32=False, right=False):
    found = boundaries_below(boundaries, x, right)
    return as_type(found, np.int32) if out_int32 else found


def searchsorted(sequence, x, out_int32=False, right=False, side=None, sorter=None):
    if sorter is not None:
        raise NotImplementedError("a sorter")
    return bucketize(x, sequence, out_int32, right or side == "right")


def hypot(a, b):
    a, b = F.abs(a), F.abs(b)
    most, least = F.maximum(a, b), F.minimum(a, b)
    ratio = F.where(F.logical_or(F.eq(most, 0.0), F.isinf(most)), F.mul(most, 0.0), F.div(least, most))
    root = F.mul(most, F.sqrt(F.add(F.mul(ratio, ratio), 1.0)))
    return F.where(F.isinf(most), most, root)


def var_mean(x, dim=None, *, correction=None, keepdim=False):
    dim = tuple(dim) if dim else None
    return (F.var(x, dim, correction=1 if correction is None else correction, keepdim=keepdim),
            F.mean(x, dim, keepdim))


def where_of_numbers(condition, input=1, other=0):
    if not hasattr(input, "shape") and not hasattr(other, "shape"):
        whole = isinstance(input, int) and isinstance(other, int)
        input = np.asarray(input, np.int64 if whole else np.float32)
    return F.where(condition, input, other)


def logarithm(base):
    return lambda x: F.mul(F.log(x), 1 / math.log(base))


COMPOSITIONS = {
    "aten.median.dim": median_dim, "aten.median.default": median, "aten.kthvalue.default": kthvalue,
    "aten.unfold.default": unfold, "aten.diagonal.default": diagonal, "aten.bucketize.Tensor": bucketize,
    "aten.searchsorted.Tensor": searchsorted, "aten.hypot.default": hypot, "aten.var_mean.correction": var_mean,
    "aten.log2.default": logarithm(2), "aten.log10.default": logarithm(10),
    "aten.exp2.default": lambda x: F.pow(2.0, x),
    **{f"aten.where.{form}": where_of_numbers for form in ("ScalarSelf", "ScalarOther", "Scalar")},
}
