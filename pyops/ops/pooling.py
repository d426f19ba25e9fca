"""Pooling over one to three spatial axes: windows that slide, adaptive windows, windows of a whole plane, and the way back (max_unpool).

Every row takes a Window, made and checked once per shape and arguments; its gradients take the same one. Adaptive pooling whose sizes
divide is pooling with equal windows. max_pool's gradient scans its windows again; where the caller asked for indices it uses them.
"""
from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..core.registry import Op
from ..core.tensor import Context, per_input
from ..kernels.pooling import reference
from .elementwise import abs as absolute
from .shape import reshape
from .spatial import axes, ints, three

__all__ = [f"{kind}_pool{n}d" for kind in ("max", "avg", "lp", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)] + [
    "max_unpool1d", "max_unpool2d", "max_unpool3d", "global_avg_pool", "global_max_pool"]


class Window(NamedTuple):
    """Where each output looks, for three axes of which the last `axes` are real. kernel (0, 0, 0) is adaptive."""
    axes: int
    input: tuple
    output: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple

    def result_shape(self, x):
        return (*x[:len(x) - self.axes], *self.output[3 - self.axes:])

    def input_shape(self, y):
        return (*y[:len(y) - self.axes], *self.input[3 - self.axes:])


# ---- public functions

def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, *, out=None):
    """Maximum over windows of (N, C, W) or (C, W); see max_pool2d."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, *, out=None):
    """y[n, c, i, j] = the largest input in the window at (i stride - padding, j stride - padding), NaN where it holds one.

    input: (N, C, H, W) or (C, H, W), float32 or float64. kernel_size, stride (None: kernel_size), padding (as if by -infinity; at most half
    of kernel_size) and dilation: an int or one per axis. Returns (N, C, H', W') with
    H' = (H + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1, rounded down, or up with ceil_mode (windows that would begin behind
    the input are dropped). With return_indices also int64 positions h W + w in the plane: of equal maxima the first, of NaNs the last.
    The gradient goes to that position. Raises ValueError where arguments do not fit or a window would hold no input.
    """
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, *, out=None):
    """Maximum over windows of (N, C, D, H, W) or (C, D, H, W); see max_pool2d."""
    return _max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, *, out=None):
    """Mean over windows of (N, C, W) or (C, W); see avg_pool2d."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, out)


def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, out=None):
    """The sum of each window divided by its number of elements, or by divisor_override.

    Shapes and parameters as max_pool2d. The number counts padding only with count_include_pad, and never what ceil_mode reaches beyond it.
    """
    return _avg_pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out)


def avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, out=None):
    """Mean over windows of (N, C, D, H, W) or (C, D, H, W); see avg_pool2d."""
    return _avg_pool("avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out)


def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False, *, out=None):
    """Power average over windows of (N, C, W) or (C, W); see lp_pool2d."""
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode, out)


def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False, *, out=None):
    """(sum of x^norm_type over the window)^(1 / norm_type): powers of x, not of |x|, so norm 1 is the sum.

    input: (N, C, H, W) or (C, H, W). A window that ceil_mode lets reach behind the input is scaled by kernel volume / inputs in it. An odd or
    fractional norm of negative values may be NaN. Infinity is the maximum of |x|. The gradient of a window whose result is 0 is 0; it is
    not itself differentiable. Source: Gulcehre et al. (2014), "Learned-Norm Pooling".
    """
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode, out)


def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False, *, out=None):
    """Power average over windows of (N, C, D, H, W) or (C, D, H, W); see lp_pool2d."""
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode, out)


def adaptive_avg_pool1d(input, output_size, *, out=None):
    """Means over windows that divide W into output_size parts; see adaptive_avg_pool2d."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size, out)


def adaptive_avg_pool2d(input, output_size, *, out=None):
    """Mean over windows chosen so that the result has output_size: output i covers inputs floor(i H / H') .. ceil((i + 1) H / H') - 1.

    input: (N, C, H, W) or (C, H, W); output_size: an int or one per axis, None keeping that axis' size. Raises ValueError where they do not fit.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size, out)


