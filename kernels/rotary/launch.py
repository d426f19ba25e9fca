"""The grid of rotary embeddings: a thread a pair."""
import math

import numpy as np

from ..elementwise.launch import BLOCK, blocks

__all__ = ["rotary"]


def rotary(device, x, cos, sin, lead, strides, table, features, pairs, interleaved, back, y):
    rows = math.prod(lead)
    if rows * features:
        device.launch("rotary/cuda.cu", "rotary", blocks(device, rows * (features - pairs)), (BLOCK,),
                      (x, cos, sin, lead, strides, table, np.int64(rows), features, pairs, int(interleaved), int(back),
                       y))
