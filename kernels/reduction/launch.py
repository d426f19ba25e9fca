"""Grids of the reductions. How a result is cut into chunks depends on the number of elements that
enter it, never on how many results there are: a batch does not change a sample's bits.
"""
import math

import numpy as np

__all__ = ["arg_max", "arg_min", "place_along", "reduce_equal", "reduce_logsumexp", "reduce_max",
           "reduce_min", "reduce_norm", "reduce_prod", "reduce_prod_nonzero", "reduce_sum", "reduce_variance",
           "spread_extreme", "spread_logsumexp", "spread_norm", "spread_prod", "spread_variance"]

FILE, ARG, SPREAD = "reduction/cuda.cu", "reduction/arg.cu", "reduction/spread.cu"
THREADS = 256
GROUP_MOST = 1024      # elements that a warp takes; more are taken by blocks
ROW_CHUNK = 16384      # elements of one output that are one block's work
COLUMNS_SHORT = 64     # rows that one thread adds up
COLUMN_CHUNK = 512     # rows that are one block's work


def acc(device):
    """The NumPy name of what kernels compute with."""
    return "float64" if device.real == "f64" else "float32"


def above(n, most):
    """The smallest power of two not below n, at most `most`."""
    return min(most, 1 << max(0, n - 1).bit_length())


def axes(sizes, kept, want):
    """Sizes and strides of the kept (want = 1) or the reduced axes."""
    found, step = [], 1
    for size, keep in zip(reversed(sizes), reversed(kept)):
        if bool(keep) == bool(want):
            found.append((size, step))
        step *= size
    return tuple(zip(*reversed(found))) if found else ((1,), (0,))


