"""Augmentation, loaders, sanity checks, diagnosis, search, transfer, the gallery: each against what
it must do and must refuse."""
import math

import numpy as np
import pytest

import pyops
from pyops import functional as F, nn, optim
from pyops.train import (
    ArrayDataset,
    Choice,
    Epoch,
    ImageFolder,
    Range,
    Split,
    Trainer,
    augment,
    cifar,
    diagnose,
    freeze,
    gallery,
    read_cifar,
    replace_head,
    sanity_check,
    search,
    training_batches,
    uci_digits,
    unfreeze,
    wrong_predictions,
)
from pyops.train.data import to_input

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("sklearn")


def pictures(kind, count=6):
    rng = np.random.default_rng(0)
    shape = {"grey": (count, 12, 10), "colour": (count, 12, 10, 3), "float": (count, 3, 12, 10)}[kind]
    return rng.random(shape, np.float32) if kind == "float" else rng.integers(0, 256, shape, np.uint8)


# ---- augmentation

STEPS = {"flip": augment.Flip(), "crop": augment.Crop(2), "reflect": augment.Crop(2, "reflect"),
         "rotate": augment.Rotate(20, (0.9, 1.1)),
         "colour": augment.Colour(), "noise": augment.Noise(), "cutout": augment.Cutout(4),
         "all": augment.Compose(augment.Flip(), augment.Crop(1), augment.Noise())}


