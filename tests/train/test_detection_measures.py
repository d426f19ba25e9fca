"""What detectors are measured by, beside pycocotools and beside loops written from the rules."""
import numpy as np
import pytest

from pyops.bench import coco_ap as bench
from pyops.train.detection.coco import NAMES, coco_ap, flat_ap
from pyops.train.detection.confusion import detection_confusion
from pyops.train.detection.flat import Flat
from pyops.train.detection.pictures import (
    detection_gallery,
    draw_confusion,
    draw_curves,
    marked,
    worst_images,
)
from pyops.train.detection.voc import voc_ap


def compare(seeds):
    pytest.importorskip("pycocotools")
    for seed in seeds:
        rows = bench.random_rows(seed)
        if rows.results:
            assert bench.difference(rows) <= 1e-9, seed


def test_coco_ap_is_pycocotools():
    compare(range(40))


def test_coco_ap_is_pycocotools_on_a_thousand_sets():
    compare(range(40, 1040))


def test_coco_ap_of_a_large_set_is_pycocotools():
    pytest.importorskip("pycocotools")
    assert bench.difference(bench.random_rows(7, 60, 11)) <= 1e-9


def test_matching_in_batches_gives_the_same(monkeypatch):
    from pyops.train.detection import coco as module
    truth, found = bench.ours(bench.random_rows(3, 30, 3))
    whole = flat_ap(truth, found)
    monkeypatch.setattr(module, "ROOM", 1)
    parts = flat_ap(truth, found)
    assert np.array_equal(whole.precision, parts.precision) and np.array_equal(whole.recall, parts.recall)


def target(boxes, labels, **more):
    return {"boxes": np.array(boxes, float).reshape(-1, 4), "labels": np.array(labels, int), **more}


def found(boxes, scores, labels):
    return {**target(boxes, labels), "scores": np.array(scores, float)}


BOX, FAR = [10, 10, 30, 30], [60, 60, 90, 90]


def test_right_and_wrong_by_hand():
    """One of two objects is found, after a wrong detection of a higher score."""
    got = coco_ap([target([BOX, FAR], [0, 0])], [found([[0, 0, 5, 5], BOX], [0.9, 0.8], [0, 0])], 1)
    # precision is 1/2 up to recall 1/2: 51 of 101 recalls, at every threshold
    assert got.ap == pytest.approx(0.5 * 51 / 101) and got.ap50 == got.ap
    assert got.numbers["AR_100"] == 0.5 and got.numbers["AR_1"] == 0 and got.numbers["AP_large"] == -1
    assert list(got.numbers) == list(NAMES) and len(str(got).splitlines()) == 12


def test_a_box_whose_corners_are_exchanged_hits_nothing():
    turned = found([[30, 30, 10, 10], BOX], [0.9, 0.8], [0, 0])
    assert coco_ap([target([BOX], [0])], [turned], 1).ap == pytest.approx(0.5)
    assert voc_ap([target([BOX], [0])], [turned], 1) == pytest.approx([0.5])


def test_an_empty_picture_and_an_empty_set():
    assert coco_ap([target([], [])], [found([], [], [])], 3).ap == -1
    assert coco_ap([], [], 3).ap == -1
    assert coco_ap([target([BOX], [2])], [found([], [], [])], 3).ap == 0
    assert coco_ap([target([BOX], [2])], [found([BOX], [1], [2])], 3).of_classes() == pytest.approx([-1, -1, 1])


def test_what_lies_in_a_crowd_does_not_count():
    crowd = target([[0, 0, 100, 100], BOX], [0, 0], crowd=np.array([True, False]))
    inside = found([BOX, [50, 50, 60, 60], [70, 70, 80, 80]], [0.5, 0.9, 0.8], [0, 0, 0])
    assert coco_ap([crowd], [inside], 1).ap == pytest.approx(1)


@pytest.mark.parametrize("targets, detections, told", [
    ([target([BOX], [3])], [found([], [], [])], "labels must be 0 .. 2, got 3"),
    ([target([[0, 0, np.nan, 5]], [0])], [found([], [], [])], "not finite"),
    ([target([[9, 0, 5, 5]], [0])], [found([], [], [])], "width -4"),
    ([target([BOX], [0])], [found([BOX], [np.nan], [0])], "has the score nan"),
    ([target([BOX], [0])], [], "1 images have targets, 0 detections"),
    ([target([BOX], [0, 1])], [found([], [], [])], "1 boxes and 2 labels"),
    ([target([BOX], [0])], [found([BOX], [0.5, 0.4], [0])], "as many scores, got 2")])
def test_what_is_no_measurement_is_refused(targets, detections, told):
    for measure in (coco_ap, voc_ap, detection_confusion):
        with pytest.raises(ValueError, match=told):
            measure(targets, detections, 3)


def test_thresholds_and_rules_are_checked():
    for wrong in ((), (0.0,), (1.5,)):
        with pytest.raises(ValueError, match="thresholds"):
            coco_ap([], [], 1, wrong)
    with pytest.raises(ValueError, match="2007 or 2012"):
        voc_ap([], [], 1, 2010)
    with pytest.raises(ValueError, match="iou"):
        voc_ap([], [], 1, iou=0)
    with pytest.raises(ValueError, match="score"):
        detection_confusion([], [], 1, score=2)


