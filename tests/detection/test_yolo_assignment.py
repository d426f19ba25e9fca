"""Anchors by k-means, YOLOv5's rule of ratios, task alignment, and the losses of scores and distances."""
import numpy as np
import pytest

from pyops import Tensor
from pyops.detection.assignment import neighbours, ratio_match, task_aligned
from pyops.detection.kmeans import kmeans_anchors, size_overlap
from pyops.models.detection.yolov6 import distribution_focal, varifocal


def test_kmeans_finds_the_sizes_that_there_are():
    rng = np.random.default_rng(0)
    true = np.array([[8, 10], [30, 12], [20, 60], [90, 80]])
    sizes = np.concatenate([t * rng.uniform(0.95, 1.05, (50, 2)) for t in true])
    anchors, overlap = kmeans_anchors(sizes, 4, generator=np.random.default_rng(1))
    np.testing.assert_allclose(anchors, true, rtol=0.02)
    assert overlap == pytest.approx(size_overlap(sizes, anchors).max(1).mean()) and overlap > 0.9
    # moving an anchor to the mean of its boxes, and more anchors, only help
    assert kmeans_anchors(sizes, 4, rounds=0, generator=np.random.default_rng(1))[1] <= overlap
    assert kmeans_anchors(sizes, 1, generator=np.random.default_rng(1))[1] < overlap


@pytest.mark.parametrize(("sizes", "count", "says"), [
    ([[1, 2], [1, 2]], 2, "2 anchors need as many different sizes, got 1"), ([[1, 0]], 1, "positive"),
    ([[1, np.nan]], 1, "finite"), ([1, 2], 1, "shape"), ([[1, 2]], 0, "0 anchors")])
def test_kmeans_refuses(sizes, count, says):
    with pytest.raises(ValueError, match=says):
        kmeans_anchors(sizes, count)


def test_anchors_within_a_ratio():
    found = ratio_match(np.array([[10., 10], [10, 41], [39, 3]]), np.array([[10., 10], [40, 12]]))
    assert found.tolist() == [[True, False], [False, False], [True, False]]   # 4 times is too much
    assert ratio_match(np.array([[10., 12]]), np.array([[39., 12]])).item()


def test_neighbours_are_the_nearest_cells_of_the_grid():
    """Beside all cells whose reach, from half a cell before to half a cell behind, holds the centre
    along one axis and which are the centre's own along the other."""
    rng = np.random.default_rng(0)
    centres, grid = rng.random((60, 2)) * [7, 5], (5, 7)
    which, cell = neighbours(centres, grid)
    expected = set()
    for i, (x, y) in enumerate(centres):
        for v in range(5):
            for u in range(7):
                own = int(u <= x < u + 1) + int(v <= y < v + 1)
                if own == 2 or own == 1 and -0.5 < x - u < 1.5 and -0.5 < y - v < 1.5:
                    expected.add((i, u, v))
    found = {(int(i), int(u), int(v)) for i, (u, v) in zip(which, cell)}
    assert found == expected and len(found) == len(which)


def by_loops(scores, boxes, points, truth, labels, topk, alpha, beta):
    def iou(a, b):
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(w, 0) * max(h, 0)
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
    wanted = {}
    for g, (t, label) in enumerate(zip(truth, labels)):
        inside = [i for i, (x, y) in enumerate(points) if t[0] < x < t[2] and t[1] < y < t[3]]
        metric = {i: scores[i, label] ** alpha * iou(t, boxes[i]) ** beta for i in inside}
        for i in sorted(inside, key=lambda i: (-metric[i], i))[:topk]:
            if i not in wanted or iou(t, boxes[i]) > wanted[i][1]:
                wanted[i] = g, iou(t, boxes[i]), metric[i]
    match, score = np.full(len(points), -1), np.zeros(len(points))
    for g in range(len(truth)):
        mine = [i for i, w in wanted.items() if w[0] == g]
        for i in mine:
            match[i] = g
            score[i] = wanted[i][2] / max(wanted[j][2] for j in mine) * max(wanted[j][1] for j in mine)
    return match, score


@pytest.mark.parametrize("topk", [3, 13])
def test_task_alignment_beside_loops(topk):
    rng = np.random.default_rng(topk)
    points = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2) * 8 + 4.0
    boxes = np.concatenate([points - rng.uniform(6, 20, (64, 2)), points + rng.uniform(6, 20, (64, 2))], 1)
    truth, labels = np.array([[5, 5, 40, 35], [20, 10, 60, 60], [0, 0, 3, 3.]]), np.array([1, 0, 2])
    scores = rng.random((64, 3))
    found = task_aligned(scores, boxes, points, truth, labels, topk, 1.0, 2.0)
    match, score = by_loops(scores, boxes, points, truth, labels, topk, 1.0, 2.0)
    assert (found.match == match).all() and (match == 0).any() and (match == 1).any() and not (match == 2).any()
    np.testing.assert_allclose(found.score, score, rtol=1e-5, atol=1e-7)


def test_task_alignment_without_boxes():
    found = task_aligned(np.zeros((4, 2)), np.zeros((4, 4)), np.zeros((4, 2)), np.zeros((0, 4)), np.zeros(0, np.int64))
    assert (found.match == -1).all() and (found.score == 0).all()


def test_varifocal_loss_is_the_papers():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3)).astype(np.float32)
    q = (rng.random((5, 3)) * (rng.random((5, 3)) > 0.5)).astype(np.float32)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    loss = varifocal(ours, q)
    loss.backward()
    p, t = theirs.sigmoid(), torch.tensor(q)
    expected = torch.where(t > 0, -t * (t * p.log() + (1 - t) * (1 - p).log()), -0.75 * p ** 2 * (1 - p).log()).sum()
    expected.backward()
    assert float(loss.data) == pytest.approx(float(expected.detach()), rel=1e-5)
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_distances_are_learned_as_two_neighbours():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, distance = rng.standard_normal((6, 4, 17)).astype(np.float32), rng.uniform(-1, 18, (6, 4)).astype(np.float32)
    kept = np.clip(distance, 0, 15.99)
    low = torch.tensor(kept).long()
    logs = torch.tensor(x).log_softmax(2)
    near = torch.tensor(kept) - low
    at = [logs.gather(2, (low + i)[..., None])[..., 0] for i in (0, 1)]
    expected = -(at[0] * (1 - near) + at[1] * near).mean(1)
    np.testing.assert_allclose(distribution_focal(x, distance), expected.numpy(), rtol=1e-5)