def reduce(device, kind, x, sizes, kept, param, y, e=0.0):
    """`kind` is a struct of reductions.cuh, param its value per output or None, e its value for
    all."""
    if y.size == 0:
        return
    (outer, outer_strides), (inner, inner_strides) = axes(sizes, kept, True), axes(sizes, kept, False)
    layout = outer, outer_strides, inner, inner_strides, float(e)
    count = math.prod(inner)
    if kept[-1]:
        columns(device, kind, x, param, y, count, layout)
    elif count <= GROUP_MOST:
        group = above(-(-count // 4), 32)
        grid = -(-y.size * group // THREADS)
        device.launch(FILE, "reduce_groups", (grid,), (THREADS,), (x, param, y, y.size, count, group, *layout),
                      REDUCTION=kind)
    else:
        rows(device, kind, x, param, y, count, layout)


def rows(device, kind, x, param, y, count, layout):
    """Chunks of the outputs' elements, then the chunks' results, which lie side by side."""
    chunks = -(-count // ROW_CHUNK)
    partial = device.empty((y.size * chunks,), acc(device)) if chunks > 1 else None
    device.launch(FILE, "reduce_rows", (y.size * chunks,), (THREADS,),
                  (x, param, y, partial, count, ROW_CHUNK, chunks, *layout), REDUCTION=kind)
    if chunks > 1:
        join(device, kind, partial, param, y, chunks, chunks, 1, layout[-1])


def join(device, kind, partial, param, y, chunks, across, down, e):
    """What is left of `chunks` results an output, which lie `across` and `down` apart."""
    group = above(-(-chunks // 4), 32) if chunks <= GROUP_MOST else THREADS
    device.launch(FILE, "reduce_join", (-(-y.size * group // THREADS),), (THREADS,),
                  (partial, param, y, y.size, chunks, group, np.int64(across), np.int64(down), e), REDUCTION=kind)


def columns(device, kind, x, param, y, count, layout):
    """As rows, but the results of a chunk lie side by side."""
    if count <= COLUMNS_SHORT:
        device.launch(FILE, "reduce_short_columns", (-(-y.size // THREADS),), (THREADS,),
                      (x, param, y, y.size, count, *layout), REDUCTION=kind)
        return
    width = layout[0][-1]
    wide = above(width, 32)
    tiles, chunks = -(-width // wide), -(-count // COLUMN_CHUNK)
    partial = device.empty((chunks * y.size,), acc(device)) if chunks > 1 else None
    grid = y.size // width * tiles * chunks
    device.launch(FILE, "reduce_columns", (grid,), (wide, THREADS // wide),
                  (x, param, y, partial, y.size, width, tiles, count, COLUMN_CHUNK, chunks, *layout),
                  REDUCTION=kind)
    if chunks > 1:
        join(device, kind, partial, param, y, chunks, 1, y.size, layout[-1])


def reduce_sum(device, x, sizes, kept, scale, y):
    reduce(device, "Total", x, sizes, kept, None, y, scale)


def reduce_prod(device, x, sizes, kept, y):
    reduce(device, "Product", x, sizes, kept, None, y)


def reduce_prod_nonzero(device, x, sizes, kept, y):
    reduce(device, "ProductOfNonzero", x, sizes, kept, None, y)


def reduce_max(device, x, sizes, kept, y):
    reduce(device, "Largest", x, sizes, kept, None, y)


def reduce_min(device, x, sizes, kept, y):
    reduce(device, "Smallest", x, sizes, kept, None, y)


def reduce_equal(device, x, value, sizes, kept, count):
    reduce(device, "CountEqual", x, sizes, kept, value, count)


def reduce_variance(device, x, sizes, kept, per_mean, per_variance, y, mean):
    """Two passes: E[x^2] - mean^2 would cancel. A third finds what the mean's rounding took off it,
    which shows where it is far from zero."""
    reduce(device, "Total", x, sizes, kept, None, mean, per_mean)
    reduce(device, "SquaresAbout", x, sizes, kept, mean, y, per_variance)
    if x.size == 0 or y.size == 0 or not math.isfinite(per_variance):
        return
    off = device.empty(y.shape)
    reduce(device, "About", x, sizes, kept, mean, off, per_mean)
    device.launch(SPREAD, "settle_variance", (-(-y.size // THREADS),), (THREADS,),
                  (off, y, y.size, float(per_variance / per_mean)))


def reduce_logsumexp(device, x, sizes, kept, y, peak):
    reduce(device, "Largest", x, sizes, kept, None, peak)
    reduce(device, "LogSumExp", x, sizes, kept, peak, y)


def reduce_norm(device, x, sizes, kept, p, y):
    reduce(device, {2: "EuclideanNorm", 1: "SumAbs", 0: "CountNonzero"}.get(p, "PowerNorm"), x, sizes, kept,
           None, y, p)


def spread(device, kernel, arrays, layout, dx, e=0.0):
    if dx.size == 0:
        return
    lanes = 16 // dx.dtype.itemsize
    # then a packet lies within one row, and dx is ours: its start is aligned
    packed = layout[0][-1] % lanes == 0
    packets = dx.size // lanes if packed else dx.size
    grid = min(-(-packets // THREADS), 32 * device.multiprocessors)
    device.launch(SPREAD, kernel, (grid,), (THREADS,),
                  (*arrays, *layout, dx, np.int64(packets), packed, float(e)))


def spread_prod(device, g, x, p, zeros, shape, sg, sx, sp, sz, dx):
    spread(device, "spread_prod", (g, x, p, zeros), (shape, sg, sx, sp, sz), dx)


def spread_extreme(device, g, x, y, count, shape, sg, sx, sy, sc, dx):
    spread(device, "spread_extreme", (g, x, y, count), (shape, sg, sx, sy, sc), dx)


def spread_variance(device, g, x, mean, y, shape, sg, sx, sm, sy, scale, root, dx):
    spread(device, "spread_deviation" if root else "spread_variance", (g, x, mean, y),
           (shape, sg, sx, sm, sy), dx, scale)


def spread_logsumexp(device, g, x, y, shape, sg, sx, sy, dx):
    spread(device, "spread_logsumexp", (g, x, y), (shape, sg, sx, sy), dx)


def spread_norm(device, g, x, y, shape, sg, sx, sy, p, dx):
    if p == 0:
        dx.fill(0)
    else:
        spread(device, {2: "spread_norm_2", 1: "spread_norm_1"}.get(p, "spread_norm_p"), (g, x, y),
               (shape, sg, sx, sy), dx, p)


def arg_extreme(device, kernel, x, outer, n, inner, values, indices):
    if outer * n * inner == 0:
        return
    if inner > 1:
        wide = above(inner, 32)
        tall = above(n // 16, THREADS // wide)   # a thread's share is worth joining it with others
        tiles = -(-inner // wide)
        device.launch(ARG, f"{kernel}_columns", (outer * tiles,), (wide, tall),
                      (x, n, inner, tiles, values, indices))
        return
    origin = None
    if n > GROUP_MOST:
        chunks = -(-n // ROW_CHUNK)
        best, origin = device.empty((outer * chunks,)), device.empty((outer * chunks,), "int32")
        device.launch(ARG, f"{kernel}_blocks", (outer * chunks,), (THREADS,),
                      (x, n, ROW_CHUNK, chunks, best, origin))
        x, n = best, chunks
    device.launch(ARG, f"{kernel}_warps", (-(-outer // 8),), (THREADS,),
                  (x, origin, np.int64(outer), n, values, indices))


def arg_max(device, x, outer, n, inner, values, indices):
    arg_extreme(device, "arg_max", x, outer, n, inner, values, indices)


def arg_min(device, x, outer, n, inner, values, indices):
    arg_extreme(device, "arg_min", x, outer, n, inner, values, indices)


def place_along(device, g, index, outer, n, inner, dx):
    if dx.size:
        grid = min(-(-dx.size // THREADS), 32 * device.multiprocessors)
        device.launch(ARG, "place_along", (grid,), (THREADS,), (g, index, np.int64(dx.size), n, inner, dx))
