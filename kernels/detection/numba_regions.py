"""Regions pooled on a GPU with channels of their own for each cell, the gradient of roi_pool, and the overlaps
of boxes, in Numba CUDA. Definitions: reference.py; arrays as in numba_cuda.py, and no signature at import for
its reason. Gradients add by atomics, so that the order of additions, and their last bits, are not fixed."""
import math

import numpy as np
from numba import cuda

from .numba_cuda import THREADS, _blocks, _rows, clamped, rounded


@cuda.jit(device=True, inline=True)
def cell(low, end, count, at, size, inclusive):
    """(first, last) of the pixels of cell `at` of `count`, of a region from pixel low to pixel end; inclusive:
    1 where the pixel at the end belongs to it."""
    length = max(end - low + inclusive, 1)
    first, last = at * length // count + low, -(-(at + 1) * length // count) + low
    return min(max(first, 0), size), min(max(last, 0), size)


@cuda.jit(device=True, inline=True)
def pixels(rois, k, scale, i, j, rows, columns, h, w, inclusive):
    """The pixels of cell (i, j) of region k: (top, bottom, left, right)."""
    top, bottom = cell(rounded(rois[k, 2] * scale), rounded(rois[k, 4] * scale), rows, i, h, inclusive)
    left, right = cell(rounded(rois[k, 1] * scale), rounded(rois[k, 3] * scale), columns, j, w, inclusive)
    return top, bottom, left, right


