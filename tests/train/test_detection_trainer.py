"""Detector, the trainer of detectors: a curve of parts, the same bits after an interruption, what
it refuses; sanity checks; pyops train detect and pyops detect."""

import json

import numpy as np
import pytest

import pyops
from pyops import cli, functional as F, nn, train
from pyops.models.detection.detector import Detector as Network
from pyops.train import Split
from pyops.train.detection.annotations import Annotations, Picture
from pyops.train.detection.dataset import DetectionDataset
from pyops.train.detection.measured import measure_detector
from pyops.train.detection.sanity import sanity_check_detector

pytest.importorskip("safetensors")
pytest.importorskip("PIL")
CELL = 8


class Blocks(Network):
    """Every cell of 8x8 pixels says which class a box around its middle has: enough for squares on
    a grid. broken: what is wrong with it, for sanity checks."""

    def __init__(self, classes=2, broken="", **settings):
        self.set_thresholds(0.3, 0.5, 20, ("low", "high")[:classes])
        self.classes, self.broken, self.image = classes, broken, (3, 32, 32)
        self.body = nn.Sequential(nn.Conv2d(3, 8, CELL, CELL), nn.ReLU(), nn.Conv2d(8, classes + 2, 1))
        self.spare = nn.Parameter(np.ones(1, np.float32)) if broken == "unused" else None

    def rows(self, images):
        maps = self.body(F.sub(self.floats(images), 0.5))
        n, channels, height, width = maps.shape
        y, x = np.divmod(np.arange(height * width), width)
        middles = (np.stack([x, y], 1).astype(np.float32) + np.float32(0.5)) * CELL
        rows = F.reshape(F.permute(maps, (0, 2, 3, 1)), (n, -1, channels))
        half = F.mul(F.exp(rows[..., self.classes:]), np.float32(CELL / 2))
        return rows[..., :self.classes], F.cat([F.sub(middles, half), F.add(middles, half)], 2), middles

    def forward(self, images):
        logits, boxes, _ = self.rows(images)
        return F.multiclass_nms(boxes, F.sigmoid(logits), self.iou_threshold, self.score_threshold, self.max_detections)

    def losses(self, images, targets):
        logits, boxes, middles = self.rows(images)
        wanted, shift = np.zeros(logits.shape, np.float32), []
        for i, target in enumerate(targets):
            for box, label in zip(target["boxes"], target["labels"]):
                cell = int(np.abs(middles - (box[:2] + box[2:]) / 2).max(1).argmin())
                wanted[i, cell, label] = 1
                shift.append(F.mean(F.abs(F.sub(boxes[i, cell], box))))
        found = {"classes": F.binary_cross_entropy_with_logits(logits, wanted),
                 "boxes": F.mul(sum(shift[1:], start=shift[0]), 0.01) if shift else F.mul(F.sum(boxes), 0.0)}
        if self.broken == "detached":
            found["boxes"] = pyops.core.tensor.Tensor(found["boxes"].data)
        if self.broken == "nan":
            found["boxes"] = F.mul(found["boxes"], np.float32(np.nan))
        return found