# ---- VOC

def voc_by_loops(targets, detections, label, rule):
    """From the challenge's description, one detection after the other."""
    queue = sorted(((s, i, tuple(b)) for i, d in enumerate(detections)
                    for b, s, c in zip(d["boxes"], d["scores"], d["labels"]) if c == label), key=lambda q: -q[0])
    objects = [(i, tuple(b), bool(t["crowd"][k])) for i, t in enumerate(targets)
               for k, (b, c) in enumerate(zip(t["boxes"], t["labels"])) if c == label]
    wanted, used, points, rights, wrongs = sum(not o[2] for o in objects), set(), [], 0, 0
    for _, image, a in queue:
        best, at = 0.0, None
        for k, (where, b, _) in enumerate(objects):
            if where == image:
                w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                both = max(w, 0) * max(h, 0)
                iou = both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
                if both and iou > best:
                    best, at = iou, k
        if best >= 0.5 and objects[at][2]:
            continue
        right = best >= 0.5 and at not in used
        used.add(at if right else None)
        rights, wrongs = rights + right, wrongs + (not right)
        points.append((rights / wanted, rights / (rights + wrongs)))
    if rule == 2007:
        return sum(max([p for r, p in points if r >= t / 10], default=0) for t in range(11)) / 11
    recalls = [0.0, *(r for r, _ in points)]
    return sum((recalls[i + 1] - recalls[i]) * max(p for _, p in points[i:]) for i in range(len(points)))


@pytest.mark.parametrize("rule", [2007, 2012])
def test_voc_ap_is_what_the_rules_say(rule):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        targets, detections = [], []
        for _ in range(5):
            n = int(rng.integers(0, 5))
            low = rng.random((n, 2)) * 50
            boxes = np.concatenate([low, low + 5 + rng.random((n, 2)) * 30], 1)
            targets.append(target(boxes, rng.integers(0, 2, n), crowd=rng.random(n) < 0.2))
            near = np.repeat(boxes, 2, 0) + rng.normal(0, 2, (2 * n, 4))
            near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
            detections.append(found(near, rng.random(2 * n), rng.integers(0, 2, 2 * n)))
        got = voc_ap(targets, detections, 2, rule)
        for label in range(2):
            if any(((t["labels"] == label) & ~t["crowd"]).any() for t in targets):
                assert got[label] == pytest.approx(voc_by_loops(targets, detections, label, rule), abs=1e-12)
            else:
                assert np.isnan(got[label])


# ---- confusion and pictures

TARGETS = [target([BOX, FAR], [0, 1]), target([BOX], [1])]
FOUND = [found([BOX, BOX, FAR], [0.9, 0.3, 0.8], [0, 1, 0]), found([FAR], [0.7], [1])]


def test_a_confusion_matrix():
    assert detection_confusion(TARGETS, FOUND, 2).tolist() == [[1, 0, 0], [1, 0, 1], [0, 2, 0]]
    assert detection_confusion(TARGETS, FOUND, 2, score=0.75).tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]


def test_the_worst_images_come_first():
    worst = worst_images(TARGETS, FOUND, 2)
    assert [(w.index, w.missed, w.mistaken, w.invented) for w in worst] == [(0, 0, 1, 1), (1, 1, 0, 1)]
    assert worst_images(TARGETS[:1], [found([BOX, FAR], [1, 1], [0, 1])], 2) == []


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    pil = pytest.importorskip("PIL.Image")
    measured = coco_ap(TARGETS, FOUND, 2)
    draw_curves(tmp_path / "a" / "curves.png", measured, ["cat", "dog"])
    draw_confusion(tmp_path / "confusion.png", detection_confusion(TARGETS, FOUND, 2))
    images = np.full((2, 100, 100, 3), 128, np.uint8)
    worst = detection_gallery(tmp_path / "worst.png", images, TARGETS, FOUND, 2, names=["cat", "dog"])
    assert len(worst) == 2
    for name in ("a/curves.png", "confusion.png", "worst.png"):
        assert min(pil.open(tmp_path / name).size) > 100
    with pytest.raises(ValueError, match="not at 0.3"):
        draw_curves(tmp_path / "no.png", measured, threshold=0.3)


def test_boxes_are_drawn_where_they_are():
    pytest.importorskip("PIL")
    image = np.zeros((40, 60), np.uint8)
    drawn = marked(image, target([[10, 5, 20, 15]], [0]), found([[30, 20, 50, 35]], [0.9], [0]), least=40)
    assert drawn.shape == (40, 60, 3)
    assert (drawn[5:15, 19] == (40, 200, 60)).all() and (drawn[34, 30:50] == (235, 60, 50)).all()


def test_flat_objects_are_checked():
    one = Flat(1, 1, np.array([2]), np.array([0]), np.ones((1, 4)), scores=np.ones(1))
    with pytest.raises(ValueError, match="images must be 0 .. 0, got 2"):
        flat_ap(Flat(1, 1, np.empty(0, int), np.empty(0, int), np.empty((0, 4)), area=np.empty(0),
                     ignore=np.empty(0, bool)), one)
