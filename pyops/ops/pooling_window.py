"""Where each output of a pooling looks: windows that slide, that divide an axis into parts, that
cover a plane; made and checked once per shape and arguments."""
from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from .spatial import axes, bounded, ints, three


class Window(NamedTuple):
    """Where each output looks, for three axes of which the last `axes` are real. kernel (0,
    0, 0) is adaptive."""
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


def key(name, what, value):
    """`value` as a cache may be keyed by it: plain ints (1.0 would find the entry of 1), None where
    it stands for a default."""
    if value is None:
        return None
    if isinstance(value, (tuple, list)) and None in value:
        return tuple(None if v is None else ints(v, name, what) for v in value)
    return ints(value, name, what)


@lru_cache(4096, typed=True)
def sliding_window(name, n, x, kernel, stride, padding, dilation, ceil_mode):
    kernel, padding, dilation = (axes(kernel, n, name, "kernel_size", 1), axes(padding, n, name, "padding"),
                                 axes(dilation, n, name, "dilation", 1))
    stride = kernel if stride is None or stride == () else axes(stride, n, name, "stride", 1)
    check_rank(name, n, x)
    if any(2 * p > k for p, k in zip(padding, kernel)):
        raise ValueError(f"{name}: padding must be at most half of kernel_size, got padding {padding} and "
                         f"kernel_size {kernel}")
    size = tuple(outputs(*of_axis, ceil_mode) for of_axis in zip(x[-n:], kernel, stride, padding, dilation))
    if any(i < 1 for i in size):
        raise ValueError(f"{name}: input {x} with kernel_size {kernel}, padding {padding} and dilation "
                         f"{dilation} gives the empty output {size}")
    window = Window(n, three(x[-n:], 1), three(size, 1), three(kernel, 1), three(stride, 1),
                    three(padding, 0), three(dilation, 1))
    if max(dilation) > 1 and not all(covers(window, axis) for axis in range(3)):
        raise ValueError(f"{name}: a window holds no input: input {x}, kernel_size {kernel}, padding "
                         f"{padding}, dilation {dilation}")
    return window


def covers(window, axis):
    """Whether every window of an axis holds an input."""
    size, out, k, s, p, d = (v[axis] for v in window[1:])
    starts = (i * s - p for i in range(out if d > 1 else 0))   # without dilation a window has no holes
    return all(start < size and -(min(start, 0) // d) < k and start - min(start, 0) // d * d < size
               for start in starts)


def outputs(size, kernel, stride, padding, dilation, ceil_mode):
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    out = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    return out - 1 if ceil_mode and (out - 1) * stride >= size + padding else out


def check_rank(name, n, x):
    if len(x) not in (n + 1, n + 2):
        raise ValueError(f"{name}: input must have {n + 1} or {n + 2} axes, got {x}")
    if any(i < 1 for i in x[-n:]):
        raise ValueError(f"{name}: the spatial axes of input {x} must not be empty")


@lru_cache(4096, typed=True)
def adaptive_window(name, n, x, size):
    check_rank(name, n, x)
    wanted = size if isinstance(size, tuple) else (size,) * n
    if len(wanted) == 1:
        wanted *= n
    if len(wanted) == n:
        wanted = tuple(i if w is None else w for w, i in zip(wanted, x[-n:]))
    return parts(n, x, axes(wanted, n, name, "output_size"))


def parts(n, x, size):
    """The window that divides the spatial axes of x into `size` parts."""
    before, after = three(x[-n:], 1), three(size, 1)
    if all(o > 0 for o in size) and not any(i % o for i, o in zip(before, after)):
        kernel = tuple(i // o for i, o in zip(before, after))
        return Window(n, before, after, kernel, kernel, (0, 0, 0), (1, 1, 1))
    return Window(n, before, after, (0, 0, 0), (1, 1, 1), (0, 0, 0), (1, 1, 1))


@lru_cache(4096)
def global_window(name, x):
    if not 3 <= len(x) <= 5:
        raise ValueError(f"{name}: input must be (N, C) and one to three spatial axes, got {x}")
    n = len(x) - 2
    check_rank(name, n, x)
    return parts(n, x, (1,) * n)


@lru_cache(4096, typed=True)
def unpooled_size(name, n, x, indices, kernel, stride, padding, size):
    kernel, padding = axes(kernel, n, name, "kernel_size", 1), axes(padding, n, name, "padding")
    stride = kernel if stride is None or stride == () else axes(stride, n, name, "stride", 1)
    check_rank(name, n, x)
    if indices != x:
        raise ValueError(f"{name}: indices {indices} must have the shape of input {x}")
    default = tuple((i - 1) * s - 2 * p + k for i, s, p, k in zip(x[-n:], stride, padding, kernel))
    wanted = (default if size is None else tuple(size)[-n:] if isinstance(size, tuple) and len(size) == n + 2
              else axes(size, n, name, "output_size"))
    if any(abs(w - d) >= s for w, d, s in zip(wanted, default, stride)) and size is not None:
        raise ValueError(
            f"{name}: output_size {wanted} must be less than stride {stride} away from {default}")
    if any(i < 1 for i in wanted):
        raise ValueError(f"{name}: output_size {wanted} must be positive")
    return bounded(wanted, name, "output_size")
