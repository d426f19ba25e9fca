"""The steps before Faster R-CNN: selective search, R-CNN, Fast R-CNN and VGG-16's Faster R-CNN, and one object an
image. Small trunks; torchvision's heads and scikit-learn's regression are what they are held against."""
import re
from pathlib import Path

import numpy as np
import pytest

import pyops
from pyops import functional as F, models, nn, no_grad
from pyops.detection.coders import corners
from pyops.detection.selective_search import neighbours, selective_search
from pyops.models.detection.fast_rcnn import FastRCNN
from pyops.models.detection.rcnn import FEATURES, POOLED, RCNN, ridge
from pyops.models.detection.roi_heads import PlainHead
from pyops.models.detection.vgg_trunk import VGGTrunk
from pyops.models.registry import NETWORKS

DOCS = Path(__file__).parents[2] / "docs"


class Trunk(nn.Sequential):
    """One map of stride 16."""
    channels = 8

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 16, 16), nn.ReLU())

    def forward(self, input):
        return [super().forward(input)]


def scene(seed=0, size=(64, 96)):
    """Two bright rectangles on a dark ground, and their boxes."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), 30, np.uint8)
    boxes = np.array([[8, 10, 40, 38], [50, 20, 90, 60]], np.float32)
    for (x1, y1, x2, y2), colour in zip(boxes.astype(int), ((220, 40, 40), (40, 220, 60))):
        image[y1:y2, x1:x2] = colour
    image = np.clip(image + rng.integers(-8, 8, image.shape), 0, 255).astype(np.uint8)
    return image.transpose(2, 0, 1).astype(np.float32) / 255, boxes


def arrays(values):
    return [np.asarray(getattr(a, "data", a) if not isinstance(a, np.ndarray) else a) for a in values]


# ---- selective search

def test_selective_search_finds_what_stands_out():
    pytest.importorskip("skimage")
    from pyops.detection.matching import overlaps
    image, boxes = scene()
    found = selective_search(image)
    assert found.dtype == np.float32 and len(np.unique(found, axis=0)) == len(found) < 500
    assert (overlaps(boxes, found).max(1) > 0.9).all()
    assert found[0].tolist() == [0, 0, 96, 64]   # the last region is all of it
    assert selective_search(np.zeros((3, 1, 1), np.float32)).tolist() == [[0, 0, 1, 1]]


def test_regions_that_touch_are_neighbours():
    assert neighbours(np.array([[0, 0, 1], [2, 2, 1], [2, 3, 3]])) == {(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)}


# ---- Fast R-CNN

def fast(classes=3, **settings):
    pyops.manual_seed(0)
    model = FastRCNN(Trunk(), classes, PlainHead(8, 32), 32, channels=8, min_size=64, max_size=96, **settings)
    rng = np.random.default_rng(0)
    for layer in (model.roi_heads.box_predictor.cls_score, model.roi_heads.box_predictor.bbox_pred):
        layer.weight.data[...] = 0.5 * rng.standard_normal(layer.weight.shape)
    return model


def proposals(n=2, some=12):
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 50, (n, some, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 40, corner.shape)], 2).astype(np.float32)


def test_fast_rcnns_heads_are_torchvisions():
    """RoI pooling is ours; what comes behind it, sampling left out, is torchvision's RoIHeads."""
    peers = pytest.importorskip("torchvision_peers")
    torch = peers.torch
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.roi_heads import RoIHeads
    model = fast(box_batch_size_per_image=10**6, box_positive_fraction=1.0).double()
    theirs = RoIHeads(None, TwoMLPHead(8 * 49, 32), FastRCNNPredictor(32, 4), 0.5, 0.5, 10**6, 1.0, None, 0.05, 0.3,
                      100)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in model.roi_heads.state_dict().items()})
    theirs = theirs.double().eval()
    x = np.random.default_rng(2).random((2, 3, 64, 96))
    maps = model.backbone(model.transform(x)[0])[0]

    def pool(_, boxes, __):
        rows = np.concatenate([np.insert(b.numpy(), 0, i, 1) for i, b in enumerate(boxes)])
        return torch.from_numpy(F.roi_pool(maps.data, rows, 7, 1 / 16))
    theirs.box_roi_pool = pool
    given = list(proposals().astype(float))
    with torch.no_grad():
        want, _ = theirs({}, list(map(torch.from_numpy, given)), [(64, 96)] * 2)
    with no_grad():
        got = model.eval().cut(*model(x, np.stack(given)))
    for ours, other in zip(got, want, strict=True):
        assert len(ours) == len(other["boxes"]) > 5 and np.array_equal(ours.labels, other["labels"].numpy() - 1)
        assert np.abs(ours.boxes - other["boxes"].numpy()).max() < 1e-4
    targets = [{"boxes": np.array([[10.0, 10, 40, 40]]), "labels": np.array([2])},
               {"boxes": np.array([[30.0, 20, 60, 50]]), "labels": np.array([0])}]
    theirs.train()
    told = [{"boxes": torch.from_numpy(t["boxes"]), "labels": torch.from_numpy(t["labels"]) + 1} for t in targets]
    _, losses = theirs({}, list(map(torch.from_numpy, given)), [(64, 96)] * 2, told)
    parts = model.train().losses(x, targets, given)
    assert parts["classification"].item() == pytest.approx(losses["loss_classifier"].item(), rel=1e-5)
    assert parts["boxes"].item() == pytest.approx(losses["loss_box_reg"].item(), rel=1e-5)


