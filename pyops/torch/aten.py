"""What each ATen call is in terms of pyops.functional: name of the overload -> function of its
arguments, in torch's order.

Which overloads are which of our functions is in pyops/names.py; here is how their arguments are
passed where they differ, and calls that are several of ours. Sizes come as lists there; an empty
one stands for a default.
"""
from __future__ import annotations

import numpy as np

from .. import functional as F
from ..names import NAMES
from ..ops.typed import as_type
from .compositions import COMPOSITIONS


def identity(x, *_, **__):
    return x


def per_axis(v):
    """A list of ints as a tuple; an empty one, which is a stride left out, as None."""
    return tuple(v) or None if isinstance(v, (list, tuple)) else v


def spatial(function):
    """Calls with torch's lists of ints as tuples."""
    return lambda *args, **kwargs: function(*map(per_axis, args),
                                            **{k: per_axis(v) for k, v in kwargs.items()})


def unless(value, name):
    """Refuses an argument that the op here has no counterpart for."""
    def check(given):
        if given != value:
            raise NotImplementedError(f"{name}={given!r}")
    return check


def convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    axes = len(stride)
    if transposed:
        return getattr(F, f"conv_transpose{axes}d")(input, weight, bias, tuple(stride), tuple(padding),
                                                    tuple(output_padding), groups, tuple(dilation))
    return getattr(F, f"conv{axes}d")(input, weight, bias, tuple(stride), tuple(padding), tuple(dilation),
                                      groups)


def batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled=False):
    unless(False, "training")(training)
    return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)


def batch_norm_no_training(input, weight, bias, running_mean, running_var, momentum, eps):
    return (F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps), None, None)


def dropout(input, p, train):
    unless(False, "train")(train)
    return input


def rrelu(input, noise, lower=1 / 8, upper=1 / 3, training=False, generator=None):
    """In evaluation; the second result, the noise in training, is none's."""
    unless(False, "training")(training)
    return F.leaky_relu(input, (lower + upper) / 2), None


def elu(input, alpha=1.0, scale=1, input_scale=1):
    unless((1, 1), "(scale, input_scale)")((scale, input_scale))
    return F.elu(input, alpha)


def float32_only(dtype):
    """What is computed in, or cast to: programs have float32."""
    if str(dtype) not in ("None", "torch.float32"):
        raise NotImplementedError(f"dtype={dtype}")


def softmax(input, dim, dtype=None):
    float32_only(dtype)
    return F.softmax(input, dim)


def log_softmax(input, dim, dtype=None):
    float32_only(dtype)
    return F.log_softmax(input, dim)


def mean(input, dim=None, keepdim=False, *, dtype=None):
    float32_only(dtype)
    return F.mean(input, per_axis(dim), keepdim)


def sum_of(input, dim=None, keepdim=False, *, dtype=None):
    float32_only(dtype)
    return F.sum(input, per_axis(dim), keepdim)


def addmm(bias, a, b, *, beta=1, alpha=1):
    product = F.matmul(a, b) if alpha == 1 else F.mul(F.matmul(a, b), alpha)
    if beta == 0:    # torch does not read the bias then: it may be NaN
        return product
    return F.add(product, bias if beta == 1 else F.mul(bias, beta))


def slice_of(input, dim=0, start=None, end=None, step=1):
    index = [slice(None)] * len(input.shape)
    index[dim] = slice(start, end, step)
    return F.getitem(input, tuple(index))


def select(input, dim, index):
    place = [slice(None)] * len(input.shape)
    place[dim] = index
    return F.getitem(input, tuple(place))


def expand(input, size, implicit=False):
    known = (1,) * (len(size) - len(input.shape)) + tuple(input.shape)
    return F.broadcast_to(input, tuple(k if s == -1 else s for s, k in zip(size, known)))


def squeeze(input, dim=None):
    if dim is None:
        return F.squeeze(input)
    for d in sorted(((d % len(input.shape)) for d in (dim if isinstance(dim, (list, tuple)) else [dim])),
                    reverse=True):
        input = F.squeeze(input, d)
    return input


