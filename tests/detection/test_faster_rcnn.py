"""Faster R-CNN is torchvision's: names, boxes, losses and gradients; and one Program from pixels to boxes."""
import io

import numpy as np
import pytest

import pyops
from pyops import no_grad

peers = pytest.importorskip("torchvision_peers")
SMALL = {"min_size": 96, "max_size": 144}
LOSSES = {"loss_objectness": "objectness", "loss_rpn_box_reg": "proposals", "loss_classifier": "classification",
          "loss_box_reg": "boxes"}
TARGETS = [{"boxes": np.array([[10.0, 10, 50, 60], [40, 20, 100, 70]]), "labels": np.array([1, 3])},
           {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, np.int64)}]
# all anchors and proposals are trained on, so that nothing is drawn
EVERY = {"rpn_batch_size_per_image": 10**6, "box_batch_size_per_image": 10**6, "rpn_positive_fraction": 1.0,
         "box_positive_fraction": 1.0}
FEW = {"rpn_pre_nms_top_n_test": 120, "rpn_post_nms_top_n_test": 60, "rpn_pre_nms_top_n_train": 200,
       "rpn_post_nms_top_n_train": 90}


def resnet18(outputs, **settings):
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=peers.torch.nn.BatchNorm2d,
                                   trainable_layers=5)
    return peers.theirs.FasterRCNN(backbone, outputs, **settings)


@pytest.fixture(scope="module")
def small():
    """Ours has torchvision's outputs, and so its labels."""
    peers.torch.manual_seed(0)
    reference = resnet18(91, **SMALL, **EVERY, **FEW)
    return peers.pair("fasterrcnn_resnet18_fpn", reference, **SMALL, **EVERY, **FEW)


@pytest.mark.parametrize("size", [(80, 120), (61, 200)])
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
    targets = [TARGETS[0], {"boxes": np.array([[5.0, 5, 40, 90]]), "labels": np.array([7])}]
    peers.assert_same_step(model, reference, x, targets, LOSSES, 1e-6)
    reference.eval(), model.eval()


def test_labels_from_zero_are_torchvisions_less_one():
    peers.torch.manual_seed(0)
    reference = resnet18(4, **SMALL, **EVERY, **FEW)
    reference, model = peers.pair("fasterrcnn_resnet18_fpn", reference, classes=3, **SMALL, **EVERY, **FEW)
    x = peers.images(1, 80, 120)
    want = peers.their_answer(reference, x)
    assert set(np.concatenate([w["labels"] for w in want])) == {1, 2, 3}
    got = peers.our_answer(model, x)
    peers.assert_same_boxes(got, [{**w, "labels": w["labels"] - 1} for w in want], 1e-4)
    ours = [{"boxes": TARGETS[0]["boxes"], "labels": np.array([0, 2])}]
    theirs = [{"boxes": TARGETS[0]["boxes"], "labels": np.array([1, 3])}]
    reference.train(), model.train()
    want = reference([peers.torch.from_numpy(x[0])], [{k: peers.torch.from_numpy(v) for k, v in theirs[0].items()}])
    parts = model.losses(x, ours)
    for key, value in want.items():
        assert parts[LOSSES[key]].item() == pytest.approx(value.item(), rel=1e-6)


FORMS = {"fasterrcnn_resnet50_fpn": 1e-5, "fasterrcnn_resnet50_fpn_v2": 1e-5, "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
         "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5}


@pytest.mark.parametrize("name", FORMS)
def test_forms_are_torchvisions(name):
    peers.torch.manual_seed(0)
    few = {**FEW, "rpn_score_thresh": 0.01} if "mobilenet" in name else FEW
    reference = getattr(peers.theirs, name)(weights=None, weights_backbone=None, num_classes=91, box_score_thresh=0.02,
                                            **SMALL, **EVERY, **few)
    reference, model = peers.pair(name, reference, scale=0.1, score_threshold=0.02, **SMALL, **EVERY, **few)
    x = peers.images(2, 80, 120)
    peers.assert_same_boxes(peers.our_answer(model, x), peers.their_answer(reference, x), 1e-4)
    peers.assert_same_step(model, reference, x, TARGETS, LOSSES, FORMS[name])


@pytest.mark.full
@pytest.mark.parametrize("precision, factor", [("strict", 2), ("default", 4)])
def test_in_float32_a_deep_network_is_as_near_to_float64_as_torchvisions(precision, factor):
    """Of random weights: fifty layers, a pyramid and two stages leave 1e-4 to 1e-3 of a score in float32, whoever sums,
    so that ours and torchvision's differ by that; Winograd's algorithm rounds more (docs/performance.md).
    Detections are paired by label and place."""
    torch = peers.torch
    torch.manual_seed(0)
    size = {"min_size": 96, "max_size": 192}
    reference, model = peers.pair("fasterrcnn_resnet50_fpn", peers.theirs.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=91, **size), np.float32, **size)
    x = peers.images(1, 96, 128, np.float32)
    theirs, = peers.their_answer(reference, x)
    program = pyops.compile(model, x, precision=precision)
    ours, = model.cut(*program(x))
    exact, = peers.their_answer(reference.double(), x.astype(np.float64))

    def errors(boxes, scores, labels):
        apart = np.abs(boxes[:, None] - exact["boxes"]).max(-1) + 1e3 * (labels[:, None] != exact["labels"])
        paired = apart.min(0) < 1
        assert paired.mean() > 0.9
        return np.abs(scores[apart.argmin(0)] - exact["scores"])[paired].max(), apart.min(0)[paired].max()

    own = errors(ours.boxes, ours.scores, ours.labels)
    other = errors(theirs["boxes"], theirs["scores"], theirs["labels"])
    assert own[0] <= factor * other[0] and own[1] <= factor * other[1], (own, other)