def test_fast_rcnn_is_a_program_and_a_padded_proposal_changes_no_real_one():
    model, x = fast().eval(), (255 * np.stack([scene(i)[0] for i in range(2)])).astype(np.uint8)
    given = proposals()
    with no_grad():
        want = arrays(model(x, given))
    assert (want[3] > 3).all()
    program = pyops.compile(model, (x, given))
    padded = np.concatenate([given, np.zeros((2, 5, 4), np.float32)], 1)
    wider = pyops.compile(model, (x, padded))
    for got in (program(x, given), wider(x, padded)):
        for a, b, most in zip(got, want, (1e-3, 1e-5, 0, 0), strict=True):
            assert a.shape == b.shape and np.abs(a - b).max() <= most
    found = model.detect(list(x), proposals=list(given))
    assert [len(f) for f in found] == want[3].tolist()
    assert len(model.detect([x[0]], proposals=[np.zeros((0, 4))])[0]) == 0
    with pytest.raises(ValueError, match="as many arrays of proposals as images"):
        model.detect(list(x), proposals=[given[0]])
    with pytest.raises(ValueError, match=r"\(P, 4\)"):
        model.detect([x[0]], proposals=[np.zeros((3, 5))])


def test_vggs_forms_have_the_papers_layers():
    """13 convolutions, a proposal network of 512 channels and nine anchors, and VGG's hidden layers."""
    with nn.init.skip_draws():
        model = models.fasterrcnn_vgg16(20)
    convolutions = sum(p.size for p in models.vgg16().features.parameters())
    proposer = 512 * 512 * 9 + 512 + 9 * (512 + 1) + 36 * (512 + 1)
    hidden = 25088 * 4096 + 4096 + 4096 * 4096 + 4096
    assert sum(p.size for p in model.parameters()) == convolutions + proposer + hidden + 4097 * (21 + 84)
    assert list(VGGTrunk().state_dict()) == list(models.vgg16().features.state_dict())
    frozen = VGGTrunk(3)
    assert [p.requires_grad for p in frozen.parameters()] == [False] * 8 + [True] * 18


# ---- R-CNN

