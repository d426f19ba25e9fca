"""RetinaNet is torchvision's: names, boxes, losses and gradients; and one Program from pixels to boxes."""
import io
from functools import partial

import numpy as np
import pytest

import pyops
from pyops import no_grad

peers = pytest.importorskip("torchvision_peers")
SMALL = {"min_size": 96, "max_size": 144}
LOSSES = {"classification": "classification", "bbox_regression": "boxes"}
TARGETS = [{"boxes": np.array([[10.0, 10, 50, 60], [40, 20, 100, 70]]), "labels": np.array([1, 3])},
           {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, np.int64)}]


def resnet18(**settings):
    """torchvision's parts put together as it does over ResNet-50."""
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=peers.torch.nn.BatchNorm2d,
                                   trainable_layers=5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    from torchvision.models.detection.retinanet import _default_anchorgen
    return peers.theirs.RetinaNet(backbone, anchor_generator=_default_anchorgen(), **settings)


@pytest.fixture(scope="module")
def small():
    peers.torch.manual_seed(0)
    reference = resnet18(num_classes=5, score_thresh=0.02, **SMALL)
    return peers.pair("retinanet_resnet18_fpn", reference, scale=0.25, classes=5, score_threshold=0.02, **SMALL)


@pytest.mark.parametrize("size", [(80, 120), (96, 96), (61, 200)])
def test_boxes_are_torchvisions(small, size):
    reference, model = small
    x = peers.images(2, *size)
    peers.assert_same_boxes(peers.our_answer(model, x), peers.their_answer(reference, x), 1e-4)


def test_a_training_step_is_torchvisions(small):
    reference, model = small
    peers.assert_same_step(model, reference, peers.images(2, 80, 120), TARGETS, LOSSES, 1e-6)
    reference.eval(), model.eval()


def test_a_training_step_on_images_of_different_sizes_is_torchvisions(small):
    reference, model = small
    reference.zero_grad(), model.zero_grad()
    x = [peers.images(1, 80, 120)[0], peers.images(1, 96, 64, seed=1)[0]]
    targets = [TARGETS[0], {"boxes": np.array([[5.0, 5, 40, 90]]), "labels": np.array([0])}]
    peers.assert_same_step(model, reference, x, targets, LOSSES, 1e-6)
    reference.eval(), model.eval()


@pytest.mark.parametrize("version", ["", "_v2"])
def test_resnet50s_forms_are_torchvisions(version):
    peers.torch.manual_seed(0)
    name = f"retinanet_resnet50_fpn{version}"
    reference = getattr(peers.theirs, name)(weights=None, weights_backbone=None, num_classes=4, score_thresh=0.02,
                                            **SMALL)
    reference, model = peers.pair(name, reference, scale=0.1, classes=4, score_threshold=0.02, **SMALL)
    x = peers.images(2, 80, 120)
    peers.assert_same_boxes(peers.our_answer(model, x), peers.their_answer(reference, x), 1e-4)
    peers.assert_same_step(model, reference, x, TARGETS, LOSSES, 1e-5)


def test_frozen_norms_are_torchvisions():
    from torchvision.ops.misc import FrozenBatchNorm2d
    frozen = partial(FrozenBatchNorm2d, eps=0.0)
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    theirs = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=frozen, trainable_layers=3)
    from pyops.models.classification.resnet import resnet18
    from pyops.models.detection.pyramid import resnet_pyramid
    ours = resnet_pyramid(resnet18(), trainable_layers=3, frozen_norm=True, norm_eps=0.0)
    for name, buffer in theirs.named_buffers():
        peers.torch.nn.init.uniform_(buffer, 0.5, 1)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert ({k for k, p in ours.named_parameters() if p.requires_grad}
            == {k for k, p in theirs.named_parameters() if p.requires_grad})
    x = peers.images(1, 64, 96, np.float32)
    with peers.torch.no_grad(), no_grad():
        for got, want in zip(ours(x), theirs(peers.torch.from_numpy(x)).values(), strict=True):
            assert np.abs(got.data - want.numpy()).max() <= 1e-4 * np.abs(want.numpy()).max()


# ---- one Program

@pytest.fixture(scope="module")
def compiled():
    pyops.manual_seed(0)
    model = pyops.create_model("retinanet_resnet18_fpn", classes=3, score_threshold=0.02, max_detections=50, **SMALL)
    model.eval()
    rng = np.random.default_rng(0)
    for layer in (model.head.classification_head.cls_logits, model.head.regression_head.bbox_reg):
        layer.weight.data[...] = 0.5 * rng.standard_normal(layer.weight.shape)
    x = (255 * peers.images(2, 70, 90)).astype(np.uint8)
    return model, x, pyops.compile(model, x)