# ---- one Program

@pytest.fixture(scope="module")
def compiled():
    pyops.manual_seed(0)
    model = pyops.create_model("fasterrcnn_resnet18_fpn", classes=3, max_detections=30, **SMALL, **FEW).eval()
    rng = np.random.default_rng(0)
    predictor = model.roi_heads.box_predictor
    for layer in (model.rpn.head.cls_logits, model.rpn.head.bbox_pred, predictor.cls_score, predictor.bbox_pred):
        layer.weight.data[...] = 0.1 * rng.standard_normal(layer.weight.shape)
    x = (255 * peers.images(2, 70, 90)).astype(np.uint8)
    return model, x, pyops.compile(model, x)


def eager(model, x):
    with no_grad():
        return [np.asarray(getattr(a, "data", a) if not isinstance(a, np.ndarray) else a) for a in model(x)]


def assert_same(got, want):
    for a, b, most in zip(got, want, (2e-3, 1e-4, 0, 0), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and np.abs(a - b).max(initial=0) <= most


def test_a_program_holds_all_of_it(compiled):
    model, x, program = compiled
    want = eager(model, x)
    assert want[0].shape == (2, 30, 4) and (want[3] > 5).all() and len(set(want[2][0])) > 1
    assert_same(program(x), want)


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
    for size in ((70, 90), (64, 120), (70, 90)):
        x = (255 * peers.images(2, *size)).astype(np.uint8)
        assert_same(program(x), eager(model, x))


@pytest.mark.parametrize("room", [60, 200])
def test_a_padded_proposal_changes_no_real_one(compiled, room):
    """A larger room for proposals than there are gives the same boxes."""
    model, x, program = compiled
    want = program(x)
    before = model.rpn.settings
    try:
        model.rpn.settings = type(before)(before=(200, 20), after=(60, room))
        few = [np.array(a) for a in pyops.compile(model, x)(x)]
        model.rpn.settings = type(before)(before=(200, 20), after=(60, 100))
        assert_same(pyops.compile(model, x)(x), few)
    finally:
        model.rpn.settings = before
    assert_same(program(x), want)


@pytest.mark.parametrize("size", [(1, 1), (1, 300)])
def test_images_of_any_shape_are_taken(compiled, size):
    model, _, _ = compiled
    found = model.detect([np.zeros((3, *size), np.float32)])[0]
    assert (found.boxes >= 0).all() and (found.boxes[:, 2] <= size[1]).all() and (found.boxes[:, 3] <= size[0]).all()


def test_levels_are_torchvisions_also_on_their_boundaries():
    from torchvision.ops.poolers import LevelMapper

    from pyops.models.detection.roi_heads import level_of
    sides = np.array([1, 13.9, 55.99, 56, 56.01, 111.999, 112, 223.9999, 224, 224.0001, 447.99, 448, 9000], np.float32)
    boxes = np.stack([sides * 0, sides * 0, sides, sides], 1)
    regions = np.concatenate([sides[:, None] * 0, boxes], 1)
    for scales in ([1 / 4, 1 / 8, 1 / 16, 1 / 32], [1 / 32, 1 / 32], [1 / 8, 1 / 16]):
        mapper = LevelMapper(*(int(-np.log2(s)) for s in (scales[0], scales[-1])))
        assert level_of(regions, scales).tolist() == mapper([peers.torch.from_numpy(boxes)]).tolist()


@pytest.mark.parametrize("name", ["fasterrcnn_resnet18_fpn", "retinanet_resnet50_fpn"])
def test_no_images(name):
    model = pyops.create_model(name, classes=3, min_size=64, max_size=128).eval()
    with no_grad():
        boxes, scores, labels, count = model(np.zeros((0, 3, 64, 80), np.float32))
    assert boxes.shape[0] == scores.shape[0] == labels.shape[0] == count.shape[0] == 0 and boxes.shape[2] == 4
