"""Grids of attention: tiles of queries, or of keys, of every head, times slabs of the result; of
few queries splits of the keys.

float16 and bfloat16 use tensor cores (tensor.cu), where the device has them and a head has no more
than 128 features and values.
"""
import math

import numpy as np

from ...cuda.arguments import ACC

__all__ = ["attention", "attention_backward", "attention_dropped", "attention_dropped_backward", "attention_stored",
           "attention_within", "attention_within_backward"]

FORWARD, BACKWARD, DELTA = "attention/cuda.cu", "attention/backward.cu", "attention/delta.cu"
FEW, FEW_WITHIN = "attention/few.cu", "attention/few_within.cu"
WITHIN, WITHIN_BACKWARD = "attention/within.cu", "attention/within_backward.cu"
DROPPED, DROPPED_BACKWARD = "attention/dropped.cu", "attention/dropped_backward.cu"
TENSOR, TENSOR_BACKWARD = "attention/tensor.cu", "attention/tensor_backward.cu"
THREADS = 256
KEYS, QUERIES = 128, 8   # of few.cu
SLAB = 64                # columns of a block of within.cu and dropped.cu
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
    if are_few(device, sizes):
        return few(device, FEW, "attention_few", (*inputs, causal, float(scale)), lead, sizes, y_strides, y, logsum)
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


def are_few(device, sizes):
    """Whether few.cuh's kernels take these queries: of less than a tile, beside any keys."""
    queries, keys, features = sizes[:3]
    return queries <= QUERIES and keys and held(device, sizes) <= HELD


def held(device, sizes):
    """Bytes of the queries, in shared memory."""
    return sizes[0] * sizes[2] * np.dtype(ACC[device.real]).itemsize


def few(device, file, kernel, args, lead, sizes, y_strides, y, logsum):
    queries, keys, _, values = sizes[:4]
    heads, splits = math.prod(lead), -(-keys // KEYS)
    partial = device.empty((heads, splits, queries, values + 2), ACC[device.real])
    device.launch(file, kernel, (heads * splits,), (KEYS,), (*args, partial, splits), shared=held(device, sizes))
    device.launch(FEW, "attention_join", (heads * queries,), (KEYS,),
                  (partial, lead, y_strides, queries, values, splits, y, logsum))


def delta_of(device, dy, y, lines, values):
    """The sum of dy y of every query."""
    delta = device.empty((lines,), ACC[device.real])
    device.launch(DELTA, "attention_delta", (-(-lines // 8),), (THREADS,), (dy, y, delta, np.int64(lines), values))
    return delta


def attention_backward(device, dy, q, k, v, mask, y, logsum, lead, sizes, q_strides, k_strides, v_strides,
                       mask_strides, causal, scale, dq, dk, dv):
    queries, keys, features, values = sizes[:4]
    heads = math.prod(lead)
    delta = delta_of(device, dy, y, heads * queries, values)
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


# ---- weights that are dropped, and spans of keys: one form a type, of SLAB columns a block

def slabs_of(width):
    return max(1, -(-width // SLAB))


def attention_dropped(device, q, k, v, mask, lead, sizes, q_strides, k_strides, v_strides, mask_strides, y_strides,
                      causal, scale, seed, threshold, keep, y, logsum):
    if logsum.size:
        tiles = -(-sizes[0] // tile(device))
        device.launch(DROPPED, "attention_dropped", (math.prod(lead) * tiles, slabs_of(sizes[3])), (THREADS,),
                      (q, k, v, mask, lead, sizes, q_strides, k_strides, v_strides, mask_strides, y_strides, causal,
                       float(scale), np.int64(seed), np.int64(threshold), float(keep), y, logsum, tiles))


def gradients(device, file, name, args, lead, sizes, dq, dk, dv):
    """dq by tiles of queries, dk and dv by tiles of keys."""
    queries, keys, features, values = sizes[:4]
    heads, of_queries, of_keys = math.prod(lead), -(-queries // tile(device)), -(-keys // tile(device))
    device.launch(file, f"{name}_dq", (heads * of_queries, slabs_of(features)), (THREADS,), (*args, dq, of_queries))
    device.launch(file, f"{name}_dkv", (heads * of_keys, slabs_of(max(features, values))), (THREADS,),
                  (*args, dk, dv, of_keys))


def attention_dropped_backward(device, dy, q, k, v, mask, y, logsum, lead, sizes, q_strides, k_strides, v_strides,
                               mask_strides, causal, scale, seed, threshold, keep, dq, dk, dv):
    delta = delta_of(device, dy, y, math.prod(lead) * sizes[0], sizes[3])
    gradients(device, DROPPED_BACKWARD, "attention_dropped",
              (dy, q, k, v, mask, logsum, delta, lead, sizes, q_strides, k_strides, v_strides, mask_strides, causal,
               float(scale), np.int64(seed), np.int64(threshold), float(keep)), lead, sizes, dq, dk, dv)


def attention_within(device, q, k, v, begin, end, distance, lead, sizes, q_strides, k_strides, v_strides,
                     span_strides, distance_strides, y_strides, causal, scale, y, logsum):
    if not logsum.size:
        return
    inputs = (q, k, v, begin, end, distance, lead, sizes, q_strides, k_strides, v_strides, span_strides,
              distance_strides)
    if are_few(device, sizes):
        return few(device, FEW_WITHIN, "attention_few_within", (*inputs, causal, float(scale)), lead, sizes, y_strides,
                   y, logsum)
    tiles = -(-sizes[0] // tile(device))
    device.launch(WITHIN, "attention_within", (math.prod(lead) * tiles, slabs_of(sizes[3])), (THREADS,),
                  (*inputs, y_strides, causal, float(scale), y, logsum, tiles))


def attention_within_backward(device, dy, q, k, v, begin, end, distance, y, logsum, lead, sizes, q_strides, k_strides,
                              v_strides, span_strides, distance_strides, causal, scale, dq, dk, dv, ddistance):
    heads = math.prod(lead)
    delta = delta_of(device, dy, y, heads * sizes[0], sizes[3])
    args = (dy, q, k, v, begin, end, distance, logsum, delta, lead, sizes, q_strides, k_strides, v_strides,
            span_strides, distance_strides, causal, float(scale))
    gradients(device, WITHIN_BACKWARD, "attention_within", args, lead, sizes, dq, dk, dv)
    if ddistance.size:
        tiles = -(-ddistance.shape[-1] // tile(device))
        device.launch(WITHIN_BACKWARD, "attention_within_distance", (heads * tiles,), (THREADS,),
                      (*args, ddistance, tiles))


def attention_stored(device, q, k, v, begin, end, distance, lead, sizes, q_strides, k_strides, v_strides,
                     span_strides, distance_strides, y_strides, scale, y, logsum):
    if not logsum.size:
        return
    if are_few(device, sizes):
        return few(device, FEW_WITHIN, "attention_few_stored",
                   (q, k, v, begin, end, distance, lead, sizes, q_strides, k_strides, v_strides, span_strides,
                    distance_strides, False, float(scale)), lead, sizes, y_strides, y, logsum)
    wide = [device.empty(bits.shape) for bits in (k, v)]
    for bits, numbers in zip((k, v), wide):
        if bits.size:
            device.launch(FEW_WITHIN, "attention_widen", (min(-(-bits.size // THREADS), 32 * device.multiprocessors),),
                          (THREADS,), (bits, numbers, np.int64(bits.size)))
    attention_within(device, q, *wide, begin, end, distance, lead, sizes, q_strides, k_strides, v_strides,
                     span_strides, distance_strides, y_strides, False, scale, y, logsum)


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