def split(input, size, dim=0):
    return F.split(input, list(size) if isinstance(size, (list, tuple)) else size, dim)


def roll(input, shifts, dims=()):
    return F.roll(input, list(shifts), list(dims)) if dims else F.roll(input, shifts[0])


def resized(mode):
    def resize(input, size, *rest):
        align, factors = rest if len(rest) == 2 else (None, *rest)
        kwargs = {} if align is None else {"align_corners": align}
        if size is not None:
            return F.interpolate(input, size=tuple(size), mode=mode, **kwargs)
        return F.interpolate(input, scale_factor=tuple(factors), mode=mode, **kwargs)
    return resize


def layer_norm(input, shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True):
    return F.layer_norm(input, tuple(shape), weight, bias, eps)


def group_norm(input, groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True):
    return F.group_norm(input, groups, weight, bias, eps)


def vector_norm(input, ord=2, dim=None, keepdim=False, *, dtype=None):
    float32_only(dtype)
    return F.vector_norm(input, ord, per_axis(dim), keepdim)


def lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    unless(False, "train")(train and dropout > 0)
    return F.lstm(input, tuple(hx), list(params), num_layers=num_layers, bias=has_biases,
                  bidirectional=bidirectional, batch_first=batch_first)


def recurrent(call, **kind):
    def layers(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
        unless(False, "train")(train and dropout > 0)
        return call(input, hx, list(params), num_layers=num_layers, bias=has_biases,
                    bidirectional=bidirectional, batch_first=batch_first, **kind)
    return layers


def extreme(function):
    return lambda input, dim=(), keepdim=False: function(input, per_axis(dim), keepdim)


def clamp(input, min=None, max=None):
    return F.clamp(input, min, max)


def numpys(dtype) -> np.dtype:
    """torch's type by NumPy's name."""
    return np.dtype(str(dtype).removeprefix("torch."))


def to_dtype(input, dtype, *_, **__):
    return as_type(input, numpys(dtype))


def running(function):
    """Running sums or products, which torch may ask for in another type."""
    return lambda input, dim, *, dtype=None: function(input if dtype is None
                                                      else as_type(input, numpys(dtype)), dim)


def reduce_into(input, dim, index, src, reduce, *, include_self=True):
    unless(True, "include_self")(include_self)
    return F.scatter_reduce(input, dim, index, src, reduce)


def embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    return F.embedding(indices, weight)


def index(input, indices):
    return F.getitem(input, tuple(slice(None) if i is None else i for i in indices))


def copy(x, source, *_):
    """What x becomes where it is overwritten."""
    return F.broadcast_to(as_type(source, x.dtype), tuple(x.shape))


def checked(*_, **__):
    """An assertion about shapes or types, which tracing has seen hold."""


def with_indices(function):
    """Pooling whose second result is where the greatest values were."""
    return lambda *args: function(*map(per_axis, args), return_indices=True)


def instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps,
                  cudnn_enabled=False):
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def clamp_tensor(input, min=None, max=None):
    input = input if min is None else F.maximum(input, min)
    return input if max is None else F.minimum(input, max)


def rrelu_default(input, lower=1 / 8, upper=1 / 3, training=False, generator=None):
    return rrelu(input, None, lower, upper, training)[0]


def lstm_cell(input, state, weight_ih, weight_hh, bias_ih=None, bias_hh=None):
    return F.lstm_cell(input, tuple(state), weight_ih, weight_hh, bias_ih, bias_hh)


def grid_sample(input, grid, mode, padding_mode, align_corners):
    return F.grid_sample(input, grid, ("bilinear", "nearest", "bicubic")[mode],
                         ("zeros", "border", "reflection")[padding_mode], align_corners)


