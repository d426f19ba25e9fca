"""The base class of detectors: detect() takes images as they come, create_model makes and describes
detectors, and Detections are cut, drawn and written."""
import json
import re

import numpy as np
import pytest

import pyops
from pyops import models
from pyops.detection import Detections
from pyops.detection.images import as_image
from pyops.models.detection.detector import Detector
from pyops.models.recipe import Recipe, describe


class Corners(Detector):
    """One box an image, from its corner to as far as its brightest channel says."""

    def __init__(self, score_threshold=0.05, iou_threshold=0.5, max_detections=2, class_names=None):
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.seen = []

    def forward(self, images):
        x = self.floats(images)
        self.seen.append((tuple(x.shape), self.score_threshold, self.iou_threshold, self.training))
        n, (h, w) = x.shape[0], x.shape[2:]
        boxes = np.zeros((n, 2, 4), np.float32)
        boxes[:, 0] = 0, 0, w, h
        scores = np.zeros((n, 2), np.float32)
        scores[:, 0] = np.asarray(x).max((1, 2, 3))
        return boxes, scores, np.zeros((n, 2), np.int64), np.ones(n, np.int64)


def test_detect_takes_images_of_all_kinds_and_sizes(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (6, 9, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    image.fromarray(pixels).save(tmp_path / "a.png")
    given = [pixels, image.fromarray(pixels), tmp_path / "a.png", np.full((3, 4, 5), 0.5, np.float32),
             str(tmp_path / "a.png"), pixels[..., 0]]
    model = Corners().train()
    found = model.detect(given, score=0.25, iou=0.75)
    assert [f.boxes.tolist() for f in found] == [[[0, 0, 5, 4]] if i == 3 else [[0, 0, 9, 6]] for i in range(6)]
    assert [float(f.scores[0]) for f in found] == pytest.approx([1, 1, 1, 0.5, 1, 1])
    # a batch a size, in evaluation mode and with the thresholds of the call, and all as before afterwards
    assert model.seen == [((5, 3, 6, 9), 0.25, 0.75, False), ((1, 3, 4, 5), 0.25, 0.75, False)]
    assert model.training and (model.score_threshold, model.iou_threshold) == (0.05, 0.5)
    assert len(model.detect(np.zeros((3, 3, 4, 5), np.float32))) == 3 and len(model.detect(pixels)) == 1


@pytest.mark.parametrize(("wrong", "error", "says"), [
    (np.zeros((4, 5, 5), np.float32), ValueError, r"\(4, 5, 5\)"),
    (np.zeros((3, 0, 5), np.float32), ValueError, "pixel"),
    (np.zeros((3, 4, 5), np.int32), TypeError, "int32"), (np.full((3, 2, 2), np.nan), ValueError, "0..1"),
    (np.full((3, 2, 2), 255.0), ValueError, "255"), ("no such file.png", FileNotFoundError, "no such file")])
def test_what_is_no_image_is_said_in_a_sentence(wrong, error, says):
    with pytest.raises(error, match=says):
        Corners().detect([wrong])


def test_a_file_that_is_no_image_is_named(tmp_path):
    pytest.importorskip("PIL")
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="a.png: cannot be read as an image"):
        as_image(tmp_path / "a.png")


@pytest.mark.parametrize("setting", [{"score_threshold": 1.5}, {"iou_threshold": -0.1},
                                     {"score_threshold": float("nan")},
                                     {"max_detections": 0}, {"max_detections": True}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Corners(**setting)


def test_no_bit_of_an_answer_depends_on_the_other_images():
    pyops.manual_seed(0)
    model = pyops.create_model("yolov3_small", classes=3)
    images = list(np.random.default_rng(0).random((3, 3, 64, 96), np.float32)) + [np.zeros((3, 40, 33), np.float32)]
    for together, image in zip(model.detect(images), images, strict=True):
        (alone,) = model.detect([image])
        assert len(alone) and np.array_equal(alone.boxes, together.boxes)
        assert np.array_equal(alone.scores, together.scores) and np.array_equal(alone.labels, together.labels)


@pytest.mark.parametrize("setting, says", [
    ({"score_threshold": "0.5"}, "score_threshold and iou_threshold must be numbers, got '0.5' and 0.5"),
    ({"iou_threshold": None}, "must be numbers"),
    ({"class_names": "abc"}, "class_names must be a sequence of strings, one a label, got 'abc'"),
    ({"class_names": 5}, "must be a sequence of strings, one a label, got 5"),
    ({"class_names": (1, 2, 3)}, "must be a sequence of strings")])
def test_settings_of_another_type_are_refused(setting, says):
    with pytest.raises(TypeError, match=says):
        Corners(**setting)


def test_fewer_names_than_labels_are_refused_before_anything_is_computed():
    model = pyops.create_model("yolov3_small", classes=3, class_names=("a", "b"))
    with pytest.raises(ValueError, match="SmallYOLOv3: class_names are 2, and labels 0 to 2"):
        model.detect(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize("targets", [None, "ab", {"boxes": [], "labels": []}, 3])
def test_targets_that_are_no_list_are_refused(targets):
    with pytest.raises(ValueError, match=f"as many targets as images, got a {type(targets).__name__} and 2"):
        pyops.create_model("yolov3_small", classes=3).losses(np.zeros((2, 3, 64, 64), np.float32), targets)


def test_settings_as_they_are_now_are_described():
    model = Corners(class_names=("a", "b"))
    model.recipe = Recipe("corners", {"score_threshold": 0.5})
    model.iou_threshold = 0.25
    found = describe(model)
    assert found["model"] == "corners" and json.loads(found["settings"]) == {
        "score_threshold": 0.05, "iou_threshold": 0.25, "max_detections": 2, "class_names": ["a", "b"]}


def test_create_model_says_what_a_classifier_alone_has():
    for name in models.list_models(task="detection")[:1]:
        with pytest.raises(ValueError, match="settings of classifiers"):
            pyops.create_model(name, include_top=False)


def detections():
    return Detections([[1, 2, 11, 22], [0, 0, 5, 5], [3, 3, 6, 9]], [0.9, 0.8, 0.3], [1, 0, 1], ("cat", "dog"))


def test_detections_are_cut_by_masks_slices_and_places():
    found = detections()
    assert len(found) == 3 and len(found[found.scores > 0.5]) == 2 and len(found[:1]) == 1
    assert found[2].boxes.tolist() == [[3, 3, 6, 9]] and found[[2, 0]].labels.tolist() == [1, 1]
    assert found[found.labels == 0].class_names == ("cat", "dog") and len(found[found.scores > 2]) == 0


def test_detections_are_cocos_rows():
    rows = detections().to_coco(7, (17, 18))
    assert rows[0] == {"image_id": 7, "category_id": 18, "bbox": [1, 2, 10, 20], "score": pytest.approx(0.9)}
    assert [r["category_id"] for r in detections().to_coco(7)] == [1, 0, 1] and json.dumps(rows)


def test_detections_are_drawn_in_colours_of_their_classes():
    pytest.importorskip("PIL")
    paper = np.full((40, 60, 3), 255, np.uint8)
    found = Detections([[5, 12, 30, 35], [-9, -9, 99, 99]], [0.9, 0.5], [1, 0], ("cat", "dog"))
    canvas = np.asarray(found.draw(paper, width=2))
    assert canvas.shape == paper.shape and (paper == 255).all()
    assert canvas[30, 5].tolist() == [31, 119, 180] and canvas[30, 15].tolist() == [255, 255, 255]
    assert (np.asarray(detections()[:0].draw(paper)) == 255).all()


@pytest.mark.parametrize("wrong", [((2, 4), 1, 2), ((1, 4), 1, 2)])
def test_detections_of_other_lengths_are_refused(wrong):
    shape, scores, labels = wrong
    with pytest.raises(ValueError, match="as many"):
        Detections(np.zeros(shape), np.zeros(scores), np.zeros(labels))


def test_a_label_without_a_name_is_refused():
    with pytest.raises(ValueError, match="0 to 1"):
        Detections([[0, 0, 1, 1]], [1], [2], ("a", "b"))


# ---- files of weights

def test_a_file_says_what_builds_its_detector_again(tmp_path):
    from pyops.files import safetensors
    from pyops.models import weights
    from pyops.models.create import rebuild
    pyops.manual_seed(0)
    model = pyops.create_model("ssdlite320_mobilenet_v3_large", classes=2, class_names=("cat", "dog"), candidates=50)
    model.score_threshold = 0.5
    weights.save(model, tmp_path / "a.safetensors")
    state, metadata = safetensors.load(tmp_path / "a.safetensors")
    again = rebuild(metadata)
    assert (again.score_threshold, again.class_names, again.candidates) == (0.5, ("cat", "dog"), 50)
    again.load_state_dict(state)
    third = pyops.create_model("ssdlite320_mobilenet_v3_large", classes=2, weights=tmp_path / "a.safetensors")
    for name, array in model.state_dict().items():
        assert np.array_equal(third.state_dict()[name], array) and np.array_equal(again.state_dict()[name], array)
    with pytest.raises(ValueError, match="does not fit SSD"):
        pyops.create_model("ssdlite320_mobilenet_v3_large", classes=3, weights=tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["fasterrcnn_resnet18_fpn", "retinanet_resnet18_fpn"])
def test_names_of_before_torchvisions_second_version_are_read(name, tmp_path):
    """What torchvision's own loading hooks rename."""
    from pyops.files import safetensors
    with pyops.nn.init.skip_draws():
        model = pyops.create_model(name, classes=2)
    before = {}
    for key, array in model.state_dict().items():
        key = re.sub(r"(fpn\.\w+_blocks\.\d)\.0\.", r"\1.", key)
        key = re.sub(r"(rpn\.head\.conv)\.0\.0\.", r"\1.", key)
        key = re.sub(r"(head\.\w+\.conv)\.(\d)\.0\.", lambda m: f"{m[1]}.{2 * int(m[2])}.", key)
        if "num_batches" not in key:   # of norms that were frozen
            before[key] = np.full_like(array, len(before) % 97)
    assert len(set(before) - set(model.state_dict())) >= 10
    safetensors.save(tmp_path / "a.safetensors", before, {})
    loaded = pyops.create_model(name, classes=2, weights=tmp_path / "a.safetensors").state_dict()
    kept = [array for key, array in loaded.items() if "num_batches" not in key]
    assert all((a == b).all() for a, b in zip(kept, before.values(), strict=True))


def test_names_may_come_one_by_one_and_numbers_from_numpy():
    assert Corners(class_names=(name for name in ("a", "b"))).class_names == ("a", "b")
    assert Corners(max_detections=np.int64(3)).max_detections == 3
