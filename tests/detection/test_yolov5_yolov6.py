"""YOLOv5 and YOLOv6: published sizes, names of published files, decoding and losses by their formulas,
RepVGG blocks as one convolution, one Program from pixels to boxes."""
from math import log

import numpy as np
import pytest
from same_boxes import EVERYTHING, same_detections

import pyops
from pyops import Tensor
from pyops.detection.matching import overlaps
from pyops.files import safetensors
from pyops.models.detection.yolo_blocks import ConvBlock, RepVGG
from pyops.models.detection.yolo_truth import Truth

SMALL = {"classes": 3, "size": 64, "width_mult": 0.25, "depth_mult": 0.4}
FIFTH, SIXTH = [f"yolov5{v}" for v in "nsmlx"], [f"yolov6{v}" for v in "nsml"]


def random_statistics(model, seed=0):
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, pyops.nn.BatchNorm2d):
            module.running_mean[...] = 0.1 * rng.standard_normal(module.running_mean.shape)
            module.running_var[...] = rng.uniform(0.5, 1.5, module.running_var.shape)
            module.weight.data[...] = rng.uniform(0.8, 1.2, module.weight.shape)
            module.bias.data[...] = 0.1 * rng.standard_normal(module.bias.shape)
    for conv in [*getattr(model, "head", ()), *(part for h in getattr(model, "heads", ())
                                                for part in (h.classes, h.boxes))]:
        conv.weight.data[...] = rng.standard_normal(conv.weight.shape) * 2 * conv.weight[0].size ** -0.5
        conv.bias.data[...] = rng.standard_normal(conv.bias.shape)
    return model


def made(name, **settings):
    with pyops.nn.init.skip_draws():
        return pyops.create_model(name, **settings).eval()


# ---- sizes

@pytest.mark.parametrize(("name", "count", "gflops"), [
    ("yolov5n", 1_872_157, 4.5), ("yolov5s", 7_235_389, 16.5), ("yolov5m", 21_190_557, 49.0),
    ("yolov5l", 46_563_709, 109.1), ("yolov5x", 86_749_405, 205.7)])
def test_published_sizes_of_the_fifth(name, count, gflops):
    model = made(name)
    assert sum(p.size for p in model.parameters()) == count
    # the published numbers count what is no multiply-add as well
    assert 0.98 * gflops < 2 * model.summary().macs / 1e9 <= gflops


@pytest.mark.parametrize(("name", "version", "training", "deployed", "gflops"), [
    ("yolov6n", 3, 5_058_270, 4.7, 11.4), ("yolov6s", 3, 20_147_358, 18.5, 45.3), ("yolov6m", 3, None, 34.9, 85.8),
    ("yolov6l", 3, None, 59.6, 150.7), ("yolov6n", 2, None, 4.3, 11.1), ("yolov6s", 2, None, 17.2, 44.2),
    ("yolov6m", 2, None, 34.3, 82.2), ("yolov6l", 2, None, 58.5, 144.0)])
def test_published_sizes_of_the_sixth(name, version, training, deployed, gflops):
    model = made(name, version=version)
    if training:   # with the 2 x 17 constants of a projection that n and s do not use
        assert sum(p.size for p in model.parameters()) + 34 == training
    for module in model.modules():   # fuse() would compute numbers; sizes are wanted
        if isinstance(module, RepVGG):
            module.fold = lambda m=module: (m.dense.weight.data, np.zeros(len(m.dense.weight.data), np.float32))
    model.fuse()
    count = sum(p.size for p in model.parameters()) - sum(
        m.norm.weight.size for m in model.modules() if isinstance(m, ConvBlock))   # a norm folded is one bias
    assert abs(count / 1e6 - deployed) < 0.06
    assert 0.985 * gflops < 2 * model.summary().macs / 1e9 <= gflops


# ---- names

def conv_keys(name):
    return [f"{name}.conv.weight", *(f"{name}.bn.{k}" for k in ("weight", "bias", "running_mean", "running_var",
                                                                "num_batches_tracked"))]