def blocks(count, seed, side=32):
    """Dark and bright squares on cells of grey images."""
    rng, pictures = np.random.default_rng(seed), []
    for i in range(count):
        image, boxes, labels = np.full((side, side, 3), 128, np.uint8), [], []
        for cell in rng.permutation((side // CELL) ** 2)[:rng.integers(0, 4)]:
            y, x = (int(v) * CELL for v in divmod(cell, side // CELL))
            label = int(rng.integers(2))
            image[y:y + CELL, x:x + CELL] = 255 * label
            boxes.append([x, y, x + CELL, y + CELL])
            labels.append(label)
        boxes = np.array(boxes, float).reshape(-1, 4)
        pictures.append(Picture(f"{i}.png", None, (side, side), boxes, np.array(labels, np.int64),
                                np.zeros(len(boxes), bool), np.full(len(boxes), 64.0), (), i + 1, image))
    return DetectionDataset(Annotations("blocks", ("low", "high"), pictures), (side, side))


def trainer(out, **settings):
    pyops.manual_seed(1)
    return train.Detector(Blocks(), Split(blocks(48, 0), blocks(16, 1), "blocks"), out,
                          **{"epochs": 3, "batch_size": 8, "lr": 2e-2, "seed": 3, "draw_curve": False, **settings})


def test_a_detector_learns_and_says_how(tmp_path):
    pytest.importorskip("matplotlib")
    t = trainer(tmp_path, epochs=8, draw_curve=True, clip_norm=10.0, batch_size=4, lr=5e-2)
    history = t.fit()
    assert history[-1].test_accuracy > 0.95 and history[-1].test_ap > 0.5 and history[-1].train_accuracy > 0.95
    for e in history:
        assert set(e.parts) == set(e.test_parts) == {"classes", "boxes"}
        assert sum(e.parts.values()) == pytest.approx(e.train_loss, rel=1e-5)
        assert sum(e.test_parts.values()) == pytest.approx(e.test_loss, rel=1e-5)
    assert "classes" in str(history[-1]) and "AP50" in str(history[-1])
    assert (tmp_path / "curve.png").stat().st_size > 5000 and t.diagnose().names
    assert t.model.class_names == ("low", "high")
    measured = t.test()
    assert measured.ap50 == history[-1].test_accuracy and np.nanmean(measured.voc()) > 0.95
    assert [p.name for p in measured.draw(tmp_path)] == ["pr.png", "confusion.png", "worst.png"]
    assert np.trace(measured.confusion()) == sum(len(x["labels"]) for x in measured.targets)


def test_a_training_goes_on_to_the_same_bits(tmp_path):
    straight = trainer(tmp_path / "a", checkpoint_every=2)
    straight.fit()
    stopped = trainer(tmp_path / "b", checkpoint_every=2)

    def stop(epoch, batch, loss):
        if (epoch, batch) == (2, 5):
            raise KeyboardInterrupt
    stopped.tick = stop
    stopped.fit()
    assert stopped.interrupted
    again = trainer(tmp_path / "b", checkpoint_every=2)
    again.fit(resume=True)
    for a, b in zip(straight.history, again.history):
        assert (a.train_loss, a.parts, a.test_ap) == (b.train_loss, b.parts, b.test_ap)
    ours, theirs = (t.model.state_dict() for t in (straight, again))
    assert all(np.array_equal(ours[k], theirs[k]) for k in ours)


def test_parts_are_weighted(tmp_path):
    plain, heavy = trainer(tmp_path / "a", epochs=1), trainer(tmp_path / "b", epochs=1, weights={"boxes": 0.0})
    assert plain.fit()[0].parts["boxes"] > 0 and heavy.fit()[0].parts["boxes"] == 0
    assert heavy.history[0].test_loss == pytest.approx(heavy.history[0].test_parts["classes"])
    with pytest.raises(ValueError, match="weights are of sides; the model's losses are classes, boxes"):
        trainer(tmp_path / "c", weights={"sides": 1.0}).fit()


def test_a_loss_that_is_no_number_names_the_layer(tmp_path):
    t = trainer(tmp_path)
    t.model.body[2].weight.data[0, 0] = np.inf
    with pytest.raises(train.NonFiniteError, match=r"parameter body.2.weight"):
        t.fit()


def test_what_a_detector_trainer_refuses(tmp_path):
    data = Split(blocks(4, 0), blocks(4, 1))
    with pytest.raises(TypeError, match="the model must be a pyops.models.Detector, got Sequential"):
        train.Detector(nn.Sequential(nn.Linear(2, 2)), data, tmp_path)
    with pytest.raises(TypeError, match="data must be two DetectionDatasets"):
        train.Detector(Blocks(), train.uci_digits, tmp_path)
    for wrong in ({"loss": F.cross_entropy}, {"top_k": 2}, {"measured": 0}, {"sampled": -1}):
        with pytest.raises(ValueError, match="Detector: "):
            train.Detector(Blocks(), data, tmp_path, **wrong)
    other = Blocks()
    other.class_names = ("a", "b")
    with pytest.warns(UserWarning, match="are not the model's, a, b"):
        train.Detector(other, data, tmp_path)


def test_measuring_puts_the_mode_back_and_takes_images_of_any_size():
    model = Blocks().train()
    data = blocks(3, 0)
    data.annotations.pictures += blocks(2, 5, 64).annotations.pictures
    done = []
    measured = measure_detector(model, data, 4, tick=done.append)
    assert model.training and len(measured.detections) == 4 and done == [4] and measured.losses == {}


# ---- sanity

def test_a_sound_detector_passes():
    model = Blocks()
    before = {k: v.copy() for k, v in model.state_dict().items()}
    report = sanity_check_detector(model, blocks(20, 0), expected={"classes": np.log(2)}, steps=200, lr=2e-2)
    assert report.ok, str(report)
    assert [c.name for c in report.checks] == ["data", "initial loss", "regularisation", "gradient", "overfit"]
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items()) and model.training


@pytest.mark.parametrize("broken, failed", [("unused", "gradient"), ("detached", "overfit"), ("nan", "initial loss")])
def test_a_broken_detector_does_not(broken, failed):
    report = sanity_check_detector(Blocks(broken=broken), blocks(20, 0), steps=50, lr=2e-2)
    assert failed in report.failed and "usual causes" in str(report)


def test_data_that_is_none():
    grey = blocks(5, 0)
    for picture in grey.annotations.pictures:
        picture.pixels[:] = 7
    assert sanity_check_detector(Blocks(), grey).failed == ["data"]
    outside = blocks(5, 0)
    outside.annotations.pictures[0].boxes[:] += 30
    assert "NOT within" in str(sanity_check_detector(Blocks(), outside))
    report = sanity_check_detector(Blocks(), blocks(20, 0), expected={"classes": 5.0}, steps=1)
    assert report.failed[0] == "initial loss"
    with pytest.raises(ValueError, match="steps"):
        sanity_check_detector(Blocks(), grey, steps=0)


# ---- pyops train detect, pyops detect

@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What `pyops train detect` leaves, after a training that learns nothing."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("rich")
    from pyops.cli import train_detect
    out = tmp_path_factory.mktemp("run")
    kept = train_detect.SCENES, train_detect.TESTED
    train_detect.SCENES, train_detect.TESTED = 16, 4
    try:
        assert cli.main(["train", "detect", "--epochs", "1", "--batch-size", "8", "--out", str(out)]) == 0
    finally:
        train_detect.SCENES, train_detect.TESTED = kept
    return out


def test_train_detect_leaves_a_checkpoint_and_pictures(trained):
    names = {p.name for p in trained.iterdir()}
    assert names >= {"checkpoint.safetensors", "curve.png", "pr.png", "confusion.png", "worst.png"}
    model, metadata = train.load_model(trained / "checkpoint.safetensors")
    assert model.class_names == tuple("0123456789") and metadata["data"] == "digit scenes"


def test_detect_draws_and_writes_rows(trained, tmp_path, capsys):
    from PIL import Image
    checkpoint = str(trained / "checkpoint.safetensors")
    for i, size in enumerate([(64, 64), (90, 40), (1, 1), (800, 2)]):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (*size[::-1], 3)).astype(np.uint8)).save(
            tmp_path / f"frame_{i:03d}.png")
    out, rows = tmp_path / "out", tmp_path / "rows" / "rows.json"
    arguments = ["detect", checkpoint, str(tmp_path), "-o", str(out), "--json", str(rows), "--score", "0.001"]
    assert cli.main(arguments) == 0
    assert sorted(p.name for p in out.iterdir()) == [f"frame_{i:03d}.png" for i in range(4)]
    found = json.loads(rows.read_text())
    assert found and all(row.keys() == {"bbox", "category_id", "file_name", "image_id", "score"} for row in found)
    assert {row["image_id"] for row in found} <= {1, 2, 3, 4}
    sizes = [Image.open(out / f"frame_{i:03d}.png").size for i in range(4)]
    assert sizes == [(256, 256), (630, 280), (256, 256), (800, 2)]      # small ones enlarged where that is possible
    model, _ = train.load_model(checkpoint)
    boxes = model.detect([tmp_path / "frame_000.png"], 0.001)[0].boxes
    mine = np.array([r["bbox"] for r in found if r["file_name"] == "frame_000.png"])
    assert np.allclose(mine[:, :2], boxes[:, :2], atol=1e-4)
    # the same as numbered frames, and a damaged file among them
    (tmp_path / "frame_001.png").write_bytes(b"no image")
    again = ["detect", checkpoint, str(tmp_path / "frame_%03d.png"), "--json", str(rows)]
    capsys.readouterr()
    assert cli.main(again) == 1
    told = capsys.readouterr().out
    assert "left out:" in told and "frame_001.png" in told and "in 3 images" in told


def test_frames_of_one_size_go_through_a_program(trained, tmp_path):
    from PIL import Image
    for i in range(20):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (50, 70, 3)).astype(np.uint8)).save(
            tmp_path / f"{i}.png")
    rows = tmp_path / "rows.json"
    assert cli.main(["detect", str(trained / "checkpoint.safetensors"), str(tmp_path / "%d.png"), "--json", str(rows),
                     "--score", "0.001"]) == 0
    model, _ = train.load_model(trained / "checkpoint.safetensors")
    found = json.loads(rows.read_text())
    for i in (0, 15, 16, 19):
        mine = [r for r in found if r["image_id"] == i + 1]
        one, = model.detect([tmp_path / f"{i}.png"], 0.001)
        assert len(mine) == len(one) > 0
        assert np.allclose([r["score"] for r in mine], one.scores, atol=1e-5)
        assert np.allclose([r["bbox"][:2] for r in mine], one.boxes[:, :2], atol=1e-2)