def deform_conv2d(input, weight, offset, mask, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w,
                  groups, offset_groups, use_mask):
    """Groups follow from the shapes."""
    return F.deform_conv2d(input, offset, weight, bias, (stride_h, stride_w), (pad_h, pad_w),
                           (dilation_h, dilation_w), mask if use_mask else None)


def embedding_bag(weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False,
                  per_sample_weights=None, include_last_offset=False, padding_idx=None):
    """The other results are what its gradient needs."""
    return F.embedding_bag(indices, weight, offsets, mode=("sum", "mean", "max")[mode],
                           per_sample_weights=per_sample_weights, include_last_offset=include_last_offset,
                           padding_idx=None if padding_idx == -1 else padding_idx), None, None, None


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction=1, zero_infinity=False):
    return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, ("none", "mean", "sum")[reduction],
                      zero_infinity)


def rnn_cell(kind):
    return lambda *args: F.rnn_cell(*args, nonlinearity=kind)


def moments(name):
    """The overloads of var and std."""
    function = getattr(F, name)

    def by_correction(x, dim=None, *, correction=None, keepdim=False):
        return function(x, tuple(dim) if dim else None, correction=1 if correction is None else correction,
                        keepdim=keepdim)
    return {f"aten.{name}.correction": by_correction,
            f"aten.{name}.dim": lambda x, dim, unbiased=True, keepdim=False:
                by_correction(x, dim, correction=int(unbiased), keepdim=keepdim),
            f"aten.{name}.default": lambda x, unbiased=True: by_correction(x, correction=int(unbiased))}


# How arguments are passed where ATen's are not our function's own, in its order
ADAPTERS = {
    **{f"aten.conv{n}d.{form}": spatial(getattr(F, f"conv{n}d")) for n in (1, 2, 3)
       for form in ("default", "padding")},
    **{f"aten.conv_transpose{n}d.{'default' if n == 1 else 'input'}":
           spatial(getattr(F, f"conv_transpose{n}d")) for n in (1, 2, 3)},
    **{f"aten.{kind}_pool{n}d.default": spatial(getattr(F, f"{kind}_pool{n}d")) for n in (1, 2, 3)
       for kind in ("max", "avg", "adaptive_avg")},
    **{f"aten.max_pool{n}d_with_indices.default": with_indices(getattr(F, f"max_pool{n}d"))
       for n in (1, 2, 3)},
    **{f"aten.adaptive_max_pool{n}d.default": with_indices(getattr(F, f"adaptive_max_pool{n}d"))
       for n in (1, 2, 3)},
    "aten.batch_norm.default": batch_norm,
    "aten._native_batch_norm_legit_no_training.default": batch_norm_no_training,
    "aten.instance_norm.default": instance_norm, "aten.layer_norm.default": layer_norm,
    "aten.group_norm.default": group_norm,
    "aten.elu.default": elu, "aten.clamp.default": clamp, "aten.softmax.int": softmax,
    "aten.log_softmax.int": log_softmax,
    "aten.mean.dim": mean, "aten.mean.default": mean, "aten.sum.dim_IntList": sum_of,
    "aten.sum.default": sum_of,
    **{f"aten.{name}.default": extreme(getattr(F, name)) for name in ("amax", "amin")},
    "aten.linalg_vector_norm.default": vector_norm, **moments("var"), **moments("std"),
    "aten.flip.default": lambda x, dims: F.flip(x, tuple(dims)),
    **{f"aten.{name}.default": (lambda x, shape: F.reshape(x, tuple(shape)))
       for name in ("view", "reshape", "_unsafe_view")},
    "aten.unflatten.int": spatial(F.unflatten), "aten.permute.default": spatial(F.permute),
    **{f"aten.squeeze.{form}": squeeze for form in ("default", "dim", "dims")}, "aten.expand.default": expand,
    "aten.split.Tensor": split,
    "aten.split_with_sizes.default": split, "aten.slice.Tensor": slice_of, "aten.select.int": select,
    "aten.constant_pad_nd.default": lambda x, pad, value=0: F.pad(x, tuple(pad), "constant", value),
    "aten.im2col.default": spatial(F.unfold), "aten.col2im.default": spatial(F.fold),
    **{f"aten.upsample_{mode}{n}d.vec": resized(mode)
       for mode, n in (("linear", 1), ("bilinear", 2), ("trilinear", 3), ("nearest", 1),
                       ("nearest", 2), ("nearest", 3), ("bicubic", 2))},
    "aten.lstm.input": lstm, "aten.gru.input": recurrent(F.gru),
    **{f"aten.rnn_{kind}.input": recurrent(F.rnn, nonlinearity=kind) for kind in ("tanh", "relu")},
    "aten.lstm_cell.default": lstm_cell,
    **{f"aten.rnn_{kind}_cell.default": rnn_cell(kind) for kind in ("tanh", "relu")},
    **{f"aten.grid_sampler{form}.default": grid_sample for form in ("", "_2d", "_3d")},
    "aten.affine_grid_generator.default": lambda theta, size, corners: F.affine_grid(theta, tuple(size), corners),
    "aten.einsum.default": lambda equation, operands, *, path=None: F.einsum(equation, *operands),
    **{f"aten.embedding_bag.{form}": embedding_bag for form in ("default", "padding_idx")},
    **{f"aten.ctc_loss.{form}": ctc_loss for form in ("IntList", "Tensor")},
    "aten.cdist.default": lambda a, b, p=2.0, compute_mode=None: F.cdist(a, b, p),
    "aten.roll.default": roll, "aten.gather.default": lambda x, dim, index, **_: F.gather(x, dim, index),
    "aten.cumsum.default": running(F.cumsum), "aten.cumprod.default": running(F.cumprod),
    "aten.scatter_reduce.two": reduce_into,
    **{f"aten.{name}.{form}": spatial(getattr(F, name))
       for name in ("any", "all") for form in ("default", "dim", "dims")},
    "aten.tile.default": spatial(F.tile), "aten.repeat.default": spatial(F.tile),
    "aten.clip.default": clamp,
    "aten.clone.default": identity, "aten.dropout.default": dropout, "aten.feature_dropout.default": dropout,
}