def fifth_keys(counts):
    """The names of a published state_dict, by its layers' numbers."""
    keys = []
    for i in (0, 1, 3, 5, 7, 10, 14, 18, 21):
        keys += conv_keys(f"model.{i}")
    for i, count in zip((2, 4, 6, 8, 13, 17, 20, 23), counts):
        keys += [k for j in (1, 2, 3) for k in conv_keys(f"model.{i}.cv{j}")]
        keys += [k for b in range(count) for j in (1, 2) for k in conv_keys(f"model.{i}.m.{b}.cv{j}")]
    keys += [k for j in (1, 2) for k in conv_keys(f"model.9.cv{j}")]
    return keys + ["model.24.anchors"] + [f"model.24.m.{i}.{k}" for i in range(3) for k in ("weight", "bias")]


def rep_keys(name, identity):
    keys = [k.replace(f"{name}.", f"{name}.rbr_dense.") for k in conv_keys(name)]
    keys += [k.replace("rbr_dense", "rbr_1x1") for k in keys]
    return keys + [f"{name}.rbr_identity.{k.rpartition('.')[2]}" for k in conv_keys("")[1:] if identity]


def sixth_keys(counts):
    """Of n and s, version 3."""
    keys = rep_keys("backbone.stem", False)
    for i, count in zip((2, 3, 4, 5), counts):
        keys += rep_keys(f"backbone.ERBlock_{i}.0", False) + rep_keys(f"backbone.ERBlock_{i}.1.conv1", True)
        keys += [k for b in range(count - 1) for k in rep_keys(f"backbone.ERBlock_{i}.1.block.{b}", True)]
    keys += [k for j in range(1, 8) for k in conv_keys(f"backbone.ERBlock_5.2.cspsppf.cv{j}.block")]
    for i in (0, 1):
        keys += conv_keys(f"neck.reduce_layer{i}.block") + conv_keys(f"neck.Bifusion{i}.downsample.block")
        keys += [k for j in (1, 2, 3) for k in conv_keys(f"neck.Bifusion{i}.cv{j}.block")]
        keys += [f"neck.Bifusion{i}.upsample.upsample_transpose.{k}" for k in ("weight", "bias")]
        keys += conv_keys(f"neck.downsample{i + 1}.block")
    for name in ("Rep_p4", "Rep_p3", "Rep_n3", "Rep_n4"):
        keys += rep_keys(f"neck.{name}.conv1", name not in ("Rep_n3", "Rep_n4"))
        keys += [k for b in range(counts[4] - 1) for k in rep_keys(f"neck.{name}.block.{b}", True)]
    for i in range(3):
        keys += [k for part in ("stems", "cls_convs", "reg_convs") for k in conv_keys(f"detect.{part}.{i}.block")]
        keys += [f"detect.{part}.{i}.{k}" for part in ("cls_preds", "reg_preds") for k in ("weight", "bias")]
    return keys + ["detect.proj", "detect.proj_conv.weight"]


def test_published_names_of_the_fifth_are_ours_one_to_one():
    model = made("yolov5m")
    keys = fifth_keys((2, 4, 6, 2, 2, 2, 2, 2))
    assert sorted(map(model.own_name, keys)) == sorted(model.state_dict())
    assert model.own_name("model.model.9.cv2.conv.weight") == "pooling.merge.conv.weight"   # as a wrapper writes them


