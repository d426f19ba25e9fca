"""Suppression in all classes of a sample on a GPU, in Numba CUDA. Definitions: suppress and multiclass_nms of
reference.py; arrays as in numba_cuda.py, and no signature at import for its reason."""
import math

import numpy as np
from numba import cuda, float64, int32

from .numba_cuda import _blocks, overlap

THREADS = 32   # of a block that has a sample, or a class of one: shared arrays below have as many


@cuda.jit(device=True, inline=True)
def joined(scores, places):
    """The place of the best of a block's scores, -1 where all have none: of equal ones the first, NaN last."""
    lane = cuda.threadIdx.x
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if lane < half:
            other = lane + half
            if places[other] >= 0 and (places[lane] < 0 or before(scores[other], places[other], scores[lane],
                                                                  places[lane])):
                scores[lane] = scores[other]
                places[lane] = places[other]
        cuda.syncthreads()
        half //= 2
    best = places[0]
    cuda.syncthreads()
    return best


@cuda.jit(device=True, inline=True)
def before(score_j, j, score_i, i):
    if score_j > score_i:
        return True
    if score_j < score_i:
        return False
    unknown = score_j != score_j
    return j < i if unknown == (score_i != score_i) else not unknown


@cuda.jit(device=True, inline=True)
def apart(a, i, b, j):
    """The squared distance of the centres of boxes a[i] and b[j] over the squared diagonal of the box around
    both, 0 where that is a point."""
    far, wide = a[i, 0] * 0, a[i, 0] * 0
    for k in range(2):
        centre = (a[i, k] + a[i, k + 2] - b[j, k] - b[j, k + 2]) / 2
        around = max(a[i, k + 2], b[j, k + 2]) - min(a[i, k], b[j, k])
        far += centre * centre
        wide += around * around
    return far / wide if wide > 0 else far * 0


@cuda.jit
def suppress_kernel(boxes, scores, room, iou, least, gone, chosen, count):
    """A block a class of a sample. boxes (samples, n, 4) corners in order; chosen (samples, classes, room)."""
    best = cuda.shared.array(THREADS, float64)   # on lines of their own: the simulator knows them by these
    places = cuda.shared.array(THREADS, int32)
    lane, n = cuda.threadIdx.x, scores.shape[2]
    s, c = cuda.blockIdx.x // scores.shape[1], cuda.blockIdx.x % scores.shape[1]
    for i in range(lane, n, THREADS):
        gone[s, c, i] = not (least == -math.inf or scores[s, c, i] > least)
    found = 0
    while found < room:
        mine = -1
        for i in range(lane, n, THREADS):
            if gone[s, c, i] == 0 and (mine < 0 or before(scores[s, c, i], i, scores[s, c, mine], mine)):
                mine = i
        places[lane] = mine
        best[lane] = scores[s, c, max(mine, 0)]
        place = joined(best, places)
        if place < 0:
            break
        if lane == 0:
            chosen[s, c, found] = place
        found += 1
        for i in range(lane, n, THREADS):
            if i == place or overlap(boxes[s], place, boxes[s], i) > iou:
                gone[s, c, i] = 1
    if lane == 0:
        count[s, c] = found


@cuda.jit
def begin_kernel(scores, candidates, least, left):
    """left (samples, n, classes): of each pair its score, or NaN: at most `least`, or not among the best
    candidates of its class."""
    at = cuda.grid(1)
    n, classes = scores.shape[1], scores.shape[2]
    if at >= scores.shape[0] * n * classes:
        return
    s, box, c = at // (n * classes), at // classes % n, at % classes
    own, rank = scores[s, box, c], 0
    there = own > least
    if there and candidates < n:
        for i in range(n):
            other = scores[s, i, c]
            if other > own or (other == own and i < box):
                rank += 1
    left[s, box, c] = own if there and rank < candidates else own * 0 + math.nan


