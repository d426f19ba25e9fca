"""The parts that detectors share: coders, anchors, matching, sampling and losses are torchvision's, ATSS is
the paper's algorithm."""
import copy
import pickle

import numpy as np
import pytest

from pyops import Tensor
from pyops.detection import anchors, coders, losses, matching

peers = pytest.importorskip("torchvision_peers")
torch, theirs = peers.torch, peers.theirs


def boxes_of(n, seed=0, size=60.0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(1, size, (n, 2))], 1)


def numpy(tensor):
    return tensor.detach().numpy()


def test_corners_and_centres_are_each_others_inverse():
    boxes = boxes_of(20)
    want = torch.as_tensor(boxes)
    want = numpy(torch.stack([(want[:, 0] + want[:, 2]) / 2, (want[:, 1] + want[:, 3]) / 2, want[:, 2] - want[:, 0],
                              want[:, 3] - want[:, 1]], 1))
    assert np.allclose(coders.centres(boxes), want, rtol=1e-12)
    assert np.allclose(coders.corners(coders.centres(boxes)), boxes, rtol=1e-12)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_deltas_are_torchvisions_with_gradients(weights):
    ours, other = coders.BoxCoder(weights), theirs._utils.BoxCoder(weights)
    boxes, references = boxes_of(20), boxes_of(20, 1)
    deltas = ours.encode(boxes, references)
    want = other.encode_single(torch.as_tensor(boxes), torch.as_tensor(references))
    assert np.allclose(deltas, numpy(want), rtol=1e-12)
    assert np.allclose(ours.decode(deltas, references), boxes, rtol=1e-9)
    wild = 3 * np.random.default_rng(2).standard_normal((20, 4)) * np.array(weights)
    mine, peer = Tensor(wild, requires_grad=True), torch.as_tensor(wild).requires_grad_()
    got, want = ours.decode(mine, references), other.decode_single(peer, torch.as_tensor(references))
    assert np.allclose(got.data, numpy(want), rtol=1e-12)
    g = np.random.default_rng(3).standard_normal(got.shape)
    got.backward(g), want.backward(torch.as_tensor(g))
    assert np.allclose(mine.grad, numpy(peer.grad), rtol=1e-10)


def test_one_reference_has_a_box_for_each_class():
    coder, references = coders.BoxCoder((10, 10, 5, 5)), boxes_of(6)
    deltas = np.random.default_rng(0).standard_normal((6, 3, 4))
    got = coder.decode(deltas, references[:, None])
    want = theirs._utils.BoxCoder((10, 10, 5, 5)).decode(torch.as_tensor(deltas.reshape(6, 12)),
                                                         [torch.as_tensor(references)])
    assert np.allclose(got, numpy(want), rtol=1e-12)


def test_ssds_variances_are_weights():
    assert coders.ssd_coder().weights == pytest.approx((10, 10, 5, 5))
    with pytest.raises(ValueError, match="positive"):
        coders.BoxCoder((1, 1, 0, 1))


class Images:
    """What torchvision's generators take."""

    def __init__(self, size):
        self.tensors, self.image_sizes = torch.zeros(1, 3, *size), [size]


@pytest.mark.parametrize("settings", [anchors.RETINANET, anchors.RPN_PYRAMID])
def test_anchors_are_torchvisions(settings):
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    maps = [(13, 17), (7, 9), (4, 5), (2, 3), (1, 2)]
    ours, other = anchors.Anchors(*settings), AnchorGenerator(*settings)
    want = numpy(other(Images((97, 130)), [torch.zeros(1, 1, *m) for m in maps])[0])
    got = ours((97, 130), maps)
    assert [len(level) for level in got] == [h * w * n for (h, w), n in zip(maps, other.num_anchors_per_location())]
    assert np.array_equal(np.concatenate(got), want)
    assert ours((97, 130), maps)[0] is got[0]   # made once a size
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert np.array_equal(np.concatenate(copied((97, 130), maps)), want)
    with pytest.raises(ValueError, match="made for 5 maps"):
        ours((97, 130), maps[:2])


@pytest.mark.parametrize("settings", [
    {"scales": [0.07, 0.15, 0.33, 0.51], "steps": [8, 16, 32]}, {}, {"clip": False, "scales": [0.5, 0.9, 1.4, 2.0]}])
def test_default_boxes_are_torchvisions(settings):
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    ratios, maps, size = [[2], [2, 3], []], [(9, 11), (5, 6), (1, 1)], (70, 90)
    ours, other = anchors.DefaultBoxes(ratios, **settings), DefaultBoxGenerator(ratios, **settings)
    want = numpy(other(Images(size), [torch.zeros(1, 1, *m) for m in maps])[0])
    assert ours.each == other.num_anchors_per_location() and np.allclose(ours(size, maps), want, atol=1e-5)


def qualities():
    rng = np.random.default_rng(0)
    quality = rng.random((4, 50))
    quality[1] *= 0.3
    quality[2, 7] = quality[2, 9] = 0.45   # a tie, of little overlap
    quality[2] = quality[2].clip(max=0.45)
    return quality