def test_published_names_of_the_sixth_are_ours_one_to_one():
    for name, n3 in (("yolov6n", 4), ("yolov6s", 4)):
        model = made(name)
        names = list(map(model.own_name, sixth_keys((2, 4, 6, 2, n3))))
        own = set(model.state_dict())
        assert names.count(None) == 2 and set(names) - own - {None} == set()
        # the first block on the way down has an identity where it does not change the number of channels
        assert all("identity" in k for k in own - set(names))
    m = made("yolov6m")
    for theirs, ours in (("backbone.ERBlock_3.1.m.conv1.conv2.rbr_identity.bias",
                          "stage3.blocks.0.second.identity.bias"),
                         ("backbone.ERBlock_3.1.m.block.0.alpha", "stage3.blocks.1.alpha"),
                         ("backbone.ERBlock_3.1.cv2.block.bn.bias", "stage3.past.norm.bias"),
                         ("backbone.ERBlock_5.2.sppf.cv2.block.conv.weight", "pooling.merge.conv.weight"),
                         ("neck.Rep_n3.m.conv1.conv1.rbr_dense.conv.weight", "out4.blocks.0.first.dense.weight")):
        assert m.own_name(theirs) == ours and ours in m.state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_files_with_published_names_are_read(suffix, tmp_path):
    model = random_statistics(pyops.create_model("yolov5n", **SMALL))
    state = model.state_dict()
    theirs = {k: state[model.own_name(k)] for k in fifth_keys((1, 1, 1, 1, 1, 1, 1, 1))}
    if suffix == ".pt":
        torch = pytest.importorskip("torch")
        torch.save({"model": {k: torch.tensor(v) for k, v in theirs.items()}, "epoch": 3}, tmp_path / "a.pt")
    else:
        safetensors.save(tmp_path / "a.safetensors", theirs, {})
    other = pyops.create_model("yolov5n", weights=tmp_path / f"a{suffix}", **SMALL)
    assert all((v == state[k]).all() for k, v in other.state_dict().items())


def test_a_pickled_model_is_refused_with_what_to_do(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"holds Python objects.*write model.state_dict\(\) instead"):
        pyops.create_model("yolov5n", weights=tmp_path / "a.pt", **SMALL)


# ---- decoding and losses by their formulas

def test_the_fifth_decodes_by_its_formulas():
    model = pyops.create_model("yolov5n", **SMALL)
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((2, 24, n, n)) for n in (8, 4, 2)]
    boxes, scores = model.decoded([m.astype(np.float32) for m in maps])
    anchors = np.array([[10, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119], [116, 90], [156, 198], [373, 326]])
    row = 0
    for head, m in enumerate(maps):
        s = 1 / (1 + np.exp(-m.reshape(2, 3, 8, *m.shape[2:])))
        for a in range(3):
            for y in range(m.shape[2]):
                for x in range(m.shape[3]):
                    t = s[:, a, :, y, x]
                    centre = (2 * t[:, :2] - 0.5 + [x, y]) * (8, 16, 32)[head]
                    size = (2 * t[:, 2:4]) ** 2 * anchors[3 * head + a]
                    np.testing.assert_allclose(boxes[:, row], np.concatenate([centre - size / 2, centre + size / 2], 1),
                                               rtol=1e-4, atol=1e-3)
                    np.testing.assert_allclose(scores[:, row], t[:, 4:5] * t[:, 5:], rtol=1e-5)
                    row += 1


