"""Labels of whole images by tiles, weights of borders, colours."""
import subprocess
import sys

import numpy as np
import pytest

import pyops
from pyops import Tensor, models, no_grad
from pyops.segmentation import PALETTE, border_weights, coloured, overlay, segment
from pyops.segmentation.segment import mirrored


@pytest.fixture(scope="module")
def padded():
    pyops.manual_seed(0)
    return models.unet(in_channels=2, num_classes=3, base=4, depth=2).eval()


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_whole_image_is_the_networks_answer(padded):
    x = image(2, 24, 36)
    with no_grad():
        want = padded(Tensor(x[None])).data[0]
    assert np.array_equal(segment(padded, x, scores=True), want)
    labels = segment(padded, x)
    assert labels.dtype == np.uint8 and np.array_equal(labels, want.argmax(0))


@pytest.mark.parametrize("make", ["segnet", "segnet_basic", "unet", "deeplabv3_small"])
@pytest.mark.parametrize("size", [(1, 1), (2, 37), (9, 3)])
def test_images_smaller_than_a_networks_stride(make, size):
    """Are mirrored until they are large enough."""
    pyops.manual_seed(0)
    model = pyops.create_model(make, classes=3, base=4).eval()
    x = image(3, *size)
    found = segment(model, x, scores=True)
    assert found.shape == (3, *size)
    assert np.isfinite(found).all() and segment(model, x).shape == size


@pytest.mark.parametrize("make, least", [("segnet", 32), ("segnet_basic", 16)])
def test_networks_say_how_small_images_may_be(make, least):
    model = pyops.create_model(make, classes=3, base=4).eval()
    with pytest.raises(ValueError, match=f"at least {least}, got \\(9, 40\\); pyops.segmentation.segment"):
        model(Tensor(image(1, 3, 9, 40)))


def test_a_classifier_does_not_label_pixels():
    with pytest.raises(ValueError, match=r"scores \(1, classes, H, W\) of an image, got \(1, 3\)"):
        segment(pyops.create_model("resnet18", classes=3).eval(), image(3, 40, 40))


def test_tiles_join_without_seams(padded):
    """What a network of depth 2 sees reaches 22 pixels: with a margin beyond that, tiles on its
    grid agree with the whole image, away from the image's own border."""
    x = image(2, 96, 120)
    whole = segment(padded, x, tile=200, scores=True)
    tiled = segment(padded, x, tile=32, margin=24, scores=True)
    assert np.abs(tiled - whole)[:, 24:-24, 24:-24].max() <= 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("size", [(1, 1), (5, 90), (61, 47)])
@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_any_size_has_labels(padded, size, mode):
    assert segment(padded, image(2, *size), tile=40, margin=8, mode=mode).shape == size


def test_overlap_tiles_of_a_network_without_padding():
    """Each tile is what the network says of the mirrored image around it (figure 2)."""
    pyops.manual_seed(0)
    model = models.unet(in_channels=1, num_classes=2, base=3, depth=1, padded=False).eval()
    x = image(1, 30, 41)
    got = segment(model, x, tile=16, scores=True)
    wide = np.pad(x, ((0, 0), (8, 40), (8, 40)), "reflect")
    with no_grad():
        for top in range(0, 30, 16):
            for left in range(0, 41, 16):
                want = model(Tensor(wide[None, :, top:top + 32, left:left + 32])).data[0]
                part = got[:, top:top + 16, left:left + 16]
                assert np.abs(part - want[:, :part.shape[1], :part.shape[2]]).max() <= 1e-5


def test_mirrored_places_are_numpys_reflection():
    for side in (1, 2, 3, 7):
        line = np.arange(side)
        assert np.array_equal(line[mirrored(np.arange(-20, 30), side)], np.pad(line, (20, 30 - side), "reflect"))


