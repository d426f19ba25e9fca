"""Grids of LeNet-5's distances and loss."""
from ..reduction.launch import acc, join

__all__ = ["lenet5_loss", "lenet5_loss_backward", "squared_euclidean", "squared_euclidean_backward"]

FILE = "rbf/cuda.cu"
THREADS = 256
SIDE = 16           # of a tile of distances
CENTRE_CHUNK = 256  # centres that one thread of the gradient adds up


def squared_euclidean(device, x, w, y):
    (samples, width), centres = x.shape, w.shape[0]
    if y.size:
        rows, tiles = -(-samples // SIDE), -(-centres // SIDE)
        device.launch(FILE, "squared_euclidean", (rows * tiles,), (SIDE, SIDE),
                      (x, w, samples, centres, width, tiles, y))


def squared_euclidean_backward(device, g, x, w, dx):
    if dx.size == 0:
        return
    centres, width = w.shape
    chunks = max(1, -(-centres // CENTRE_CHUNK))
    partial = device.empty((chunks * dx.size,), acc(device)) if chunks > 1 else None
    grid = min(-(-dx.size // THREADS), 32 * device.multiprocessors)
    device.launch(FILE, "squared_euclidean_backward", (grid, chunks), (THREADS,),
                  (g, x, w, dx.size, centres, width, CENTRE_CHUNK, dx, partial))
    if chunks > 1:
        join(device, "Total", partial, None, dx, chunks, 1, dx.size, 2.0)


def lenet5_loss(device, y, index, j, each, count, loss, divisor):
    rows, classes = y.shape
    blocks = -(-rows // 8)
    partial = device.empty((2 * blocks,), acc(device))
    device.launch(FILE, "lenet5_loss", (blocks,), (THREADS,),
                  (y, index, float(j), rows, classes, loss if each else None, partial))
    device.launch(FILE, "finish", (1,), (THREADS,),
                  (partial, blocks, float(count), None if each else loss, divisor))


def lenet5_loss_backward(device, g, y, index, divisor, j, dy):
    if dy.size:
        rows, classes = y.shape
        device.launch(FILE, "lenet5_loss_backward", (-(-rows // 8),), (THREADS,),
                      (g, g.ndim > 0, y, index, divisor, float(j), rows, classes, dy))