def adaptive_avg_pool3d(input, output_size, *, out=None):
    """Means over windows that divide (D, H, W) into output_size parts; see adaptive_avg_pool2d."""
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size, out)


def adaptive_max_pool1d(input, output_size, return_indices=False, *, out=None):
    """Maxima over windows that divide W into output_size parts; see adaptive_max_pool2d."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices, out)


def adaptive_max_pool2d(input, output_size, return_indices=False, *, out=None):
    """Maximum over the windows of adaptive_avg_pool2d; indices, ties, NaN and gradient as in max_pool2d."""
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices, out)


def adaptive_max_pool3d(input, output_size, return_indices=False, *, out=None):
    """Maxima over windows that divide (D, H, W) into output_size parts; see adaptive_max_pool2d."""
    return _adaptive_max_pool("adaptive_max_pool3d", 3, input, output_size, return_indices, out)


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None, *, out=None):
    """Puts (N, C, W) or (C, W) back to where max_pool1d took it from; see max_unpool2d."""
    return _max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size, out)


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None, *, out=None):
    """Zeros with each input at its position in the plane, as given by max_pool2d's indices; of equal positions the last stays.

    input, indices: (N, C, H, W) or (C, H, W). Returns (N, C, *output_size); output_size, whose leading axes may be given too, must be less than
    a stride away from its default, (H - 1) stride - 2 padding + kernel_size. Raises ValueError for that and for indices outside the plane.
    """
    return _max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size, out)


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None, *, out=None):
    """Puts (N, C, D, H, W) or (C, D, H, W) back to where max_pool3d took it from; see max_unpool2d."""
    return _max_unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size, out)


def global_avg_pool(input, keepdim=False, *, out=None):
    """Mean of each plane of (N, C, W), (N, C, H, W) or (N, C, D, H, W): (N, C), or with keepdim (N, C, 1, ...)."""
    window = _global_window("global_avg_pool", tuple(input.shape))
    return _global(AVG_POOL, input, keepdim, out, window=window, count_include_pad=True, divisor=0.0)


def global_max_pool(input, keepdim=False, *, out=None):
    """Maximum of each plane of (N, C, W), (N, C, H, W) or (N, C, D, H, W): (N, C), or with keepdim (N, C, 1, ...)."""
    return _global(MAX_POOL, input, keepdim, out, window=_global_window("global_max_pool", tuple(input.shape)))


# ---- arguments to windows

def _max_pool(name, n, x, kernel, stride, padding, dilation, ceil_mode, return_indices, out):
    window = _window(name, n, tuple(x.shape), _key(name, "kernel_size", kernel), _key(name, "stride", stride),
                     _key(name, "padding", padding), _key(name, "dilation", dilation), bool(ceil_mode))
    return (MAX_POOL_INDICES if return_indices else MAX_POOL)(x, window=window, out=out)


def _avg_pool(name, n, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor, out):
    if divisor == 0:
        raise ValueError(f"{name}: divisor_override must not be zero")
    window = _window(name, n, tuple(x.shape), _key(name, "kernel_size", kernel), _key(name, "stride", stride),
                     _key(name, "padding", padding), 1, bool(ceil_mode))
    return AVG_POOL(x, window=window, count_include_pad=bool(count_include_pad), divisor=float(divisor or 0), out=out)


def _lp_pool(name, n, x, norm, kernel, stride, ceil_mode, out):
    norm = float(norm)
    if not norm > 0:
        raise ValueError(f"{name}: norm_type must be positive, got {norm}")
    window = _window(name, n, tuple(x.shape), _key(name, "kernel_size", kernel), _key(name, "stride", stride), 0, 1,
                     bool(ceil_mode))
    if norm == math.inf:
        return MAX_POOL(absolute(x), window=window, out=out)
    return LP_POOL(x, window=window, norm=norm, out=out)


def _adaptive_avg_pool(name, n, x, size, out):
    window = _adaptive_window(name, n, tuple(x.shape), _key(name, "output_size", size))
    return AVG_POOL(x, window=window, count_include_pad=True, divisor=0.0, out=out)


def _adaptive_max_pool(name, n, x, size, return_indices, out):
    window = _adaptive_window(name, n, tuple(x.shape), _key(name, "output_size", size))
    return (MAX_POOL_INDICES if return_indices else MAX_POOL)(x, window=window, out=out)


def _global(op, x, keepdim, out, *, window, **attrs):
    if keepdim:
        return op(x, window=window, out=out, **attrs)
    if out is None:
        return reshape(op(x, window=window, **attrs), tuple(x.shape[:2]))
    wide = out[(..., *[None] * window.axes)]   # a view, whatever out's layout
    op(x, window=window, out=wide, **attrs)
    return out


def _max_unpool(name, n, x, indices, kernel, stride, padding, size, out):
    size = _unpool_size(name, n, tuple(x.shape), tuple(indices.shape), _key(name, "kernel_size", kernel),
                        _key(name, "stride", stride), _key(name, "padding", padding), _key(name, "output_size", size))
    return MAX_UNPOOL(x, indices, size=size, out=out)


def _key(name, what, value):
    """`value` as a cache may be keyed by it: plain ints (1.0 would find the entry of 1), None where it stands for a default."""
    if value is None:
        return None
    if isinstance(value, (tuple, list)) and None in value:
        return tuple(None if v is None else ints(v, name, what) for v in value)
    return ints(value, name, what)


@lru_cache(4096, typed=True)
def _window(name, n, x, kernel, stride, padding, dilation, ceil_mode):
    kernel, padding, dilation = axes(kernel, n, name, "kernel_size", 1), axes(padding, n, name, "padding"), axes(dilation, n, name, "dilation", 1)
    stride = kernel if stride is None or stride == () else axes(stride, n, name, "stride", 1)
    _check_rank(name, n, x)
    if any(2 * p > k for p, k in zip(padding, kernel)):
        raise ValueError(f"{name}: padding must be at most half of kernel_size, got padding {padding} and kernel_size {kernel}")
    size = tuple(_extent(*of_axis, ceil_mode) for of_axis in zip(x[-n:], kernel, stride, padding, dilation))
    if min(size) < 1:
        raise ValueError(f"{name}: input {x} with kernel_size {kernel}, padding {padding} and dilation {dilation} gives the empty output {size}")
    window = Window(n, three(x[-n:], 1), three(size, 1), three(kernel, 1), three(stride, 1), three(padding, 0), three(dilation, 1))
    if max(dilation) > 1 and not all(len(t) for axis in range(3) for t in reference.taps(window, axis)):
        raise ValueError(f"{name}: a window holds no input: input {x}, kernel_size {kernel}, padding {padding}, dilation {dilation}")
    return window


def _extent(size, kernel, stride, padding, dilation, ceil_mode):
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    out = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    return out - 1 if ceil_mode and (out - 1) * stride >= size + padding else out


def _check_rank(name, n, x):
    if len(x) not in (n + 1, n + 2):
        raise ValueError(f"{name}: input must have {n + 1} or {n + 2} axes, got {x}")
    if min(x[-n:]) < 1:
        raise ValueError(f"{name}: the spatial axes of input {x} must not be empty")


@lru_cache(4096, typed=True)
def _adaptive_window(name, n, x, size):
    _check_rank(name, n, x)
    wanted = size if isinstance(size, tuple) else (size,) * n
    if len(wanted) == 1:
        wanted *= n
    if len(wanted) == n:
        wanted = tuple(i if w is None else w for w, i in zip(wanted, x[-n:]))
    return _parts(n, x, axes(wanted, n, name, "output_size"))


def _parts(n, x, size):
    """The window that divides the spatial axes of x into `size` parts."""
    before, after = three(x[-n:], 1), three(size, 1)
    if min(size) > 0 and not any(i % o for i, o in zip(before, after)):
        kernel = tuple(i // o for i, o in zip(before, after))
        return Window(n, before, after, kernel, kernel, (0, 0, 0), (1, 1, 1))
    return Window(n, before, after, (0, 0, 0), (1, 1, 1), (0, 0, 0), (1, 1, 1))


@lru_cache(4096)
def _global_window(name, x):
    if not 3 <= len(x) <= 5:
        raise ValueError(f"{name}: input must be (N, C) and one to three spatial axes, got {x}")
    n = len(x) - 2
    _check_rank(name, n, x)
    return _parts(n, x, (1,) * n)


@lru_cache(4096, typed=True)
def _unpool_size(name, n, x, indices, kernel, stride, padding, size):
    kernel, padding = axes(kernel, n, name, "kernel_size", 1), axes(padding, n, name, "padding")
    stride = kernel if stride is None or stride == () else axes(stride, n, name, "stride", 1)
    _check_rank(name, n, x)
    if indices != x:
        raise ValueError(f"{name}: indices {indices} must have the shape of input {x}")
    default = tuple((i - 1) * s - 2 * p + k for i, s, p, k in zip(x[-n:], stride, padding, kernel))
    wanted = default if size is None else tuple(size)[-n:] if len(size) == n + 2 else axes(size, n, name, "output_size")
    if any(abs(w - d) >= s for w, d, s in zip(wanted, default, stride)) and size is not None:
        raise ValueError(f"{name}: output_size {wanted} must be less than stride {stride} away from {default}")
    if min(wanted) < 1:
        raise ValueError(f"{name}: output_size {wanted} must be positive")
    return wanted


# ---- rows

def _spatial(array, window):
    return tuple(array.shape[-window.axes:])


def max_pool_forward(k, x, *, window):
    y = k.empty(window.result_shape(x.shape))
    k.max_pool(x, *window[1:], y)
    return y


def max_pool_indices_forward(k, x, *, window):
    y = k.empty(window.result_shape(x.shape))
    indices = k.empty(y.shape, np.int64)
    k.max_pool_indices(x, *window[1:], y, indices)
    return y, indices


def max_pool_backward(k, dy, x, *, window):
    dx = k.empty(x.shape)
    k.max_pool_backward(dy, x, *window[1:], dx)
    return dx


def avg_pool_forward(k, x, *, window, count_include_pad, divisor):
    y = k.empty(window.result_shape(x.shape))
    k.avg_pool(x, *window[1:], count_include_pad, divisor, y)
    return y


def avg_pool_backward(k, dy, *, window, count_include_pad, divisor):
    dx = k.empty(window.input_shape(dy.shape))
    k.avg_pool_backward(dy, *window[1:], count_include_pad, divisor, dx)
    return dx


def lp_pool_forward(k, x, *, window, norm):
    y = k.empty(window.result_shape(x.shape))
    k.lp_pool(x, *window[1:], norm, y)
    return y


def lp_pool_backward(k, dy, x, y, *, window, norm):
    dx = k.empty(x.shape)
    k.lp_pool_backward(dy, x, y, *window[1:], norm, dx)
    return dx


def max_unpool_forward(k, x, indices, *, size):
    y, outside = k.empty((*x.shape[:-len(size)], *size)), k.empty((1,), np.int64)
    k.max_unpool(x, indices, math.prod(size), y, outside)
    seen = k.host(outside)
    if seen is not None and seen[0]:
        raise ValueError(f"max_unpool: indices must be in [0, {math.prod(size)}), the positions of a plane of size {size}; {seen[0]} are not")
    return y


def pool_scatter_forward(k, dy, indices, *, size):
    dx = k.empty((*dy.shape[:-len(size)], *size))
    k.pool_scatter(dy, indices, math.prod(size), dx)
    return dx


def pool_gather_forward(k, x, indices, *, size):
    y = k.empty(indices.shape)
    k.pool_gather(x, indices, math.prod(size), y)
    return y


def max_pool_flops(x, *, window, **_):
    return x.size // math.prod(window.input) * math.prod(window.output) * math.prod(window.kernel)


def pool_bytes(x, *, window, **_):
    """What any method must move: every input once and every output once."""
    return x.nbytes + x.nbytes // math.prod(window.input) * math.prod(window.output)


POOL_GATHER = Op("pool_gather", "ri", pool_gather_forward, reference.pool_gather, kernels=("pool_gather",),
                 gradient=per_input(lambda g, ctx: POOL_SCATTER(g, ctx.inputs[1], **ctx.attrs), None))
POOL_SCATTER = Op("pool_scatter", "ri", pool_scatter_forward, reference.pool_scatter, kernels=("pool_scatter",),
                  gradient=per_input(lambda g, ctx: POOL_GATHER(g, ctx.inputs[1], **ctx.attrs), None))


def _gather_maxima(g, ctx):
    x, window = ctx.inputs[1], ctx.attrs["window"]
    return POOL_GATHER(g, MAX_POOL_INDICES(x, window=window)[1], size=_spatial(x, window))


MAX_POOL_BACKWARD = Op("max_pool_backward", "rr", max_pool_backward, reference.max_pool_backward, per_input(_gather_maxima, None),
                       kernels=("max_pool_backward",))
AVG_POOL_BACKWARD = Op("avg_pool_backward", "r", avg_pool_backward, reference.avg_pool_backward,
                       per_input(lambda g, ctx: AVG_POOL(g, **ctx.attrs)), kernels=("avg_pool_backward",))
LP_POOL_BACKWARD = Op("lp_pool_backward", "rrr", lp_pool_backward, reference.lp_pool_backward, kernels=("lp_pool_backward",))


def lp_pool_gradient(ctx: Context):
    return (LP_POOL_BACKWARD(ctx.g, ctx.inputs[0], ctx.outputs[0], **ctx.attrs),)


MAX_POOL = Op(
    "max_pool", "r", max_pool_forward, reference.max_pool,
    per_input(lambda g, ctx: MAX_POOL_BACKWARD(g, ctx.inputs[0], **ctx.attrs)),
    kernels=("max_pool",), flops=max_pool_flops, bytes=pool_bytes,
    tolerance=64,   # of the gradient, which sums; the maximum itself is exact
)

MAX_POOL_INDICES = Op(
    "max_pool_indices", "r", max_pool_indices_forward, reference.max_pool_indices,
    lambda ctx: (POOL_SCATTER(ctx.g, ctx.outputs[1], size=_spatial(ctx.inputs[0], ctx.attrs["window"])),),
    kernels=("max_pool_indices",), flops=max_pool_flops)


AVG_POOL = Op(
    "avg_pool", "r", avg_pool_forward, reference.avg_pool, per_input(lambda g, ctx: AVG_POOL_BACKWARD(g, **ctx.attrs)),
    kernels=("avg_pool",), flops=max_pool_flops, bytes=pool_bytes)

LP_POOL = Op(
    "lp_pool", "r", lp_pool_forward, reference.lp_pool, lp_pool_gradient,
    kernels=("lp_pool",), bytes=pool_bytes, flops=lambda x, *, window, norm: 2 * max_pool_flops(x, window=window),
    # y^(1 - p) of a small y multiplies the error of y
    tolerance=256)

MAX_UNPOOL = Op(
    "max_unpool", "ri", max_unpool_forward, reference.max_unpool,
    per_input(lambda g, ctx: POOL_GATHER(g, ctx.inputs[1], **ctx.attrs), None), kernels=("max_unpool",))
