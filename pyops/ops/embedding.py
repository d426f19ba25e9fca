"""Embedding: rows of a table by index, sums of them in bags, and one_hot."""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, Tensor
from ..core.types import Arrays
from .shape import reshape
from .typed import NO_CUDA

reference = LateFunctions("pyops.kernels.embedding.reference")

__all__ = ["embedding", "embedding_bag", "one_hot"]

MODES = {"sum": 0, "mean": 1, "max": 2}   # as in reference.py


def embedding(input: Arrays, weight: Arrays, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, *,
              out: Arrays | None = None) -> Arrays:
    """weight[input]: input (*) of any integer type, weight (rows, width); returns (*, width).

    padding_idx: a row that gets no gradient. max_norm: rows that are looked up are first scaled in
    place to a norm_type-norm of at most this. scale_grad_by_freq divides a row's gradient by how
    often it was looked up. sparse gradients are not supported.
    Raises ValueError for an index that is no row.
    """
    if sparse:
        raise ValueError("embedding: sparse=True is not supported, gradients are dense")
    padding = _padding(tuple(weight.shape), padding_idx)
    if max_norm is not None:
        _limit_norms(input, weight, max_norm, norm_type)
    return EMBEDDING(input, weight, padding=padding, by_frequency=bool(scale_grad_by_freq), out=out)


def embedding_bag(input: Arrays, weight: Arrays, offsets: Arrays | None = None, max_norm: float | None = None,
                  norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Arrays | None = None, include_last_offset: bool = False,
                  padding_idx: int | None = None, *, out: Arrays | None = None) -> Arrays:
    """The sum, mean or greatest of rows of weight, a bag of indices at a time.

    input: (bags, length), or (indices,) with offsets (bags,), where each bag begins; any integer
    types. weight: (rows, width), float32 or float64. include_last_offset: offsets end with the
    number of indices. mode: 'sum', 'mean', 'max'; of an empty bag 0. per_sample_weights: input's
    shape, factors of mode 'sum'. padding_idx: indices that count in no bag. max_norm, norm_type,
    scale_grad_by_freq (not of 'max'): as in embedding; sparse gradients are not supported. Returns
    (bags, width). Raises ValueError for an index that is no row, and where shapes or offsets do not
    fit.
    """
    if sparse:
        raise ValueError("embedding_bag: sparse=True is not supported, gradients are dense")
    if mode not in MODES:
        raise ValueError(f"embedding_bag: mode must be one of {', '.join(MODES)}, got {mode!r}")
    if per_sample_weights is not None and (
            mode != "sum" or tuple(per_sample_weights.shape) != tuple(input.shape)):
        raise ValueError(f"embedding_bag: per_sample_weights go with mode 'sum' and have input's shape "
                         f"{tuple(input.shape)}, got mode {mode!r} and {tuple(per_sample_weights.shape)}")
    if scale_grad_by_freq and mode == "max":
        raise ValueError("embedding_bag: scale_grad_by_freq does not go with mode 'max'")
    padding = _padding(tuple(weight.shape), padding_idx)
    if len(input.shape) == 2 and offsets is None and not include_last_offset:
        bags, length = input.shape
        offsets = np.arange(bags) * length
        input = reshape(input, (bags * length,))
        if per_sample_weights is not None:
            per_sample_weights = reshape(per_sample_weights, (bags * length,))
    if len(input.shape) != 1 or offsets is None or len(offsets.shape) != 1 \
            or include_last_offset and not offsets.shape[0]:
        raise ValueError("embedding_bag: takes input (bags, length), or (indices,) with offsets (bags,), got "
                         f"{tuple(input.shape)} and {None if offsets is None else tuple(offsets.shape)}")
    if max_norm is not None:
        _limit_norms(input, weight, max_norm, norm_type)
    return EMBEDDING_BAG(input, offsets, weight, per_sample_weights, closed=bool(include_last_offset),
                         mode=MODES[mode], padding=padding, by_frequency=bool(scale_grad_by_freq), out=out)[0]


