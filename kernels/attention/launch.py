"""Grids of attention: tiles of queries, or of keys, of every head, times slabs of the result; of few queries splits of the keys."""
import math

import numpy as np

from ...cuda.arguments import ACC

__all__ = ["attention", "attention_backward"]

FORWARD, BACKWARD = "attention/cuda.cu", "attention/backward.cu"
FEW = "attention/few.cu"
THREADS = 256
KEYS, QUERIES = 128, 8   # of few.cu
HELD = 32 << 10          # bytes of queries that its blocks may hold


def tile(device):
    """Queries or keys of a block, as TILE in tiles.cuh."""
    return 32 if device.real == "f64" else 64


def slabs(width):
    """How many columns of the result a thread makes (a block 16 times that), and how many such slabs there are."""
    columns = 4 if width <= 64 else 8
    return columns, max(1, -(-width // (16 * columns)))


def attention(device, q, k, v, mask, lead, sizes, q_strides, k_strides, v_strides, mask_strides, y_strides, causal, scale, y, logsum):
    if not logsum.size:
        return
    queries, keys, features, values = sizes[:4]
    held = queries * features * np.dtype(ACC[device.real]).itemsize
    if queries <= QUERIES and keys and held <= HELD:
        splits, heads = -(-keys // KEYS), math.prod(lead)
        partial = device.empty((heads, splits, queries, values + 2), ACC[device.real])
        device.launch(FEW, "attention_few", (heads * splits,), (KEYS,),
                      (q, k, v, mask, lead, sizes, q_strides, k_strides, v_strides, mask_strides, causal, float(scale), partial, splits),
                      shared=held)
        device.launch(FEW, "attention_join", (heads * queries,), (KEYS,), (partial, lead, y_strides, queries, values, splits, y, logsum))
        return
    tiles, (columns, across) = -(-queries // tile(device)), slabs(values)
    device.launch(FORWARD, "attention_forward", (math.prod(lead) * tiles, across), (THREADS,),
                  (q, k, v, mask, lead, sizes, q_strides, k_strides, v_strides, mask_strides, y_strides, causal, float(scale), y, logsum,
                   tiles), COLUMNS=columns)


def attention_backward(device, dy, q, k, v, mask, y, logsum, lead, sizes, q_strides, k_strides, v_strides, mask_strides, causal, scale,
                       dq, dk, dv):
    queries, keys, features, values = sizes[:4]
    heads = math.prod(lead)
    delta = device.empty((heads * queries,), ACC[device.real])
    device.launch(BACKWARD, "attention_delta", (-(-delta.size // 8),), (THREADS,), (dy, y, delta, np.int64(delta.size), values))
    args = (dy, q, k, v, mask, logsum, delta, lead, sizes, q_strides, k_strides, v_strides, mask_strides, causal, float(scale))
    tiles, (columns, across) = -(-queries // tile(device)), slabs(features)
    device.launch(BACKWARD, "attention_dq", (heads * tiles, across), (THREADS,), (*args, dq, tiles), COLUMNS=columns)
    tiles, (columns, across) = -(-keys // tile(device)), slabs(max(features, values))
    device.launch(BACKWARD, "attention_dkv", (heads * tiles, across), (THREADS,), (*args, dk, dv, tiles), COLUMNS=columns)