def test_the_fifths_loss_by_loops():
    torchvision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    torch = pytest.importorskip("torch")
    model = pyops.create_model("yolov5n", **SMALL)
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((2, 24, n, n)).astype(np.float32) for n in (8, 4, 2)]
    truth = [Truth(np.array([[.3, .4, .3, .5], [.8, .1, .4, .15]], np.float32), np.array([2, 0])),
             Truth(np.array([[.55, .62, .9, .8]], np.float32), np.array([1]))]
    given = [Tensor(m, requires_grad=True) for m in maps]
    parts = model.parts(given, truth, (64, 64))
    sum(parts.values()).backward()

    leaves = [torch.tensor(m, requires_grad=True) for m in maps]
    expected = {"box": 0.0, "objectness": 0.0, "classes": 0.0}
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    for m, anchors, balance in zip(leaves, model.anchors, (4.0, 1.0, 0.4)):
        n = m.shape[2]
        t, target, apart, kinds = m.reshape(2, 3, 8, n, n), torch.zeros(2, 3, n, n), [], []
        for i, one in enumerate(truth):
            for box, label in zip(one.boxes, one.labels):
                cx, cy, w, h = box * n
                for a in range(3):
                    ratio = [w / anchors[a][0], h / anchors[a][1]]
                    if max(*ratio, *(1 / r for r in ratio)) >= 4:
                        continue
                    for y in range(n):
                        for x in range(n):
                            own = int(x <= cx < x + 1) + int(y <= cy < y + 1)
                            if own == 2 or own == 1 and -0.5 < cx - x < 1.5 and -0.5 < cy - y < 1.5:
                                s = t[i, a, :4, y, x].sigmoid()
                                at = 2 * s[:2] - 0.5 + torch.tensor([x, y])
                                size = (2 * s[2:]) ** 2 * torch.tensor(anchors[a])
                                true = torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                                loss = torchvision.ops.complete_box_iou_loss(
                                    torch.cat([at - size / 2, at + size / 2])[None], true[None])[0]
                                apart.append(loss)
                                target[i, a, y, x] = max(1 - float(loss.detach()), 0)
                                kinds.append(bce(t[i, a, 5:, y, x], torch.eye(3)[label]))
        expected["box"] += 0.05 * torch.stack(apart).mean() if apart else 0
        expected["classes"] += 0.5 * 3 / 80 * torch.stack(kinds).mean() if kinds else 0
        expected["objectness"] += balance * (64 / 640) ** 2 * bce(t[:, :, 4], target)
    sum(expected.values()).backward()
    for name, value in expected.items():
        assert float(parts[name].data) == pytest.approx(float(value.detach()), rel=1e-4), name
    for ours, theirs in zip(given, leaves):
        np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["yolov6n", "yolov6m"])
def test_the_sixth_decodes_by_its_formulas(name):
    model = pyops.create_model(name, **SMALL)
    rng = np.random.default_rng(0)
    numbers = 68 if name == "yolov6m" else 4
    maps = [(rng.standard_normal((1, 3, n, n)).astype(np.float32),
             rng.standard_normal((1, numbers, n, n)).astype(np.float32)) for n in (8, 4, 2)]
    boxes, scores = model.decoded(maps)
    row = 0
    for stride, (kinds, distances) in zip((8, 16, 32), maps):
        for y in range(kinds.shape[2]):
            for x in range(kinds.shape[3]):
                d = distances[0, :, y, x].astype(np.float64)
                if numbers > 4:
                    shares = np.exp(d.reshape(4, 17))
                    d = (shares / shares.sum(1, keepdims=True)) @ np.arange(17)
                px, py = (x + 0.5) * stride, (y + 0.5) * stride
                np.testing.assert_allclose(boxes[0, row], [px - d[0] * stride, py - d[1] * stride, px + d[2] * stride,
                                                           py + d[3] * stride], rtol=1e-4, atol=1e-3)
                np.testing.assert_allclose(scores[0, row], 1 / (1 + np.exp(-kinds[0, :, y, x])), rtol=1e-5)
                row += 1


# ---- RepVGG

@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(6, 6, 1), (6, 8, 1), (6, 6, 2)])
def test_a_block_of_three_branches_is_one_convolution(inputs, outputs, stride):
    block = random_statistics(RepVGG(inputs, outputs, stride)).double().eval()
    assert (block.identity is not None) == (inputs == outputs and stride == 1)
    x = np.random.default_rng(1).standard_normal((2, inputs, 9, 7))
    unfolded = np.asarray(block(Tensor(x)).data)   # gradients are recorded: by its branches
    with pyops.no_grad():
        folded = np.asarray(block(x))
    np.testing.assert_allclose(folded, unfolded, rtol=1e-10, atol=1e-12)
    block.fuse()
    np.testing.assert_allclose(np.asarray(block(x)), unfolded, rtol=1e-10, atol=1e-12)
    assert list(block.state_dict()) == ["folded.weight", "folded.bias"]