def one_hot(tensor: Arrays, num_classes: int = -1) -> Arrays:
    """Integers (*) in [0, num_classes) as int64 zeros and ones of shape (*, num_classes); -1 takes
    the largest integer plus one."""
    index = np.asarray(tensor)
    if index.dtype.kind not in "iu":
        raise TypeError(f"one_hot: needs an integer array, got {index.dtype}")
    if num_classes == -1 and not index.size:
        raise ValueError("one_hot: no values to take num_classes from")
    classes = int(index.max()) + 1 if num_classes == -1 else num_classes
    places = index.reshape(-1).astype(np.int64)
    # negative ones are large as well
    if classes < 1 or index.size and places.view(np.uint64).max() >= classes:
        raise ValueError(f"one_hot: values must be in [0, {classes}), got "
                         f"{index.min() if index.size and index.min() < 0 else index.max(initial=0)}")
    y = np.zeros((*index.shape, classes), np.int64)
    places += np.arange(0, y.size, classes)
    y.reshape(-1)[places] = 1
    return Tensor(y) if isinstance(tensor, Tensor) else y


@lru_cache(4096)
def _padding(weight, padding):
    if len(weight) != 2:
        raise ValueError(f"embedding: weight must be (rows, width), got {weight}")
    if padding is None:
        return -1
    if not -weight[0] <= padding < weight[0]:
        raise ValueError(
            f"embedding: padding_idx {padding} is not one of the {weight[0]} rows of weight {weight}")
    return padding % weight[0]


def _limit_norms(input, weight, max_norm, norm_type):
    """Scales the rows of weight named by input to at most max_norm, in place."""
    index = np.unique(np.asarray(input))
    table = weight.data if isinstance(weight, Tensor) else weight
    if not isinstance(table, np.ndarray) or not table.flags.writeable:
        raise ValueError(
            "embedding: max_norm changes weight in place; it must be a writable array or a Tensor")
    _refuse_indices(index, table.shape[0])
    norms = np.linalg.norm(table[index].astype(np.float64), norm_type, axis=1)
    long = norms > max_norm
    table[index[long]] *= (max_norm / (norms[long] + 1e-7))[:, None].astype(table.dtype)


def _refuse_indices(index, rows, name="embedding"):
    wrong = index[(index < 0) | (index >= rows)]
    if wrong.size:
        raise ValueError(f"{name}: index {wrong.flat[0]} is not one of the {rows} rows of weight")


def check(index, weight, *, padding, by_frequency):
    _refuse_indices(index, weight.shape[0])


def forward(k, index, weight, *, padding, by_frequency):
    # of a program that is given them: the kernel says which index is wrong
    if k.host(index) is None and hasattr(k, "take"):
        y = k.empty((*index.shape, weight.shape[1]))
        k.take(weight, index, 1, *weight.shape, False, y)
        return y
    y, wrong = k.empty((*index.shape, weight.shape[1])), k.empty((1,), np.int64)
    k.embedding(index, weight, y, wrong)
    seen, given = k.host(wrong), k.host(index)
    # what a program does cannot be seen, but its constants can
    if given is not None and (seen is None or seen[0] >= 0):
        _refuse_indices(given, weight.shape[0])
    return y


def gradient(ctx: Context):
    index, weight = ctx.inputs
    return None, EMBEDDING_BACKWARD(ctx.g, index, rows=weight.shape[0], **ctx.attrs)


def backward(k, g, index, *, rows, padding, by_frequency):
    dweight = k.empty((rows, g.shape[-1]))
    k.embedding_backward(g, index, padding, by_frequency, dweight)
    return dweight


def again(ctx: Context):
    """The gradient of scattering is looking up; where padding_idx or scale_grad_by_freq changed it,
    it is no derivative."""
    if ctx.attrs["padding"] >= 0 or ctx.attrs["by_frequency"]:
        raise ValueError(
            "backward: embedding has no second derivative with padding_idx or scale_grad_by_freq")
    return EMBEDDING(ctx.inputs[1], ctx.g, padding=-1, by_frequency=False), None


