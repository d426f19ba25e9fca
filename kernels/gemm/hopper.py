"""When and how a product of 16-bit matrices goes to hopper.cu. No device has run it yet, so it
waits for PYOPS_HOPPER=1."""
import os

from ...cuda.tensor_map import mappable
from ..grid import ceil_div

FILE = "gemm/hopper.cu"
ACTIVATIONS = {None: 0, "relu": 1, "gelu": 2, "silu": 3}   # as in tiles.cuh
ROWS, DEEP, PATTERN = 128, 64, 1024   # BM, DEEP and PATTERN_BYTES of hopper_tile.cuh
THREADS = 384
STAGES = {128: 6, 256: 4}   # by the tile's columns


def serves(device, a, b, c):
    """Whether this product can and should be hopper.cu's: enough tiles of it that no smaller tile,
    nor a reduction cut into pieces, would keep more of the device busy."""
    batch, m, n = c.shape
    return (asked_for() and takes(device, a, b)
            and 2 * batch * ceil_div(m, ROWS) * ceil_div(n, 128) >= device.multiprocessors)


def takes(device, a, b):
    return has_wgmma(device) and mappable(a) and mappable(b)


def asked_for():
    return os.environ.get("PYOPS_HOPPER") == "1"


def has_wgmma(device):
    return device.real in ("f16", "bf16") and tuple(device.capability) == (9, 0)


def gemm_hopper(device, a, b, transpose_a, transpose_b, c, bias, activation, pairs):
    """C = act(A B + bias) of operands that takes() accepts. activation: a name of launch.py's
    ACTIVATIONS; pairs: two neighbours of C are one aligned access."""
    batch, m, n = c.shape
    depth = a.shape[1] if transpose_a else a.shape[2]
    wide = batch * ceil_div(m, ROWS) * ceil_div(n, 256) >= device.multiprocessors
    columns = 256 if wide else 128
    kernel = f"hopper_{ROWS}x{columns}_{'nt'[bool(transpose_a)]}{'nt'[bool(transpose_b)]}"
    maps = operand(device, a, ROWS, transpose_a), operand(device, b, columns, not transpose_b)
    device.launch(FILE, kernel, (batch * ceil_div(m, ROWS) * ceil_div(n, columns),), (THREADS,),
                  (*maps, bias,
                   c, (m, n, depth, int(a.shape[0] > 1), int(b.shape[0] > 1)), (int(pairs),)),
                  shared=STAGES[columns] * (ROWS + columns) * DEEP * 2 + PATTERN, **with_activation(activation))


def with_activation(name):
    """The macro of an epilogue's activation: none where there is none, so that all plain products
    are one form."""
    return {"ACTIVATION": ACTIVATIONS[name]} if name else {}


def operand(device, array, rows, by_rows):
    """The map of an operand: its boxes are 64 values along memory, and as many lines as the tile
    has rows or, if rows lie along memory, depth."""
    return device.tensor_map(array, (DEEP if by_rows else rows, 64))
