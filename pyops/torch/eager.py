"""ATen calls by our eager kernels, forward and backward: what training runs, node by
node, on torch's memory.

Taken are the calls that cost: convolution, pooling, normalisation, softmax, matrix products.
Elementwise calls are bound by memory in torch as here and stay torch's. Every function takes and
returns arrays as the overload of its name does tensors; None where a mask says so.
"""
from __future__ import annotations

import numpy as np
import torch

from .. import functional as F
from ..ops.batch_norm import BATCH_NORM, BATCH_NORM_BACKWARD, BATCH_NORM_TRAINING
from ..ops.convolution import CHANNEL_SUM, CONV, CONV_TRANSPOSE, CONV_WEIGHT_GRADIENT
from ..ops.layer_norm import LAYER_NORM, LAYER_NORM_BACKWARD
from ..ops.matmul import LINEAR_INPUT_GRADIENT, LINEAR_WEIGHT_GRADIENT
from ..ops.pooling_rows import AVG_POOL_BACKWARD, POOL_SCATTER
from ..ops.pooling_window import adaptive_window, sliding_window
from ..ops.softmax import LOG_SOFTMAX_BACKWARD, SOFTMAX_BACKWARD
from .aten import convolution, per_axis
from .flops import flops_of


def convolution_backward(g, x, weight, bias_sizes, stride, padding, dilation, transposed, output_padding,
                         groups, mask):
    n = len(stride)
    window = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation),
              "groups": groups}
    size, kernel = tuple(x.shape[-n:]), tuple(weight.shape[-n:])
    back, first, second = (CONV, g, x) if transposed else (CONV_TRANSPOSE, x, g)
    return (back(g, weight, None, **window, size=size) if mask[0] else None,
            CONV_WEIGHT_GRADIENT(first, second, **window, kernel=kernel) if mask[1] else None,
            CHANNEL_SUM(g, axes=n) if mask[2] else None)


def batch_norm_training(x, weight, bias, running_mean, running_var, training, momentum, eps):
    """_native_batch_norm_legit_functional: the moved statistics are results, not written in
    place."""
    if not training:
        empty = np.empty(0, x.dtype)
        return (BATCH_NORM(x, running_mean, running_var, weight, bias, eps=eps), empty, empty,
                running_mean.copy(), running_var.copy())
    y, mean, var = BATCH_NORM_TRAINING(x, weight, bias, eps=eps)
    values = x.size // max(x.shape[1], 1)
    moved = ((1 - momentum) * running_mean + momentum * mean,
             (1 - momentum) * running_var + momentum * var * (values / max(values - 1, 1)))
    return y, mean, 1 / np.sqrt(var + x.dtype.type(eps)), *(m.astype(x.dtype, copy=False) for m in moved)


def batch_norm_evaluation(x, weight, bias, running_mean, running_var, momentum, eps):
    empty = np.empty(0, x.dtype)
    return BATCH_NORM(x, running_mean, running_var, weight, bias, eps=eps), empty, empty


def batch_norm_backward(g, x, weight, running_mean, running_var, mean, inverse_deviation, training, eps,
                        mask):
    if training:
        running_mean, running_var = mean, 1 / np.square(inverse_deviation) - x.dtype.type(eps)
    grads = BATCH_NORM_BACKWARD(g, x, weight, running_mean, running_var, eps=eps, training=training)
    return tuple(v if wanted else None for v, wanted in zip(grads, mask))


def layer_norm(x, shape, weight, bias, eps):
    y, mean, rstd = LAYER_NORM(x, weight, bias, ndim=len(shape), eps=eps)
    lead = (*x.shape[:x.ndim - len(shape)], *[1] * len(shape))
    return y, mean.reshape(lead), rstd.reshape(lead)


def layer_norm_backward(g, x, shape, mean, rstd, weight, bias, mask):
    grads = LAYER_NORM_BACKWARD(g, x, weight, mean.reshape(-1), rstd.reshape(-1), ndim=len(shape))
    return tuple(v if wanted else None for v, wanted in zip(grads, mask))


def max_pool(n):
    def pool(x, kernel, stride=(), padding=0, dilation=1, ceil_mode=False):
        return getattr(F, f"max_pool{n}d")(x, *map(per_axis, (kernel, stride, padding, dilation)), ceil_mode,
                                           True)
    return pool


def max_pool_backward(n):
    def backward(g, x, kernel, stride, padding, dilation, ceil_mode, indices):
        return POOL_SCATTER(g, indices, size=tuple(x.shape[-n:]))
    return backward


