"""YOLO v1 to v4 and YOLO9000: decoding beside OpenCV, losses beside the original Darknet, one Program
from pixels to boxes, and the published numbers of parameters."""
import re
from pathlib import Path

import numpy as np
import pytest
from darknet_peer import ROOT, darknet
from same_boxes import EVERYTHING, same_detections

import pyops
from pyops import Tensor, functional as F
from pyops.models.detection.darknet import DarknetDetector, darknet as from_files
from pyops.models.detection.darknet_cfg import Section, parse_cfg, write_cfg
from pyops.models.detection.darknet_weights import save_weights, stored
from pyops.models.detection.word_tree import WordTree
from pyops.models.detection.yolo_grid import GridHead
from pyops.models.detection.yolo_head import YoloHead
from pyops.models.detection.yolo_region import RegionHead
from pyops.models.detection.yolo_truth import Truth

SMALL = {"classes": 3, "size": 64, "width_mult": 0.05}
NAMES = ("yolov1", "yolov1_tiny", "yolov2", "yolov2_tiny", "yolo9000", "yolov3", "yolov3_tiny", "yolov3_spp",
         "yolov4", "yolov4_tiny")


def randomised(network, seed=0):
    """Random numbers everywhere, such that what heads read is about normal."""
    rng = np.random.default_rng(seed)
    for _, layer, array in stored(network):
        norm = getattr(layer, "norm", None)
        if norm is not None and array is norm.running_var:
            array[...] = rng.uniform(0.5, 1.5, array.shape)
        elif norm is not None and array is norm.weight.data:
            array[...] = rng.uniform(1.0, 1.5, array.shape)
        else:
            array[...] = rng.standard_normal(array.shape) * (0.1 if array.ndim == 1 else array[0].size ** -0.5)
    mode, found = network.training, network.eval()(rng.random((1, *network.input_shape), dtype=np.float32))
    for layer, maps in zip(network.heads, found):
        said = network.layers[list(network.layers).index(layer) - 1]
        weight = said.conv.weight if hasattr(said, "conv") else said.linear.weight
        weight.data[...] /= np.asarray(maps.data).std()
    network.train(mode)
    return network


@pytest.mark.parametrize(("name", "count"), [
    ("yolov1", 194_254_718), ("yolov1_tiny", 27_099_950), ("yolov2", 50_983_561), ("yolov2_tiny", 11_237_145),
    ("yolo9000", 48_807_501), ("yolov3", 62_001_757), ("yolov3_tiny", 8_858_734), ("yolov3_spp", 63_052_381),
    ("yolov4", 64_429_405), ("yolov4_tiny", 6_062_814)])
def test_published_sizes(name, count):
    """Numbers in a file of weights, running means and variances among them."""
    with pyops.nn.init.skip_draws():
        model = pyops.create_model(name)
    assert sum(array.size for *_, array in stored(model.network)) == count


@pytest.mark.parametrize("name", ["yolov2", "yolov2_tiny", "yolov3", "yolov3_tiny", "yolov3_spp", "yolov4",
                                  "yolov4_tiny"])
