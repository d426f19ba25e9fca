"""Grids of the batch_norm kernels, which group_norm uses too: statistics of lines by pieces, the
pieces joined, every value once."""
import math

import numpy as np

from ...cuda.arguments import ACC

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_training", "move_towards"]

FILE, IN_BLOCK = "batch_norm/cuda.cu", "batch_norm/block.cu"
BLOCK = 256
PER_THREAD = 4        # packets, as PACKETS in lines.cuh
LEAST_PIECE = 4096    # values that are worth a block of their own
SHORT = 1024          # longest line that a warp takes


def sizes_of(x):
    """Samples, channels and values of a channel of a sample."""
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def scratch(device, *shape):
    return device.empty(shape, ACC[device.real])


def for_values(device, kernel, args, x, per_group=0):
    """One of the kernels that touch every value once."""
    _, channels, run = sizes_of(x)
    span = BLOCK * PER_THREAD * (16 // x.itemsize)
    device.launch(FILE, kernel, (-(-x.size // span),), (BLOCK,),
                  (*args, np.int64(x.size), run, channels, per_group))


def cut(values, most):
    """Pieces, at most `most`, and the values of one: whole packets for a block."""
    pieces = max(1, min(most, values // LEAST_PIECE))
    span = -(-values // pieces // 2048) * 2048 if pieces > 1 else max(values, 1)
    return -(-values // span), span


def over_lines(device, kernel, args, lines, samples, run, parts, most):
    """Launches a kernel over pieces of lines. Returns its partial results, pieces, and their
    distances across and along."""
    pieces, span = cut(samples * run, most)
    partial = scratch(device, lines, pieces, parts)
    rows = 8 if samples * run <= SHORT else 1
    device.launch(FILE, kernel, (-(-lines * pieces // rows),), (BLOCK // rows, rows),
                  (*args, np.int64(lines), samples, run, pieces, span, partial))
    return partial, np.int64(lines), pieces, np.int64(1), np.int64(pieces)


def over_columns(device, kernel, args, samples, channels, parts):
    blocks = -(-channels // 32)
    pieces = max(1, min(8 * device.multiprocessors // blocks, samples // 128))
    span = -(-samples // pieces)
    pieces = -(-samples // span)
    partial = scratch(device, pieces, channels, parts)
    device.launch(FILE, kernel, (blocks, pieces), (32, 8),
                  (*args, np.int64(channels), samples, span, partial))
    return partial, np.int64(channels), pieces, np.int64(channels), np.int64(1)


def per_channel(device, which, args, x, parts):
    """Partial moments or gradient sums of every channel."""
    samples, channels, run = sizes_of(x)
    if run == 1:
        return over_columns(device, f"column_{which}", args, samples, channels, parts)
    line = (1,) if which == "gradients" else ()   # a mean a line
    return over_lines(device, f"line_{which}", (*args, *line), channels, samples, run, parts,
                      max(1, 8 * device.multiprocessors // channels))


def threads_to_hold(device, x, held):
    """Threads of a block that holds a channel, `held` values a thread (half as many doubles); 0
    where pieces are better."""
    samples, channels, run = sizes_of(x)
    threads = -(-samples * run // (32 * held // (2 if device.real == "f64" else 1))) * 32
    return threads if run > 1 and threads <= 1024 and 4 * channels >= 3 * device.multiprocessors else 0


def join_moments(device, partial, mean, var):
    """mean and var of every line."""
    device.launch(FILE, "join_moments", (-(-mean.size // 8),), (BLOCK,), (*partial, mean, var))


def batch_norm(device, x, mean, var, weight, bias, eps, y):
    if x.size:
        for_values(device, "batch_norm_apply", (x, mean, var, weight, bias, float(eps), y), x)


def batch_norm_training(device, x, weight, bias, eps, y, mean, var):
    if not x.size:
        return
    if threads := threads_to_hold(device, x, 16):
        samples, channels, run = sizes_of(x)
        device.launch(IN_BLOCK, "batch_norm_block", (channels,), (threads,),
                      (x, weight, bias, float(eps), y, mean, var, samples, run))
        return
    join_moments(device, per_channel(device, "moments", (x,), x, 3), mean, var)
    for_values(device, "batch_norm_apply_made", (x, mean, var, weight, bias, float(eps), y), x)


def batch_norm_backward(device, dy, x, weight, mean, var, eps, training, dx, dweight, dbias):
    if not x.size:
        dweight.fill(0)
        dbias.fill(0)
        return
    samples, channels, run = sizes_of(x)
    share = channels / x.size if training else 0.0
    if threads := threads_to_hold(device, x, 8):
        device.launch(IN_BLOCK, "batch_norm_backward_block", (channels,), (threads,),
                      (dy, x, weight, mean, var, float(eps), share, dx, dweight, dbias, samples, run))
        return
    coefficients = scratch(device, channels, 2)
    partial = per_channel(device, "gradients", (dy, x, mean), x, 2)
    device.launch(FILE, "join_gradients", (-(-channels // 8),), (BLOCK,),
                  (*partial, var, weight, float(eps), share, dweight, dbias, coefficients))
    for_values(device, "batch_norm_gradient", (dy, x, weight, mean, var, coefficients, float(eps), dx), x)


def move_towards(device, batch, keep, take, running):
    if running.size:
        device.launch(FILE, "move_towards_all", (-(-running.size // BLOCK),), (BLOCK,),
                      (batch, float(keep), float(take), running, np.int64(running.size)))
