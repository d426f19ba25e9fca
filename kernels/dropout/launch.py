"""Grids of the dropout kernels."""
import numpy as np

from ..elementwise.launch import BLOCK, blocks, lanes, magic, tiles

__all__ = ["dropout"]

FILE = "dropout/cuda.cu"
COUNTERS, NUMBERS = 16, 64   # as in cuda.cu


def dropout(device, x, seed, threshold, shared, scale, shift, fill, y):
    n = x.size
    if n == 0:
        return
    rule = (np.int64(seed), np.int64(threshold), float(scale), float(shift), float(fill))
    if shared == 1:
        counters = -(-n // NUMBERS) * COUNTERS
        device.launch(FILE, "dropout_values", blocks(device, counters), (BLOCK,), (x, *rule, y, np.int64(n)))
        return
    x, y = x.reshape(-1), y.reshape(-1)
    for run, runs, column, wide in tiles(n // shared, shared):
        whole, at = lanes(device) if wide % lanes(device) == 0 else 1, run * shared + column
        units, per_run = runs * wide // whole, wide // whole
        device.launch(FILE, "dropout_run_packs" if whole > 1 else "dropout_run_values", blocks(device, units),
                      (BLOCK,), (x[at:], *rule, np.int64(run), units, per_run, magic(per_run), y[at:]))