def test_crops_are_warped_with_their_surroundings():
    """Of a crop of 32 pixels 4 on each side are around the proposal; the image continues as its mean."""
    model = RCNN(classes=2, size=32, context=4)
    x = np.random.default_rng(0).random((1, 3, 60, 60), np.float32)
    crop = model.crops(x, np.array([[[20, 10, 44, 34]]], np.float32))
    mean, std = (v.astype(np.float32) for v in (model.transform.mean, model.transform.std))
    assert np.allclose(crop[0], ((x[0] - mean) / std)[:, 6:38, 16:48], atol=1e-5)
    outside = model.crops(x, np.array([[[-100, -100, -76, -76]]], np.float32))
    assert not outside.any()


def test_ridge_is_scikit_learns():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 30)), rng.standard_normal((9, 4))
    want = linear.Ridge(alpha=7.0).fit(x, y)
    weight, bias = ridge(x, y, 7.0)
    assert np.allclose(weight, want.coef_) and np.allclose(bias, want.intercept_)


class Colours(RCNN):
    """What a network would see in these scenes: the mean colour of the crop, and the crop itself."""

    def features(self, crops):
        small = F.adaptive_avg_pool2d(crops, 1)
        flat = F.flatten(F.adaptive_avg_pool2d(crops, 8), 1)
        n = int(crops.shape[0])
        return (F.cat([flat, np.zeros((n, POOLED - 192), np.float32)], 1),
                F.cat([F.flatten(small, 1), np.zeros((n, FEATURES - 3), np.float32)], 1))


def test_svms_and_regression_find_what_they_were_fitted_to():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    data = [scene(i) for i in range(3)]
    images, targets, given = [], [], []
    for image, boxes in data:
        near = np.concatenate([boxes + rng.uniform(-5, 5, boxes.shape) for _ in range(8)])
        far = rng.uniform(0, 30, (20, 2))
        images.append(image)
        given.append(np.concatenate([near, np.concatenate([far, far + 8], 1)]).astype(np.float32))
        targets.append({"boxes": boxes, "labels": np.array([0, 1])})
    model = Colours(classes=2, size=32, context=4, penalty=10.0, ridge=1.0)
    assert all(len(f) == 0 for f in model.detect(images, proposals=given))   # nothing is known yet
    model.fit_classes(images, targets, given)
    rough = model.detect(images, proposals=given)
    model.fit_boxes(images, targets, given)
    from pyops.detection.matching import overlaps
    fine = model.detect(images, proposals=given)
    for before, after, (_, boxes) in zip(rough, fine, data):
        for c, box in enumerate(boxes):
            first, then = (overlaps(box[None], f[f.labels == c].boxes).max() for f in (before, after))
            assert first < 0.85 and then > 0.95
    with pytest.raises(ValueError, match="class 1 has no object"):
        model.fit_classes(images[:1], [{"boxes": data[0][1][:1], "labels": np.array([0])}], given[:1])


def test_the_network_is_tuned_on_crops_and_everything_is_one_program():
    pyops.manual_seed(0)
    model = pyops.create_model("rcnn_alexnet", classes=2, size=67, context=4, batch=6)
    image, boxes = scene()
    loss = model.losses([image], [{"boxes": boxes, "labels": np.array([0, 1])}], [proposals(1)[0]])["classification"]
    loss.backward()
    assert 0.3 < loss.item() < 4 and model.trunk.classifier[6].weight.grad is not None
    model.svm_weight[...] = 0.05 * np.random.default_rng(0).standard_normal(model.svm_weight.shape)
    model.svm_bias[...] = 0.1
    model.eval()
    x, given = (255 * image).astype(np.uint8)[None], proposals(1, 4)
    with no_grad():
        want = arrays(model(x, given))
    for a, b, most in zip(pyops.compile(model, (x, given))(x, given), want, (1e-3, 1e-5, 0, 0), strict=True):
        assert np.abs(a - b).max() <= most
    assert want[3][0] > 0


# ---- one object

