"""Grids of the matrix products: which tile, how many blocks a result, and which operands
can be read in packets.

gemm and linear are the rows. 16-bit types always use tensor cores; float32 does where
pyops.cuda.precision allows it; gemm_tensor has float64's, too. Before compute capability 8.0 all is
done by the ordinary units.
"""
import numpy as np

from ...cuda.precision import current as current_precision
from ..grid import accumulated, address, ceil_div
from .hopper import gemm_hopper, serves, with_activation

__all__ = ["gemm", "linear"]

FILE, TENSOR = "gemm/cuda.cu", "gemm/tensor.cu"
CHAIN = 512   # as in cuda.cu
OLDEST_TENSOR = (8, 0)   # capability that tensor.cu requires
PRECISIONS = {"tf32": ("f32",), "3xtf32": ("f32",), "half": ("f16", "bf16"), "f64": ("f64",)}


def gemm(device, a, b, transpose_a, transpose_b, c):
    product(device, a, b, transpose_a, transpose_b, c, None)


def linear(device, x, weight, bias, y):
    if y.size:
        outputs, features = weight.shape
        rows = y.size // outputs
        product(device, x.reshape(1, rows, features), weight.reshape(1, outputs, features), False, True,
                y.reshape(1, rows, outputs), bias)


def product(device, a, b, transpose_a, transpose_b, c, bias):
    if device.capability < OLDEST_TENSOR:
        gemm_simt(device, a, b, transpose_a, transpose_b, c, bias)
        return
    wanted = ("half" if device.real in PRECISIONS["half"] else current_precision() if device.real == "f32"
              else "strict")
    if wanted != "strict":
        gemm_tensor(device, a, b, transpose_a, transpose_b, c, wanted, bias)
    else:
        gemm_simt(device, a, b, transpose_a, transpose_b, c, bias)


def in_packets(array, size=16):
    """Whether each stored row of a dense array starts at a multiple of `size` bytes and is a
    multiple of that long."""
    return array.shape[-1] * array.dtype.itemsize % size == 0 and address(array) % size == 0


def join(device, partial, bias, c, activation=None):
    """C from the sums of the pieces that the reduction was cut into."""
    blocks = min(ceil_div(c.size, 256), 16 * device.multiprocessors)
    device.launch(FILE, "gemm_join", (blocks,), (256,),
                  (partial, bias, c, partial.shape[0], np.int64(c.size), c.shape[-1]), **with_activation(activation))


# ---- ordinary units

def gemm_simt(device, a, b, transpose_a, transpose_b, c, bias=None):
    """C = A B (+ bias along its rows) by cuda.cu."""
    if c.size == 0:
        return
    batch, m, n = c.shape
    depth = a.shape[1] if transpose_a else a.shape[2]
    left, right, pitches = (simt_layout(a, transpose_a), simt_layout(b, not transpose_b),
                            (n, 1, 0, 1, int(in_packets(c))))
    rows, columns = m, n
    if n <= 8 < m:   # few columns are few rows of the transposed product
        a, b, left, right, rows, columns, pitches = b, a, right, left, n, m, (1, n, 1, 0, 0)
    height, width, threads = simt_tile(device, rows, columns, batch)
    tiles, chains = batch * ceil_div(rows, height) * ceil_div(columns, width), max(1, ceil_div(depth, CHAIN))
    partial = None
    if chains > 1 and tiles < 2 * device.multiprocessors:
        partial = device.empty((chains, batch, m, n), accumulated(device))
        tiles *= chains
    device.launch(FILE, f"gemm_{height}x{width}", (tiles,), (threads,),
                  (a, b, bias, c, partial, (rows, columns, depth, batch), left, right, pitches))
    if partial is not None:
        join(device, partial, bias, c)


def simt_layout(array, by_rows):
    return array.shape[2], int(by_rows), int(in_packets(array)), int(array.shape[0] > 1)


def simt_tile(device, rows, columns, batch):
    """Height, width and threads: the largest tile that leaves no multiprocessor idle."""
    if rows <= 8:
        return 8, 128, 128
    if batch * ceil_div(rows, 128) * ceil_div(columns, 128) >= device.multiprocessors:
        return 128, 128, 256
    return 64, 64, 128


# ---- tensor cores

def gemm_tensor(device, a, b, transpose_a, transpose_b, c, precision, bias=None, activation=None):
    """C = act(A B + bias) by tensor.cu, arguments as gemm's.

    precision: "tf32" rounds float32 operands to 11 bits, "3xtf32" makes up for that with three
    products, "half" is for float16 and bfloat16, "f64" for float64; sums are float32 or float64.
    activation: None, "relu", "gelu" or "silu";
    no row asks for one, since calls on a device are one op each: tests hold it for a
    compiler of programs to come.
    """
    if device.real not in PRECISIONS[precision]:
        raise ValueError(f"gemm_tensor: precision {precision!r} is for {' or '.join(PRECISIONS[precision])}, "
                         f"the arrays are {device.real}")
    if c.size == 0:
        return
    if serves(device, a, b, c):
        gemm_hopper(device, a, b, transpose_a, transpose_b, c, bias, activation,
                    in_packets(c, 2 * c.dtype.itemsize))
        return
    batch, m, n = c.shape
    depth, item = a.shape[1] if transpose_a else a.shape[2], a.dtype.itemsize
    large = batch * ceil_div(m, 128) * ceil_div(n, 128) >= device.multiprocessors
    side, threads, stages = (128, 256, 3) if large else (64, 128, 4)
    tiles = batch * ceil_div(m, side) * ceil_div(n, side)
    pieces, each = cut(device, depth, 64 // item, tiles) if transpose_a else (1, max(1, depth))
    partial = device.empty((pieces, batch, m, n), accumulated(device)) if pieces > 1 else None
    shared = stages * (tile_values(side, item, transpose_a) + tile_values(side, item, not transpose_b)) * item
    kernel = f"tensor_{side}x{side}_{'nt'[bool(transpose_a)]}{'nt'[bool(transpose_b)]}"
    device.launch(TENSOR, kernel, (tiles * pieces,), (threads,),
                  (a, b, bias, c, partial, (m, n, depth, batch, pieces, each), tensor_layout(a),
                   tensor_layout(b), (int(in_packets(c, 2 * item)),)),
                  shared=shared, **with_activation(activation),
                  **({"THREE_PRODUCTS": 1} if precision == "3xtf32" else {}))
    if partial is not None:
        join(device, partial, bias, c, activation)


def tensor_layout(array):
    return array.shape[2], int(in_packets(array)), int(array.shape[0] > 1)


def tile_values(side, item, by_rows):
    """Values of a padded tile in shared memory (tensor_tile.cuh)."""
    deep, pad, pad_rows = 64 // item, 4 if item == 8 else 16 // item, 8 if item == 2 else 32 // item
    return deep * (side + pad_rows) if by_rows else side * (deep + pad)


def cut(device, depth, deep, tiles, least=256):
    """How many pieces of the reduction, each of how much (a multiple of `deep`), keep all
    multiprocessors busy."""
    wanted = max(1, min(2 * device.multiprocessors // tiles, depth // least))
    each = max(1, ceil_div(ceil_div(depth, wanted), deep) * deep)
    return max(1, ceil_div(depth, each)), each