# Calls that are several of ours, or none
COMPOSED = {
    **COMPOSITIONS,
    **{f"aten.{name}.default": embedding_bag for name in ("_embedding_bag", "_embedding_bag_forward_only")},
    "aten.convolution.default": convolution, "aten.addmm.default": addmm,
    "aten.clamp_min.default": lambda x, low: F.clamp(x, low), "aten.clamp.Tensor": clamp_tensor,
    "aten.t.default": lambda x: F.transpose(x, 0, 1), "aten.embedding.default": embedding,
    "aten.index.Tensor": index, "aten.max.dim": F.max, "aten.min.dim": F.min,
    "aten.rsub.Scalar": lambda x, other, alpha=1: F.sub(other, F.mul(x, alpha) if alpha != 1 else x),
    "aten.copy.default": copy, "aten.rrelu.default": rrelu_default, "aten.rrelu_with_noise_functional.default": rrelu,
    "aten._assert_tensor_metadata.default": checked, "aten.to.dtype": to_dtype,
    "aten._to_copy.default": lambda x, *, dtype=None, **_: x if dtype is None else to_dtype(x, dtype),
    **{f"aten.{name}": identity
       for name in ("contiguous.default", "detach.default", "alias.default", "lift_fresh_copy.default")},}

# Operators of torchvision
OF_TORCHVISION = {
    "torchvision.deform_conv2d.default": deform_conv2d,
    "torchvision.roi_align.default": lambda x, boxes, scale, height, width, ratio, aligned:
        F.roi_align(x, boxes, (height, width), scale, ratio, aligned)}

TABLE = {**OF_TORCHVISION,
         **{overload: ADAPTERS.get(overload) or getattr(F, function) for function, row in NAMES.items()
            for overload in row.aten},
         **COMPOSED}