@pytest.mark.parametrize("kind", ["grey", "colour", "float"])
@pytest.mark.parametrize("name", STEPS)
def test_an_augmentation_keeps_type_and_shape_and_its_input_and_depends_on_the_generator(name, kind):
    images = pictures(kind)
    before = images.copy()
    first, again, other = (STEPS[name](images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == images.dtype and first.shape == images.shape and np.array_equal(images, before)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_augmentations_do_what_they_say():
    images, rng = pictures("colour"), np.random.default_rng(0)
    assert np.array_equal(augment.Flip(1.0)(images, rng), images[:, :, ::-1])
    assert np.array_equal(augment.Flip(1.0, vertical=True)(images, rng), images[:, ::-1])
    assert np.array_equal(augment.Rotate(0)(images, rng), images)
    square = pictures("grey")[:, :9, :9]
    quarter = augment.Rotate(0)
    y, x = np.mgrid[:9, :9].astype(float)
    turned = quarter.sampled(square, np.broadcast_to(x, square.shape), np.broadcast_to(8 - y, square.shape))
    assert (np.array_equal(turned, np.rot90(square, -1, (1, 2)))
            or np.array_equal(turned, np.rot90(square, 1, (1, 2))))
    cut = augment.Crop(3, fill=7)(images, rng)
    wide = np.pad(images, [(0, 0), (3, 3), (3, 3), (0, 0)], constant_values=7)
    for one, got in zip(wide, cut):
        assert any(np.array_equal(one[t:t + 12, left:left + 10], got) for t in range(7) for left in range(7))
    holes = augment.Cutout(4)(np.full((50, 12, 10), 9, np.uint8), rng) == 0
    assert 4 <= holes.sum((1, 2)).min() and holes.sum((1, 2)).max() == 16
    noise = augment.Noise(0.1)(np.full((50, 1, 20, 20), 0.5, np.float32), rng) - 0.5
    assert abs(noise.std() - 0.1) < 0.005 and abs(noise.mean()) < 0.005


def test_a_rotation_is_pillows():
    image = np.add.outer(np.arange(21), 2 * np.arange(21)).astype(np.uint8) * 4
    step = augment.Rotate(0)
    angle = np.deg2rad(15)
    y, x = np.mgrid[:21, :21] - 10.0
    got = step.sampled(image[None], (np.cos(angle) * y - np.sin(angle) * x + 10)[None],
                       (np.sin(angle) * y + np.cos(angle) * x + 10)[None])[0]
    want = [np.asarray(Image.fromarray(image).rotate(sign * 15, Image.Resampling.BILINEAR))
            for sign in (1, -1)]
    inner = np.hypot(y, x) < 9
    assert min(np.abs(got.astype(int) - one)[inner].max() for one in want) <= 2


def test_mixup_mixes_inputs_and_targets_alike():
    inputs, labels = np.eye(4, dtype=np.float32)[:, :, None, None], np.arange(4)
    x, t = augment.MixUp(4, 1.0)(inputs, labels, np.random.default_rng(3))
    assert (np.allclose(x[:, :, 0, 0], t) and np.allclose(t.sum(1), 1)
            and 0 < t.min(where=t > 0, initial=1) < 1)
    data = ArrayDataset(inputs, labels, mix=augment.MixUp(4))
    batch = next(training_batches(data, 4, 0, 1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    assert math.isfinite(F.cross_entropy(model(pyops.Tensor(batch[0])), batch[1]).item())


@pytest.mark.parametrize(
    "make, said", [(lambda: augment.Flip(2), "p must"),
                   (lambda: augment.Crop(-1), "padding"), (lambda: augment.Rotate(-1), "degrees"),
                   (lambda: augment.Colour(2), "strengths"), (lambda: augment.Noise(-1), "deviation"),
                   (lambda: augment.Cutout(0), "size"), (lambda: augment.MixUp(1), "classes"),
                   (lambda: augment.Flip()(np.zeros((2, 3)), np.random.default_rng(0)), "must be uint8")])
def test_bad_augmentations_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# ---- loaders

def test_cifars_files_are_read(tmp_path):
    images = pictures("colour", 4)[:, :1, :1].repeat(32, 1).repeat(32, 2)
    planes = images.transpose(0, 3, 1, 2).reshape(4, -1)
    labels = np.array([3, 9, 0, 5], np.uint8)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        np.hstack([labels[:, None], planes]).tofile(tmp_path / name)
    (tmp_path / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    split = cifar(tmp_path, augment=augment.Flip())
    assert (len(split.train) == 20 and len(split.test) == 4 and split.train.classes[3] == "d"
            and split.test.augment is None)
    assert np.array_equal(split.test.images, images) and np.array_equal(split.test.labels, labels)
    np.hstack([labels[:, None] + 10, labels[:, None] + 90,
               planes]).astype(np.uint8).tofile(tmp_path / "train.bin")
    assert read_cifar(tmp_path / "train.bin", 100)[1].tolist() == [93, 99, 90, 95]
    for content, said in ((b"", "0 bytes"), (b"\1" * 3072, "no whole number"), (b"\x0b" * 3073, "up to 11")):
        (tmp_path / "bad.bin").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read_cifar(tmp_path / "bad.bin")
    with pytest.raises(FileNotFoundError, match="test.bin"):
        cifar(tmp_path, 100)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.fromarray(rng.integers(0, 256, (20 + i, 30, 3),
                                         np.uint8)).save(tmp_path / name / f"{i}.{'png' if i % 2 else 'jpg'}")
    return tmp_path


def test_an_image_folder_skips_and_lists_what_is_damaged(folder):
    whole = ImageFolder(folder, (16, 16), strict=True)
    assert len(whole) == 10 and whole.classes == ("cat", "dog") and not whole.skipped
    (folder / "cat" / "0.jpg").write_bytes((folder / "cat" / "0.jpg").read_bytes()[:200])
    (folder / "dog" / "1.png").write_bytes(b"no image")
    data = ImageFolder(folder, (16, 16), augment=augment.Flip())
    assert ([s.path.name for s in data.skipped] == ["0.jpg", "1.png"] and len(data) == 8
            and data.labels.tolist() == [0] * 4 + [1] * 4)
    assert "skipped 2" in data.report() and "dog: 4" in data.report()
    with pytest.raises(ValueError, match="2 of 10 images cannot be read"):
        ImageFolder(folder, (16, 16), strict=True)
    x, y = data.take(np.arange(3))
    assert x.shape == (3, 3, 16, 16) and x.dtype == np.float32 and 0 <= x.min() < x.max() <= 1
    plain = list(training_batches(data, 3, 1, 1))
    for (a, b), (c, d) in zip(plain, training_batches(data, 3, 1, 1, workers=3), strict=True):
        assert np.array_equal(a, c) and np.array_equal(b, d)
    (folder / "cat" / "2.jpg").write_bytes(b"damaged since")
    with pytest.raises(OSError, match="2.jpg: could be read when the set was made"):
        data.take(np.arange(3))
    (folder / "cat" / "2.jpg").write_bytes((folder / "cat" / "4.jpg").read_bytes())
    cut = ImageFolder(folder, (8, 8), resize=(16, 16), channels=1)
    assert cut.take(np.arange(2))[0].shape == (2, 1, 8, 8)
    assert not np.array_equal(cut.take([0], np.random.default_rng(0))[0],
                              cut.take([0], np.random.default_rng(3))[0])


def test_bad_folders_are_named(folder, tmp_path):
    for call, kind, said in ((lambda: ImageFolder(folder / "none", (8, 8)), FileNotFoundError, "no such folder"),
                             (lambda: ImageFolder(folder / "cat", (8, 8)), ValueError, "no image can be read"),
                             (lambda: ImageFolder(folder, (8, 8), classes=["cat"]), ValueError, "dog"),
                             (lambda: ImageFolder(folder, (8, 8), resize=(4, 4)), ValueError, "resize")):
        with pytest.raises(kind, match=said):
            call()


# ---- sanity checks

def digits(count=200, classes=10):
    data = uci_digits()
    chosen = np.flatnonzero(data.train_labels < classes)[:count]
    return ArrayDataset(data.train_images[chosen], data.train_labels[chosen], to_input)


def small(classes=10, seed=0):
    pyops.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3),
                         nn.Linear(8 * 49, classes))


def test_a_sound_network_passes_and_is_left_as_it_was():
    model = small().eval()
    before = {k: v.copy() for k, v in model.state_dict().items()}
    report = sanity_check(model, digits())
    assert report.ok and "all checks passed" in str(report), str(report)
    assert (all(np.array_equal(before[k], v) for k, v in model.state_dict().items()) and not model.training
            and model[4].p == 0.3)
    assert all(p.grad is None for p in model.parameters())


class Detached(nn.Module):
    def forward(self, input):
        return pyops.Tensor(input.data)


def test_a_deep_network_on_small_maps_has_right_gradients_and_a_wrong_rule_none():
    """Norms of four single pixels, 27 deep, bend the loss within the first step that the check
    takes."""
    rng = np.random.default_rng(0)
    patterns, labels = np.random.default_rng(0).normal(size=(3, 3, 32, 32)), rng.integers(0, 3, 60)
    data = ArrayDataset((patterns[labels] + 0.5 * rng.normal(size=(60, 3, 32, 32))).astype(np.float32),
                        labels)
    pyops.manual_seed(0)
    assert "gradient" not in sanity_check(pyops.create_model("mobilenet_v1", classes=3, width_mult=0.25),
                                          data, steps=1).failed

    class HalfDetached(nn.Module):
        """Its gradient is one, its slope two."""

        def forward(self, input):
            return F.add(input, pyops.Tensor(input.data))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), HalfDetached(), nn.Linear(4, 3))
    assert "gradient" in sanity_check(model, data, steps=1).failed


def test_each_check_finds_its_fault():
    data = digits()
    wide = small()
    wide[-1].weight.data *= 30
    assert "initial loss" in sanity_check(wide, data).failed
    dead = small()
    dead[-1].weight.data[...] = 0
    dead[0].weight.data[...] = 0
    assert "regularisation" in sanity_check(dead, data).failed
    twice = ArrayDataset(np.repeat(data.images[:1], 40, 0), np.arange(40) % 10, to_input)
    assert "overfit" in sanity_check(small(), twice, steps=30).failed
    cut = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10), Detached(), nn.Linear(10, 10))
    report = sanity_check(cut, data, steps=5)
    assert ("gradient" in report.failed and "no gradient reaches 1.weight" in str(report)
            and "usual causes" in str(report))
    raw = ArrayDataset(data.images, data.labels, lambda images: images[:, None].astype(np.float32))
    assert sanity_check(small(), raw).failed == ["data"]
    assert sanity_check(small(classes=5), data).failed == ["data"], "a label beyond the classes"
    assert sanity_check(small(), uci_digits(),
                        steps=1).failed == ["overfit"], "Digits are data too; one step is too few"
    with pytest.raises(ValueError, match="samples"):
        sanity_check(small(), data, samples=0)


