"""Grid of the copies that cat is made of."""
import numpy as np

from ..elementwise.launch import BLOCK, blocks, lanes, magic, tiles

__all__ = ["cat_copy", "cat_move"]

FILE = "shape/cuda.cu"


def cat_copy(device, x, width, pitch, offset, y):
    if x.size == 0:
        return
    rows = x.size // width
    if rows == 1:
        pitch = width   # no row follows
    x, y = x.reshape(-1), y.reshape(-1)
    for row, tall, column, wide in tiles(rows, width):
        whole = lanes(device) if (wide | pitch | width | offset + column) % lanes(device) == 0 else 1
        units, per_row = tall * wide // whole, wide // whole
        device.launch(FILE, "cat_copy_packs" if whole > 1 else "cat_copy_values", blocks(device, units),
                      (BLOCK,), (x[row * width + column:], units, per_row, magic(per_row), np.int64(pitch),
                                 y[row * pitch + offset + column:]))


def cat_move(device, x, width, pitch, offset, y):
    """Of any type of elements: a device's arrays do so themselves."""
    if x.size:
        y.reshape(-1, pitch)[:, offset:offset + width] = x.reshape(-1, width)
