"""Boxes and regions on a GPU, in Numba CUDA. Definitions and arguments: reference.py. Arrays are
device arrays (anything with __cuda_array_interface__, or NumPy arrays, which Numba copies there and
back), float32 or float64; results are Numba device arrays.

No signature is given to cuda.jit: an eager one would ask for a driver when this module is imported.
"""
import math

import numpy as np
from numba import cuda

THREADS = 64    # a block: these kernels are bound by scattered reads, not by occupancy
WORD = 32       # suppressions are kept as bits, this many a word


def _blocks(n):
    return max(1, -(-n // THREADS))


@cuda.jit(device=True, inline=True)
def overlap(a, i, b, j):
    """IoU of boxes a[i] and b[j]."""
    width = min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0])
    height = min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1])
    shared = width * height if width > 0 and height > 0 else width * 0
    union = (a[i, 2] - a[i, 0]) * (a[i, 3] - a[i, 1]) + (b[j, 2] - b[j, 0]) * (b[j, 3] - b[j, 1]) - shared
    return shared / union if union > 0 else union * 0


@cuda.jit
def box_iou_kernel(a, b, out):
    at = cuda.grid(1)
    if at < out.shape[0] * out.shape[1]:
        i, j = at // out.shape[1], at % out.shape[1]
        out[i, j] = overlap(a, i, b, j)


@cuda.jit
def suppression_kernel(boxes, order, threshold, bits):
    """bits[i, w], of rank i: which boxes of rank 32 w .. 32 w + 31, all after i, it would
    suppress."""
    at = cuda.grid(1)
    n, words = bits.shape
    if at < n * words:
        i, word = at // words, at % words
        mask = np.uint32(0)
        for k in range(WORD):
            j = word * WORD + k
            if i < j < n and overlap(boxes, order[i], boxes, order[j]) > threshold:
                mask |= np.uint32(1) << np.uint32(k)
        bits[i, word] = mask