def test_opencv_decodes_our_networks_as_we_do(name, tmp_path):
    """Our descriptions written as .cfg and .weights, run and decoded by OpenCV."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip("OpenCV 5 does not read Darknet's files")
    model = pyops.create_model(name, **SMALL).eval()
    randomised(model.network)
    for section in model.network.sections:
        if section.kind in ("yolo", "region"):
            section.options["thresh"] = "0"
    (tmp_path / "net.cfg").write_text(write_cfg(model.network.sections))
    save_weights(model.network, tmp_path / "net.weights")
    peer = cv2.dnn.readNetFromDarknet(str(tmp_path / "net.cfg"), str(tmp_path / "net.weights"))
    x = np.random.default_rng(1).random((1, 3, 64, 64), dtype=np.float32)
    peer.setInput(x)
    theirs = peer.forward(peer.getUnconnectedOutLayersNames())
    assert len(theirs) == len(model.heads)
    for rows, head, maps in zip(theirs, model.heads, model.network(x)):
        boxes, scores = (a[0] for a in head.decode(maps, (64, 64)))
        a, (h, w) = len(head.anchors), maps.shape[2:]
        boxes, scores = (v.reshape(a, h * w, -1).swapaxes(0, 1).reshape(a * h * w, -1) for v in (boxes, scores))
        centre, half = rows[:, :2] * 64, rows[:, 2:4] * 32
        np.testing.assert_allclose(boxes, np.concatenate([centre - half, centre + half], 1), rtol=1e-4, atol=1e-3)
        there = rows[:, 5:] > 0   # those of [region] it has suppressed already
        assert there.mean() > 0.4 and (there.all() or name.startswith("yolov2"))
        np.testing.assert_allclose(scores[there], rows[:, 5:][there], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_one_program_from_pixels_to_boxes(name, tmp_path):
    model = pyops.create_model(name, **EVERYTHING, **SMALL).eval()
    randomised(model.network)
    images = np.random.default_rng(2).random((2, 3, 40, 56), dtype=np.float32)
    expected = [np.asarray(a) for a in model(images)]
    boxes, scores, labels, count = expected
    assert boxes.shape == (2, 1000, 4) and labels.dtype == count.dtype == np.int64
    assert (boxes >= 0).all() and (boxes[..., 2] <= 56).all() and (boxes[..., 3] <= 40).all()
    assert all((a[i, n:] == 0).all() for a in (boxes, scores, labels) for i, n in enumerate(count))
    program = pyops.compile(model, images)
    program.save(tmp_path / "p.npz")
    for run in (program, pyops.Program.load(tmp_path / "p.npz")):
        same_detections(run(images), expected)


def test_an_image_in_a_frame_gives_the_same_boxes_as_the_frame():
    """A letterboxed image and its frame, as an image itself, differ by where boxes lie."""
    model = pyops.create_model("yolov3_tiny", score_threshold=0.02, **SMALL).eval()
    randomised(model.network)
    image = np.random.default_rng(3).random((1, 3, 32, 64), dtype=np.float32)
    frame = np.full((1, 3, 64, 64), 0.5, np.float32)
    frame[:, :, 16:48] = image
    (boxes, scores, labels, count), theirs = model(image), model(frame)
    assert count[0] == theirs[3][0] > 0 and (labels == theirs[2]).all() and (scores == theirs[1]).all()
    moved = (theirs[0] - np.float32([0, 16, 0, 16])).clip(0, np.float32([64, 32, 64, 32]))
    np.testing.assert_allclose(boxes[0, :count[0]], moved[0, :count[0]], atol=1e-4)


# ---- losses beside Darknet's deltas, which are minus the gradient

def cfg_of(kind, options, channels, more=""):
    net = "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=1\nsubdivisions=1\n"
    return (net + "[convolutional]\nfilters=6\nsize=3\nstride=4\npad=1\nactivation=leaky\n" + more
            + f"[convolutional]\nfilters={channels}\nsize=1\nstride=1\npad=1\nactivation=linear\n[{kind}]\n" + options)


HEADS = {
    "yolo": cfg_of("yolo", "mask=1,2,3\nanchors=4,6, 8,7, 10,14, 23,27\nclasses=3\nnum=4\nmax=90\nignore_thresh=.3\n"
                   "jitter=.3\ntruth_thresh=1\nrandom=0\n", 24),
    "region": cfg_of("region", "anchors=1,1.2, 2,3, 3,2\nclasses=3\nnum=3\nsoftmax=1\nthresh=.3\nrescore=1\n"
                     "object_scale=5\nnoobject_scale=1\nclass_scale=2\ncoord_scale=3\nbias_match=1\n", 24),
    "region, plain": cfg_of("region", "anchors=1,1.2, 2,3\nclasses=3\nnum=2\nsoftmax=1\nthresh=.3\n", 16),
    "detection": cfg_of("connected", "output=352\nactivation=linear\n[detection]\nclasses=2\ncoords=4\nrescore=1\n"
                        "side=4\nnum=4\nsoftmax=0\nsqrt=1\nobject_scale=1\nnoobject_scale=.5\nclass_scale=2\n"
                        "coord_scale=5\n", 4),
}
BOXES = np.array([[.41, .52, .3, .2], [.7, .23, .12, .28], [.43, .55, .32, .18], [.9, .93, .15, .12]], np.float32)
LABELS = np.array([2, 0, 1, 1])


@pytest.mark.parametrize(("name", "seen"), [("yolo", 0), ("region", 20_000), ("region", 0), ("region, plain", 20_000),
                                            ("detection", 0)])
def test_losses_have_darknets_gradients(name, seen, tmp_path):
    model = DarknetDetector(parse_cfg(HEADS[name]))
    randomised(model.network)
    head, x = model.heads[0], np.random.default_rng(1).random((1, 3, 32, 32), dtype=np.float32)
    labels = LABELS % head.classes
    if name == "detection":
        truth = np.zeros((1, 4, 4, 1 + head.classes + 4), np.float32)
        for box, label in zip(BOXES[[0, 1, 3]], labels[[0, 1, 3]]):
            x_, y = int(box[0] * 4), int(box[1] * 4)
            truth[0, y, x_, 0] = truth[0, y, x_, 1 + label] = 1
            truth[0, y, x_, 1 + head.classes:] = box[0] * 4 - x_, box[1] * 4 - y, box[2], box[3]
    else:
        truth = np.zeros((1, 90 if name == "yolo" else 30, 5), np.float32)
        truth[0, :4, :4], truth[0, :4, 4] = BOXES, labels
    (tmp_path / "net.cfg").write_text(HEADS[name])
    save_weights(model.network, tmp_path / "net.weights")
    theirs = darknet(tmp_path, tmp_path / "net.cfg", tmp_path / "net.weights", x, truth, seen)
    head.seen = seen
    maps = Tensor(np.asarray(model.network(x)[0]), requires_grad=True)
    parts = head.losses(maps, [Truth(BOXES, labels)], (32, 32))
    sum(parts.values()).backward()
    last = len(model.network.layers) - 1
    delta = theirs[f"delta {last}"].reshape(maps.shape)
    if name.startswith("region"):
        # its deltas are of sigmoids' results; on the CPU the chain ends there
        said = theirs[f"output {last}"].reshape(len(head.anchors), 8, -1).copy()
        said[:, [2, 3, 5, 6, 7]] = np.nan
        delta = delta * np.where(np.isnan(said), 1, said * (1 - said)).reshape(maps.shape)
    assert abs(delta).max() > 0.1
    np.testing.assert_allclose(-maps.grad, delta, rtol=1e-4, atol=1e-5 * abs(delta).max())


@pytest.mark.parametrize("name", ["yolo", "detection"])
def test_gradients_reach_the_first_layer_as_darknets_do(name, tmp_path):
    model = DarknetDetector(parse_cfg(HEADS[name]), fit="stretch")
    randomised(model.network)
    x = np.random.default_rng(1).random((2, 3, 32, 32), dtype=np.float32)
    pick = [1, 3]   # in different cells, so that order does not matter
    labels = LABELS % model.classes
    if name == "detection":
        truth = np.zeros((2, 4, 4, 3 + 4), np.float32)
        for box, label in zip(BOXES[pick], labels[pick]):
            i, j = int(box[0] * 4), int(box[1] * 4)
            truth[:, j, i, 0] = truth[:, j, i, 1 + label] = 1
            truth[:, j, i, 3:] = box[0] * 4 - i, box[1] * 4 - j, box[2], box[3]
    else:
        truth = np.zeros((2, 90, 5), np.float32)
        truth[:, :2, :4], truth[:, :2, 4] = BOXES[pick], labels[pick]
    (tmp_path / "net.cfg").write_text(HEADS[name])
    save_weights(model.network, tmp_path / "net.weights")
    theirs = darknet(tmp_path, tmp_path / "net.cfg", tmp_path / "net.weights", x, truth)
    kept = []
    model.network.layers[0].register_forward_hook(lambda _, inputs, result: kept.append(result))
    corner = (np.concatenate([BOXES[:, :2] - BOXES[:, 2:] / 2, BOXES[:, :2] + BOXES[:, 2:] / 2], 1) * 32)[pick]
    parts = model.losses(x, [{"boxes": corner, "labels": labels[pick]}] * 2)
    (sum(parts.values()) * 2).backward()   # losses are an image's
    # delta of layer 0 after the activation's slope: its sum over places is minus the bias' gradient
    delta = theirs["delta 0"].reshape(2, 6, 8, 8).sum((0, 2, 3))
    np.testing.assert_allclose(-model.network.layers[0].conv.bias.grad, delta, rtol=2e-3, atol=2e-4 * abs(delta).max())


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
def test_boxes_by_overlap_are_learned_as_they_are_decoded(kind):
    """The box loss of a head is 1 - IoU and its like of what decode() gives, in the image's pixels."""
    section = Section("yolo", {"num": "2", "anchors": "10,14,20,9", "classes": "2", "scale_x_y": "1.1",
                               "iou_loss": kind, "iou_normalizer": "1"})
    head = YoloHead(section, (14, 6, 6))
    maps = np.random.default_rng(0).standard_normal((1, 14, 6, 6)).astype(np.float32)
    truth = Truth(np.array([[0.4, 0.6, 0.2, 0.3]], np.float32), np.array([1]))
    # the box of 9.6 x 14.4 is the first anchor's, 10 x 14, at x 2 and y 3
    boxes = head.decode(maps, (48, 48))[0].reshape(2, 6, 6, 4)[0, 3, 2]
    expected = np.array([[0.3, 0.45, 0.5, 0.75]], np.float32) * 48
    loss = {"iou": lambda a, b: 1 - F.box_iou(a, b)[0, 0], "giou": F.generalized_box_iou_loss,
            "diou": F.distance_box_iou_loss, "ciou": F.complete_box_iou_loss}[kind](boxes[None], expected)
    given = Tensor(maps, requires_grad=True)
    part = head.losses(given, [truth], (48, 48))["box"]
    np.testing.assert_allclose(float(part.data), float(np.asarray(loss).ravel()[0]), rtol=1e-4)
    part.backward()
    assert np.isfinite(given.grad).all() and abs(given.grad).max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_losses_fall_when_one_image_is_learned(name):
    pyops.manual_seed(1)   # YOLO v1 normalises a map of one pixel over two images here: falls are far from even
    model = pyops.create_model(name, **SMALL).train()
    rng = np.random.default_rng(4)
    images = rng.random((2, 3, 64, 64), dtype=np.float32)
    targets = [{"boxes": np.array([[8, 10, 40, 50]], np.float32), "labels": np.array([1])},
               {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}]
    optimiser = pyops.optim.Adam(model.parameters(), lr=5e-3)
    sums = []
    for _ in range(12):
        parts = model.losses(images, targets)
        assert set(parts) == {"box", "objectness", "classes"}
        total = sum(parts.values())
        model.zero_grad()
        total.backward()
        optimiser.step()
        sums.append(float(total.data))
    assert np.isfinite(sums).all() and min(sums[-3:]) < 0.7 * sums[0]
    assert all(p.grad is not None for p in model.parameters())