def test_a_fused_model_is_written_and_read(tmp_path):
    model = random_statistics(pyops.create_model("yolov6n", **SMALL)).eval()
    x = np.random.default_rng(2).random((1, 3, 64, 64), dtype=np.float32)
    with pyops.no_grad():
        before = model.maps(x)
    model.fuse()
    for ours, theirs in zip(model.maps(x), before):
        for a, b in zip(ours, theirs):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-5)
    pyops.models.weights.save(model, tmp_path / "a.safetensors")
    again, _ = pyops.train.load_model(tmp_path / "a.safetensors")
    assert list(again.state_dict()) == list(model.state_dict())


# ---- all of it

@pytest.mark.parametrize("name", ["yolov5n", "yolov5m", "yolov6n", "yolov6m", "yolov6l"])
def test_one_program_from_pixels_to_boxes(name, tmp_path):
    pyops.manual_seed(0)
    model = random_statistics(pyops.create_model(name, **EVERYTHING, **SMALL)).eval()
    images = np.random.default_rng(2).integers(0, 255, (2, 3, 40, 56), dtype=np.uint8)
    with pyops.no_grad():
        expected = [np.asarray(a) for a in model(images)]
    assert (expected[3] == (756 if name.startswith("yolov5") else 252)).all()
    program = pyops.compile(model, images)
    program.save(tmp_path / "p.npz")
    for run in (program, pyops.Program.load(tmp_path / "p.npz")):
        same_detections(run(images), expected)


@pytest.mark.parametrize(("name", "assigner"), [
    ("yolov5n", None), ("yolov6n", "task"), ("yolov6n", "nearest"), ("yolov6m", "task"),
    *(pytest.param(*more, marks=pytest.mark.slow) for more in (("yolov6s", "task"), ("yolov6l", "task"),
                                                               ("yolov6m", "nearest")))])
def test_one_image_is_learned(name, assigner):
    pyops.manual_seed(0)
    settings = {} if assigner is None else {"assigner": assigner}
    model = pyops.create_model(name, **SMALL, **settings).train()
    images = np.random.default_rng(4).random((2, 3, 64, 64), dtype=np.float32)
    box = np.array([[8, 10, 40, 50]], np.float32)
    targets = [{"boxes": box, "labels": np.array([1])},
               {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}]
    optimiser = pyops.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(40):
        parts = model.losses(images, targets)
        model.zero_grad()
        sum(parts.values()).backward()
        optimiser.step()
    assert all(np.isfinite(float(v.data)) for v in parts.values())
    assert all(p.grad is not None for p in model.parameters())
    boxes, scores = (np.asarray(a.data) for a in model.decoded(model.maps(images)))
    best, label = np.unravel_index(scores[0].argmax(), scores[0].shape)
    assert label == 1 and scores[0].max() > 1.5 * scores[1].max()
    assert overlaps(boxes[0, best][None], box)[0, 0] > 0.6


def test_heads_begin_with_few_objects():
    fifth, sixth = pyops.create_model("yolov5n", classes=3), pyops.create_model("yolov6n", classes=3)
    bias = fifth.head[0].bias.data.reshape(3, 8)
    assert abs(bias[:, 4] - log(8 / 80 ** 2)).max() < 0.3 and abs(bias[:, 5:] - log(0.6 / 2.01)).max() < 0.3
    with pyops.no_grad():
        _, scores = sixth.eval().decoded(sixth.maps(np.zeros((1, 3, 64, 64), np.float32)))
    np.testing.assert_allclose(np.asarray(scores), 0.01, rtol=1e-4)


@pytest.mark.parametrize(("name", "settings", "says"), [
    ("yolov5s", {"size": 100}, "multiple of 32"), ("yolov5s", {"anchors": [[1, 2]]}, "9 pairs"),
    ("yolov6s", {"size": 0}, "multiple of 32"), ("yolov6s", {"version": 4}, "version must be 2 or 3"),
    ("yolov6s", {"assigner": "best"}, "task or nearest")])
def test_settings_that_are_wrong(name, settings, says):
    with pytest.raises(ValueError, match=says):
        pyops.create_model(name, **settings)