@cuda.jit
def roi_pool_backward_kernel(g, x, rois, scale, dx):
    """A thread a value of g: to the first of the greatest pixels of its cell."""
    at = cuda.grid(1)
    k, c, i, j = (at // (g.shape[1] * g.shape[2] * g.shape[3]), at // (g.shape[2] * g.shape[3]) % g.shape[1],
                  at // g.shape[3] % g.shape[2], at % g.shape[3])
    if k >= g.shape[0]:
        return
    top, bottom, left, right = pixels(rois, k, scale, i, j, g.shape[2], g.shape[3], x.shape[2], x.shape[3], 1)
    n, row, column = int(rois[k, 0]), -1, 0
    for r in range(top, bottom):
        for s in range(left, right):
            if row < 0 or x[n, c, r, s] > x[n, c, row, column]:
                row, column = r, s
    if row >= 0:
        cuda.atomic.add(dx, (n, c, row, column), g[k, c, i, j])


@cuda.jit
def ps_roi_pool_kernel(x, rois, scale, y):
    at = cuda.grid(1)
    rows, columns = y.shape[2], y.shape[3]
    k, c, i, j = (at // (y.shape[1] * rows * columns), at // (rows * columns) % y.shape[1], at // columns % rows,
                  at % columns)
    if k >= y.shape[0]:
        return
    top, bottom, left, right = pixels(rois, k, scale, i, j, rows, columns, x.shape[2], x.shape[3], 0)
    n, own, total = int(rois[k, 0]), (c * rows + i) * columns + j, x[0, 0, 0, 0] * 0
    for r in range(top, bottom):
        for s in range(left, right):
            total += x[n, own, r, s]
    y[k, c, i, j] = total / max((bottom - top) * (right - left), 1) if bottom > top and right > left else total


@cuda.jit
def ps_roi_pool_backward_kernel(g, rois, scale, dx):
    at = cuda.grid(1)
    rows, columns = g.shape[2], g.shape[3]
    k, c, i, j = (at // (g.shape[1] * rows * columns), at // (rows * columns) % g.shape[1], at // columns % rows,
                  at % columns)
    if k >= g.shape[0]:
        return
    top, bottom, left, right = pixels(rois, k, scale, i, j, rows, columns, dx.shape[2], dx.shape[3], 0)
    n, own = int(rois[k, 0]), (c * rows + i) * columns + j
    for r in range(top, bottom):
        for s in range(left, right):
            cuda.atomic.add(dx, (n, own, r, s), g[k, c, i, j] / ((bottom - top) * (right - left)))


@cuda.jit(device=True, inline=True)
def samples(rois, k, scale, ratio, rows, columns):
    """(y1, x1, height, width, samples down, samples across) of a region whose corners are half a pixel lower."""
    x1, y1 = rois[k, 1] * scale - 0.5, rois[k, 2] * scale - 0.5
    wide, high = rois[k, 3] * scale - 0.5 - x1, rois[k, 4] * scale - 0.5 - y1
    down = ratio if ratio > 0 else max(int(math.ceil(high / rows)), 0)
    across = ratio if ratio > 0 else max(int(math.ceil(wide / columns)), 0)
    return y1, x1, high, wide, down, across


@cuda.jit
def ps_roi_align_kernel(x, rois, scale, ratio, y):
    at = cuda.grid(1)
    rows, columns = y.shape[2], y.shape[3]
    k, c, i, j = (at // (y.shape[1] * rows * columns), at // (rows * columns) % y.shape[1], at // columns % rows,
                  at % columns)
    if k >= y.shape[0]:
        return
    y1, x1, high, wide, down, across = samples(rois, k, scale, ratio, rows, columns)
    n, own, h, w = int(rois[k, 0]), (c * rows + i) * columns + j, x.shape[2], x.shape[3]
    total = x[0, 0, 0, 0] * 0
    for r in range(down):
        py = y1 + (i + (r + 0.5) / down) * high / rows
        for s in range(across):
            px = x1 + (j + (s + 0.5) / across) * wide / columns
            if -1 <= py <= h and -1 <= px <= w:
                cy, cx = clamped(py, h - 1), clamped(px, w - 1)
                top, left = int(cy), int(cx)
                bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
                fy, fx = cy - top, cx - left
                total += ((1 - fy) * ((1 - fx) * x[n, own, top, left] + fx * x[n, own, top, right])
                          + fy * ((1 - fx) * x[n, own, bottom, left] + fx * x[n, own, bottom, right]))
    y[k, c, i, j] = total / max(down * across, 1)


@cuda.jit
def ps_roi_align_backward_kernel(g, rois, scale, ratio, dx):
    at = cuda.grid(1)
    rows, columns = g.shape[2], g.shape[3]
    k, c, i, j = (at // (g.shape[1] * rows * columns), at // (rows * columns) % g.shape[1], at // columns % rows,
                  at % columns)
    if k >= g.shape[0]:
        return
    y1, x1, high, wide, down, across = samples(rois, k, scale, ratio, rows, columns)
    n, own, h, w = int(rois[k, 0]), (c * rows + i) * columns + j, dx.shape[2], dx.shape[3]
    share = g[k, c, i, j] / max(down * across, 1)
    for r in range(down):
        py = y1 + (i + (r + 0.5) / down) * high / rows
        for s in range(across):
            px = x1 + (j + (s + 0.5) / across) * wide / columns
            if -1 <= py <= h and -1 <= px <= w:
                cy, cx = clamped(py, h - 1), clamped(px, w - 1)
                top, left = int(cy), int(cx)
                bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
                fy, fx = cy - top, cx - left
                cuda.atomic.add(dx, (n, own, top, left), share * (1 - fy) * (1 - fx))
                cuda.atomic.add(dx, (n, own, top, right), share * (1 - fy) * fx)
                cuda.atomic.add(dx, (n, own, bottom, left), share * fy * (1 - fx))
                cuda.atomic.add(dx, (n, own, bottom, right), share * fy * fx)


@cuda.jit(device=True, inline=True)
def quotient(a, b):
    return a / b if b != 0 else a * 0


@cuda.jit(device=True, inline=True)
def angle(w, h):
    return math.atan2(w, h) if w != 0 or h != 0 else w * 0


@cuda.jit
def box_overlap_kernel(a, b, kind, e, f, d, out):
    """A thread a pair of boxes of a sample, whose corners are in order."""
    at = cuda.grid(1)
    s, i, j = at // (out.shape[1] * out.shape[2]), at // out.shape[2] % out.shape[1], at % out.shape[2]
    if s >= out.shape[0]:
        return
    wa, ha, wb, hb = (a[s, i, 2] - a[s, i, 0], a[s, i, 3] - a[s, i, 1], b[s, j, 2] - b[s, j, 0],
                      b[s, j, 3] - b[s, j, 1])
    w = min(a[s, i, 2], b[s, j, 2]) - max(a[s, i, 0], b[s, j, 0])
    h = min(a[s, i, 3], b[s, j, 3]) - max(a[s, i, 1], b[s, j, 1])
    shared = w * 0 if w <= 0 or h <= 0 else w * h
    union = wa * ha + wb * hb - shared
    found = quotient(shared, union + e)
    if kind > 0:
        around_w = max(a[s, i, 2], b[s, j, 2]) - min(a[s, i, 0], b[s, j, 0])
        around_h = max(a[s, i, 3], b[s, j, 3]) - min(a[s, i, 1], b[s, j, 1])
        iou = found
        if kind == 1:
            found -= quotient(around_w * around_h - union, around_w * around_h + f)
        else:
            dx = (a[s, i, 0] + a[s, i, 2] - b[s, j, 0] - b[s, j, 2]) / 2
            dy = (a[s, i, 1] + a[s, i, 3] - b[s, j, 1] - b[s, j, 3]) / 2
            found -= quotient(dx * dx + dy * dy, around_w * around_w + around_h * around_h + f)
        if kind == 3:
            turn = angle(wa, ha) - angle(wb, hb)
            v = 4 / math.pi ** 2 * turn * turn
            found -= quotient(v, 1 - iou + v + d) * v
    out[s, i, j] = found


# ---- host side

def _pooled(kernel, x, rois, size, *how):
    """(k, C, *size) of x (N, C or C oh ow, H, W)."""
    name = kernel.__name__.removesuffix("_kernel")
    _rows(name, rois, 5)
    if x.ndim != 4 or min(size) < 1 or x.shape[1] % (size[0] * size[1]):
        raise ValueError(f"{name}: x must be (N, C oh ow, H, W) for {tuple(size)} cells, got {tuple(x.shape)}")
    y = cuda.device_array((rois.shape[0], x.shape[1] // (size[0] * size[1]), *size), x.dtype)
    if y.size:
        kernel[_blocks(y.size), THREADS](x, rois, *how, y)
    return y


def _gradient(kernel, g, shape, *given):
    dx = cuda.to_device(np.zeros(shape, g.dtype))
    if g.size:
        kernel[_blocks(g.size), THREADS](g, *given, dx)
    return dx


def roi_pool_backward(g, x, rois, scale):
    """reference.roi_pool_backward on the device."""
    return _gradient(roi_pool_backward_kernel, g, x.shape, x, rois, g.dtype.type(scale))


def ps_roi_pool(x, rois, size, scale):
    """reference.ps_roi_pool on the device. ValueError for shapes other than (N, C oh ow, H, W) and (k, 5)."""
    return _pooled(ps_roi_pool_kernel, x, rois, size, x.dtype.type(scale))


def ps_roi_pool_backward(g, rois, shape, scale):
    """reference.ps_roi_pool_backward on the device."""
    return _gradient(ps_roi_pool_backward_kernel, g, shape, rois, g.dtype.type(scale))


def ps_roi_align(x, rois, size, scale, ratio):
    """reference.ps_roi_align on the device. ValueError as ps_roi_pool."""
    return _pooled(ps_roi_align_kernel, x, rois, size, x.dtype.type(scale), ratio)


def ps_roi_align_backward(g, rois, shape, scale, ratio):
    """reference.ps_roi_align_backward on the device."""
    return _gradient(ps_roi_align_backward_kernel, g, shape, rois, g.dtype.type(scale), ratio)


def box_overlap(a, b, *, kind, e=0.0, f=0.0, d=0.0):
    """reference.box_overlap on the device: (s, n, m) of a (s, n, 4) and b (s, m, 4). ValueError for others."""
    if a.ndim != 3 or b.ndim != 3 or a.shape[::2] != b.shape[::2] or a.shape[2] != 4:
        raise ValueError(f"box_overlap: takes boxes (s, n, 4) and (s, m, 4), got {tuple(a.shape)} and {tuple(b.shape)}")
    out = cuda.device_array((a.shape[0], a.shape[1], b.shape[1]), a.dtype)
    if out.size:
        box_overlap_kernel[_blocks(out.size), THREADS](a, b, kind, *map(a.dtype.type, (e, f, d)), out)
    return out


def signatures(real):
    """As numba_cuda.signatures."""
    maps, rois, boxes = f"{real}[:,:,:,::1]", f"{real}[:,::1]", f"{real}[:,:,::1]"
    return [(roi_pool_backward_kernel, (maps, maps, rois, real, maps)),
            (ps_roi_pool_kernel, (maps, rois, real, maps)),
            (ps_roi_pool_backward_kernel, (maps, rois, real, maps)),
            (ps_roi_align_kernel, (maps, rois, real, "int64", maps)),
            (ps_roi_align_backward_kernel, (maps, rois, real, "int64", maps)),
            (box_overlap_kernel, (boxes, boxes, "int64", real, real, real, boxes))]