# ---- the tree of words

TREE = WordTree(["animal", "thing", "dog", "cat", "bird", "car", "cup", "terrier", "hound"],
                [-1, -1, 0, 0, 0, 1, 1, 2, 2])


def test_a_softmax_for_every_group_of_words():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 2))
    t = torch.tensor(x)
    expected = torch.cat([t[:, :, i:j].softmax(2) for i, j in ((0, 2), (2, 5), (5, 7), (7, 9))], 2).numpy()
    np.testing.assert_allclose(TREE.softmax(x, 2), expected, rtol=1e-12)
    np.testing.assert_allclose(TREE.log_softmax(x, 2), np.log(expected), rtol=1e-10)
    whole = TREE.probabilities(np.moveaxis(expected, 2, -1))
    hound = expected[:, :, 0] * expected[:, :, 2] * expected[:, :, 8]
    np.testing.assert_allclose(whole[..., 8], hound, rtol=1e-12)
    np.testing.assert_allclose(whole[..., [3, 4, 7, 8, 5, 6]].sum(-1), 1, rtol=1e-12)   # the leaves


@pytest.mark.parametrize(("threshold", "word"), [(0.05, 7), (0.3, 2), (0.5, 0), (0.99, 0)])
def test_the_way_down_the_tree_ends_where_it_gets_uncertain(threshold, word):
    given = np.array([[.8, .2, .6, .3, .1, .9, .1, .55, .45], [.1, .9, .6, .3, .1, .45, .55, .55, .45]])
    found = TREE.walk(given, threshold)
    second = 6 if threshold < 0.495 else 1
    assert found.tolist() == [word, second] and found.dtype == np.int64


