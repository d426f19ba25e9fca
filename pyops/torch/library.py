"""torch.ops.pyops.*: our rows as operators of torch, with shapes for tracing (fake
kernels) and gradients.

Each row of OPERATORS is a schema in torch's notation, what computes it from arrays, and what
tells the results' shapes. The gradient of NAME is an operator itself, NAME_backward, so that
AOTAutograd can put it into a graph: it runs the forward again on our tape, except for
convolutions and linear layers, whose gradients need inputs only. Gradients of gradients are not
defined. CPU, float32 and float64.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from .. import functional as F
from ..core import tape
from ..core.tensor import Tensor
from ..ops.convolution import CHANNEL_SUM
from .aten import TABLE, per_axis
from .eager import convolution_backward

library = torch.library.Library("pyops", "DEF")
TF = torch.nn.functional


def tuples(function):
    """Calls with torch's lists of ints as tuples."""
    return lambda *args: function(*(per_axis(a) if isinstance(a, (list, tuple))
                                    and all(isinstance(v, int) for v in a) else a for a in args))


def lstm(x, h, c, weights, bias, layers, bidirectional, batch_first):
    return F.lstm(x, (h, c), list(weights), bias=bias, num_layers=layers, bidirectional=bidirectional,
                  batch_first=batch_first)


def gru(x, h, weights, bias, layers, bidirectional, batch_first):
    return F.gru(x, h, list(weights), bias=bias, num_layers=layers, bidirectional=bidirectional,
                 batch_first=batch_first)


def rnn(x, h, weights, nonlinearity, bias, layers, bidirectional, batch_first):
    return F.rnn(x, h, list(weights), nonlinearity=nonlinearity, bias=bias, num_layers=layers,
                 bidirectional=bidirectional, batch_first=batch_first)


def recurrent_shapes(x, h, *rest):
    """y takes the outputs of both directions; the states keep their shapes."""
    states = (h, rest[0]) if isinstance(rest[0], torch.Tensor) else (h,)
    outputs = h.shape[-1] * (2 if rest[-2] else 1)
    return x.new_empty((*x.shape[:-1], outputs)), *(s.new_empty(s.shape) for s in states)


def attention(query, key, value, mask, is_causal, scale):
    return F.scaled_dot_product_attention(query, key, value, mask, 0.0, is_causal, scale)


def attention_shapes(query, key, value, mask, is_causal, scale):
    return query.new_empty((*query.shape[:-1], value.shape[-1]))


def like_first(x, *_):
    return x.new_empty(x.shape)


def unpooled_shapes(x, indices, kernel_size, stride, padding, output_size):
    axes = len(kernel_size)
    sizes = output_size or [(n - 1) * s - 2 * p + k for n, k, s, p in zip(x.shape[-axes:], kernel_size,
                                                                          stride or kernel_size, padding)]
    return x.new_empty((*x.shape[:-axes], *sizes[-axes:]))


def interpolate(x, size, scale_factor, mode, align_corners, antialias):
    return F.interpolate(x, size and tuple(size), scale_factor and tuple(scale_factor), mode, align_corners,
                         antialias=antialias)


def interpolated_shapes(x, size, scale_factor, *_):
    return x.new_empty((*x.shape[:2],
                        *(size or [math.floor(n * f) for n, f in zip(x.shape[2:], scale_factor)])))


def embedding(indices, weight, padding_idx, scale_grad_by_freq):
    return F.embedding(indices, weight, padding_idx, scale_grad_by_freq=scale_grad_by_freq)


def instance_norm(x, weight, bias, eps):
    return F.instance_norm(x, weight=weight, bias=bias, eps=eps)


def as_torch(name):
    """The shapes that torch's own function gives."""
    return lambda *args: getattr(TF, name)(*args)


