"""max_unpool in Numba CUDA; definition in reference.py. Device arrays in and out, float32 or
float64, indices int64."""
import numpy as np
from numba import cuda

THREADS = 128


@cuda.jit
def max_unpool_kernel(x, indices, y):
    """A thread a place of y (planes, places) looks for the last value that is meant for it: no two
    threads write one place."""
    at = cuda.grid(1)
    if at < y.shape[0] * y.shape[1]:
        plane, place = at // y.shape[1], at % y.shape[1]
        value = x[0, 0] * 0
        for i in range(x.shape[1]):
            if indices[plane, i] == place:
                value = x[plane, i]
        y[plane, place] = value


@cuda.jit
def unpool_scatter_kernel(x, indices, y):
    """A thread a value of x: for indices that name no place twice, as max_pool with stride >=
    window makes them. y holds zeros."""
    at = cuda.grid(1)
    if at < x.shape[0] * x.shape[1]:
        plane, i = at // x.shape[1], at % x.shape[1]
        place = indices[plane, i]
        if 0 <= place < y.shape[1]:
            y[plane, place] = x[plane, i]


def max_unpool(x, indices, places, distinct=False):
    """(planes, places) zeros with x (planes, n) at indices; of equal ones the last stays. distinct:
    there are no equal ones, which is faster."""
    if x.ndim != 2 or tuple(indices.shape) != tuple(x.shape):
        raise ValueError(
            f"max_unpool: x and indices must be (planes, n), got {tuple(x.shape)} and {tuple(indices.shape)}")
    y = cuda.to_device(np.zeros((x.shape[0], places), x.dtype))
    if x.size and y.size:
        kernel, n = (unpool_scatter_kernel, x.size) if distinct else (max_unpool_kernel, y.size)
        kernel[-(-n // THREADS), THREADS](x, indices, y)
    return y


def signatures(real):
    """(kernel, types) of every launch with `real`: what CI compiles to PTX."""
    planes = f"{real}[:,::1]"
    return [(kernel, (planes, "int64[:,::1]", planes))
            for kernel in (max_unpool_kernel, unpool_scatter_kernel)]
