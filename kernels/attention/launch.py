"""Grids of attention: tiles of queries, or of keys, of every head, times slabs of the result; of
few queries splits of the keys.

float16 and bfloat16 use tensor cores (tensor.cu), where the device has them and a head has no more
than 128 features and values.
"""
import math

import numpy as np

from ...cuda.arguments import ACC

__all__ = ["attention", "attention_backward"]

FORWARD, BACKWARD, DELTA = "attention/cuda.cu", "attention/backward.cu", "attention/delta.cu"
FEW = "attention/few.cu"
TENSOR, TENSOR_BACKWARD = "attention/tensor.cu", "attention/tensor_backward.cu"
THREADS = 256
KEYS, QUERIES = 128, 8   # of few.cu
HELD = 32 << 10          # bytes of queries that its blocks may hold
OLDEST_TENSOR = (8, 0)   # capability that tensor.cu requires
TENSOR_THREADS = 128
WIDTHS = (32, 64, 96, 128)   # HEAD, the features and values that tensor.cu's tiles hold


def tile(device):
    """Queries or keys of a block, as TILE in tiles.cuh."""
    return 32 if device.real == "f64" else 64


def slabs(width):
    """How many columns of the result a thread makes (a block 16 times that), and how many
    such slabs there are."""
    columns = 4 if width <= 64 else 8
    return columns, max(1, -(-width // (16 * columns)))


def attention(device, q, k, v, mask, lead, sizes, q_strides, k_strides, v_strides, mask_strides, y_strides,
              causal, scale, y, logsum):
    if not logsum.size:
        return
    queries, keys, features, values = sizes[:4]
    heads, inputs = math.prod(lead), (q, k, v, mask, lead, sizes, q_strides, k_strides, v_strides,
                                      mask_strides)
    held = queries * features * np.dtype(ACC[device.real]).itemsize
    if queries <= QUERIES and keys and held <= HELD:
        splits = -(-keys // KEYS)
        partial = device.empty((heads, splits, queries, values + 2), ACC[device.real])
        device.launch(FEW, "attention_few", (heads * splits,), (KEYS,),
                      (*inputs, causal, float(scale), partial, splits), shared=held)
        device.launch(FEW, "attention_join", (heads * queries,), (KEYS,),
                      (partial, lead, y_strides, queries, values, splits, y, logsum))
        return
    outputs = (y_strides, causal, float(scale), y, logsum)
    if head := width_for(device, features, values):
        large = heads * -(-queries // 128) >= device.multiprocessors
        rows = 128 if large else 64
        tiles = -(-queries // rows)
        device.launch(TENSOR, f"attention_tensor_{rows}", (heads * tiles,), (TENSOR_THREADS,),
                      (*inputs, *outputs, tiles), shared=(rows + 4 * span(head)) * pitch(device, head),
                      HEAD=head, MASKED=int(mask is not None or not scale > 0))
        return
    tiles, (columns, across) = -(-queries // tile(device)), slabs(values)
    device.launch(FORWARD, "attention_forward", (heads * tiles, across), (THREADS,),
                  (*inputs, *outputs, tiles), COLUMNS=columns)


def attention_backward(device, dy, q, k, v, mask, y, logsum, lead, sizes, q_strides, k_strides, v_strides,
                       mask_strides, causal, scale, dq, dk, dv):
    queries, keys, features, values = sizes[:4]
    heads = math.prod(lead)
    delta = device.empty((heads * queries,), ACC[device.real])
    device.launch(DELTA, "attention_delta", (-(-delta.size // 8),), (THREADS,),
                  (dy, y, delta, np.int64(delta.size), values))
    args = (dy, q, k, v, mask, logsum, delta, lead, sizes, q_strides, k_strides, v_strides, mask_strides,
            causal, float(scale))
    if head := width_for(device, features, values):
        rows, form = 64, {"HEAD": head, "MASKED": int(mask is not None)}
        shared = (2 * rows + 4 * span(head)) * pitch(device, head)
        tiles = -(-queries // rows)
        device.launch(TENSOR_BACKWARD, "attention_tensor_dq", (heads * tiles,), (TENSOR_THREADS,),
                      (*args, dq, tiles), shared=shared, **form)
        tiles, lines = -(-keys // rows), 4 * span(head) * np.dtype(np.float32).itemsize
        device.launch(TENSOR_BACKWARD, "attention_tensor_dkv", (heads * tiles,), (TENSOR_THREADS,),
                      (*args, dk, dv, tiles), shared=shared + lines, **form)
        return
    tiles, (columns, across) = -(-queries // tile(device)), slabs(features)
    device.launch(BACKWARD, "attention_dq", (heads * tiles, across), (THREADS,), (*args, dq, tiles),
                  COLUMNS=columns)
    tiles, (columns, across) = -(-keys // tile(device)), slabs(max(features, values))
    device.launch(BACKWARD, "attention_dkv", (heads * tiles, across), (THREADS,), (*args, dk, dv, tiles),
                  COLUMNS=columns)


# ---- tensor cores, as in tensor.cuh

def width_for(device, features, values):
    """HEAD for heads of this size; None if the ordinary kernels are to be used."""
    if device.real not in ("f16", "bf16") or device.capability < OLDEST_TENSOR:
        return None
    return next((width for width in WIDTHS if max(features, values) <= width), None)


def span(head):
    """Rows of a tile that is walked: SPAN."""
    return 32 if head > 64 else 64


def pitch(device, head):
    """Bytes from one row of a tile to the next."""
    return head * device.dtype.itemsize + 16
