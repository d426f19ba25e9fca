"""SSD is torchvision's: names, boxes, losses and gradients; and one Program from pixels to boxes."""
import io

import numpy as np
import pytest

import pyops
from pyops import no_grad

peers = pytest.importorskip("torchvision_peers")
LOSSES = {"classification": "classification", "bbox_regression": "boxes"}
TARGETS = [{"boxes": np.array([[10.0, 10, 50, 60], [40, 20, 100, 70]]), "labels": np.array([1, 3])},
           {"boxes": np.array([[5.0, 5, 110, 75]]), "labels": np.array([2])}]


def ssd512(**settings):
    """The extractor that torchvision has for it, put together as it does for 300 pixels."""
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD, _vgg_extractor
    boxes = DefaultBoxGenerator([[2], [2, 3], [2, 3], [2, 3], [2, 3], [2], [2]],
                                scales=[0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06],
                                steps=[8, 16, 32, 64, 128, 256, 512])
    return SSD(_vgg_extractor(peers.torchvision.models.vgg16(weights=None), True, 5), boxes, (512, 512),
               image_mean=[0.48235, 0.45882, 0.40784], image_std=[1 / 255] * 3, **settings)


def made(name, **settings):
    if name == "ssd512_vgg16":
        return ssd512(**settings)
    return getattr(peers.theirs, name)(weights=None, weights_backbone=None, **settings)


def pair(name, outputs=91, **settings):
    peers.torch.manual_seed(0)
    reference = made(name, num_classes=outputs)
    for layer in reference.backbone.modules():   # as if trained: values near one
        if isinstance(layer, peers.torch.nn.Conv2d):
            peers.torch.nn.init.kaiming_normal_(layer.weight)
    first = next(m for m in reference.backbone.modules() if isinstance(m, peers.torch.nn.Conv2d))
    if "vgg" in name:
        first.weight.data /= 100
    reference.eval()
    norms = [m for m in reference.modules() if isinstance(m, peers.torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum, before = 1.0, norm.momentum
    with peers.torch.no_grad():
        reference(list(peers.torch.from_numpy(peers.images(2, 200, 200, np.float32, 9))))
    for norm in norms:
        norm.eval().momentum = before
    with pyops.nn.init.skip_draws():
        model = pyops.create_model(name, **settings)
    assert list(model.state_dict()) == list(reference.state_dict())
    model.load_state_dict(reference.state_dict())
    return reference.double().eval(), model.double().eval()


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssd512_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_boxes_are_torchvisions(name):
    """In float32, where a network of this size takes seconds."""
    reference, model = pair(name)
    reference, model = reference.float(), model.float()
    x = peers.images(1, 80, 120, np.float32)
    want, got = peers.their_answer(reference, x)[0], peers.our_answer(model, x)[0]
    # scores that are almost equal may change places
    assert len(got) == len(want["boxes"]) >= 5 and np.abs(got.scores - want["scores"]).max() <= 1e-5
    theirs = {(int(c), *np.round(b / 4).astype(int)) for c, b in zip(want["labels"], want["boxes"])}
    ours = {(int(c), *np.round(b / 4).astype(int)) for c, b in zip(got.labels, got.boxes)}
    assert len(theirs & ours) >= 0.95 * len(theirs)
    first = [i for i in range(20) if got.labels[i] == want["labels"][i]]
    assert len(first) > 15 and np.abs(got.boxes[first] - want["boxes"][first]).max() <= 1e-3


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_losses_and_gradients_are_torchvisions(name):
    reference, model = pair(name)
    some = 1 if "vgg" in name else 2
    peers.assert_same_step(model, reference, peers.images(some, 80, 120), TARGETS[:some], LOSSES,
                           1e-4 if "lite" in name else 1e-6)


@pytest.mark.parametrize("trainable", [0, 2])
@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_lower_layers_are_frozen_as_torchvisions(name, trainable):
    if "vgg" in name:
        from torchvision.models.detection.ssd import _vgg_extractor

        from pyops.models.detection.ssd import VGGMaps
        reference = _vgg_extractor(peers.torchvision.models.vgg16(weights=None), False, trainable)
        ours = VGGMaps(False, trainable)
    else:
        from torchvision.models.detection.ssdlite import _mobilenet_extractor

        from pyops.models.detection.ssd import MobileMaps
        reference = _mobilenet_extractor(peers.torchvision.models.mobilenet_v3_large(weights=None, reduced_tail=True),
                                         trainable, peers.torch.nn.BatchNorm2d)
        ours = MobileMaps(trainable)
    assert ({k for k, p in ours.named_parameters() if p.requires_grad}
            == {k for k, p in reference.named_parameters() if p.requires_grad})


def test_images_without_objects_have_a_loss():
    reference, model = pair("ssdlite320_mobilenet_v3_large")
    empty = [{"boxes": np.zeros((0, 4)), "labels": np.zeros(0, np.int64)}, TARGETS[1]]
    peers.assert_same_step(model, reference, peers.images(2, 80, 120), empty, LOSSES, 1e-4)


# ---- one Program

@pytest.fixture(scope="module")
def compiled():
    pyops.manual_seed(0)
    model = pyops.create_model("ssdlite320_mobilenet_v3_large", classes=3, max_detections=30, score_threshold=0.35)
    for layer in model.modules():   # as if trained: values near one
        if isinstance(layer, pyops.nn.Conv2d):
            pyops.nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, pyops.nn.BatchNorm2d):
            layer.momentum = 1.0
    with no_grad():
        model.heads(model.transform(peers.images(2, 70, 90, np.float32, 9))[0])
    x = (255 * peers.images(2, 70, 90)).astype(np.uint8)
    model.eval()
    return model, x, pyops.compile(model, x)


def eager(model, x):
    with no_grad():
        return [np.asarray(getattr(a, "data", a) if not isinstance(a, np.ndarray) else a) for a in model(x)]


def assert_same(got, want):
    """Boxes to 5e-5 of an image's 200 pixels: their sides are exponentials of what float32 rounds in
    another order."""
    for a, b, most in zip(got, want, (1e-2, 1e-4, 0, 0), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and np.abs(a - b).max(initial=0) <= most


def test_a_program_holds_all_of_it(compiled):
    model, x, program = compiled
    want = eager(model, x)
    assert want[0].shape == (2, 30, 4) and (want[3] > 5).all()
    assert_same(program(x), want)


def test_a_programs_answer_does_not_depend_on_threads_batch_or_file(compiled):
    model, x, program = compiled
    want = program(x)
    for a, b in zip(pyops.compile(model, x, threads=1)(x), want):
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
    for size in ((70, 90), (40, 50), (200, 64)):
        x = (255 * peers.images(2, *size)).astype(np.uint8)
        assert_same(program(x), eager(model, x))


def test_labels_count_the_background_where_torchvisions_do(compiled):
    """The same head with its labels one higher, zeros behind the count."""
    model, x, _ = compiled
    want = eager(model, x)
    try:
        model.shift = 0
        got = eager(model, x)
    finally:
        model.shift = 1
    some = np.arange(30) < want[3][:, None]
    assert np.array_equal(got[2], np.where(some, want[2] + 1, 0)) and np.array_equal(got[0], want[0])
