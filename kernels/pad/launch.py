"""Grids of pad and of its adjoint."""
import math

from ..elementwise.launch import BLOCK, PART_MOST, blocks, lanes, magic

__all__ = ["pad", "pad_backward"]

FILE = "pad/cuda.cu"
CONSTANT = 0


def pad(device, x, before, mode, value, y):
    if y.size == 0:
        return
    if y.ndim == 1:
        x, y, before = x.reshape(1, x.size), y.reshape(1, y.size), (0, *before)
    last, n, size = before[-1], x.shape[-1], y.shape[-1]
    whole = lanes(device)
    if (n | size | last) % whole or mode != CONSTANT and (last or n != size):
        whole = 1
    inner, inner_x = math.prod(y.shape[1:]), math.prod(x.shape[1:])
    step = max(1, PART_MOST // inner)   # axis 0 is not padded: it can be cut
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    for plane in range(0, y.shape[0], step):
        planes = min(step, y.shape[0] - plane)
        of_x, of_y = (planes, *x.shape[1:-1], n // whole), (planes, *y.shape[1:-1], size // whole)
        units = planes * inner // whole
        device.launch(FILE, "pad_packs" if whole > 1 else "pad_values", blocks(device, units), (BLOCK,),
                      (flat_x[plane * inner_x:], of_x, of_y, tuple(map(magic, of_y)),
                       (*before[:-1], last // whole), mode, float(value), units, flat_y[plane * inner:]))


def pad_backward(device, dy, before, mode, dx):
    if mode == CONSTANT:   # the adjoint of padding crops
        return pad(device, dy, tuple(-b for b in before), mode, 0.0, dx)
    if dx.size == 0:
        return
    more = 4 - dx.ndim
    inner, inner_y = math.prod(dx.shape[1:]), math.prod(dy.shape[1:])
    step = max(1, PART_MOST // max(inner, inner_y))
    flat_x, flat_y = dx.reshape(-1), dy.reshape(-1)
    for plane in range(0, dx.shape[0], step):
        planes = min(step, dx.shape[0] - plane)
        of_x, of_y = ((planes, *(1,) * more, *a.shape[1:]) for a in (dx, dy))
        device.launch(FILE, "pad_backward", blocks(device, planes * inner), (BLOCK,),
                      (flat_y[plane * inner_y:], of_x, of_y, tuple(map(magic, of_x)),
                       (*(0,) * (more + 1), *before[1:]), mode, planes * inner, flat_x[plane * inner:]))
