"""Grids of pixel_shuffle and pixel_unshuffle."""
from ..elementwise.launch import BLOCK, PART_MOST, blocks, magic

__all__ = ["pixel_shuffle", "pixel_unshuffle"]

FILE = "pixel_shuffle/cuda.cu"


def move(device, kernel, x, r, planes, height, width, y):
    """height and width are those of the small image, of which a plane holds r r channels."""
    size = r * r * height * width
    if planes * size == 0:
        return
    together = r if r in (2, 4) else 1
    x, y, step = x.reshape(-1), y.reshape(-1), max(1, PART_MOST // size)
    for plane in range(0, planes, step):
        sizes = (min(step, planes - plane), height, r, width, r // together)
        units = sizes[0] * size // together
        device.launch(FILE, f"{kernel}_{together}", blocks(device, units), (BLOCK,),
                      (x[plane * size:], sizes, tuple(map(magic, sizes)), units, y[plane * size:]))


def pixel_shuffle(device, x, factor, y):
    move(device, "pixel_shuffle", x, factor, y.shape[0] * y.shape[1], x.shape[2], x.shape[3], y)


def pixel_unshuffle(device, x, factor, y):
    move(device, "pixel_unshuffle", x, factor, x.shape[0] * x.shape[1], y.shape[2], y.shape[3], y)