@cuda.jit
def keep_kernel(bits, order, gone, kept, count):
    """One block walks the ranks: who is not gone stays, and its words join what is gone. `gone`
    is (words,), zeros."""
    n, words = bits.shape
    found = 0
    for i in range(n):
        stays = (gone[i // WORD] >> np.uint32(i % WORD)) & np.uint32(1) == 0
        cuda.syncthreads()
        if stays:
            for word in range(cuda.threadIdx.x, words, cuda.blockDim.x):
                gone[word] |= bits[i, word]
            if cuda.threadIdx.x == 0:
                kept[found] = order[i]
            found += 1
        cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        count[0] = found


@cuda.jit(device=True, inline=True)
def clamped(v, most):
    return min(max(v, v * 0), most)


@cuda.jit(device=True, inline=True)
def extent(low, high, aligned):
    return high - low if aligned else max(high - low, (high - low) * 0 + 1)


@cuda.jit
def roi_align_kernel(x, rois, scale, ratio, aligned, y):
    """A thread a value of y."""
    at = cuda.grid(1)
    k, c, i, j = (at // (y.shape[1] * y.shape[2] * y.shape[3]), at // (y.shape[2] * y.shape[3]) % y.shape[1],
                  at // y.shape[3] % y.shape[2], at % y.shape[3])
    if k >= y.shape[0]:
        return
    half = 0.5 if aligned else 0.0
    x1, y1 = rois[k, 1] * scale - half, rois[k, 2] * scale - half
    wide = extent(x1, rois[k, 3] * scale - half, aligned)
    high = extent(y1, rois[k, 4] * scale - half, aligned)
    rows = ratio if ratio > 0 else int(math.ceil(high / y.shape[2]))
    columns = ratio if ratio > 0 else int(math.ceil(wide / y.shape[3]))
    batch, h, w = int(rois[k, 0]), x.shape[2], x.shape[3]
    total = x[0, 0, 0, 0] * 0
    for r in range(rows):
        py = y1 + (i + (r + 0.5) / rows) * high / y.shape[2]
        for s in range(columns):
            px = x1 + (j + (s + 0.5) / columns) * wide / y.shape[3]
            if -1 <= py <= h and -1 <= px <= w:
                cy, cx = clamped(py, h - 1), clamped(px, w - 1)
                top, left = int(cy), int(cx)
                bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
                fy, fx = cy - top, cx - left
                total += ((1 - fy) * ((1 - fx) * x[batch, c, top, left] + fx * x[batch, c, top, right])
                          + fy * ((1 - fx) * x[batch, c, bottom, left] + fx * x[batch, c, bottom, right]))
    y[k, c, i, j] = total / max(rows * columns, 1)


@cuda.jit
def roi_align_backward_kernel(dy, rois, scale, ratio, aligned, dx):
    """A thread a value of dy adds to up to four pixels a sample. Atomic, so the order of additions,
    and the last bits, are not fixed."""
    at = cuda.grid(1)
    k, c, i, j = (at // (dy.shape[1] * dy.shape[2] * dy.shape[3]),
                  at // (dy.shape[2] * dy.shape[3]) % dy.shape[1],
                  at // dy.shape[3] % dy.shape[2], at % dy.shape[3])
    if k >= dy.shape[0]:
        return
    half = 0.5 if aligned else 0.0
    x1, y1 = rois[k, 1] * scale - half, rois[k, 2] * scale - half
    wide = extent(x1, rois[k, 3] * scale - half, aligned)
    high = extent(y1, rois[k, 4] * scale - half, aligned)
    rows = ratio if ratio > 0 else int(math.ceil(high / dy.shape[2]))
    columns = ratio if ratio > 0 else int(math.ceil(wide / dy.shape[3]))
    batch, h, w = int(rois[k, 0]), dx.shape[2], dx.shape[3]
    g = dy[k, c, i, j] / max(rows * columns, 1)
    for r in range(rows):
        py = y1 + (i + (r + 0.5) / rows) * high / dy.shape[2]
        for s in range(columns):
            px = x1 + (j + (s + 0.5) / columns) * wide / dy.shape[3]
            if -1 <= py <= h and -1 <= px <= w:
                cy, cx = clamped(py, h - 1), clamped(px, w - 1)
                top, left = int(cy), int(cx)
                bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
                fy, fx = cy - top, cx - left
                cuda.atomic.add(dx, (batch, c, top, left), g * (1 - fy) * (1 - fx))
                cuda.atomic.add(dx, (batch, c, top, right), g * (1 - fy) * fx)
                cuda.atomic.add(dx, (batch, c, bottom, left), g * fy * (1 - fx))
                cuda.atomic.add(dx, (batch, c, bottom, right), g * fy * fx)


@cuda.jit(device=True, inline=True)
def rounded(v):
    """To the nearest whole number, halves away from 0."""
    nearest = int(math.floor(abs(v) + 0.5))
    return nearest if v >= 0 else -nearest


@cuda.jit
def roi_pool_kernel(x, rois, scale, y):
    at = cuda.grid(1)
    k, c, i, j = (at // (y.shape[1] * y.shape[2] * y.shape[3]), at // (y.shape[2] * y.shape[3]) % y.shape[1],
                  at // y.shape[3] % y.shape[2], at % y.shape[3])
    if k >= y.shape[0]:
        return
    x1, y1 = rounded(rois[k, 1] * scale), rounded(rois[k, 2] * scale)
    wide, high = max(rounded(rois[k, 3] * scale) - x1 + 1, 1), max(rounded(rois[k, 4] * scale) - y1 + 1, 1)
    # in whole numbers: a quotient in float could fall on the wrong side
    top, bottom = i * high // y.shape[2] + y1, -(-(i + 1) * high // y.shape[2]) + y1
    left, right = j * wide // y.shape[3] + x1, -(-(j + 1) * wide // y.shape[3]) + x1
    top, bottom = min(max(top, 0), x.shape[2]), min(max(bottom, 0), x.shape[2])
    left, right = min(max(left, 0), x.shape[3]), min(max(right, 0), x.shape[3])
    batch = int(rois[k, 0])
    best = x[0, 0, 0, 0] * 0
    first = True
    for r in range(top, bottom):
        for s in range(left, right):
            v = x[batch, c, r, s]
            if first or v > best:
                best, first = v, False
    y[k, c, i, j] = best


@cuda.jit
def yolo_decode_kernel(x, anchors, stride, out):
    """A thread a value of out (N, A H W, 5 + K)."""
    at = cuda.grid(1)
    values, boxes = out.shape[2], out.shape[1]
    n, box, v = at // (boxes * values), at // values % boxes, at % values
    if n >= out.shape[0]:
        return
    h, w = x.shape[2], x.shape[3]
    a, row, column = box // (h * w), box // w % h, box % w
    t = x[n, a * values + v, row, column]
    if v == 2 or v == 3:
        out[n, box, v] = math.exp(t) * anchors[a, v - 2]
    else:
        s = 1 / (1 + math.exp(-t))
        out[n, box, v] = (s + column) * stride if v == 0 else (s + row) * stride if v == 1 else s


# ---- host side

def _rows(name, array, columns):
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{name}: expected rows of {columns} numbers, got shape {tuple(array.shape)}")


def box_iou(a, b):
    """reference.box_iou on the device. Raises ValueError unless a is (n, 4) and b (m, 4)."""
    _rows("box_iou", a, 4)
    _rows("box_iou", b, 4)
    out = cuda.device_array((a.shape[0], b.shape[0]), a.dtype)
    if out.size:
        box_iou_kernel[_blocks(out.size), THREADS](a, b, out)
    return out


def nms(boxes, order, threshold):
    """(kept, count): kept[:count[0]] are the indices of the boxes that stay, best first; the count
    stays on the device, so nothing waits.

    order: (n,) int64, the indices of boxes by falling score (argsort on the device is the array
    library's). ValueError for other shapes.
    """
    _rows("nms", boxes, 4)
    n = boxes.shape[0]
    if tuple(order.shape) != (n,):
        raise ValueError(f"nms: order must be ({n},) for {n} boxes, got {tuple(order.shape)}")
    kept, count = cuda.device_array(max(n, 1), np.int64), cuda.to_device(np.zeros(1, np.int64))
    if n:
        words = -(-n // WORD)
        bits, gone = cuda.device_array((n, words), np.uint32), cuda.to_device(np.zeros(words, np.uint32))
        suppression_kernel[_blocks(n * words), THREADS](boxes, order, threshold, bits)
        keep_kernel[1, THREADS](bits, order, gone, kept, count)
    return kept, count


def _output(name, x, rois, size):
    if x.ndim != 4:
        raise ValueError(f"{name}: x must be (N, C, H, W), got shape {tuple(x.shape)}")
    _rows(name, rois, 5)
    if min(size) < 1:
        raise ValueError(f"{name}: size must be positive, got {tuple(size)}")
    return cuda.device_array((rois.shape[0], x.shape[1], *size), x.dtype)


def roi_align(x, rois, size, scale=1.0, ratio=-1, aligned=False):
    """reference.roi_align on the device. Raises ValueError for shapes other than (N,
    C, H, W) and (k, 5)."""
    y = _output("roi_align", x, rois, size)
    if y.size:
        roi_align_kernel[_blocks(y.size), THREADS](x, rois, x.dtype.type(scale), ratio, aligned, y)
    return y


def roi_align_backward(dy, rois, shape, scale=1.0, ratio=-1, aligned=False):
    """reference.roi_align_backward on the device."""
    _rows("roi_align_backward", rois, 5)
    dx = cuda.to_device(np.zeros(shape, dy.dtype))
    if dy.size:
        roi_align_backward_kernel[_blocks(dy.size), THREADS](dy, rois, dy.dtype.type(scale), ratio, aligned,
                                                             dx)
    return dx


def roi_pool(x, rois, size, scale=1.0):
    """reference.roi_pool on the device. Raises ValueError for shapes other than (N,
    C, H, W) and (k, 5)."""
    y = _output("roi_pool", x, rois, size)
    if y.size:
        roi_pool_kernel[_blocks(y.size), THREADS](x, rois, x.dtype.type(scale), y)
    return y


def yolo_decode(x, anchors, stride):
    """reference.yolo_decode on the device. Raises ValueError where the channels are no
    multiple of the anchors."""
    _rows("yolo_decode", anchors, 2)
    n, channels, h, w = x.shape
    count = anchors.shape[0]
    if channels % count or channels // count < 5:
        raise ValueError(f"yolo_decode: {channels} channels are not {count} anchors x (5 + classes)")
    out = cuda.device_array((n, count * h * w, channels // count), x.dtype)
    if out.size:
        yolo_decode_kernel[_blocks(out.size), THREADS](x, anchors, x.dtype.type(stride), out)
    return out


def signatures(real):
    """(kernel, types) of every launch with `real` ("float32" | "float64"): what CI compiles to
    PTX."""
    boxes, maps, flags = f"{real}[:,::1]", f"{real}[:,:,:,::1]", "uint32[:,::1]"
    return [(box_iou_kernel, (boxes, boxes, boxes)),
            (suppression_kernel, (boxes, "int64[::1]", "float64", flags)),
            (keep_kernel, (flags, "int64[::1]", "uint32[::1]", "int64[::1]", "int64[::1]")),
            (roi_align_kernel, (maps, boxes, real, "int64", "boolean", maps)),
            (roi_align_backward_kernel, (maps, boxes, real, "int64", "boolean", maps)),
            (roi_pool_kernel, (maps, boxes, real, maps)),
            (yolo_decode_kernel, (maps, boxes, real, f"{real}[:,:,::1]"))]