POOL = "Tensor input, int[] kernel_size, int[] stride, int[] padding"
RECURRENT = "bool bias, int num_layers, bool bidirectional, bool batch_first"
OPERATORS: dict[str, tuple[str, Callable, Callable]] = {
    **{f"conv{n}d": ("(Tensor input, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] "
                     "dilation, int groups) -> Tensor",
                     tuples(getattr(F, f"conv{n}d")), as_torch(f"conv{n}d")) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": ("(Tensor input, Tensor weight, Tensor? bias, int[] stride, int[] "
                               "padding, int[] output_padding, int groups, int[] dilation)" " -> Tensor",
                               tuples(getattr(F, f"conv_transpose{n}d")), as_torch(f"conv_transpose{n}d"))
       for n in (1, 2, 3)},
    "linear": ("(Tensor input, Tensor weight, Tensor? bias) -> Tensor", F.linear, TF.linear),
    **{f"max_pool{n}d": (f"({POOL}, int[] dilation, bool ceil_mode) -> Tensor",
                         tuples(getattr(F, f"max_pool{n}d")), as_torch(f"max_pool{n}d"))
       for n in (1, 2, 3)},
    "avg_pool1d": (f"({POOL}, bool ceil_mode, bool count_include_pad) -> Tensor", tuples(F.avg_pool1d), TF.avg_pool1d),
    **{f"avg_pool{n}d": (f"({POOL}, bool ceil_mode, bool count_include_pad, int? divisor_override) -> Tensor",
                         tuples(getattr(F, f"avg_pool{n}d")), as_torch(f"avg_pool{n}d")) for n in (2, 3)},
    **{f"adaptive_avg_pool{n}d": ("(Tensor input, int[] output_size) -> Tensor",
                                  tuples(getattr(F, f"adaptive_avg_pool{n}d")),
                                  as_torch(f"adaptive_avg_pool{n}d")) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": ("(Tensor input, int[] output_size) -> Tensor",
                                  tuples(getattr(F, f"adaptive_max_pool{n}d")),
                                  as_torch(f"adaptive_avg_pool{n}d")) for n in (1, 2, 3)},
    **{f"lp_pool{n}d": (
        "(Tensor input, float norm_type, int[] kernel_size, int[] stride, bool ceil_mode) -> Tensor",
        tuples(getattr(F, f"lp_pool{n}d")),
        lambda x, norm, kernel, stride, ceil, n=n: getattr(TF, f"avg_pool{n}d")(x, kernel, stride, 0, ceil))
       for n in (1, 2, 3)},
    **{f"max_unpool{n}d": ("(Tensor input, Tensor indices, int[] kernel_size, int[] stride, int[] "
                           "padding, int[] output_size) -> Tensor",
                           tuples(getattr(F, f"max_unpool{n}d")), unpooled_shapes) for n in (1, 2, 3)},
    "interpolate": ("(Tensor input, int[]? size, float[]? scale_factor, str mode, bool? align_corners, bool "
                    "antialias) -> Tensor", interpolate, interpolated_shapes),
    "unfold": ("(Tensor input, int[] kernel_size, int[] dilation, int[] padding, int[] stride) -> Tensor",
               tuples(F.unfold), TF.unfold),
    "fold": ("(Tensor input, int[] output_size, int[] kernel_size, int[] dilation, int[] padding, int[] "
             "stride) -> Tensor", tuples(F.fold), TF.fold),
    "embedding": ("(Tensor indices, Tensor weight, int? padding_idx, bool scale_grad_by_freq) -> Tensor", embedding,
                  lambda indices, weight, *_: weight.new_empty((*indices.shape, weight.shape[1]))),
    "instance_norm": ("(Tensor input, Tensor? weight, Tensor? bias, float eps) -> Tensor", instance_norm, like_first),
    "batch_norm": ("(Tensor input, Tensor running_mean, Tensor running_var, Tensor? weight, "
                   "Tensor? bias, float eps) -> Tensor", lambda x, mean, var, weight, bias, eps: F.batch_norm(
                       x, mean, var, weight, bias, False, 0.0, eps), like_first),
    "layer_norm": ("(Tensor input, int[] normalized_shape, Tensor? weight, Tensor? bias, float eps) -> "
                   "Tensor", tuples(F.layer_norm), like_first),
    "rms_norm": ("(Tensor input, int[] normalized_shape, Tensor? weight, float? eps) -> Tensor",
                 tuples(F.rms_norm), like_first),
    "group_norm": ("(Tensor input, int num_groups, Tensor? weight, Tensor? bias, float eps) -> Tensor",
                   F.group_norm, like_first),
    "local_response_norm": ("(Tensor input, int size, float alpha, float beta, float k) -> Tensor",
                            F.local_response_norm, like_first),
    **{name: ("(Tensor input) -> Tensor", getattr(F, name), like_first)
       for name in ("relu", "silu", "mish", "hardswish", "hardsigmoid", "softsign", "logsigmoid")},
    "gelu": ("(Tensor input, str approximate) -> Tensor", F.gelu, like_first),
    "elu": ("(Tensor input, float alpha) -> Tensor", F.elu, like_first),
    "leaky_relu": ("(Tensor input, float negative_slope) -> Tensor", F.leaky_relu, like_first),
    "softplus": ("(Tensor input, float beta, float threshold) -> Tensor", F.softplus, like_first),
    "softmax": ("(Tensor input, int dim) -> Tensor", F.softmax, like_first),
    "log_softmax": ("(Tensor input, int dim) -> Tensor", F.log_softmax, like_first),
    "attention": ("(Tensor query, Tensor key, Tensor value, Tensor? mask, bool is_causal, float? scale) -> "
                  "Tensor", attention, attention_shapes),
    "lstm": (f"(Tensor input, Tensor h, Tensor c, Tensor[] weights, {RECURRENT}) -> (Tensor, Tensor, Tensor)",
             lstm, recurrent_shapes),
    "gru": (f"(Tensor input, Tensor h, Tensor[] weights, {RECURRENT}) -> (Tensor, Tensor)", gru, recurrent_shapes),
    "rnn": (f"(Tensor input, Tensor h, Tensor[] weights, str nonlinearity, {RECURRENT}) -> (Tensor, Tensor)",
            rnn, recurrent_shapes),
}


