"""Grids of the matrix products: which tile, how many blocks a result, and which operands can be read in packets."""
import numpy as np

__all__ = ["gemm", "linear"]

FILE = "gemm/cuda.cu"
CHAIN = 512   # as in cuda.cu


def blocks_of(n, size):
    return -(-n // size)


def address(array):
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"][0]


def in_packets(array):
    """Whether each stored row of a dense array starts at a multiple of 16 bytes and is a multiple of that long."""
    return array.shape[-1] * array.dtype.itemsize % 16 == 0 and address(array) % 16 == 0


def layout(array, by_rows):
    return array.shape[2], int(by_rows), int(in_packets(array)), int(array.shape[0] > 1)


def gemm(device, a, b, transpose_a, transpose_b, c):
    simt(device, a, b, transpose_a, transpose_b, c)


def linear(device, x, weight, bias, y):
    if y.size:
        outputs, features = weight.shape
        rows = y.size // outputs
        gemm_bias(device, x.reshape(1, rows, features), weight.reshape(1, outputs, features), False, True, bias, y.reshape(1, rows, outputs))


def gemm_bias(device, a, b, transpose_a, transpose_b, bias, c):
    simt(device, a, b, transpose_a, transpose_b, c, bias)


def tile_for(device, m, n, batch):
    if m <= 8:
        return 8, 128, 128
    if batch * blocks_of(m, 128) * blocks_of(n, 128) >= device.multiprocessors:
        return 128, 128, 256
    return 64, 64, 128


def simt(device, a, b, transpose_a, transpose_b, c, bias=None):
    """C = A B (+ bias along its rows) by cuda.cu."""
    if c.size == 0:
        return
    batch, m, n = c.shape
    depth = a.shape[1] if transpose_a else a.shape[2]
    left, right, pitches = layout(a, transpose_a), layout(b, not transpose_b), (n, 1, 0, 1)
    rows, columns = m, n
    if n <= 8 < m:   # few columns are few rows of the transposed product
        a, b, left, right, rows, columns, pitches = b, a, right, left, n, m, (1, n, 1, 0)
    height, width, threads = tile_for(device, rows, columns, batch)
    tiles, chains = batch * blocks_of(rows, height) * blocks_of(columns, width), max(1, blocks_of(depth, CHAIN))
    partial = None
    if chains > 1 and tiles < 2 * device.multiprocessors:
        partial = device.empty((chains, batch, m, n), accumulated(device))
        tiles *= chains
    device.launch(FILE, f"gemm_{height}x{width}", (tiles,), (threads,),
                  (a, b, bias, c, partial, (rows, columns, depth, batch), left, right, pitches))
    if partial is not None:
        join(device, partial, bias, c)


def accumulated(device):
    return np.dtype(np.float64 if device.real == "f64" else np.float32)


def join(device, partial, bias, c, activation=0):
    """C from the sums of the pieces that the reduction was cut into."""
    blocks = min(blocks_of(c.size, 256), 16 * device.multiprocessors)
    device.launch(FILE, "gemm_join", (blocks,), (256,),
                  (partial, bias, c, partial.shape[0], np.int64(c.size), c.shape[-1], activation))