def test_a_program_labels_tiles(padded):
    program = pyops.compile(padded, np.zeros((1, 2, 48, 48), np.float32))
    x = image(2, 70, 50)
    want = segment(padded, x, tile=32, margin=8, scores=True)
    got = segment(program, x, tile=32, margin=8, scores=True)
    assert np.abs(got - want)[:, :32, :32].max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("x, settings, match", [
    (np.zeros((4, 4)), {}, r"image must be \(channels, height, width\), got \(4, 4\)"),
    (np.zeros((3, 0, 4)), {}, r"got \(3, 0, 4\)"),
    (np.full((2, 4, 4), np.nan), {}, "NaN or infinity"), (np.zeros((2, 4, 4), np.uint8), {}, "floats .* got uint8"),
    (np.zeros((2, 4, 4)), {"mode": "wrap"}, "'reflect' or 'zeros', got 'wrap'"),
    (np.zeros((2, 4, 4)), {"tile": 0}, "tile must be at least 1")])
def test_wrong_images_are_refused(padded, x, settings, match):
    with pytest.raises(ValueError, match=f"segment: .*{match}"):
        segment(padded, x, **settings)


def test_border_weights_are_the_papers_formula():
    pytest.importorskip("scipy")
    things = np.zeros((9, 12), int)
    things[2:6, 1:4], things[3:8, 6:9], things[0, 11] = 1, 2, 7
    places = np.argwhere(np.ones_like(things, bool)).reshape(9, 12, 2)
    distances = np.sort([np.sqrt(((places[:, :, None] - np.argwhere(things == n)) ** 2).sum(-1)).min(-1)
                         for n in (1, 2, 7)], 0)
    share = (things != 0).mean()
    want = np.where(things != 0, 0.5 / share,
                    0.5 / (1 - share) + 10 * np.exp(-(distances[0] + distances[1]) ** 2 / (2 * 5.0 ** 2)))
    assert np.abs(border_weights(things) - want).max() <= 1e-5
    assert np.array_equal(border_weights(np.zeros((3, 3), int)), np.ones((3, 3)))
    one = border_weights((things == 1).astype(int), balance=False)
    assert np.array_equal(one, np.ones((9, 12)))     # nothing lies between
    with pytest.raises(ValueError, match="whole numbers"):
        border_weights(np.zeros((3, 3)))


def test_colours_are_pascal_vocs():
    assert PALETTE[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert PALETTE[15].tolist() == [192, 128, 128] and PALETTE[20].tolist() == [0, 64, 128]
    labels = np.array([[0, 1], [2, 0]])
    assert coloured(labels)[0, 1].tolist() == [128, 0, 0]
    photo = np.full((2, 2, 3), 100, np.uint8)
    assert overlay(photo, labels).tolist() == [[[100] * 3, [114, 50, 50]], [[50, 114, 50], [100] * 3]]
    with pytest.raises(ValueError, match="0 to 255, got 0 to 300"):
        coloured(labels * 150)
    with pytest.raises(ValueError, match="of the labels' size"):
        overlay(photo[:1], labels)


def test_pixels_are_scaled_a_piece_at_a_time():
    model = models.create_model("unet", classes=5, base=4, depth=1).eval()
    image = np.random.default_rng(0).integers(0, 256, (3, 40, 56), np.uint8)
    whole = segment(model, image.astype(np.float32) * np.float32(1 / 255), tile=16, margin=8)
    assert np.array_equal(segment(model, image, tile=16, margin=8, scale=1 / 255), whole)
    for wrong, scale in ((image, 0), (image, np.inf), (image.astype(np.float32), 1 / 255)):
        with pytest.raises(ValueError, match="segment: scale must be positive and is for images of uint8"):
            segment(model, wrong, scale=scale)


def test_a_large_image_is_never_whole_in_floats():
    """Of 2000x1600 pixels and 21 classes the scores would take 269 MB, the image in floats 38."""
    code = """
import resource, numpy as np, pyops
from pyops import models
from pyops.segmentation import overlay, segment
model = models.create_model("unet", classes=21, base=4, depth=1).eval()
image = np.random.default_rng(0).integers(0, 256, (1600, 2000, 3), np.uint8)
planes = image.transpose(2, 0, 1)
segment(model, planes[:, :300, :300], tile=128, margin=16, scale=1 / 255)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = segment(model, planes, tile=256, margin=16, scale=1 / 255)
overlay(image, found)
print(found.shape, found.dtype, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert done[:-1] == ["(1600,", "2000)", "uint8"] and int(done[-1]) < 80_000   # kilobytes