# ---- diagnosis

def curves(train, test, right=None, checked=None):
    right, checked = ([1 - min(1, v) for v in values] if given is None else given
                      for values, given in ((train, right), (test, checked)))
    return [Epoch(i + 1, *row, 1.0) for i, row in enumerate(zip(train, right, test, checked))]


DIAGNOSES = {
    "rate too high": ([2.3, 2.6, 3.1, 3.0], [2.4, 2.7, 3.3, 3.1]),
    "rate too low": ([2.31, 2.30, 2.29, 2.28, 2.27], [2.31, 2.30, 2.29, 2.28, 2.27]),
    "overfitting": ([1.0, 0.4, 0.1, 0.02, 0.01], [1.0, 0.6, 0.5, 0.7, 0.9]),
    "underfitting": ([1.8, 1.5, 1.41, 1.40, 1.40], [1.8, 1.5, 1.42, 1.41, 1.41]),
    "still improving": ([2.0, 1.5, 1.2, 0.9], [2.0, 1.5, 1.2, 0.95]),
    "healthy": ([0.9, 0.3, 0.1, 0.03, 0.02], [0.9, 0.3, 0.12, 0.05, 0.05]),
}


@pytest.mark.parametrize("name", DIAGNOSES)
def test_a_curve_is_diagnosed(name, tmp_path):
    found = diagnose(curves(*DIAGNOSES[name]))
    assert found.names == [name] and "Try:" in str(found)
    found.draw(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").width > 500
    with pytest.raises(ValueError, match="at least 3"):
        diagnose(curves(*DIAGNOSES[name])[:2])


def test_real_trainings_are_diagnosed(tmp_path):
    """SGD at a rate too low, a good one and one too high."""
    names = {}
    for lr in (1e-5, 0.1, 4.0):
        model = small()
        model[4].p = 0.0
        trainer = Trainer(model, Split(digits(160), digits()), tmp_path, epochs=4, batch_size=16,
                          optimizer=optim.SGD(model.parameters(), lr), draw_curve=False, seed=0)
        names[lr] = diagnose(trainer.fit(), trainer.batch_losses).names
        assert len(trainer.batch_losses) == 40
    assert (names[1e-5] == ["rate too low"] and names[4.0][0] == "rate too high"
            and not {"rate too low", "rate too high"} & set(names[0.1]))
    rng = np.random.default_rng(0)
    healthy = curves(*DIAGNOSES["healthy"])
    assert (diagnose(healthy, rng.exponential(0.5, 200)).names == ["noisy"]
            and diagnose(healthy, 0.5 + 0.01 * rng.normal(size=200)).names == ["healthy"])
    assert diagnose(healthy, rng.exponential(0.1, 200)).names == [
        "healthy"], "a small loss hangs on a few images of a batch"


# ---- search

def test_a_search_goes_from_coarse_to_fine(tmp_path):
    pytest.importorskip("optuna")
    data = Split(digits(160), digits(100))

    def build(parameters, epochs):
        model = small()
        return Trainer(model, data, tmp_path, epochs=epochs, batch_size=parameters["batch"], draw_curve=False,
                       seed=0, optimizer=optim.SGD(model.parameters(), parameters["lr"], momentum=0.9))
    found = search(build, {"lr": Range(1e-5, 1e-1), "batch": Choice((16, 32))}, coarse_trials=5,
                   coarse_epochs=3, fine_trials=3, fine_epochs=4)
    coarse = [t for t in found.trials if t.stage == "coarse"]
    assert [t.parameters["lr"] for t in coarse] == pytest.approx([1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
    best = min((t for t in coarse if t.state == "complete"), key=lambda t: t.value).parameters["lr"]
    low, high = found.fine["lr"].low, found.fine["lr"].high
    assert low == pytest.approx(max(best / 10, 1e-5)) and high == pytest.approx(min(best * 10, 1e-1))
    assert all(low <= t.parameters["lr"] <= high for t in found.trials if t.stage == "fine")
    assert any(t.state == "pruned" and t.epochs < 3
               for t in coarse), "what does worse than the median stops early"
    assert found.value <= min(t.value for t in coarse if t.state == "complete")
    assert f"{found.value:.4f}" in str(found).splitlines()[1]
    for bad in (lambda: Range(0, 1), lambda: search(build, {}),
                lambda: search(build, {"lr": Range(1e-3, 1)}, monitor="speed")):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(TypeError, match="search: lr must be a Range or a Choice, got 3"):
        search(build, {"lr": 3})
    with pytest.raises(TypeError, match="build must return a Trainer, got None"):
        search(lambda parameters, epochs: None, {"lr": Range(1e-3, 1)}, coarse_trials=1)


# ---- transfer

def test_transfer_trains_what_it_says(tmp_path):
    pyops.manual_seed(0)
    model = pyops.create_model("lenet5_modern", include_top=False)
    assert freeze(replace_head(model, 3, hidden=(12,), dropout=0.1)) is model
    data = digits(60, 3)
    trunk = {k: v.copy() for k, v in model.state_dict().items() if not k.startswith("head")}
    Trainer(model, Split(data, data), tmp_path, epochs=1, draw_curve=False, seed=0).fit()
    after = model.state_dict()
    assert (model(pyops.Tensor(data.take([0])[0])).shape == (1, 3)
            and all(np.array_equal(v, after[k]) for k, v in trunk.items()))
    groups = unfreeze(model, top=1, lr=1e-4, head_lr=1e-2)
    assert ([g["lr"] for g in groups] == [1e-2, 1e-4]
            and {id(p) for p in groups[1]["params"]} == {id(p) for p in model.conv2.parameters()})
    Trainer(model, Split(data, data), tmp_path, epochs=1, draw_curve=False, seed=0,
            optimizer=optim.AdamW(groups)).fit()
    after = model.state_dict()
    changed = {k for k, v in trunk.items() if not np.array_equal(v, after[k])}
    assert changed == {"conv2.weight", "conv2.bias"}
    assert len(unfreeze(model)[1]["params"]) == 4 and all(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="1 .. 2 layers"):
        unfreeze(model, top=3)
    with pytest.raises(ValueError, match="no network of create_model"):
        replace_head(nn.Linear(2, 2), 3)
    with pytest.raises(ValueError, match="call replace_head first"):
        freeze(pyops.create_model("lenet5_modern", include_top=False))
    with pytest.raises(ValueError, match="positive ints"):
        replace_head(model, 0)


def test_frozen_norms_keep_their_statistics(tmp_path):
    pyops.manual_seed(0)
    model = freeze(replace_head(pyops.create_model("resnet18", include_top=False), 4))
    x = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)
    data = ArrayDataset(x, np.arange(8) % 4)
    before = model.bn1.running_mean.copy()
    Trainer(model, Split(data, data), tmp_path, epochs=1, batch_size=4, draw_curve=False, seed=0).fit()
    assert np.array_equal(model.bn1.running_mean, before)
    program = pyops.compile(model.eval(), x)
    assert np.allclose(program(x), model(pyops.Tensor(x)).data, atol=1e-4)


# ---- wrong predictions

def test_the_gallery_shows_the_most_confident_mistakes_first(tmp_path):
    data, model = digits(60), small()
    wrong = gallery(tmp_path / "wrong.png", model, data, most=9)
    assert len(wrong) == 9 and all(w.label == data.labels[w.index] != w.chosen for w in wrong)
    assert [w.confidence for w in wrong] == sorted((w.confidence for w in wrong_predictions(model, data, 60)),
                                                   reverse=True)[:9]
    assert Image.open(tmp_path / "wrong.png").height > 150