def avg_pool(n):
    def pool(x, kernel, stride=(), padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        return getattr(F, f"avg_pool{n}d")(x, *map(per_axis, (kernel, stride, padding)), ceil_mode,
                                           count_include_pad, divisor_override)
    return pool


def avg_pool_backward(n):
    def backward(g, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override):
        window = sliding_window("avg_pool", n, tuple(x.shape), *map(per_axis, (kernel, stride, padding)), 1,
                                bool(ceil_mode))
        return AVG_POOL_BACKWARD(g, window=window, count_include_pad=bool(count_include_pad),
                                 divisor=float(divisor_override or 0))
    return backward


def adaptive_avg_pool_backward(n):
    def backward(g, x):
        window = adaptive_window("adaptive_avg_pool", n, tuple(x.shape), tuple(g.shape[-n:]))
        return AVG_POOL_BACKWARD(g, window=window, count_include_pad=True, divisor=0.0)
    return backward


def softmax_of(function):
    return lambda x, dim, half_to_float: function(x, dim)


def softmax_backward(row):
    return lambda g, y, dim, dtype: row(g, y, dim=dim % max(y.ndim, 1))


def mm(a, b):
    """The product by the row that reads both operands as they lie: a transposed view is not
    copied."""
    if b.T.flags.c_contiguous and not b.flags.c_contiguous:
        return F.linear(a, b.T)
    if a.T.flags.c_contiguous and not a.flags.c_contiguous:
        return LINEAR_WEIGHT_GRADIENT(a.T, b)
    return LINEAR_INPUT_GRADIENT(a, b)


def addmm(bias, a, b, *, beta=1, alpha=1):
    if (beta, alpha) == (1, 1) and bias.ndim == 1 and bias.size == b.shape[1] and b.T.flags.c_contiguous:
        return F.linear(a, b.T, bias)
    product = mm(a, b) if alpha == 1 else alpha * mm(a, b)
    return beta * bias + product if beta else product   # with beta = 0 the bias is not read: it may be NaN


EAGER = {
    "aten.convolution.default": convolution, "aten.convolution_backward.default": convolution_backward,
    "aten._native_batch_norm_legit_functional.default": batch_norm_training,
    "aten._native_batch_norm_legit_no_training.default": batch_norm_evaluation,
    "aten.native_batch_norm_backward.default": batch_norm_backward,
    "aten.native_layer_norm.default": layer_norm,
    "aten.native_layer_norm_backward.default": layer_norm_backward,
    **{f"aten.max_pool{n}d_with_indices.default": max_pool(n) for n in (2, 3)},
    **{f"aten.max_pool{n}d_with_indices_backward.default": max_pool_backward(n) for n in (2, 3)},
    **{f"aten.avg_pool{n}d.default": avg_pool(n) for n in (2, 3)},
    **{f"aten.avg_pool{n}d_backward.default": avg_pool_backward(n) for n in (2, 3)},
    "aten._adaptive_avg_pool2d.default": F.adaptive_avg_pool2d,
    "aten._adaptive_avg_pool3d.default": F.adaptive_avg_pool3d,
    "aten._adaptive_avg_pool2d_backward.default": adaptive_avg_pool_backward(2),
    "aten._adaptive_avg_pool3d_backward.default": adaptive_avg_pool_backward(3),
    "aten._softmax.default": softmax_of(F.softmax), "aten._log_softmax.default": softmax_of(F.log_softmax),
    "aten._softmax_backward_data.default": softmax_backward(SOFTMAX_BACKWARD),
    "aten._log_softmax_backward_data.default": softmax_backward(LOG_SOFTMAX_BACKWARD),
    "aten.mm.default": mm, "aten.addmm.default": addmm,
}


class OnTensors:
    """An eager function for tensors. strides: those torch's own call would give its results, which
    later views rely on."""

    def __init__(self, function, strides):
        self.function, self.strides, self.__name__ = function, strides, "row"   # what generated code calls it

    def __call__(self, *args, **kwargs):
        args = [a.detach().numpy() if isinstance(a, torch.Tensor) else a for a in args]
        results = self.function(*args, **kwargs)
        if not isinstance(results, tuple):
            return laid(results, self.strides[0])
        return tuple(laid(r, s) for r, s in zip(results, self.strides))


def laid(array, strides):
    """The array as a tensor, in another order of axes where strides names one."""
    if array is None:
        return None
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    if strides is None:
        return tensor
    order = sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], axis))
    return tensor.permute(order).contiguous().permute([order.index(axis) for axis in range(tensor.ndim)])


def replaced(module: torch.fx.GraphModule) -> tuple[dict[str, int], float, float]:
    """Makes calls of the graph ours where there is a row for them.

    Returns how many of each op were, and were not (as aten...), and the FLOPs of those
    that were and were not.
    """
    counts: dict[str, int] = {}
    flops, torchs = 0.0, 0.0
    for node in module.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        name, function, cost = str(node.target), EAGER.get(str(node.target)), flops_of(node)
        if function is not None and taken(node):
            results = node.meta["val"]
            node.target = OnTensors(function, [
                axes_of(r) for r in (results if isinstance(results, (tuple, list)) else [results])])
            name, flops = "pyops " + name, flops + cost
        else:
            torchs += cost
        counts[name] = counts.get(name, 0) + 1
    module.recompile()
    return counts, flops, torchs


def taken(node) -> bool:
    """Whether all its arrays are dense ones on the CPU, real ones of a type that kernels have."""
    every = [n.meta.get("val") for n in node.all_input_nodes]
    tensors = [v for v in every if isinstance(v, torch.Tensor)]
    reals = {t.dtype for t in tensors if t.is_floating_point()}
    return (all(t.device.type == "cpu" and t.layout == torch.strided
                and (t.is_floating_point() or t.dtype == torch.int64) for t in tensors)
            and len(reals) == 1 and reals <= {torch.float32, torch.float64})


def axes_of(result):
    """Its strides, if the result is not contiguous; sizes may be symbols, of which hints are
    enough for the order."""
    if not isinstance(result, torch.Tensor) or result.is_contiguous():
        return None
    return [getattr(getattr(s, "node", None), "hint", s) for s in result.stride()]
