"""When and how a convolution of 16-bit arrays whose channels lie last goes to hopper.cu. No device
has run it yet, so it waits for PYOPS_HOPPER=1."""
import itertools
from typing import NamedTuple

from ...cuda.tensor_map import LARGEST_SHIFT, boxable, mappable
from ..gemm.hopper import DEEP, PATTERN, ROWS, THREADS, asked_for, has_wgmma
from ..grid import address, ceil_div

FILE = "convolution/hopper.cu"
STAGES = {64: 4, 128: 6, 256: 4}   # by the tile's columns; of the narrowest two blocks fit a multiprocessor


class Line(NamedTuple):
    """hopper.cu's Line and Taps: where the outputs of one axis lie and read, and which taps of
    the filter take part."""
    base: int
    move: int
    step: int
    taps: int
    grid: int
    at: int
    apart: int
    size: int
    chosen: tuple[int, int, int, int]   # first, every, count, whole

    def corners(self, inputs):
        """Of the bounding box of first taps: from the first position on, and to the last one as
        seen from the input's last."""
        return self.base, self.base + (self.grid - 1) * self.move - (inputs - 1)


def forward_line(axis):
    kernel, stride, padding, dilation, _, outputs, *_ = axis
    return Line(-padding, stride, dilation, kernel, outputs, 0, 1, outputs, (0, 1, kernel, kernel))


def phase_line(axis, phase):
    """Outputs phase, phase + stride, ... of a transposed convolution, whose taps meet inputs in
    falling order: they go from the last one on."""
    kernel, stride, padding, dilation, _, outputs, every, fall = axis
    reach = phase + padding
    first = next((j for j in range(min(every, kernel)) if (reach - j * dilation) % stride == 0), kernel)
    taps = ceil_div(kernel - first, every)
    base = (reach - first * dilation) // stride - (taps - 1) * fall if taps else 0
    return Line(base, 1, fall, taps, max(0, ceil_div(outputs - phase, stride)), phase, stride, outputs,
                (first + (taps - 1) * every, -every, taps, kernel))


def lines(axes, transposed):
    """(along H, along W) of every product that the result is made of."""
    if not transposed:
        return [(forward_line(axes[1]), forward_line(axes[2]))]
    every = (tuple(phase_line(a, phase) for phase in range(a[1])) for a in axes[1:])
    return [pair for pair in itertools.product(*every) if pair[0].grid and pair[1].grid]


def serves(device, x, y, axes, sizes, transposed):
    """Whether this convolution can and should be hopper.cu's. x, y: (N, ..., C); axes,
    sizes: launch.py's."""
    if not (asked_for() and takes(device, x, axes, sizes, transposed)):
        return False
    channels, filters, groups = sizes
    tiles = sum(ceil_div(x.shape[0] * h.grid * w.grid, ROWS)
                for h, w in lines(axes, transposed)) * ceil_div(filters, 128) * groups
    return y.size > 0 and 2 * tiles >= device.multiprocessors


def takes(device, x, axes, sizes, transposed):
    d, h, w = axes
    channels, _, groups = sizes
    flat = d[0] == d[4] == d[5] == 1 and d[2] == 0
    if not (has_wgmma(device) and flat and mappable(x) and (groups == 1 or channels % DEEP == 0)):
        return False
    return all(boxable((h[4], w[4]), *zip(a.corners(h[4]), b.corners(w[4])), (a.move, b.move))
               and all((line.taps - 1) * line.step <= LARGEST_SHIFT for line in (a, b))
               for a, b in lines(axes, transposed))


def conv_hopper(device, x, weight, bias, axes, sizes, apart, y, transposed):
    """A convolution, or a transposed one, that takes() accepts; apart: from a group's, a filter's,
    a channel's weights to the next's."""
    images = x.reshape(x.shape[0], axes[1][4], axes[2][4], x.shape[-1])
    for h, w in lines(axes, transposed):
        part(device, images, weight, bias, h, w, sizes, apart, y)


def part(device, x, weight, bias, h, w, sizes, apart, y):
    channels, filters, groups = sizes
    deep, pixels = ceil_div(channels, DEEP), x.shape[0] * h.grid * w.grid
    rows = ceil_div(pixels, ROWS) * groups
    columns = (64 if filters <= 64
               else 256 if filters > 128 and rows * ceil_div(filters, 256) >= device.multiprocessors else 128)
    packed = device.empty((groups, filters, max(1, h.taps * w.taps) * deep * DEEP))
    shape = (groups, filters, channels, deep)
    if h.taps and w.taps:
        device.launch(FILE, "hopper_weights", (min(ceil_div(packed.size, 256), 16 * device.multiprocessors),),
                      (256,), (weight, packed, shape, apart, h.chosen, w.chosen))
    lower, upper = zip(h.corners(x.shape[1]), w.corners(x.shape[2]))
    maps = (device.im2col_map(x, lower, upper, (h.move, w.move), ROWS, DEEP),
            device.tensor_map(packed, (columns, DEEP)))
    pairs = int(filters % 2 == 0 and address(y) % (2 * y.dtype.itemsize) == 0)
    device.launch(FILE, f"conv_hopper_{ROWS}x{columns}", (rows * ceil_div(filters, columns),), (THREADS,),
                  (*maps, bias, y, (*shape, pixels, pairs), tuple(h[:8]), tuple(w[:8])),
                  shared=STAGES[columns] * (ROWS + columns) * DEEP * 2 + PATTERN)
