"""Grids of the pooling kernels. A window over a whole plane is a reduction of rows, and runs as
one; a small one is compiled in (strips.cu)."""
import math

import numpy as np

from ..reduction.launch import reduce

__all__ = ["avg_pool", "avg_pool_backward", "lp_pool", "lp_pool_backward", "max_pool", "max_pool_backward",
           "max_pool_indices", "max_unpool", "pool_gather", "pool_scatter"]

MAX, MEAN, INDEXED = "pooling/max.cu", "pooling/mean.cu", "pooling/indexed.cu"
STRIPS = "pooling/strips.cu"
THREADS = 256
ROWS = 4       # outputs of a strip, as in strips.cu
LARGEST = 5    # side of a window that is compiled in
STEPS = 3      # its largest stride
SLICE = 1024   # places of a plane that one warp scatters to, at least


def over(device, n):
    """Blocks of a loop over n elements."""
    return (min(-(-n // THREADS), 32 * device.multiprocessors),)


def whole(inputs, out, kernel, padding):
    """Whether each plane is one window, and nothing else."""
    return out == (1, 1, 1) and padding == (0, 0, 0) and kernel in (inputs, (0, 0, 0))


def is_wide(inputs, out, kernel):
    """Whether a warp takes an output: windows are large, and too few lie side by side for
    neighbouring threads to read neighbours."""
    sizes = [k or -(-i // o) + 1 for i, o, k in zip(inputs, out, kernel)]
    return math.prod(sizes) >= 32 and (out[2] < 16 or math.prod(sizes) >= 1024)


def is_compiled(inputs, out, kernel, stride, padding, dilation):
    """Whether the window is one that strips.cu compiles in: small, and of the last two axes."""
    one_deep = (inputs[0], out[0], kernel[0], padding[0]) == (1, 1, 1, 0)
    return (one_deep and dilation == (1, 1, 1) and all(1 <= k <= LARGEST for k in kernel)
            and max(stride[1:]) <= STEPS)


def strips(device, kernel, x, window, args, outputs):
    _, out, (_, *sides), (_, *steps), padding, _ = window
    count = outputs // out[1] * -(-out[1] // ROWS)
    device.launch(STRIPS, kernel, over(device, count), (THREADS,), (x, window[0], out, padding, *args, count),
                  **dict(zip(("KH", "KW", "SH", "SW"), (*sides, *steps))))


def forward(device, file, kernel, x, window, args, outputs):
    if outputs == 0:
        return
    wide = is_wide(*window[:3])
    grid = (-(-outputs // 8),) if wide else over(device, outputs)
    device.launch(file, f"{kernel}_{'wide' if wide else 'narrow'}", grid, (THREADS,),
                  (x, *window, *args, outputs))


def max_pool(device, x, *window_and_y):
    *window, y = window_and_y
    inputs, out, kernel, _, padding, dilation = window
    if y.size and whole(inputs, out, kernel, padding) and dilation == (1, 1, 1):
        return reduce(device, "Largest", x, (y.size, math.prod(inputs)), (1, 0), None, y)
    if y.size and is_compiled(*window):
        return strips(device, "max_strips", x, window, (y,), y.size)
    forward(device, MAX, "max_pool", x, window, (y, None), y.size)


def max_pool_indices(device, x, *window_and_results):
    *window, y, indices = window_and_results
    if y.size and is_compiled(*window):
        return strips(device, "max_strips_indices", x, window, (y, indices), y.size)
    forward(device, MAX, "max_pool", x, window, (y, indices), y.size)


def max_pool_backward(device, dy, x, *window_and_dx):
    *window, dx = window_and_dx
    if dx.size == 0:
        return
    if dy.size == 0:
        return dx.fill(0)
    chosen = device.empty((dy.size,), "int32")
    if is_compiled(*window):
        strips(device, "max_strips_choose", x, window, (chosen,), dy.size)
    else:
        forward(device, MAX, "max_pool_choose", x, window, (None, chosen), dy.size)
    device.launch(MAX, "max_pool_backward", over(device, dx.size), (THREADS,),
                  (dy, chosen, *window, dx, dx.size))


def avg_pool(device, x, *window_and_more):
    *window, count_include_pad, divisor, y = window_and_more
    inputs, out, kernel, _, padding, _ = window
    if y.size and whole(inputs, out, kernel, padding):
        return reduce(device, "Total", x, (y.size, math.prod(inputs)), (1, 0), None, y,
                      1 / (divisor or math.prod(inputs)))
    if y.size and is_compiled(*window):
        scale = 1 / divisor if divisor else 0.0
        return strips(device, "avg_strips", x, window, (count_include_pad, scale, y), y.size)
    forward(device, MEAN, "avg_pool", x, window, (count_include_pad, float(divisor), y), y.size)


def backward(device, kernel, arrays, window, args, dx):
    if dx.size == 0:
        return
    if arrays[0].size == 0:
        return dx.fill(0)
    device.launch(MEAN, kernel, over(device, dx.size), (THREADS,), (*arrays, *window, *args, dx, dx.size))


def avg_pool_backward(device, dy, *window_and_more):
    *window, count_include_pad, divisor, dx = window_and_more
    backward(device, "avg_pool_backward", (dy,), window, (count_include_pad, float(divisor)), dx)


def power(norm):
    return {1: "lp_pool_1", 2: "lp_pool_2"}.get(norm, "lp_pool_p")


def lp_pool(device, x, *window_and_more):
    *window, norm, y = window_and_more
    forward(device, MEAN, power(norm), x, window, (float(norm), y), y.size)


def lp_pool_backward(device, dy, x, y, *window_and_more):
    *window, norm, dx = window_and_more
    backward(device, f"{power(norm)}_backward", (dy, x, y), window, (float(norm),), dx)


def per_plane(values, plane_values, size):
    """Values chosen of each plane."""
    planes = plane_values // size if size else 0
    return values // planes if planes else 0


def max_unpool(device, x, indices, size, y, outside):
    outside.fill(0)
    if y.size == 0:
        return
    n = per_plane(x.size, y.size, size)
    owner = device.empty((y.size,), "int32")
    owner.fill(-1)
    if x.size:
        device.launch(INDEXED, "max_unpool_owners", over(device, x.size), (THREADS,),
                      (indices, np.int64(x.size), n, size, owner, outside))
    device.launch(INDEXED, "max_unpool_fetch", over(device, y.size), (THREADS,),
                  (x, owner, np.int64(y.size), n, size, y))


def pool_scatter(device, dy, indices, size, dx):
    if dx.size == 0:
        return
    planes, n = dx.size // size, per_plane(dy.size, dx.size, size)
    fill = 32 * device.multiprocessors // planes + 1   # slices a plane that would fill the device
    slice = max(SLICE, -(-size // fill))
    slices = -(-size // slice)
    device.launch(INDEXED, "pool_scatter", (-(-planes * slices // 8),), (THREADS,),
                  (dy, indices, planes * slices, slices, slice, n, size, dx))


def pool_gather(device, x, indices, size, y):
    if y.size == 0:
        return
    if x.size == 0:
        return y.fill(0)
    n = per_plane(y.size, x.size, size)
    device.launch(INDEXED, "pool_gather", over(device, y.size), (THREADS,),
                  (x, indices, np.int64(y.size), n, size, y))
