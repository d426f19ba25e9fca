"""Suppression beside what other libraries do: torchvision's loop written in torch, ONNX Runtime, and
pyops.functional.nms."""
import numpy as np
import pytest

import pyops.functional as F
from pyops.core.backends import BACKENDS, ISAS, use_backend


def scene(seed, n, size=100.0, classes=1):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, size, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, size / 3, (n, 2))], 1).astype(np.float32)
    return boxes, (rng.integers(0, 40, (n, classes)) / 40).astype(np.float32)


def torchvision_nms(torch, boxes, scores, threshold):
    """The loop of torchvision's CPU kernel, a row of float32 at a time."""
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1) * (y2 - y1)
    order = torch.sort(scores, stable=True, descending=True)[1]
    kept = []
    while len(order):
        i, order = order[0], order[1:]
        kept.append(int(i))
        w = (torch.minimum(x2[i], x2[order]) - torch.maximum(x1[i], x1[order])).clamp(min=0)
        h = (torch.minimum(y2[i], y2[order]) - torch.maximum(y1[i], y1[order])).clamp(min=0)
        shared = w * h
        overlap = shared / (areas[i] + areas[order] - shared)
        order = order[~(overlap.double() > threshold)]
    return kept


@pytest.mark.parametrize("threshold", (0.1, 0.3, 0.5, 0.7))
def test_the_order_is_torchvisions(threshold):
    torch = pytest.importorskip("torch")
    boxes, scores = scene(1, 300, classes=3)
    found, best, labels, count = F.multiclass_nms(boxes[None], scores[None], threshold, -1.0, 900)
    kept = [(k * 3 + c, c) for c in range(3)
            for k in torchvision_nms(torch, torch.from_numpy(boxes), torch.from_numpy(scores[:, c]), threshold)]
    kept.sort(key=lambda pair: (-scores.reshape(-1)[pair[0]], pair[0]))
    assert count[0] == len(kept)
    assert labels[0, :len(kept)].tolist() == [c for _, c in kept]
    assert np.array_equal(found[0, :len(kept)], boxes[[place // 3 for place, _ in kept]])
    assert np.array_equal(best[0, :len(kept)], scores.reshape(-1)[[place for place, _ in kept]])


@pytest.mark.parametrize("size", (100.0, 4000.0))
@pytest.mark.parametrize("threshold", (0.2, 0.5, 0.8))
def test_many_boxes_are_looked_up_by_place(threshold, size):
    torch = pytest.importorskip("torch")
    boxes, scores = scene(21, 3000, size)
    boxes[::100] *= 40                      # a few are far away
    boxes[1::100, 2:] = boxes[1::100, :2]   # or points, the wrong way round, endless
    boxes[2::100] = boxes[2::100, ::-1]
    boxes[3::500, 2] = np.inf
    want = torchvision_nms(torch, torch.from_numpy(boxes), torch.from_numpy(scores[:, 0]), threshold)
    found, _, _, count = F.multiclass_nms(boxes[None], scores[None], threshold, -1.0, 3000)
    assert np.array_equal(found[0, :count[0]], boxes[want])
    assert F.batched_nms(boxes, scores[:, 0], np.zeros(3000, np.int64), threshold).tolist() == want


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("count", (100, 700))
def test_the_order_of_scores_that_are_equal_not_finite_or_no_numbers(count, dtype):
    # disjoint boxes all stay, so that what comes out is the order: by comparing, and digit by digit
    rng = np.random.default_rng(count)
    scores = rng.choice(np.array([0.0, -0.0, 1.5, -1.5, 3e-41, np.inf, -np.inf, np.nan, 0.25], dtype), count)
    low = 3 * np.arange(count, dtype=dtype)[:, None]
    boxes = np.concatenate([low, low, low + 2, low + 2], 1)
    want = np.argsort(-scores, kind="stable").tolist()
    assert F.nms(boxes, scores, 0.5).tolist() == want
    groups = rng.integers(0, 3, count)   # whose boxes come one group after the other, so that places do not rise
    assert F.batched_nms(boxes, scores, groups, 0.5).tolist() == want
    found, _, _, count = F.multiclass_nms(boxes[None], scores[None, :, None], 0.5, -np.inf, count)
    want = [i for i in want if scores[i] > -np.inf]
    assert np.array_equal(found[0, :count[0]], boxes[want])


def test_a_few_of_many_that_stay_are_the_best_of_them():
    # room for so many that a class is looked up by place, yet for a quarter of all pairs or less
    boxes, scores = scene(22, 10_000, 2000.0)
    whole = F.multiclass_nms(boxes[None], scores[None], 0.8, -1.0, 10_000)
    for room in (2047, 2048, 2400):
        some = F.multiclass_nms(boxes[None], scores[None], 0.8, -1.0, room)
        assert whole[3][0] > room == some[3][0]
        assert all(np.array_equal(a[0], b[0, :room]) for a, b in zip(some[:3], whole[:3]))


@pytest.mark.parametrize("backend", [name for name in (*ISAS, "reference") if not BACKENDS[name].missing])
def test_a_threshold_is_compared_as_a_double(backend):
    # 0.3 in float32 is above 0.3: torchvision, which compares doubles, drops a pair of that overlap
    boxes = np.array([[0, 0, 10, 10], [0, 0, 3, 10]], np.float32)
    assert float(np.float32(30) / np.float32(100)) > 0.3
    scores = np.array([0.9, 0.8], np.float32)
    with use_backend(backend):
        for kind, stay in (("greedy", 1), ("soft_linear", 2)):
            found, best, _, count = F.multiclass_nms(boxes[None], scores[None, :, None], 0.3, kind=kind)
            assert count == stay and (kind == "greedy" or best[0, 1] < 0.6)
        assert F.nms(boxes, scores, 0.3).tolist() == F.batched_nms(boxes, scores, np.zeros(2, int), 0.3).tolist() == [0]
        assert F.nms(boxes, scores, float(np.float32(0.3))).tolist() == [0, 1]
        # a score of 0.3, as float32 has it, is above 0.3, too
        assert F.multiclass_nms(boxes[None], np.full((1, 2, 1), 0.3, np.float32), 1.0, 0.3)[3] == 2


def test_products_are_rounded_before_they_are_subtracted():
    # the union of a fused multiply-add is another float32: 2,000 pairs of boxes of which some lie on the threshold
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 1, (2000, 2))
    one = np.concatenate([low, low + rng.uniform(0.5, 1, (2000, 2))], 1).astype(np.float32)
    other = (one + rng.uniform(-0.2, 0.2, one.shape)).astype(np.float32)
    w, h = (np.minimum(one[:, i + 2], other[:, i + 2]) - np.maximum(one[:, i], other[:, i]) for i in (0, 1))
    area, area_of_other = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (one, other))
    overlap = (w * h) / (area + area_of_other - w * h)
    assert overlap.dtype == np.float32
    for a, b, at in zip(one, other, overlap):
        pair, scores = np.stack([a, b])[None], np.array([[[0.9], [0.8]]], np.float32)
        assert F.multiclass_nms(pair, scores, float(at))[3] == 2
        assert F.multiclass_nms(pair, scores, float(np.nextafter(at, np.float32(0))))[3] == 1


def test_many_samples_are_onnx_runtimes():
    ort, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    helper = onnx.helper
    node = helper.make_node("NonMaxSuppression", ["b", "s", "m", "i", "t"], ["y"])
    constants = [helper.make_tensor("m", 7, [1], [1000]), helper.make_tensor("i", 1, [1], [0.4]),
                 helper.make_tensor("t", 1, [1], [0.3])]
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info(n, 1, None) for n in "bs"],
                              [helper.make_tensor_value_info("y", 7, None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    run = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    many = [scene(seed, 200, classes=4) for seed in (5, 6)]
    boxes, scores = (np.stack(part) for part in zip(*many))
    chosen, = run.run(None, {"b": boxes[..., [1, 0, 3, 2]], "s": scores.transpose(0, 2, 1).copy()})
    found, best, labels, count = F.multiclass_nms(boxes, scores, float(np.float32(0.4)), float(np.float32(0.3)), 800)
    for n in range(2):
        theirs = [(k * 4 + c, c) for sample, c, k in chosen if sample == n]
        theirs.sort(key=lambda pair: (-scores[n].reshape(-1)[pair[0]], pair[0]))
        assert count[n] == len(theirs)
        assert labels[n, :len(theirs)].tolist() == [c for _, c in theirs]
        assert np.array_equal(found[n, :len(theirs)], boxes[n][[place // 4 for place, _ in theirs]])
        assert not found[n, len(theirs):].any() and not best[n, len(theirs):].any()


def test_in_a_program_it_is_one_step():
    import pyops

    boxes, scores = scene(8, 500, classes=5)
    program = pyops.compile(lambda b, s: F.multiclass_nms(b, s, 0.5, 0.1, 50), (boxes[None], scores[None]))
    assert [step.kernel for step in program.plan.steps] == ["multiclass_nms"]
    for got, want in zip(program(boxes[None], scores[None]), F.multiclass_nms(boxes[None], scores[None], 0.5, 0.1, 50)):
        assert np.array_equal(got, want)


def test_groups_are_apart_as_in_torchvision():
    torch = pytest.importorskip("torch")
    vision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    boxes, scores = scene(11, 300)
    scores = np.random.default_rng(12).permutation(300).astype(np.float32)   # torchvision's last sort is not stable
    groups = np.random.default_rng(13).integers(-5, 5, 300)
    given = [torch.from_numpy(a) for a in (boxes, scores, groups)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision.ops.boxes, "nms", lambda b, s, t: torch.tensor(torchvision_nms(torch, b, s, t)))
        theirs = vision.ops.boxes._batched_nms_vanilla(*given, 0.4)
    assert F.batched_nms(boxes, scores, groups, 0.4).tolist() == theirs.tolist()


def test_boxes_of_groups_are_not_moved():
    # moved apart by 4,194,305, as torchvision's other way does, both corners of a box become equal in float32
    boxes = np.array([[0, 0, 0.25, 0.25], [0, 0, 0.25, 0.2], [4194304, 4194304, 4194304, 4194304]], np.float32)
    assert F.batched_nms(boxes, np.array([3, 2, 1], np.float32), np.array([1, 1, 0]), 0.5).tolist() == [0, 2]


def test_distance_iou_suppresses_as_its_definition_does():
    torch = pytest.importorskip("torch")
    vision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    boxes, scores = scene(14, 150)
    overlap = vision.ops.distance_box_iou(torch.from_numpy(boxes).double(), torch.from_numpy(boxes).double(), eps=0.0)
    kept = []
    for i in np.argsort(-scores[:, 0], kind="stable"):
        if all(overlap[i, j] <= 0.3 for j in kept):
            kept.append(i)
    found, _, _, count = F.multiclass_nms(boxes[None], scores[None], 0.3, -1.0, 150, kind="diou")
    assert np.array_equal(found[0, :count[0]], boxes[kept])


@pytest.mark.parametrize("method", ("linear", "gaussian"))
def test_scores_are_lowered_as_in_opencv(method):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(15)
    low, size = rng.integers(0, 100, (80, 2)), rng.integers(10, 50, (80, 2))
    scores = rng.permutation(80).astype(np.float32) / 80
    kind = {"linear": cv2.dnn.SoftNMSMethod_SOFTNMS_LINEAR, "gaussian": cv2.dnn.SoftNMSMethod_SOFTNMS_GAUSSIAN}[method]
    best, theirs = cv2.dnn.softNMSBoxes(np.concatenate([low, size], 1).tolist(), scores.tolist(), 0.05, 0.3,
                                        0, 0.5, kind)
    boxes = np.concatenate([low, low + size], 1).astype(np.float32)
    index, mine = F.soft_nms(boxes, scores, float(np.float32(0.3)), 0.5, 0.05, method)
    assert index.tolist() == list(np.ravel(theirs))
    np.testing.assert_allclose(mine, np.ravel(best), atol=1e-6)
