"""Grids of the losses: every block leaves its sums, one block adds them up."""
import math

import numpy as np

__all__ = ["cross_entropy", "cross_entropy_backward", "cross_entropy_target_backward", "nll_loss",
           "nll_loss_backward", "pointwise_loss", "pointwise_loss_backward"]

CLASSES, POINTWISE = "loss/classes.cu", "loss/pointwise.cu"
THREADS = 256
WARP_MOST = 2048   # classes that one warp takes
CHUNK = 4096       # elements that one block of a pointwise loss takes
EACH, SUM, MEAN = 0, 1, 2
BY_WEIGHT = -1.0
# in the order of FORMULAS in reference.py
FORMULAS = ("L1", "Mse", "SmoothL1", "Huber", "Bce", "BceWithLogits", "KlDiv", "KlDivLog", "Focal",
            "PoissonLog", "Poisson", "Gaussian", "SoftMargin", "HingeEmbedding", "MarginRanking")


def layout(shape):
    """Positions, classes, and how many positions lie between two classes of one."""
    outer, classes = (1, shape[0]) if len(shape) == 1 else shape[:2]
    inner = math.prod(shape[2:])
    return outer * inner, classes, inner


def lanes_of(classes, inner):
    """Threads that share a position."""
    return 1 if inner > 1 else 32 if classes <= WARP_MOST else THREADS


def sums(device, blocks):
    return device.empty((2 * blocks,), "float64" if device.real == "f64" else "float32")


def smoothing_of(smoothing, classes):
    return 1.0 - smoothing, smoothing / classes


def cross_entropy(device, x, index, probabilities, weight, ignore, smoothing, reduction, y, divisor, peak,
                  logsum, mass):
    positions, classes, inner = layout(x.shape)
    lanes = lanes_of(classes, inner)
    blocks = -(-positions * lanes // THREADS)
    partial = sums(device, blocks)
    each = y if reduction == EACH else None
    device.launch(CLASSES, "cross_entropy_along" if inner == 1 else "cross_entropy_across", (blocks,),
                  (THREADS,),
                  (x, index, probabilities, weight, np.int64(ignore), *smoothing_of(smoothing, classes),
                   positions, classes, lanes if inner == 1 else inner, each, peak, logsum, mass, partial))
    finish(device, partial, blocks, BY_WEIGHT if reduction == MEAN else 1.0, y, each, divisor)


def finish(device, partial, blocks, count, y, each, divisor):
    device.launch(CLASSES, "finish", (1,), (THREADS,),
                  (partial, blocks, float(count), None if each is not None else y, divisor))


def nll_loss(device, x, index, weight, ignore, reduction, y, divisor):
    positions, classes, inner = layout(x.shape)
    blocks = -(-positions // THREADS)
    partial = sums(device, blocks)
    each = y if reduction == EACH else None
    device.launch(CLASSES, "nll_loss", (blocks,), (THREADS,),
                  (x, index, weight, np.int64(ignore), positions, classes, max(inner, 1), each, partial))
    finish(device, partial, blocks, BY_WEIGHT if reduction == MEAN else 1.0, y, each, divisor)


def slopes(device, kernel, g, args, dx):
    """args: those between `each` and the sizes."""
    if dx.size == 0:
        return
    positions, classes, inner = layout(dx.shape)
    lanes = lanes_of(classes, inner)
    each = g.ndim > 0 or positions == 1
    device.launch(CLASSES, kernel, (-(-positions * lanes // THREADS),), (THREADS,),
                  (g, each, *args, positions, classes, inner, lanes, dx))


def cross_entropy_backward(device, g, x, index, probabilities, weight, divisor, peak, logsum, mass, ignore,
                           smoothing, dx):
    classes = layout(x.shape)[1]
    slopes(device, "cross_entropy_backward", g, (x, index, probabilities, weight, divisor, peak, logsum, mass,
                                                 np.int64(ignore), *smoothing_of(smoothing, classes)),
           dx)


def cross_entropy_target_backward(device, g, x, weight, divisor, peak, logsum, smoothing, dt):
    slopes(device, "cross_entropy_target_backward", g, (x, weight, divisor, peak, logsum, 1.0 - smoothing),
           dt)


def nll_loss_backward(device, g, index, weight, divisor, ignore, dx):
    slopes(device, "nll_loss_backward", g, (index, weight, divisor, np.int64(ignore)), dx)


def pointwise_loss(device, x, t, v, weight, formula, p, q, each, count, y, divisor):
    blocks = -(-x.size // CHUNK)
    partial = None if each else sums(device, blocks)
    device.launch(POINTWISE, "pointwise_loss", (blocks,), (THREADS,),
                  (x, t, v, weight, float(p), float(q), np.int64(x.size), y if each else None, partial),
                  FORMULA=FORMULAS[formula])
    finish(device, partial, 0 if each else blocks, count, y, y if each else None, divisor)


def pointwise_loss_backward(device, g, x, t, v, weight, divisor, formula, p, q, of, dx):
    if dx.size:
        grid = min(-(-dx.size // THREADS), 32 * device.multiprocessors)
        device.launch(POINTWISE, "pointwise_loss_backward", (grid,), (THREADS,),
                      (g, g.size == x.size, x, t, v, weight, divisor, float(p), float(q), of,
                       np.int64(x.size), dx),
                      FORMULA=FORMULAS[formula])
