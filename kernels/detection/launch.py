"""Grids of what regions are pooled by, a thread a value, of the suppression of boxes and their overlaps."""
import numpy as np

from ..grid import ceil_div

__all__ = ["batched_nms", "box_overlap", "box_overlap_backward", "multiclass_nms", "ps_roi_align",
           "ps_roi_align_backward", "ps_roi_pool", "ps_roi_pool_backward", "roi_align", "roi_align_backward",
           "roi_align_level", "roi_align_level_backward", "roi_pool", "roi_pool_backward", "suppress"]

FILE, NMS, OVERLAP = "detection/regions.cu", "detection/nms.cu", "detection/overlap.cu"
MULTICLASS, SUPPRESS = "detection/multiclass.cu", "detection/suppress.cu"
THREADS = 256
WORD = 64   # as in nms.cu


def over(device, n):
    """Blocks of a loop over n elements."""
    return (min(ceil_div(n, THREADS), 32 * device.multiprocessors),)


def launch(device, kernel, args, result):
    """args, then the result and how many values it has."""
    if result.size:
        device.launch(FILE, kernel, over(device, result.size), (THREADS,), (*args, result, np.int64(result.size)))


def shape(maps, results):
    """(n, channels, height, width) of maps, (planes, oh, ow) of results."""
    return (*maps.shape, *results.shape[1:])


def pooled(device, kernel, x, regions, scale, how, y, *levels):
    launch(device, kernel, (x, regions, *levels, shape(x, y), np.float64(scale), *how), y)


def gradient(device, kernel, g, regions, scale, how, dx, *levels):
    launch(device, kernel, (g, regions, regions.shape[0], *levels, shape(dx, g), np.float64(scale), *how), dx)


NO_LEVELS = (None, 0, 0)


def roi_align(device, x, regions, scale, ratio, aligned, y):
    pooled(device, "roi_align", x, regions, scale, (ratio, aligned), y, *NO_LEVELS)


def roi_align_backward(device, g, regions, scale, ratio, aligned, dx):
    gradient(device, "roi_align_backward", g, regions, scale, (ratio, aligned), dx, *NO_LEVELS)


def roi_align_level(device, x, regions, levels, level, last, scale, ratio, aligned, y):
    pooled(device, "roi_align", x, regions, scale, (ratio, aligned), y, levels, level, last)


def roi_align_level_backward(device, g, regions, levels, level, last, scale, ratio, aligned, dx):
    gradient(device, "roi_align_backward", g, regions, scale, (ratio, aligned), dx, levels, level, last)


def ps_roi_align(device, x, regions, scale, ratio, y):
    pooled(device, "ps_roi_align", x, regions, scale, (ratio,), y)


def ps_roi_align_backward(device, g, regions, scale, ratio, dx):
    gradient(device, "ps_roi_align_backward", g, regions, scale, (ratio,), dx)


def roi_pool(device, x, regions, scale, y):
    pooled(device, "roi_pool", x, regions, scale, (), y)


def roi_pool_backward(device, g, x, regions, scale, dx):
    chosen = device.empty(g.shape, "int32")
    if chosen.size:
        pooled(device, "roi_pool_chosen", x, regions, scale, (), chosen)
    launch(device, "roi_pool_backward", (g, chosen, regions, regions.shape[0], shape(dx, g), np.float64(scale)), dx)


def ps_roi_pool(device, x, regions, scale, y):
    pooled(device, "ps_roi_pool", x, regions, scale, (), y)


def ps_roi_pool_backward(device, g, regions, scale, dx):
    gradient(device, "ps_roi_pool_backward", g, regions, scale, (), dx)


def batched_nms(device, boxes, scores, groups, iou, chosen, count):
    n = scores.size
    if n == 0:
        return count.fill(0)
    words = ceil_div(n, WORD)
    order, taken = device.empty((n,), "int32"), device.empty((n, words), "uint64")
    gone = device.zeros((words,), "uint64")
    device.launch(NMS, "nms_order", over(device, n), (THREADS,), (scores, n, order))
    device.launch(NMS, "nms_pairs", over(device, n * words), (THREADS,),
                  (boxes, groups, order, n, words, np.float64(iou), taken))
    device.launch(NMS, "nms_choose", (1,), (THREADS,), (order, taken, n, words, gone, chosen, count))


def suppress(device, boxes, scores, most, iou, least, center, chosen, count):
    samples, classes, n = scores.shape
    tasks, room = samples * classes, min(most, n)
    if not tasks * room:
        return count.fill(0)
    gone, found = device.empty(scores.shape, "uint8"), device.empty((tasks, room), "int32")
    counts = device.empty((tasks,), "int32")
    device.launch(SUPPRESS, "suppress_choose", (tasks,), (THREADS,),
                  (boxes, scores, classes, n, room, np.float64(iou), np.float64(least), center, gone, found, counts))
    device.launch(SUPPRESS, "suppress_gather", (tasks,), (THREADS,),
                  (found, counts, tasks, classes, room, chosen, count))


def multiclass_nms(device, boxes, scores, candidates, per_class, iou, least, agnostic, kind, sigma, found, best,
                   labels, index, count):
    samples, boxes_of, classes = scores.shape
    if samples == 0:
        return
    left = device.empty(scores.shape, "float64" if scores.dtype == "float64" else "float32")
    stayed = device.zeros((samples, classes), "int32")
    if scores.size:
        device.launch(MULTICLASS, "multiclass_begin", over(device, scores.size), (THREADS,),
                      (scores, boxes_of, classes, candidates, np.float64(least), left, np.int64(scores.size)))
    device.launch(MULTICLASS, "multiclass_choose", (samples,), (THREADS,),
                  (boxes, boxes.ndim == 4, boxes_of, classes, per_class, np.float64(iou), np.float64(least), agnostic,
                   kind, float(sigma), best.shape[1], left, stayed, found, best, labels, index, count))


def box_overlap(device, a, b, kind, e, f, d, y):
    if y.size:
        device.launch(OVERLAP, "box_overlap", over(device, y.size), (THREADS,),
                      (a, b, a.shape[1], b.shape[1], kind, float(e), float(f), float(d), y, np.int64(y.size)))


def box_overlap_backward(device, g, a, b, kind, e, f, d, turned, da):
    boxes = da.size // 4
    if boxes:
        device.launch(OVERLAP, "box_overlap_backward", over(device, boxes), (THREADS,),
                      (g, a, b, a.shape[1], b.shape[1], kind, float(e), float(f), float(d), turned, da,
                       np.int64(boxes)))