EMBEDDING_BACKWARD = Op("embedding_backward", "ri", backward, reference.embedding_backward, again,
                        kernels=("embedding_backward",))
EMBEDDING = Op(
    "embedding", "ir", forward, reference.embedding, gradient, check,
    kernels=("embedding",), checks_indices=True,
    bytes=lambda index, weight, **_: 2 * index.size * weight.shape[1] * weight.itemsize,
    per_sample=lambda shape, **_: bool(shape),
)


# ---- bags

def _refuse_offsets(offsets, count, closed):
    if offsets.size and (offsets[0] != 0 or (np.diff(offsets) < 0).any() or offsets[-1] > count
                         or closed and offsets[-1] != count):
        raise ValueError(f"embedding_bag: offsets must begin with 0, not fall, and be at most the {count} indices"
                         f"{', their number at the end' if closed else ''}, got {offsets.tolist()[:8]}")


def bag_check(index, offsets, weight, factors, *, closed, **_):
    _refuse_offsets(offsets, index.size, closed)
    _refuse_indices(index, weight.shape[0], "embedding_bag")


def bag_reference(index, offsets, weight, factors, *, by_frequency=False, **how):
    return reference.embedding_bag(index, offsets, weight, factors, **how)


def bag_forward(k, index, offsets, weight, factors, *, closed, mode, padding, by_frequency):
    given, ends = k.host(index), k.host(offsets)
    if ends is not None:
        _refuse_offsets(ends, index.size, closed)
    if given is not None:
        _refuse_indices(given, weight.shape[0], "embedding_bag")
    bags, width = offsets.size - closed, weight.shape[1]
    y, bag, count = k.empty((bags, width)), k.empty(index.shape, np.int64), k.empty((bags,))
    greatest = k.empty((bags if mode == MODES["max"] else 0, width), np.int64)
    k.embedding_bag(index, offsets, weight, factors, closed, mode, padding, y, bag, count, greatest)
    return y, bag, count, greatest


def bag_gradient(ctx: Context):
    index, _, weight, factors = ctx.inputs
    _, bag, count, greatest = ctx.outputs
    return (None, None, EMBEDDING_BAG_BACKWARD(
        ctx.g, index, factors, bag, count, greatest, rows=weight.shape[0], mode=ctx.attrs["mode"],
        by_frequency=ctx.attrs["by_frequency"]) if ctx.needs[2] else None,
        EMBEDDING_BAG_FACTORS(ctx.g, index, bag, weight) if factors is not None and ctx.needs[3] else None)


def bag_backward(k, g, index, factors, bag, count, greatest, *, rows, mode, by_frequency):
    dweight = k.empty((rows, g.shape[-1]))
    k.embedding_bag_backward(g, index, factors, bag, count, greatest, mode, by_frequency, dweight)
    return dweight


def bag_factors(k, g, index, bag, weight):
    dfactors = k.empty(index.shape)
    k.embedding_bag_factors(g, index, bag, weight, dfactors)
    return dfactors


EMBEDDING_BAG_BACKWARD = Op("embedding_bag_backward", "rioiri", bag_backward, reference.embedding_bag_backward,
                            kernels=("embedding_bag_backward",), todo=NO_CUDA)
EMBEDDING_BAG_FACTORS = Op("embedding_bag_factors", "riir", bag_factors, reference.embedding_bag_factors,
                           kernels=("embedding_bag_factors",), todo=NO_CUDA)
EMBEDDING_BAG = Op(
    "embedding_bag", "iiro", bag_forward, bag_reference, bag_gradient, bag_check, kernels=("embedding_bag",),
    checks_indices=True, todo=NO_CUDA,
    bytes=lambda index, offsets, weight, *_, **__: index.size * weight.shape[1] * weight.itemsize)
