"""Pooling over one to three spatial axes: windows that slide, adaptive windows, windows of a whole
plane, and the way back (max_unpool).

Adaptive pooling whose sizes divide is pooling with equal windows (pooling_window.py). The rows
are in pooling_rows.py.
"""
from __future__ import annotations

import math

from ..core.types import Arrays, OutputSizes, Sizes
from .elementwise import abs as absolute
from .pooling_rows import AVG_POOL, LP_POOL, MAX_POOL, MAX_POOL_INDICES, MAX_UNPOOL
from .pooling_window import adaptive_window, global_window, key, sliding_window, unpooled_size
from .shape import reshape

__all__ = [f"{kind}_pool{n}d" for kind in ("max", "avg", "lp", "adaptive_avg", "adaptive_max")
           for n in (1, 2, 3)] + [
               "max_unpool1d", "max_unpool2d", "max_unpool3d", "global_avg_pool", "global_max_pool"]


# ---- public functions

def max_pool1d(input: Arrays, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
               dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False, *,
               out: Arrays | None = None) -> Arrays | tuple[Arrays, Arrays]:
    """Maximum over windows of (N, C, W) or (C, W); see max_pool2d."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode,
                     return_indices, out)


def max_pool2d(input: Arrays, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
               dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False, *,
               out: Arrays | None = None) -> Arrays | tuple[Arrays, Arrays]:
    """y[n, c, i, j] = the largest input in the window at (i stride - padding, j stride - padding),
    NaN where it holds one.

    input: (N, C, H, W) or (C, H, W), float32 or float64. kernel_size, stride (None: kernel_size),
    padding (as if by -infinity; at most half of kernel_size) and dilation: an int or one per axis.
    Returns (N, C, H', W') with
    H' = (H + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1, rounded down, or up
    with ceil_mode (windows that would begin behind the input are dropped). With
    return_indices also int64 positions h W + w in the plane: of equal maxima the first, of
    NaNs the last. The gradient goes to that position. Raises ValueError where arguments do
    not fit or a window would hold no input.
    """
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode,
                     return_indices, out)


def max_pool3d(input: Arrays, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
               dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False, *,
               out: Arrays | None = None) -> Arrays | tuple[Arrays, Arrays]:
    """Maximum over windows of (N, C, D, H, W) or (C, D, H, W); see max_pool2d."""
    return _max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode,
                     return_indices, out)


def avg_pool1d(input: Arrays, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
               ceil_mode: bool = False, count_include_pad: bool = True, *,
               out: Arrays | None = None) -> Arrays:
    """Mean over windows of (N, C, W) or (C, W); see avg_pool2d."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None,
                     out)


def avg_pool2d(input: Arrays, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
               ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
               *, out: Arrays | None = None) -> Arrays:
    """The sum of each window divided by its number of elements, or by divisor_override.

    Shapes and parameters as max_pool2d. The number counts padding only with count_include_pad, and
    never what ceil_mode reaches beyond it.
    """
    return _avg_pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override, out)


def avg_pool3d(input: Arrays, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
               ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
               *, out: Arrays | None = None) -> Arrays:
    """Mean over windows of (N, C, D, H, W) or (C, D, H, W); see avg_pool2d."""
    return _avg_pool("avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override, out)


def lp_pool1d(input: Arrays, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None,
              ceil_mode: bool = False, *, out: Arrays | None = None) -> Arrays:
    """Power average over windows of (N, C, W) or (C, W); see lp_pool2d."""
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode, out)


def lp_pool2d(input: Arrays, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None,
              ceil_mode: bool = False, *, out: Arrays | None = None) -> Arrays:
    """(sum of x^norm_type over the window)^(1 / norm_type): powers of x, not of |x|,
    so norm 1 is the sum.

    input: (N, C, H, W) or (C, H, W). A window that ceil_mode lets reach behind the input is scaled
    by kernel volume / inputs in it. An odd or fractional norm of negative values may be NaN.
    Infinity is the maximum of |x|. The gradient of a window whose result is 0 is 0; it is not
    itself differentiable. Source: Gulcehre et al. (2014), "Learned-Norm Pooling".
    """
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode, out)


def lp_pool3d(input: Arrays, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None,
              ceil_mode: bool = False, *, out: Arrays | None = None) -> Arrays:
    """Power average over windows of (N, C, D, H, W) or (C, D, H, W); see lp_pool2d."""
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode, out)


def adaptive_avg_pool1d(input: Arrays, output_size: OutputSizes, *, out: Arrays | None = None) -> Arrays:
    """Means over windows that divide W into output_size parts; see adaptive_avg_pool2d."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size, out)


def adaptive_avg_pool2d(input: Arrays, output_size: OutputSizes, *, out: Arrays | None = None) -> Arrays:
    """Mean over windows chosen so that the result has output_size: output i covers inputs floor(i H
    / H') .. ceil((i + 1) H / H') - 1.

    input: (N, C, H, W) or (C, H, W); output_size: an int or one per axis, None keeping that axis'
    size. Raises ValueError where they do not fit.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size, out)


def adaptive_avg_pool3d(input: Arrays, output_size: OutputSizes, *, out: Arrays | None = None) -> Arrays:
    """Means over windows that divide (D, H, W) into output_size parts; see adaptive_avg_pool2d."""
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size, out)


