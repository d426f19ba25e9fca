"""Run by test_cuda_numba.py in a process of its own: the Numba kernels on Numba's simulator,
against their NumPy definitions."""
import importlib
import os

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"   # read once, when numba is imported

import numpy as np

from pyops.kernels.detection import reference as detection
from pyops.kernels.embedding import reference as embedding_reference
from pyops.kernels.pooling import reference as pooling_reference

numba = {family: importlib.import_module(f"pyops.kernels.{family}.numba_cuda")
         for family in ("detection", "embedding", "pooling")}
suppression, regions = (importlib.import_module(f"pyops.kernels.detection.numba_{name}")
                        for name in ("suppression", "regions"))


def boxes(rng, n, dtype):
    low = rng.uniform(0, 8, (n, 2))
    return np.concatenate([low, low + rng.uniform(0, 6, (n, 2))], 1).astype(dtype)


def host(array):
    return array.copy_to_host()


def close(got, want, dtype):
    np.testing.assert_allclose(got, want, rtol=64 * np.finfo(dtype).eps,
                               atol=64 * np.finfo(dtype).eps * max(1, np.abs(want).max(initial=0)))


def check_boxes(rng, dtype):
    a, b = boxes(rng, 7, dtype), boxes(rng, 5, dtype)
    a[3, 2:] = a[3, :2]   # an empty box
    close(host(numba["detection"].box_iou(a, b)), detection.box_iou(a.astype(float), b.astype(float)), dtype)
    for n, threshold in ((1, 0.5), (40, 0.3), (33, 0.0), (12, 1.0)):   # 32 ranks a word: both sides of it
        some, scores = boxes(rng, n, dtype), rng.permutation(n).astype(dtype)
        kept, count = numba["detection"].nms(some, np.argsort(-scores, kind="stable"), threshold)
        np.testing.assert_array_equal(host(kept)[:host(count)[0]], detection.nms(some, scores, threshold))


def check_regions(rng, dtype):
    x = rng.standard_normal((2, 2, 7, 6)).astype(dtype)
    rois = np.array([[0, 0.4, 1.2, 9.8, 11.1], [1, -3, -2, 4, 5], [1, 3, 3, 3, 3], [0, 8, 8, 30, 40]], dtype)
    for ratio, aligned in ((2, True), (-1, False), (-1, True)):
        close(host(numba["detection"].roi_align(x, rois, (2, 3), 0.5, ratio, aligned)),
              detection.roi_align(x.astype(float), rois.astype(float), (2, 3), 0.5, ratio, aligned), dtype)
    dy = rng.standard_normal((4, 2, 2, 3)).astype(dtype)
    close(host(numba["detection"].roi_align_backward(dy, rois, x.shape, 0.5, 2, True)),
          detection.roi_align_backward(dy.astype(float), rois.astype(float), x.shape, 0.5, 2, True), dtype)
    close(host(numba["detection"].roi_pool(x, rois, (3, 2), 0.5)), detection.roi_pool(x, rois, (3, 2), 0.5),
          dtype)
    heads, anchors = rng.standard_normal((2, 3 * 7, 2,
                                          3)).astype(dtype), rng.uniform(4, 60, (3, 2)).astype(dtype)
    close(host(numba["detection"].yolo_decode(heads, anchors, 16)),
          detection.yolo_decode(heads.astype(float), anchors.astype(float), 16), dtype)


def check_suppression(rng, dtype):
    """Few, as the simulator has a thread of the system for each of a block's."""
    box, scores = boxes(rng, 6, dtype)[None], (rng.integers(-2, 9, (1, 6, 2)) / 8).astype(dtype)
    scores[0, 3, 1] = np.nan
    of_classes = np.ascontiguousarray(scores.transpose(0, 2, 1))
    for most, iou, least in ((6, 0.1, -np.inf), (1, 0.0, 0.25)):
        chosen, count = map(host, suppression.suppress(box, of_classes, most, iou, least))
        got = [(0, c, i) for c in range(2) for i in chosen[0, c, :count[0, c]]]
        want, number = detection.suppress(box, of_classes, most=most, iou=iou, least=least, center=False)
        np.testing.assert_array_equal(got, want[:number])
    for kind in range(4):
        how = dict(iou=0.1, least=0.05, room=4, candidates=4, per_class=2, agnostic=kind % 2 == 1, kind=kind, sigma=0.5)
        given = np.repeat(box[:, :, None], 2, 2) + np.arange(2, dtype=dtype)[:, None] if kind == 2 else box
        for i, (g, w) in enumerate(zip(suppression.multiclass_nms(given, scores, **how),
                                       detection.multiclass_nms(given, scores, **how), strict=True)):
            close(host(g), w, dtype) if i < 2 else np.testing.assert_array_equal(host(g), w)


