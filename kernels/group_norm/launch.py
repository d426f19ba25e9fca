"""Grids of group_norm: groups in registers, longer ones as lines of batch_norm's kernels."""
import math

import numpy as np

from ..batch_norm.launch import for_values, join_moments, over_lines, scratch

__all__ = ["group_norm", "group_norm_backward"]

FILE = "group_norm/cuda.cu"
WARP = 8 * 32       # longest group that a warp holds
# of a long line, at most: the number depends on the line alone, so that results do
# not depend on the batch
PIECES = 64


def group_norm(device, x, weight, bias, groups, eps, y, mean, var):
    if not x.size:
        return
    samples, channels, run = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    count, per_group = samples * groups, channels // groups
    values, held = per_group * run, 8 if device.real == "f64" else 16   # held: BLOCK_VALUES in cuda.cu
    args = (x, weight, bias, float(eps), y, mean, var, np.int64(count), groups, per_group, run)
    if values <= WARP:
        device.launch(FILE, "group_norm_warp", (-(-count // 8),), (32, 8), args)
    elif values <= held * 1024:
        device.launch(FILE, "group_norm_block", (count,), (-(-values // (32 * held)) * 32,), args)
    else:
        join_moments(device, over_lines(device, "line_moments", (x,), count, 1, values, 3, PIECES), mean, var)
        for_values(device, "batch_norm_apply_made", (x, mean, var, weight, bias, float(eps), y), x, per_group)


def group_norm_backward(device, dy, x, weight, mean, var, groups, eps, dx, dweight, dbias):
    if not x.size:
        dweight.fill(0)
        dbias.fill(0)
        return
    samples, channels, run = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    count, per_group = samples * groups, channels // groups
    partial, _, pieces, *_ = over_lines(device, "line_gradients", (dy, x, mean, per_group),
                                        samples * channels, 1, run, 2, PIECES)
    sums, coefficients = scratch(device, samples, channels, 2), scratch(device, count, 2)
    device.launch(FILE, "group_gradients", (-(-count // 8),), (256,),
                  (partial, pieces, var, weight, float(eps), np.int64(count), groups, per_group, run, sums,
                   coefficients))
    for_values(device, "batch_norm_gradient", (dy, x, weight, mean, var, coefficients, float(eps), dx), x,
               per_group)
    device.launch(FILE, "parameter_gradients", (-(-channels // 32),), (32, 8),
                  (sums, samples, channels, dweight, dbias))