def adaptive_max_pool1d(input: Arrays, output_size: OutputSizes, return_indices: bool = False, *,
                        out: Arrays | None = None) -> Arrays | tuple[Arrays, Arrays]:
    """Maxima over windows that divide W into output_size parts; see adaptive_max_pool2d."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices, out)


def adaptive_max_pool2d(input: Arrays, output_size: OutputSizes, return_indices: bool = False, *,
                        out: Arrays | None = None) -> Arrays | tuple[Arrays, Arrays]:
    """Maximum over the windows of adaptive_avg_pool2d; indices, ties, NaN and
    gradient as in max_pool2d."""
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices, out)


def adaptive_max_pool3d(input: Arrays, output_size: OutputSizes, return_indices: bool = False, *,
                        out: Arrays | None = None) -> Arrays | tuple[Arrays, Arrays]:
    """Maxima over windows that divide (D, H, W) into output_size parts; see adaptive_max_pool2d."""
    return _adaptive_max_pool("adaptive_max_pool3d", 3, input, output_size, return_indices, out)


def max_unpool1d(input: Arrays, indices: Arrays, kernel_size: Sizes, stride: Sizes | None = None,
                 padding: Sizes = 0, output_size: OutputSizes | None = None, *,
                 out: Arrays | None = None) -> Arrays:
    """Puts (N, C, W) or (C, W) back to where max_pool1d took it from; see max_unpool2d."""
    return _max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size, out)


def max_unpool2d(input: Arrays, indices: Arrays, kernel_size: Sizes, stride: Sizes | None = None,
                 padding: Sizes = 0, output_size: OutputSizes | None = None, *,
                 out: Arrays | None = None) -> Arrays:
    """Zeros with each input at its position in the plane, as given by max_pool2d's indices; of
    equal positions the last stays.

    input, indices: (N, C, H, W) or (C, H, W). Returns (N, C, *output_size); output_size, whose
    leading axes may be given too, must be less than a stride away from its default, (H - 1) stride
    - 2 padding + kernel_size. Raises ValueError for that and for indices outside the plane.
    """
    return _max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size, out)


def max_unpool3d(input: Arrays, indices: Arrays, kernel_size: Sizes, stride: Sizes | None = None,
                 padding: Sizes = 0, output_size: OutputSizes | None = None, *,
                 out: Arrays | None = None) -> Arrays:
    """Puts (N, C, D, H, W) or (C, D, H, W) back to where max_pool3d took it from; see
    max_unpool2d."""
    return _max_unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size, out)


def global_avg_pool(input: Arrays, keepdim: bool = False, *, out: Arrays | None = None) -> Arrays:
    """Mean of each plane of (N, C, W), (N, C, H, W) or (N, C, D, H, W): (N, C), or with
    keepdim (N, C, 1, ...)."""
    window = global_window("global_avg_pool", tuple(input.shape))
    return _global(AVG_POOL, input, keepdim, out, window=window, count_include_pad=True, divisor=0.0)


def global_max_pool(input: Arrays, keepdim: bool = False, *, out: Arrays | None = None) -> Arrays:
    """Maximum of each plane of (N, C, W), (N, C, H, W) or (N, C, D, H, W): (N, C), or with
    keepdim (N, C, 1, ...)."""
    return _global(MAX_POOL, input, keepdim, out, window=global_window("global_max_pool", tuple(input.shape)))


# ---- arguments to windows

def _max_pool(name, n, x, kernel, stride, padding, dilation, ceil_mode, return_indices, out):
    window = sliding_window(name, n, tuple(x.shape), key(name, "kernel_size", kernel),
                            key(name, "stride", stride),
                            key(name, "padding", padding), key(name, "dilation", dilation), bool(ceil_mode))
    return (MAX_POOL_INDICES if return_indices else MAX_POOL)(x, window=window, out=out)


def _avg_pool(name, n, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor, out):
    if divisor == 0:
        raise ValueError(f"{name}: divisor_override must not be zero")
    window = sliding_window(name, n, tuple(x.shape), key(name, "kernel_size", kernel),
                            key(name, "stride", stride), key(name, "padding", padding), 1, bool(ceil_mode))
    return AVG_POOL(x, window=window, count_include_pad=bool(count_include_pad), divisor=float(divisor or 0),
                    out=out)


def _lp_pool(name, n, x, norm, kernel, stride, ceil_mode, out):
    norm = float(norm)
    if not norm > 0:
        raise ValueError(f"{name}: norm_type must be positive, got {norm}")
    window = sliding_window(name, n, tuple(x.shape), key(name, "kernel_size", kernel),
                            key(name, "stride", stride), 0, 1, bool(ceil_mode))
    if norm == math.inf:
        return MAX_POOL(absolute(x), window=window, out=out)
    return LP_POOL(x, window=window, norm=norm, out=out)


def _adaptive_avg_pool(name, n, x, size, out):
    window = adaptive_window(name, n, tuple(x.shape), key(name, "output_size", size))
    return AVG_POOL(x, window=window, count_include_pad=True, divisor=0.0, out=out)


def _adaptive_max_pool(name, n, x, size, return_indices, out):
    window = adaptive_window(name, n, tuple(x.shape), key(name, "output_size", size))
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
    size = unpooled_size(name, n, tuple(x.shape), tuple(indices.shape), key(name, "kernel_size", kernel),
                         key(name, "stride", stride), key(name, "padding", padding),
                         key(name, "output_size", size))
    return MAX_UNPOOL(x, indices, size=size, out=out)
