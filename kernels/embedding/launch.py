"""Grids of embedding and its gradient."""
import numpy as np

from ..reduction.launch import acc, join

__all__ = ["embedding", "embedding_backward"]

FILE = "embedding/cuda.cu"
THREADS = 256
STRIP = 128            # columns of a block
TILE = 64              # rows of a block where there are many
CHUNK_LEAST = 8192     # positions worth a chunk of their own


def over(device, n):
    """Blocks of a loop over n elements."""
    return (min(-(-n // THREADS), 32 * device.multiprocessors),)


def embedding(device, index, weight, y, bad):
    bad.fill(-1)
    rows, width = weight.shape
    if y.size == 0:
        if index.size:
            device.launch(FILE, "embedding_check", over(device, index.size), (THREADS,),
                          (index, np.int64(index.size), rows, bad))
        return
    lanes = 16 // y.dtype.itemsize
    packed = width % lanes == 0
    total = y.size // lanes if packed else y.size
    device.launch(FILE, "embedding", over(device, total), (THREADS,),
                  (index, weight, np.int64(total), rows, width, packed, y, bad))


def embedding_backward(device, g, index, padding, by_frequency, dweight):
    if dweight.size == 0:
        return
    n, (rows, width) = index.size, dweight.shape
    if n == 0:
        return dweight.fill(0)
    tile = TILE if rows >= TILE * device.multiprocessors else 8
    tiles, strips = -(-rows // tile), -(-width // STRIP)
    # so that their results have an eighth of g's size at most
    chunks = max(1, n // max(8 * rows, CHUNK_LEAST))
    chunk = -(-n // chunks)
    if chunks == 1:
        device.launch(FILE, "embedding_backward", (tiles, strips), (THREADS,),
                      (g, index, np.int64(n), np.int64(chunk), 1, rows, tile, width, np.int64(padding),
                       dweight))
    else:
        partial = device.empty((chunks * dweight.size,), acc(device))
        device.launch(FILE, "embedding_backward_chunks", (tiles * chunks, strips), (THREADS,),
                      (g, index, np.int64(n), np.int64(chunk), chunks, rows, tile, width, np.int64(padding),
                       partial))
        join(device, "Total", partial, None, dweight, chunks, 1, dweight.size, 1.0)
    if by_frequency:
        count = device.zeros((rows,), "int32")
        device.launch(FILE, "embedding_count", over(device, n), (THREADS,), (index, np.int64(n), rows, count))
        device.launch(FILE, "embedding_by_frequency", over(device, dweight.size), (THREADS,),
                      (count, np.int64(dweight.size), width, dweight))