@pytest.mark.parametrize("low_quality", [False, True])
def test_matches_by_thresholds_are_torchvisions(low_quality):
    other = theirs._utils.Matcher(0.9, 0.7, low_quality)
    want = numpy(other(torch.as_tensor(qualities())))
    got = matching.threshold_match(qualities(), 0.9, 0.7, low_quality)
    assert np.array_equal(got, want) and {matching.BACKGROUND, matching.IGNORED} < set(got.tolist())
    assert (matching.threshold_match(np.zeros((0, 5)), 0.9, 0.7) == matching.BACKGROUND).all()
    with pytest.raises(ValueError, match="low must not be above high"):
        matching.threshold_match(qualities(), 0.5, 0.7)


def test_bipartite_matches_are_torchvisions():
    quality = qualities()
    quality[3, 20] = quality[0, 20] = 2.0   # two objects with one best anchor
    want = numpy(theirs._utils.SSDMatcher(0.8)(torch.as_tensor(quality)))
    assert np.array_equal(matching.bipartite_match(quality, 0.8), want)
    assert (matching.bipartite_match(np.zeros((0, 5)), 0.8) == matching.BACKGROUND).all()


def test_overlaps_are_torchvisions():
    from torchvision.ops import box_iou
    want = numpy(box_iou(torch.as_tensor(boxes_of(7)), torch.as_tensor(boxes_of(9, 1))))
    assert np.allclose(matching.overlaps(boxes_of(7), boxes_of(9, 1)), want, rtol=1e-12)
    assert not matching.overlaps(np.zeros((1, 4)), np.zeros((2, 4))).any()


def test_atss_is_the_papers_algorithm():
    """Lines 3 to 15, object by object and anchor by anchor."""
    levels = [boxes_of(60, 1), boxes_of(30, 2), boxes_of(5, 3)]
    boxes, every = boxes_of(4, 5), np.concatenate(levels)
    best = {}
    for g, box in enumerate(boxes):
        candidates, start = [], 0
        for level in levels:
            gap = [np.hypot(*((a[:2] + a[2:]) / 2 - (box[:2] + box[2:]) / 2)) for a in level]
            candidates += [start + i for i in sorted(range(len(level)), key=gap.__getitem__)[:6]]
            start += len(level)
        own = [float(matching.overlaps(box[None], every[i:i + 1])[0, 0]) for i in candidates]
        limit = np.mean(own) + np.std(own, ddof=1)
        for i, quality in zip(candidates, own):
            x, y = (every[i, :2] + every[i, 2:]) / 2
            if quality >= limit and box[0] < x < box[2] and box[1] < y < box[3] and quality > best.get(i, (-1, 0))[0]:
                best[i] = quality, g
    want = [best[i][1] if i in best else matching.BACKGROUND for i in range(len(every))]
    assert matching.adaptive_match(boxes, levels, nearest=6).tolist() == want and len(best) > 3
    assert (matching.adaptive_match(np.zeros((0, 4)), levels) == matching.BACKGROUND).all()


def test_a_balanced_sample_has_the_numbers_of_torchvisions():
    for objects in (3, 40):
        match = np.full(200, matching.BACKGROUND)
        match[:objects], match[objects:objects + 20] = np.arange(objects) % 5, matching.IGNORED
        positives, negatives = matching.balanced_sample(match, 64, 0.25, np.random.default_rng(0))
        other = theirs._utils.BalancedPositiveNegativeSampler(64, 0.25)
        labels = torch.as_tensor(np.where(match >= 0, 1, np.where(match == matching.BACKGROUND, 0, -1)))
        pos, neg = other([labels])
        assert (len(positives), len(negatives)) == (int(pos[0].sum()), int(neg[0].sum()))
        assert (match[positives] >= 0).all() and (match[negatives] == matching.BACKGROUND).all()
        assert len(set(positives)) == len(positives) and len(set(negatives)) == len(negatives)
    few = matching.balanced_sample(np.array([0, -1]), 64, 0.5)
    assert few[0].tolist() == [0] and few[1].tolist() == [1]


def test_hard_negatives_are_the_largest_losses_of_the_background():
    rng = np.random.default_rng(0)
    loss, match = rng.random((3, 40)), np.full((3, 40), matching.BACKGROUND)
    match[0, :4], match[1, :20] = 0, 1   # none of the third
    got = matching.hard_negatives(loss, match, 2.0)
    for row in range(3):
        background = [i for i in range(40) if match[row, i] < 0]
        want = sorted(background, key=lambda i, row=row: -loss[row, i])[:2 * int((match[row] >= 0).sum())]
        assert sorted(np.flatnonzero(got[row])) == sorted(want)


@pytest.mark.parametrize("name", ["giou_loss", "iou_loss"])
def test_losses_of_boxes_are_torchvisions_with_gradients(name):
    from torchvision.ops import box_iou, generalized_box_iou_loss
    a, b = boxes_of(12), boxes_of(12, 1, 90.0)
    ours, peer = Tensor(a, requires_grad=True), torch.as_tensor(a).requires_grad_()
    want = (generalized_box_iou_loss(peer, torch.as_tensor(b)) if name == "giou_loss"
            else 1 - box_iou(peer, torch.as_tensor(b)).diagonal())
    got = getattr(losses, name)(ours, b)
    assert np.allclose(got.data[:, 0], numpy(want), rtol=1e-7)
    got.backward(np.ones(got.shape)), want.sum().backward()
    assert np.allclose(ours.grad, numpy(peer.grad), rtol=1e-6, atol=1e-12)