def arrays(value):
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    return [arrays(v) for v in value] if isinstance(value, (list, tuple)) else value


def tensors(value):
    return (tuple(map(tensors, value)) if isinstance(value, tuple)
            else torch.from_numpy(np.ascontiguousarray(value)))


def contiguous(value):
    """What the kernels return, whatever the strides of what torch would."""
    return tuple(map(contiguous, value)) if isinstance(value, tuple) else value.new_empty(value.shape)


def tensors_in(args) -> list:
    """The tensors among the arguments, those in lists too, in order."""
    return [t for a in args
            for t in (a if isinstance(a, (list, tuple)) else [a]) if isinstance(t, torch.Tensor)]


def by_tape(function):
    """The gradients of a function of arrays, by running it again on Tensors."""
    def backward(grads, args, needs):
        wanted = iter(needs)
        leaves = []

        def leaf(value):
            if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
                return [leaf(v) for v in value]
            if isinstance(value, np.ndarray):
                leaves.append(Tensor(value, requires_grad=next(wanted)))   # torch never wants one of indices
                return leaves[-1]
            return value
        results = function(*map(leaf, args))
        results = list(results) if isinstance(results, tuple) else [results]
        found = tape.gradients(results, grads, False, Tensor)
        return [np.zeros_like(v.data) if found.get(v) is None else found[v]
                for v, need in zip(leaves, needs) if need]
    return backward


def conv_backward(transposed):
    def backward(grads, args, needs):
        x, weight, bias, stride, padding, *rest = args
        (output_padding, groups, dilation) = rest if transposed else ((0,) * len(stride), rest[1], rest[0])
        mask = [*needs, False][:3]
        found = convolution_backward(grads[0], x, weight, None, stride, padding, dilation, transposed,
                                     output_padding, groups, mask)
        return [f for f in found if f is not None]
    return backward


def linear_backward(grads, args, needs):
    x, weight, bias = args
    g = grads[0].reshape(-1, grads[0].shape[-1])
    found = [lambda: F.matmul(g, weight).reshape(x.shape),
             lambda: F.matmul(np.ascontiguousarray(g.T), x.reshape(-1, x.shape[-1])),
             lambda: CHANNEL_SUM(g, axes=0)]
    return [make() for make, need in zip(found, needs) if need]


BACKWARD = {**{f"conv{n}d": conv_backward(False) for n in (1, 2, 3)},
            **{f"conv_transpose{n}d": conv_backward(True) for n in (1, 2, 3)}, "linear": linear_backward}


def register(name: str, schema: str, function: Callable, shapes: Callable) -> None:
    arguments = schema[1:schema.index(") ->")]
    library.define(name + schema)
    library.impl(name, lambda *args: tensors(function(*map(arrays, args))), "CPU")
    torch.library.register_fake(f"pyops::{name}", lambda *args: contiguous(shapes(*args)), lib=library)

    backward = BACKWARD.get(name) or by_tape(function)
    library.define(f"{name}_backward(Tensor[] grads, {arguments}, bool[] needs) -> Tensor[]")
    library.impl(f"{name}_backward", lambda grads, *args: [
        torch.from_numpy(np.ascontiguousarray(v))
        for v in backward([g.numpy() for g in grads], [arrays(a) for a in args[:-1]], args[-1])],
                 "CPU")
    torch.library.register_fake(f"pyops::{name}_backward", lambda grads, *args: [
        t.new_empty(t.shape) for t, need in zip(tensors_in(args[:-1]), args[-1]) if need], lib=library)
    differentiate = getattr(torch.ops.pyops, f"{name}_backward")

    def setup(ctx, inputs, output):
        ctx.save_for_backward(*tensors_in(inputs))
        ctx.rest = [("list", len(a)) if isinstance(a, (list, tuple)) and a and isinstance(a[0], torch.Tensor)
                    else ("tensor", 1) if isinstance(a, torch.Tensor) else ("value", a) for a in inputs]

    def gradient(ctx, *grads):
        saved, args, needs, places = iter(ctx.saved_tensors), [], [], []
        for (kind, value), need in zip(ctx.rest, ctx.needs_input_grad):
            if kind == "value":
                args.append(value)
            else:
                own = [next(saved) for _ in range(value)]
                args.append(own if kind == "list" else own[0])
                places.append(list(need) if kind == "list" else [need])
                needs += places[-1]
        found = iter(differentiate([g.contiguous() for g in grads], *args, needs))
        gradients = [[next(found) if need else None for need in place] for place in places]
        each = iter(gradients)
        return tuple(None if kind == "value" else next(each) if kind == "list" else next(each)[0]
                     for kind, _ in ctx.rest)
    torch.library.register_autograd(f"pyops::{name}", gradient, setup_context=setup, lib=library)
    TABLE[f"pyops.{name}.default"] = function


for _name, _row in OPERATORS.items():
    register(_name, *_row)