def test_detect_by_a_cfg_and_its_weights(trained, tmp_path, capsys):
    from PIL import Image

    from pyops.models.detection.darknet_cfg import write_cfg
    model, _ = train.load_model(trained / "checkpoint.safetensors")
    (tmp_path / "a.cfg").write_text(write_cfg(model.network.sections))
    model.save_weights(tmp_path / "a.weights")
    (tmp_path / "a.names").write_text("\n".join(f"digit {i}" for i in range(10)))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    arguments = ["detect", f"{tmp_path / 'a.cfg'}+{tmp_path / 'a.weights'}", str(tmp_path / "a.png"), "-o",
                 str(tmp_path / "out"), "--names", str(tmp_path / "a.names"), "--score", "0.001"]
    assert cli.main(arguments) == 0 and (tmp_path / "out" / "a.png").is_file()


def test_what_detect_refuses(trained, tmp_path, capsys):
    checkpoint = str(trained / "checkpoint.safetensors")
    for arguments, told in [
            ([checkpoint, str(trained)], "say where to"),
            ([checkpoint, str(tmp_path), "--json", "x.json"], "there is no image in it"),
            ([str(tmp_path / "none.safetensors"), "a.png", "-o", "x"], "none.safetensors"),
            ([str(tmp_path / "none.cfg"), "a.png", "-o", "x"], "a cfg needs its weights"),
            ([f"{tmp_path}/none.cfg+a.weights", "a.png", "-o", "x"], "none.cfg"),
            ([checkpoint, str(tmp_path / "f_%d_%d.png"), "-o", "x"], "a pattern of frames has one number"),
            ([checkpoint, "a.png", "-o", "x", "--names", "y"], "--names is for a cfg")]:
        assert cli.main(["detect", *arguments]) == 2
        assert told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["detect", checkpoint, "a.png", "-o", "x", "--score", "2"])