def eager(model, x):
    with no_grad():
        return [np.asarray(getattr(a, "data", a) if not isinstance(a, np.ndarray) else a) for a in model(x)]


def assert_same(got, want):
    for a, b, most in zip(got, want, (1e-3, 1e-6, 0, 0), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and np.abs(a - b).max(initial=0) <= most


def test_a_program_holds_all_of_it(compiled):
    model, x, program = compiled
    want = eager(model, x)
    assert want[0].shape == (2, 50, 4) and (want[3] > 5).all()
    assert_same(program(x), want)
    assert_same(pyops.compile(model, (x / 255).astype(np.float32))((x / 255).astype(np.float32)), want)
    found = model.cut(*program(x))
    assert [len(f) for f in found] == want[3].tolist()


def test_a_programs_answer_does_not_depend_on_threads_batch_or_file(compiled):
    model, x, program = compiled
    want = program(x)
    for threads in (1, 3):
        for a, b in zip(pyops.compile(model, x, threads=threads)(x), want):
            assert np.array_equal(a, b)
    file = io.BytesIO()
    program.save(file)
    file.seek(0)
    for a, b in zip(pyops.Program.load(file)(x), want):
        assert np.array_equal(a, b)
    one = pyops.compile(model, x[:1])
    for i in range(2):
        assert_same(one(x[i:i + 1]), [a[i:i + 1] for a in want])


def test_sizes_as_they_come(compiled):
    model, x, _ = compiled
    program = pyops.compile(model, x, dynamic={0: {2: None, 3: None}})
    for size in ((70, 90), (64, 120), (120, 64), (70, 90)):
        x = (255 * peers.images(2, *size)).astype(np.uint8)
        assert_same(program(x), eager(model, x))


def test_nothing_found_is_a_count_of_zero(compiled):
    model, x, _ = compiled
    with model.thresholds(1.0, None):
        boxes, scores, labels, count = pyops.compile(model, x)(x)
    assert not count.any() and not boxes.any() and not scores.any() and not labels.any()
    assert all(len(found) == 0 for found in model.cut(boxes, scores, labels, count))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (400, 2)])
def test_images_of_any_shape_are_taken(compiled, size):
    model, _, _ = compiled
    found = model.detect([np.zeros((3, *size), np.float32)])[0]
    assert (found.boxes >= 0).all() and (found.boxes[:, 2] <= size[1]).all() and (found.boxes[:, 3] <= size[0]).all()


@pytest.mark.parametrize(("target", "says"), [
    ({"boxes": [[0, 0, 5, 5]], "labels": [3]}, "labels from 3 to 3; they are 0 to 2"),
    ({"boxes": [[5, 0, 5, 5]], "labels": [0]}, r"\[5.0, 0.0, 5.0, 5.0\]"), ({"boxes": []}, "no labels"),
    ({"boxes": [[0, 0, np.nan, 5]], "labels": [0]}, "nan"), ({"boxes": [[0, 0, 5, 5]], "labels": [0, 1]}, r"\(2,\)"),
    ({"boxes": [[0, 0, 5, 5]], "labels": [0.5]}, "whole"),
    ({"boxes": [["0", "0", "5", "5"]], "labels": [0]}, "numbers"),
    ({"boxes": [[0, 0, 5, 1e30]], "labels": [0]}, r"within 2\^24 pixels"), ([[0, 0, 5, 5]], "is a list"),
    ({"boxes": [[90, 0, 95, 5]], "labels": [0]}, "no area within its image of 90x70"),
    ({"boxes": [[0, -5, 5, 0]], "labels": [0]}, "no area within its image of 90x70")])
def test_a_wrong_target_is_said_in_a_sentence(compiled, target, says):
    model, x, _ = compiled
    with pytest.raises(ValueError, match=says):
        model.losses(x[:1], [target])
    with pytest.raises(ValueError, match="as many targets as images"):
        model.losses(x, [target])


def test_an_images_answer_does_not_depend_on_the_others(compiled):
    """A batch of mixed sizes: each as if it were alone."""
    model, _, _ = compiled
    several = [peers.images(1, *size, np.float32, seed)[0] for seed, size in enumerate(((70, 90), (50, 40), (70, 90)))]
    together = model.detect(several, score=0.03)
    for one, image in zip(together, several):
        alone = model.detect([image], score=0.03)[0]
        assert len(one) == len(alone) > 0 and np.array_equal(one.labels, alone.labels)
        assert np.abs(one.boxes - alone.boxes).max() < 1e-3
    assert all((found.scores > 0.03).all() for found in together)