@pytest.mark.parametrize(("parents", "says"), [([-1, 2, 0], "not an earlier word"), ([-1, 0, -1], "side by side"),
                                               ([-1, -2], "not an earlier"), ([-1], "2 names and 1 parents")])
def test_a_tree_that_is_none_is_refused(parents, says):
    with pytest.raises(ValueError, match=says):
        WordTree([str(i) for i in range(max(len(parents), 2))], parents)


def test_a_tree_is_read_from_a_file(tmp_path):
    path = tmp_path / "tree"
    path.write_text("animal -1\nthing -1\n\ndog 0\n")
    assert WordTree.read(path).names == ("animal", "thing", "dog")
    path.write_text("animal -1\nthing\n")
    with pytest.raises(ValueError, match="line 2: must be"):
        WordTree.read(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        WordTree.read(tmp_path / "none")


def test_yolo9000s_own_tree():
    path = ROOT / "usr/share/darknet/data/9k.tree"
    if not path.is_file():
        pytest.skip("the original Darknet is not here")
    torch = pytest.importorskip("torch")
    tree = WordTree.read(path)
    assert len(tree) == 9418 and len(tree.starts) == 1846
    x = np.random.default_rng(0).standard_normal((3, 9418)).astype(np.float32)
    parts = [torch.tensor(x[:, start:start + size]).softmax(1) for start, size in zip(tree.starts, tree.sizes)]
    expected = torch.cat(parts, 1).numpy()
    np.testing.assert_allclose(tree.softmax(x, 1), expected, rtol=1e-5)
    whole, walked = tree.probabilities(expected), tree.walk(expected, 0.05)
    for row, word in enumerate(walked):
        way = tree.path(int(word))
        np.testing.assert_allclose(whole[row, word], expected[row, way].prod(), rtol=1e-5)
        below = expected[row, tree.parents == word]
        assert not len(below) or whole[row, word] * below.max() <= 0.05


def test_words_are_learned_from_images_without_boxes():
    pyops.manual_seed(0)
    model = pyops.create_model("yolo9000", classes=9, size=64, width_mult=0.05, tree=TREE).train()
    assert model.class_names == TREE.names
    images = np.random.default_rng(4).random((3, 3, 64, 64), dtype=np.float32)
    targets = [{"boxes": np.array([[8, 10, 40, 50]], np.float32), "labels": np.array([7])}, {"label": 8},
               {"label": 0}]
    optimiser = pyops.optim.Adam(model.parameters(), lr=2e-3)
    sums = []
    for _ in range(8):
        parts = model.losses(images, targets)
        model.zero_grad()
        sum(parts.values()).backward()
        optimiser.step()
        sums.append(float(parts["classes"].data))
    assert sums[-1] < 0.7 * sums[0]
    with pytest.raises(ValueError, match="from 0 to 8"):
        model.losses(images, [{"label": 9}] * 3)


def test_a_word_reaches_the_gradient_of_its_way_alone():
    head = RegionHead(Section("region", {"num": "1", "classes": "9", "softmax": "1"}), (14, 1, 1), TREE)
    kinds = Tensor(np.random.default_rng(0).standard_normal((1, 9)), requires_grad=True)
    head.class_loss(kinds, [[8]]).backward()
    soft = TREE.softmax(kinds.data, 1)[0]
    expected = np.zeros(9)
    for group, true in ((slice(0, 2), 0), (slice(2, 5), 2), (slice(7, 9), 8)):
        expected[group] = soft[group]
        expected[true] -= 1
    np.testing.assert_allclose(kinds.grad[0], expected, rtol=1e-9, atol=1e-12)


# ---- files and settings

def test_a_detector_of_files(tmp_path):
    model = pyops.create_model("yolov3_tiny", **SMALL)
    randomised(model.network)
    (tmp_path / "a.cfg").write_text(write_cfg(model.network.sections))
    model.save_weights(tmp_path / "a.weights", seen=64)
    (tmp_path / "a.names").write_text("one\ntwo\nthree\n")
    other = from_files(tmp_path / "a.cfg", tmp_path / "a.weights", tmp_path / "a.names")
    again = pyops.create_model("yolov3_tiny", weights=tmp_path / "a.weights", **SMALL)
    state = model.state_dict()
    for copy in (other, again):
        assert all((v == state[k]).all() for k, v in copy.state_dict().items() if "num_batches" not in k)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    found = other.detect([image, image[:20]], score=0.05)
    assert len(found) == 2 and found[0].name(0) == "one" and len(found[0])
    (tmp_path / "a.names").write_text("one\ntwo\n")
    with pytest.raises(ValueError, match="2 names for the 3 classes"):
        from_files(tmp_path / "a.cfg", names=tmp_path / "a.names")
    with pytest.raises(FileNotFoundError, match="no such file"):
        from_files(tmp_path / "b.cfg")


def test_the_page_on_yolo_can_be_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "yolo.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S):
        exec(compile(block, "yolo.md", "exec"), {})


@pytest.mark.parametrize("shape", [(1, 1), (8000, 20), (3, 700), (64, 64)])
def test_images_of_any_size(shape):
    model = pyops.create_model("yolov4_tiny", score_threshold=0.01, **SMALL).eval()
    randomised(model.network)
    for model.fit in ("letterbox", "stretch"):
        boxes, scores, *_ = model(np.random.default_rng(0).random((1, 3, *shape), dtype=np.float32))
        assert np.isfinite(boxes).all() and np.isfinite(scores).all()
        assert (boxes >= 0).all() and (boxes <= [shape[1], shape[0]] * 2).all()


def test_the_size_changes_in_training():
    pyops.manual_seed(1)
    model = pyops.create_model("yolov2_tiny", sizes=(64, 96, 128), **SMALL).train()
    sizes = [model.training_size() for _ in range(200)]
    assert all(len(set(sizes[i:i + 10])) == 1 for i in range(0, 200, 10)) and len(set(sizes)) == 3
    target = {"boxes": [[8, 10, 40, 50]], "labels": [1]}
    assert np.isfinite(float(model.losses(np.zeros((1, 3, 64, 64), np.float32), [target])["box"].data))
    assert model.eval().training_size() == (64, 64)


@pytest.mark.parametrize(("make", "says"), [
    (lambda: pyops.create_model("yolov3", anchors=[(1, 2)]), "9 pairs"),
    (lambda: pyops.create_model("yolov3", fit="crop", **SMALL), "letterbox or stretch"),
    (lambda: pyops.create_model("yolov1", size=100), "multiple of 64"),
    (lambda: pyops.create_model("yolov3", sizes=(64, 0.5), **SMALL), "sizes must be an int, got 0.5"),
    (lambda: pyops.create_model("yolov1", hidden="x"), "local or connected"),
    (lambda: pyops.create_model("yolo9000", classes=3, tree=TREE), "9 words and classes=3"),
    (lambda: pyops.create_model("yolo9000", classes=3, tree_threshold=2), "tree_threshold"),
    (lambda: DarknetDetector(parse_cfg("[net]\nwidth=8\nheight=8\n[dropout]\n")), "no detector"),
    (lambda: DarknetDetector(parse_cfg("[net]\nwidth=8\nheight=8\nchannels=1\n[dropout]\n")), "channels=3"),
    (lambda: YoloHead(Section("yolo", {"num": "1", "anchors": "1"}), (6, 1, 1)), "pairs of positive anchors"),
    (lambda: YoloHead(Section("yolo", {"num": "1", "anchors": "1,2", "mask": "1"}), (6, 1, 1)), "mask must choose"),
    (lambda: YoloHead(Section("yolo", {"num": "1", "anchors": "1,2"}), (6, 1, 1)), "25 channels"),
    (lambda: YoloHead(Section("yolo", {"num": "1", "anchors": "1,2", "iou_loss": "x"}), (25, 1, 1)), "iou_loss"),
    (lambda: RegionHead(Section("region", {"coords": "5"}), (25, 1, 1)), "coords"),
    (lambda: RegionHead(Section("region", {}), (24, 1, 1)), "25 channels"),
    (lambda: GridHead(Section("detection", {"classes": "2"}), (24, 1, 1)), "343 numbers"),
])
def test_settings_that_are_wrong(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_targets_that_are_wrong():
    model = pyops.create_model("yolov3_tiny", **SMALL)
    images = np.zeros((1, 3, 64, 64), np.float32)
    with pytest.raises(ValueError, match="no area within its image of 64x64"):
        model.losses(images, [{"boxes": [[70, 70, 80, 80.]], "labels": [0]}])
    with pytest.raises(ValueError, match="labels from 3 to 3"):
        model.losses(images, [{"boxes": [[0, 0, 8, 8.]], "labels": [3]}])
