"""Grids of resample, and which axes are resampled together."""
import math

from ..elementwise.launch import BLOCK, PART_MOST, blocks, magic

__all__ = ["resample"]

FILE = "interpolate/cuda.cu"
# taps along height and width that have a kernel of their own
PREPARED = {(1, 1), (1, 2), (2, 1), (2, 2), (4, 4)}
TOGETHER_MOST = 16   # taps of all axes above which axes are resampled one after the other


def taps(table):
    return 1 if table[0] is None else table[0].shape[0]


def planar(device, x, down, across, y):
    """Taps in registers; x: (planes, D, H, W) whose depth stays as it is."""
    height, width, out_height, out_width = *x.shape[2:], *y.shape[2:]
    planes, places = x.shape[0] * x.shape[1], out_height * out_width
    wide = min(BLOCK, -(-places // 32) * 32)
    tall = BLOCK // wide
    columns = -(-places // wide)
    rows = min(-(-planes // tall), -(-16 * device.multiprocessors // columns), 65535)
    device.launch(FILE, f"resample_{taps(down)}_{taps(across)}", (columns, rows), (wide, tall),
                  (x, *down, *across, planes, height, width, out_height, out_width, magic(out_width), y))


def at_once(device, x, tables, y):
    if tables[0][0] is None and (taps(tables[1]), taps(tables[2])) in PREPARED and math.prod(
            x.shape[2:]) < 2**31 > math.prod(y.shape[2:]):
        return planar(device, x, tables[1], tables[2], y)
    inner = math.prod(y.shape[1:])
    step = max(1, PART_MOST // inner)
    for plane in range(0, y.shape[0], step):
        part = (min(step, y.shape[0] - plane), *y.shape[1:])
        total = math.prod(part)
        device.launch(FILE, "resample_any", blocks(device, total), (BLOCK,),
                      (x[plane:], *(a for t in tables for a in t), tuple(x.shape), part,
                       tuple(map(magic, part)), tuple(map(taps, tables)), total, y[plane:]))


def resample(device, x, index_d, weight_d, index_h, weight_h, index_w, weight_w, y):
    if y.size == 0:
        return
    tables = [(index_d, weight_d), (index_h, weight_h), (index_w, weight_w)]
    axes = [a for a in range(3) if tables[a][0] is not None]
    if len(axes) < 2 or math.prod(map(taps, tables)) <= TOGETHER_MOST:
        return at_once(device, x, tables, y)
    axes.sort(key=lambda a: y.shape[a + 1] / x.shape[a + 1])   # what shrinks most comes first
    for a in axes:
        shape = (*x.shape[:a + 1], y.shape[a + 1], *x.shape[a + 2:])
        result = y if a == axes[-1] else device.empty(shape)
        at_once(device, x, [t if i == a else (None, None) for i, t in enumerate(tables)], result)
        x = result
