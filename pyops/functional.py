"""Public ops on NumPy arrays, Tensors and DLPack exporters, with torch.nn.functional's names,
argument order and defaults.

The result is a Tensor where an argument is one, else of the first argument's kind. Every function
also takes `out=`, a writable contiguous array for the result, unless that is a view; `axis=` and
`keepdims=` say the same as `dim=` and `keepdim=`.
Functions that torch keeps in its top-level namespace (add, matmul, cat, sum, ...) are here too.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .core import dispatch
from .core.scope import calls, watchers
from .core.tensor import Tensor
from .ops import activation as _activation
from .ops.activation import (
    celu,
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    scaled_tanh,
    selu,
    silu,
    softplus,
    softsign,
    threshold,
)
from .ops.attention import scaled_dot_product_attention
from .ops.batch_norm import batch_norm
from .ops.boxes import (
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    complete_box_iou,
    complete_box_iou_loss,
    distance_box_iou,
    distance_box_iou_loss,
    generalized_box_iou,
    generalized_box_iou_loss,
    remove_small_boxes,
)
from .ops.cast import clone
from .ops.comparison import (
    eq,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from .ops.convolution import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from .ops.ctc import ctc_loss
from .ops.deform_conv import deform_conv2d
from .ops.dft import dft, istft, stft
from .ops.distance import cdist, cosine_similarity, normalize, pairwise_distance, pdist
from .ops.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    stochastic_depth,
)
from .ops.einsum import bilinear, einsum
from .ops.elementwise import (
    abs,
    add,
    clamp,
    clip,
    div,
    erf,
    exp,
    expm1,
    log,
    log1p,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    reciprocal,
    rsqrt,
    sigmoid,
    sqrt,
    square,
    sub,
    tanh,
    where,
)
from .ops.embedding import embedding, embedding_bag, one_hot
from .ops.embedding_sum import embedding_sum
from .ops.explain import explained
from .ops.focal_loss import distribution_focal_loss, quality_focal_loss
from .ops.gates import glu, hardshrink, softshrink, tanhshrink
from .ops.gather import (
    gather,
    gather_nd,
    index_select,
    masked_fill,
    scatter,
    scatter_add,
    scatter_nd,
    scatter_reduce,
    select_scatter,
    slice_scatter,
    take_along_dim,
)
from .ops.grid_sample import affine_grid, grid_sample
from .ops.group_norm import group_norm, instance_norm
from .ops.im2col import fold, unfold
from .ops.interpolate import interpolate, upsample
from .ops.layer_norm import layer_norm, rms_norm
from .ops.linear_int8 import linear_int8
from .ops.linear_loss import linear_cross_entropy
from .ops.local_response_norm import local_response_norm
from .ops.loss import cross_entropy, nll_loss
from .ops.margin_loss import (
    cosine_embedding_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from .ops.matmul import bmm, linear, matmul
from .ops.order import argsort, cumprod, cumsum, roll, sort, tile, topk, tril, triu
from .ops.pad import pad
from .ops.permutohedral import permutohedral_filter
from .ops.pixel_shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from .ops.places import masked_select, nms, nonzero
from .ops.pointwise_loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    poisson_nll_loss,
    sigmoid_focal_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from .ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_max_pool,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from .ops.pyramid import pyramid_roi_align
from .ops.quantise import dequantize_linear, fake_quantize_per_tensor_affine, quantize_linear
from .ops.rbf import lenet5_loss, squared_euclidean
from .ops.real_functions import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    ceil,
    cos,
    cosh,
    floor,
    round,
    sin,
    sinh,
    tan,
    trunc,
)
from .ops.recurrent import gru, lstm, rnn
from .ops.recurrent_cells import gru_cell, lstm_cell, rnn_cell
from .ops.reduction import (
    Extreme as Extreme,
    amax,
    amin,
    argmax,
    argmin,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
    vector_norm,
)
from .ops.regions import ps_roi_align, ps_roi_pool, roi_align, roi_pool
from .ops.rotary import rotary_embedding
from .ops.shape import (
    broadcast_to,
    cat,
    chunk,
    flatten,
    flip,
    getitem,
    movedim,
    narrow,
    permute,
    reshape,
    select,
    split,
    squeeze,
    stack,
    transpose,
    unbind,
    unflatten,
    unsqueeze,
)
from .ops.softmax import log_softmax, softmax, softmin
from .ops.suppression import batched_nms, multiclass_nms, soft_nms
from .ops.whole import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    floor_divide,
    fmod,
    remainder,
    sign,
)
from .ops.whole_reduction import all, any

__all__ = [
    "abs", "acos", "acosh", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "add", "affine_grid", "all",
    "alpha_dropout", "amax", "amin", "any", "argmax", "argmin", "argsort", "asin", "asinh", "atan", "atanh",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "batched_nms", "bilinear", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "bmm", "box_area", "box_convert", "box_iou", "broadcast_to", "cat",
    "cdist", "ceil", "celu", "channel_shuffle", "chunk", "clamp", "clip", "clip_boxes_to_image", "clone",
    "complete_box_iou", "complete_box_iou_loss", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "cos", "cosh", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "ctc_loss", "cumprod", "cumsum", "deform_conv2d", "dequantize_linear", "dft",
    "distance_box_iou", "distance_box_iou_loss", "distribution_focal_loss", "div", "dropout", "dropout1d",
    "dropout2d", "dropout3d", "einsum", "elu", "embedding", "embedding_bag", "embedding_sum", "eq", "erf", "exp",
    "expm1", "fake_quantize_per_tensor_affine", "feature_alpha_dropout", "flatten", "flip", "floor", "floor_divide",
    "fmod", "fold", "gather", "gather_nd", "gaussian_nll_loss", "ge", "gelu", "generalized_box_iou",
    "generalized_box_iou_loss", "getitem", "global_avg_pool", "global_max_pool", "glu", "grid_sample",
    "group_norm", "gru", "gru_cell", "gt", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "hinge_embedding_loss", "huber_loss", "index_select", "instance_norm", "interpolate", "isfinite", "isinf",
    "isnan", "istft", "kl_div", "l1_loss", "layer_norm", "le", "leaky_relu", "lenet5_loss", "linear",
    "linear_cross_entropy", "linear_int8", "local_response_norm",
    "log", "log1p", "log_softmax", "logical_and", "logical_not", "logical_or",
    "logical_xor", "logsigmoid", "logsumexp", "lp_pool1d", "lp_pool2d", "lp_pool3d", "lstm", "lstm_cell",
    "lt", "margin_ranking_loss", "masked_fill", "masked_select", "matmul", "max", "max_pool1d", "max_pool2d",
    "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "maximum", "mean", "min", "minimum", "mish",
    "movedim", "mse_loss", "mul", "multi_margin_loss", "multiclass_nms", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "narrow", "ne", "neg", "nll_loss", "nms", "nonzero", "norm", "normalize",
    "one_hot", "pad", "pairwise_distance", "pdist", "permutohedral_filter", "permute",
    "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "pow", "prelu", "prod", "ps_roi_align", "ps_roi_pool", "pyramid_roi_align",
    "quality_focal_loss", "quantize_linear", "reciprocal", "relu", "relu6", "remainder", "remove_small_boxes",
    "reshape", "rms_norm", "rnn", "rnn_cell", "roi_align", "roi_pool", "roll", "rotary_embedding", "round",
    "rsqrt", "scaled_dot_product_attention", "scaled_tanh", "scatter", "scatter_add", "scatter_nd",
    "scatter_reduce", "select", "select_scatter", "selu", "sigmoid", "sigmoid_focal_loss", "sign", "silu",
    "sin", "sinh", "slice_scatter", "smooth_l1_loss", "soft_margin_loss", "soft_nms", "softmax", "softmin",
    "softplus", "softshrink", "softsign", "sort", "split", "sqrt", "square", "squared_euclidean", "squeeze",
    "stack", "std", "stft", "stochastic_depth", "sub", "sum", "take_along_dim", "tan", "tanh", "tanhshrink",
    "threshold", "tile", "topk", "transpose", "tril", "triplet_margin_loss",
    "triplet_margin_with_distance_loss", "triu", "trunc", "unbind", "unflatten", "unfold", "unsqueeze",
    "upsample", "var", "vector_norm", "where",
]
_NEW = [name for name in _activation.__all__ if name not in __all__]   # an activation is public by being one
__all__ += _NEW
globals().update({name: getattr(_activation, name) for name in _NEW})


def _written(name: str, result: Any, out: Any) -> Any:
    """`result` in `out`, where no row wrote it there: of whole numbers, say, or of several rows."""
    if isinstance(result, Tensor):
        raise TypeError(f"{name}: out= is for arrays, not {type(result).__name__}")
    if not isinstance(result, np.ndarray) or isinstance(out, np.ndarray) and np.may_share_memory(result, out):
        return result
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (result.shape, result.dtype):
        raise ValueError(f"{name}: out must be an array of shape {result.shape} and type {result.dtype}, got "
                         f"{dispatch.describe(out)}")
    if not out.flags.writeable:
        raise ValueError(f"{name}: out is read-only")
    out[...] = result
    return out


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose errors name it and the argument that is wrong, whichever row found it."""
    @functools.wraps(function)
    def public(*args: Any, **kwargs: Any) -> Any:
        if watchers and (watch := calls.get()) is not None:
            return watch(function, args, kwargs)
        try:
            result = function(*args, **kwargs)
            if kwargs and (out := kwargs.get("out")) is not None and result is not out:
                return _written(function.__name__, result, out)
            return result
        except (AttributeError, TypeError, ValueError) as error:
            better = explained(function, args, kwargs, error)
            if better is None:
                raise
            raise better from None
    public.__module__ = __name__
    return public


globals().update({name: _named(globals()[name]) for name in __all__})
