"""Grids of layer_norm and rms_norm: a warp, a block or, twice over memory, a block a row."""
import numpy as np

from ...cuda.arguments import ACC

__all__ = ["layer_norm", "layer_norm_backward", "rms_norm", "rms_norm_backward"]

FORWARD, BACKWARD = "layer_norm/cuda.cu", "layer_norm/backward.cu"
WARP, WIDE_WARP = 8 * 32, 32 * 32   # longest rows that the forward kernels' warps hold
MOST = 512   # threads of a block that holds its row, as in backward.cu


def round_up(n, to):
    return -(-n // to) * to


def normalise(device, name, args, x, rows):
    cols = x.size // rows if rows else 0
    if not rows:
        return
    args = (*args, np.int64(rows), cols)
    held = 8 if device.real == "f64" else 16   # values a thread, as BLOCK_VALUES in cuda.cu
    if cols <= WIDE_WARP:
        device.launch(FORWARD, f"{name}_warp" if cols <= WARP else f"{name}_wide_warp", (-(-rows // 8),),
                      (32, 8), args)
    elif cols <= held * 1024:
        device.launch(FORWARD, f"{name}_block", (rows,), (round_up(-(-cols // held), 32),), args)
    else:
        device.launch(FORWARD, f"{name}_long", (rows,), (1024,), args)


def layer_norm(device, x, weight, bias, eps, y, mean, rstd):
    normalise(device, "layer_norm", (x, weight, bias, float(eps), y, mean, rstd), x, mean.size)


def rms_norm(device, x, weight, eps, y, rrms):
    normalise(device, "rms_norm", (x, weight, None, float(eps), y, None, rrms), x, rrms.size)


def gradient(device, name, dy, x, weight, mean, rstd, dx, dweight, dbias):
    rows, cols = rstd.size, dweight.size
    parts = 1 if dbias is None else 2
    if not rows or not cols:
        for d in (dweight, dbias)[:parts]:
            d.fill(0)
        return
    held = 4 if device.real == "f64" else 8   # values a thread, as VALUES in backward.cu
    if cols <= 2 * held * MOST:
        wide = cols > held * MOST
        threads = round_up(-(-cols // (2 * held if wide else held)), 32)
        several = 8 if threads == 32 else 1
        pieces = min(-(-rows // several), device.multiprocessors * max(1, 1024 // (threads * several)))
        partial = device.empty((pieces, parts, cols), ACC[device.real])
        device.launch(BACKWARD, f"{name}_wide_rows" if wide else f"{name}_rows", (pieces,),
                      (threads, several), (dy, x, weight, mean, rstd, dx, partial, np.int64(rows), cols))
    else:
        device.launch(BACKWARD, f"{name}_long", (rows,), (1024,), (dy, x, weight, mean, rstd, dx, cols))
        blocks = -(-cols // 32)
        span = -(-rows // max(1, min(rows // 64, 8 * device.multiprocessors // blocks)))
        pieces = -(-rows // span)
        partial = device.empty((pieces, parts, cols), ACC[device.real])
        device.launch(BACKWARD, f"{name}_sums", (blocks, pieces), (32, 8),
                      (dy, x, mean, rstd, np.int64(rows), cols, np.int64(span), partial))
    device.launch(BACKWARD, "add_pieces", (-(-parts * cols // 32),), (32, 8),
                  (partial, pieces, parts * cols, cols, dweight, dbias))


def layer_norm_backward(device, dy, x, weight, mean, rstd, dx, dweight, dbias):
    gradient(device, "layer_norm_backward", dy, x, weight, mean, rstd, dx, dweight, dbias)


def rms_norm_backward(device, dy, x, weight, rrms, dx, dweight):
    gradient(device, "rms_norm_backward", dy, x, weight, None, rrms, dx, dweight, None)