@pytest.mark.parametrize("box_loss", ["l1", "iou"])
def test_a_localiser_learns_where_a_rectangle_is(box_loss):
    pyops.manual_seed(0)
    rng = np.random.default_rng(0)
    boxes = np.concatenate([c := rng.uniform(0, 20, (8, 2)), c + rng.uniform(8, 28, (8, 2))], 1).astype(np.float32)
    images = np.zeros((8, 3, 48, 48), np.float32)
    labels = np.arange(8) % 2
    for image, box, label in zip(images, boxes.astype(int), labels):
        image[label, box[1]:box[3], box[0]:box[2]] = 1
    targets = [{"boxes": b[None], "labels": np.array([c])} for b, c in zip(boxes, labels)]
    model = pyops.create_model("localiser", classes=2, size=48, box_loss=box_loss, trunk="resnet18")
    optimizer, seen = pyops.optim.AdamW(model.parameters(), 2e-3), []
    for _ in range(25):
        loss = sum(model.losses(images, targets).values())
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.5 * seen[0]
    found = model.detect(list(images))
    assert all(len(f) == 1 and (f.boxes >= 0).all() and (f.boxes <= 48).all() for f in found)
    program = pyops.compile(model.eval(), images)
    for f, b, n in zip(found, program(images)[0], program(images)[3]):
        assert n == 1 and np.abs(f.boxes[0] - b[0]).max() < 1e-3
    with pytest.raises(ValueError, match="target 0 has 0"):
        model.losses(images[:1], [{"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}])


def test_a_localisers_losses_are_torchvisions():
    peers = pytest.importorskip("torchvision_peers")
    from torchvision.ops import box_iou
    pyops.manual_seed(0)
    model = pyops.create_model("localiser", classes=3, size=32).eval()
    x = np.random.default_rng(0).random((2, 3, 40, 50), np.float32)
    targets = [{"boxes": np.array([[5.0, 6, 30, 20]]), "labels": np.array([1])},
               {"boxes": np.array([[10.0, 2, 45, 39]]), "labels": np.array([0])}]
    with no_grad():
        boxes = corners(model.heads(model.transform(x)[0])[1].data) * np.array([50, 40, 50, 40])
        parts = model.losses(x, targets)
    want = [1 - box_iou(peers.torch.from_numpy(b.astype(float)), peers.torch.from_numpy(t["boxes"])).item()
            for b, t in zip(boxes, targets)]
    assert parts["boxes"].item() == pytest.approx(np.mean(want), abs=1e-4)


@pytest.mark.parametrize(("settings", "says"), [
    ({"trunk": "nothing"}, "trunk must name a classifier"), ({"box_loss": "l2"}, "box_loss"),
    ({"max_detections": 3}, "one object")])
def test_a_localiser_says_what_it_cannot_be(settings, says):
    with pytest.raises(ValueError, match=says):
        pyops.create_model("localiser", classes=2, **settings)


# ---- what the documentation says

def test_the_documented_parameters_are_the_networks_and_torchvisions():
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \| (.*)\|$", (DOCS / "rcnn.md").read_text(), re.M)
    families = {"faster_rcnn", "fast_rcnn", "rcnn", "retinanet", "ssd", "localiser"}
    assert {name for name, _, _ in rows} == {n.name for n in NETWORKS.values()
                                             if n.task == "detection" and n.family in families}
    for name, parameters, same in rows:
        entry, count = NETWORKS[name], int(parameters.replace(",", ""))
        assert (same.strip() == "the same") == (entry.published is not None)
        assert entry.published in (None, count), name
        if count < 30_000_000 or name == "retinanet_resnet50_fpn":
            frozen = {"frozen_norm": True} if entry.published and "v2" not in name and "ssd" not in name else {}
            with nn.init.skip_draws():
                model = pyops.create_model(name, **frozen)
            assert sum(p.size for p in model.parameters()) == count, name
            assert model.image == entry.image
