"""embedding and its gradient in Numba CUDA; definitions in reference.py. Device arrays in and out,
float32 or float64, indices int64.

The gradient is a gather: a thread a value of dweight walks all positions and adds those of its row
in order, so that it has the same bits in every run. For vocabularies far larger than the text the
C++ kernel (cuda.cu) does less work.
"""
import numpy as np
from numba import cuda

THREADS = 128


@cuda.jit
def embedding_kernel(index, weight, y):
    """An index outside the table gives a row of NaN: nothing outside is read, and
    nobody waits to be told."""
    at = cuda.grid(1)
    if at < y.shape[0] * y.shape[1]:
        position, column = at // y.shape[1], at % y.shape[1]
        row = index[position]
        if 0 <= row < weight.shape[0]:
            y[position, column] = weight[row, column]
        else:
            y[position, column] = np.nan


@cuda.jit
def embedding_backward_kernel(g, index, padding, by_frequency, dweight):
    at = cuda.grid(1)
    if at < dweight.shape[0] * dweight.shape[1]:
        row, column = at // dweight.shape[1], at % dweight.shape[1]
        total = dweight[row, column] * 0
        count = 0
        if row != padding:
            for position in range(index.shape[0]):
                if index[position] == row:
                    total += g[position, column]
                    count += 1
        dweight[row, column] = total / count if by_frequency and count > 0 else total


def embedding(index, weight):
    """(positions, features) rows of weight (rows, features) at index (positions,)."""
    if index.ndim != 1 or weight.ndim != 2:
        raise ValueError(f"embedding: index must have one axis and weight two, got {tuple(index.shape)} and "
                         f"{tuple(weight.shape)}")
    y = cuda.device_array((index.shape[0], weight.shape[1]), weight.dtype)
    if y.size:
        embedding_kernel[-(-y.size // THREADS), THREADS](index, weight, y)
    return y


def embedding_backward(g, index, rows, padding=-1, by_frequency=False):
    """(rows, features) sums of g (positions, features) over the positions of each row; see
    reference.embedding_backward."""
    if g.ndim != 2 or tuple(index.shape) != (g.shape[0],):
        raise ValueError(f"embedding_backward: g {tuple(g.shape)} and index {tuple(index.shape)} must be "
                         "(positions, features), (positions,)")
    dweight = cuda.to_device(np.zeros((rows, g.shape[1]), g.dtype))
    if dweight.size:
        embedding_backward_kernel[-(-dweight.size // THREADS), THREADS](g, index, padding, by_frequency,
                                                                        dweight)
    return dweight


def signatures(real):
    """(kernel, types) of every launch with `real`: what CI compiles to PTX."""
    rows = f"{real}[:,::1]"
    return [(embedding_kernel, ("int64[::1]", rows, rows)),
            (embedding_backward_kernel, (rows, "int64[::1]", "int64", "boolean", rows))]