def check_cells(rng, dtype):
    x = rng.standard_normal((2, 12, 6, 5)).astype(dtype)
    rois = np.array([[0, 0.4, 1.2, 9.8, 8.1], [1, -3, -2, 4, 5], [1, 3, 3, 3, 3]], dtype)
    size, scale = (2, 3), 0.5
    wide, regions_of = x.astype(float), rois.astype(float)
    g, cells = rng.standard_normal((3, 2, *size)).astype(dtype), rng.standard_normal((3, 12, *size)).astype(dtype)
    close(host(regions.ps_roi_pool(x, rois, size, scale)), detection.ps_roi_pool(wide, regions_of, size, scale), dtype)
    close(host(regions.ps_roi_pool_backward(g, rois, x.shape, scale)),
          detection.ps_roi_pool_backward(g.astype(float), regions_of, x.shape, scale), dtype)
    close(host(regions.roi_pool_backward(cells, x, rois, scale)),
          detection.roi_pool_backward(cells.astype(float), wide, regions_of, scale), dtype)
    for ratio in (2, -1):
        close(host(regions.ps_roi_align(x, rois, size, scale, ratio)),
              detection.ps_roi_align(wide, regions_of, size, scale, ratio), dtype)
        close(host(regions.ps_roi_align_backward(g, rois, x.shape, scale, ratio)),
              detection.ps_roi_align_backward(g.astype(float), regions_of, x.shape, scale, ratio), dtype)
    a, b = (np.stack([boxes(rng, n, dtype) for _ in range(2)]) for n in (4, 3))
    a[0, 1, 2:] = a[0, 1, :2]   # an empty box
    for kind in range(4):
        how = dict(kind=kind, e=1e-3, f=0.0, d=1e-2)
        close(host(regions.box_overlap(a, b, **how)), detection.box_overlap(a.astype(float), b.astype(float), **how),
              dtype)


def check_embedding(rng, dtype):
    index, weight = np.array([3, 0, 3, 4, 1]), rng.standard_normal((5, 6)).astype(dtype)
    np.testing.assert_array_equal(host(numba["embedding"].embedding(index, weight)), weight[index])
    assert np.isnan(host(numba["embedding"].embedding(np.array([5, -1]), weight))).all()
    g = rng.standard_normal((5, 6)).astype(dtype)
    for padding, by_frequency in ((-1, False), (3, False), (-1, True)):
        close(host(numba["embedding"].embedding_backward(g, index, 5, padding, by_frequency)),
              embedding_reference.embedding_backward(g, index, rows=5, padding=padding,
                                                     by_frequency=by_frequency),
              dtype)


def check_unpool(rng, dtype):
    x = rng.standard_normal((2, 4)).astype(dtype)
    indices = np.array([[0, 5, 7, 2], [3, 3, 1, 8]])
    want = pooling_reference.max_unpool(x.reshape(1, 2, 2, 2), indices.reshape(1, 2, 2, 2),
                                        size=(3, 3)).reshape(2, 9)
    np.testing.assert_array_equal(host(numba["pooling"].max_unpool(x, indices, 9)), want)
    np.testing.assert_array_equal(host(numba["pooling"].max_unpool(x[:1], indices[:1], 9, distinct=True)),
                                  want[:1])


for real in (np.float32, np.float64):
    for check in (check_boxes, check_regions, check_suppression, check_cells, check_embedding, check_unpool):
        check(np.random.default_rng(3), real)
        print(check.__name__, real.__name__, "agrees")