@pytest.mark.parametrize("name", ["fasterrcnn_small"])
def test_the_other_small_detector_is_trained_and_compiled(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    from pyops.cli import train_detect
    monkeypatch.setattr(train_detect, "SCENES", 8)
    monkeypatch.setattr(train_detect, "TESTED", 2)
    assert cli.main(["train", "detect", "--model", name, "--epochs", "1", "--out", str(tmp_path)]) == 0
    assert "64x64" in capsys.readouterr().out
    model, _ = train.load_model(tmp_path / "checkpoint.safetensors")
    image = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    model.score_threshold = 0.001
    one, = model.detect(image)
    boxes, scores, _, count = (np.asarray(v) for v in pyops.compile(model, image)(image))
    assert count[0] == len(one) > 0 and np.allclose(scores[0, :count[0]], one.scores, atol=1e-5)
    assert np.allclose(boxes[0, :count[0]], one.boxes, atol=1e-2)


def test_what_train_detect_refuses(tmp_path, capsys):
    pytest.importorskip("sklearn")
    for arguments, told in [
            (["--model", "yolov3_smal"], "did you mean yolov3_small"), (["--seed", "-1"], "--seed"),
            (["--test", "x"], "--test needs --data"), (["--data", str(tmp_path / "none.json")], "no such file")]:
        assert cli.main(["train", "detect", *arguments, "--out", str(tmp_path)]) == 2
        assert told in capsys.readouterr().err


def test_train_detect_on_files_with_augmentation(tmp_path, capsys):
    pytest.importorskip("sklearn")
    assert cli.main(["data", "scenes", str(tmp_path), "--count", "10"]) == 0
    arguments = ["train", "detect", "--data", str(tmp_path / "train.json"), "--augment", "full", "--epochs", "1",
                 "--out", str(tmp_path / "run")]
    assert cli.main([*arguments, "--test", str(tmp_path / "test.json")]) == 0
    assert "2 test images" in capsys.readouterr().out
    assert cli.main(arguments) == 0 and "2 test images" in capsys.readouterr().out
    (tmp_path / "few.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert cli.main(["train", "detect", "--data", str(tmp_path / "few.json")]) == 2


@pytest.mark.parametrize("name, settings", [("yolov4_tiny", {"size": 64}), ("yolov5n", {"size": 64}),
                                            ("yolov6n", {"size": 64}),
                                            ("retinanet_resnet18_fpn", {"min_size": 64, "max_size": 64})])
def test_families_of_detectors_are_trained(name, settings, tmp_path):
    data = blocks(4, 0, 64)
    model = pyops.create_model(name, classes=2, **settings)
    before = model.state_dict()
    before = {key: value.copy() for key, value in before.items()}
    t = train.Detector(model, Split(data, data), tmp_path, epochs=1, batch_size=4, lr=1e-4, draw_curve=False, sampled=0)
    epoch, = t.fit()
    assert epoch.parts and all(np.isfinite(v) and v >= 0 for v in epoch.parts.values())
    assert any(not np.array_equal(value, before[key]) for key, value in model.state_dict().items())
    assert train.load_model(t.checkpoint)[0].class_names == ("low", "high")