@cuda.jit
def multiclass_kernel(boxes, own, per_class, iou, least, agnostic, kind, sigma, left, stayed, found, best, labels,
                      index, count):
    """A block a sample. boxes (samples, n or n classes, 4); own: each class has boxes of its own."""
    scores = cuda.shared.array(THREADS, float64)   # on lines of their own: the simulator knows them by these
    places = cuda.shared.array(THREADS, int32)
    lane, s, classes = cuda.threadIdx.x, cuda.blockIdx.x, left.shape[2]
    pairs, size = left.shape[1] * classes, 0
    while size < best.shape[1]:
        mine = -1
        for p in range(lane, pairs, THREADS):
            score = left[s, p // classes, p % classes]
            if score == score and (mine < 0 or score > left[s, mine // classes, mine % classes]):
                mine = p
        places[lane] = mine
        scores[lane] = left[s, max(mine, 0) // classes, max(mine, 0) % classes]
        place = joined(scores, places)
        if place < 0:
            break
        box, label = place // classes, place % classes
        at = place if own else box
        if lane == 0:
            for k in range(4):
                found[s, size, k] = boxes[s, at, k]
            best[s, size], labels[s, size], index[s, size] = left[s, box, label], label, box
            stayed[s, label] += 1
        size += 1
        cuda.syncthreads()
        full = stayed[s, label] >= per_class
        for p in range(lane, pairs, THREADS):
            i, c = p // classes, p % classes
            score = left[s, i, c]
            if score != score:
                continue
            if p == place or (c == label and full):
                left[s, i, c] = math.nan
            elif c == label or agnostic:
                other = p if own else i
                shared = overlap(boxes[s], at, boxes[s], other)
                if kind < 2:
                    if kind == 1 and shared > 0:
                        shared -= apart(boxes[s], at, boxes[s], other)
                    if shared > iou:
                        left[s, i, c] = math.nan
                elif shared > 0:
                    if kind == 3:
                        score *= math.exp(-shared * shared / sigma)
                    elif shared > iou:
                        score *= 1 - shared
                    left[s, i, c] = score if score > least else score * 0 + math.nan
        cuda.syncthreads()
    if lane == 0:
        count[s] = size


# ---- host side

def suppress(boxes, scores, most, iou, least):
    """(chosen (N, C, min(most, n)), count (N, C)): in each class of each sample the boxes that stay, best first,
    the first `count` of a row. boxes (N, n, 4), corners in order, scores (N, C, n). ValueError for other shapes."""
    if boxes.ndim != 3 or scores.ndim != 3 or tuple(boxes.shape) != (scores.shape[0], scores.shape[2], 4):
        raise ValueError(f"suppress: takes boxes (N, n, 4) and scores (N, C, n), got {tuple(boxes.shape)} and "
                         f"{tuple(scores.shape)}")
    samples, classes, n = scores.shape
    room = min(most, n)
    chosen = cuda.to_device(np.zeros((samples, classes, max(room, 1)), np.int64))
    count = cuda.to_device(np.zeros((samples, classes), np.int64))
    if samples * classes * room:
        gone = cuda.device_array(scores.shape, np.uint8)
        suppress_kernel[samples * classes, THREADS](boxes, scores, room, iou, least, gone, chosen, count)
    return chosen, count


def multiclass_nms(boxes, scores, *, iou, least, room, candidates, per_class, agnostic, kind, sigma):
    """reference.multiclass_nms on the device: (boxes, scores, labels, indices, count). boxes (N, n, 4) or
    (N, n, C, 4), scores (N, n, C). ValueError for other shapes."""
    n, k, c = scores.shape
    if tuple(boxes.shape) not in ((n, k, 4), (n, k, c, 4)):
        raise ValueError(f"multiclass_nms: takes boxes (N, n, 4) or (N, n, C, 4) and scores (N, n, C), got "
                         f"{tuple(boxes.shape)} and {tuple(scores.shape)}")
    dtype, own = scores.dtype, boxes.ndim == 4
    results = [cuda.to_device(np.zeros(shape, of)) for shape, of in (
        ((n, room, 4), dtype), ((n, room), dtype), ((n, room), np.int64), ((n, room), np.int64), ((n,), np.int64))]
    if n * k * c:
        left, stayed = cuda.device_array(scores.shape, dtype), cuda.to_device(np.zeros((n, c), np.int32))
        begin_kernel[_blocks(n * k * c), THREADS](scores, candidates, least, left)
        multiclass_kernel[n, THREADS](boxes.reshape(n, k * c if own else k, 4), own, per_class, iou, least, agnostic,
                                      kind, sigma, left, stayed, *results)
    return tuple(results)


def signatures(real):
    """As numba_cuda.signatures."""
    three, two, whole, one = f"{real}[:,:,::1]", f"{real}[:,::1]", "int64[:,::1]", "int64[::1]"
    return [(suppress_kernel, (three, three, "int64", "float64", "float64", "uint8[:,:,::1]", "int64[:,:,::1]", whole)),
            (begin_kernel, (three, "int64", "float64", three)),
            (multiclass_kernel, (three, "boolean", "int64", "float64", "float64", "boolean", "int64", "float64", three,
                                 "int32[:,::1]", three, two, whole, whole, one))]
