"""Measures of made images beside SciPy and loops, ways between codes, what a curve says, digits."""
import numpy as np
import pytest

import pyops
from pyops.core import random
from pyops.train import generative as g
from pyops.train.generative.measures import distances


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_frechet_distance_is_scipys():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = normal(40, 5), normal(30, 5, seed=1) @ normal(5, 5, seed=2) + 0.7
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert g.frechet_distance(a, b) == pytest.approx(want, rel=1e-8)
    assert g.frechet_distance(a, a) < 1e-8
    assert g.frechet_distance(a, a + 3) == pytest.approx(5 * 9)


def test_precision_and_recall_are_their_definition():
    real, made = normal(30, 4), np.concatenate([normal(15, 4, seed=1), normal(10, 4, seed=2) + 9])

    def among(x, others, k):
        return any(np.linalg.norm(x - o) <= sorted(np.linalg.norm(o - p) for p in others)[k] for o in others)
    want = np.mean([among(x, real, 2) for x in made]), np.mean([among(x, made, 2) for x in real])
    assert g.precision_recall(real, made, 2) == pytest.approx(want) and 0.1 < want[0] < 0.9
    assert g.precision_recall(real, real) == (1, 1) and g.precision_recall(real, real + 50) == (0, 0)


@pytest.mark.parametrize("call, words", [
    (lambda: g.frechet_distance(np.zeros((1, 3)), np.zeros((5, 3))), r"\(N, D\) with N at least 2"),
    (lambda: g.precision_recall(np.zeros((3, 3)), np.zeros((5, 3))), "N at least 4"),
    (lambda: g.frechet_distance(np.full((4, 3), np.nan), np.zeros((5, 3))), "finite"),
    (lambda: g.interpolated(np.zeros(3), np.zeros(4)), "two codes"),
    (lambda: g.interpolated(np.zeros(3), np.zeros(3), 1), "at least 2 steps"),
    (lambda: g.draw_plane("x.png", pyops.create_model("vae_32", base=2, hidden=4), None, None), "two numbers"),
    (lambda: g.diagnose_players([]), "at least 3 epochs")])
def test_what_measures_refuse(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_nearest_and_memorised():
    training, test = normal(50, 1, 4, 4), normal(20, 1, 4, 4, seed=1)
    at, away = g.nearest(training[[7, 3]] + 0.01, training)
    assert at.tolist() == [7, 3] and away == pytest.approx([0.01, 0.01])
    assert g.memorised(training[:9] + 1e-3, test, training) < 0.01
    assert 0.8 < g.memorised(normal(20, 1, 4, 4, seed=2), test, training) < 1.2
    assert np.abs(distances(training.reshape(50, -1), training.reshape(50, -1)).diagonal()).max() == 0


def test_ways_between_codes_keep_their_length():
    a, b = normal(2, 100)
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    way = g.interpolated(a, b, 7)
    assert way.shape == (7, 100) and way[0] == pytest.approx(a, rel=1e-5) and way[-1] == pytest.approx(b, rel=1e-5)
    assert np.linalg.norm(way, axis=1) == pytest.approx(np.full(7, np.linalg.norm(a)), rel=1e-5)
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert steps == pytest.approx(np.full(6, steps[0]), rel=1e-4)
    assert g.interpolated(a, a, 3) == pytest.approx(np.tile(a, (3, 1)), rel=1e-5)


def epochs(real, made, generator, classes=None, count=9):
    return [g.GenerativeEpoch(i + 1, 1.0, {"discriminator": 0.5, "generator": generator(i)},
                              {"real right": real, "made right": made, **({"classes": classes(i)} if classes else {})})
            for i in range(count)]


@pytest.mark.parametrize("history, name", [
    (epochs(1.0, 0.999, lambda i: 8.0), "discriminator wins"),
    (epochs(0.9, 0.1, lambda i: 0.2), "generator wins"),
    (epochs(0.8, 0.8, lambda i: 1.0 if i % 2 else 9.0, count=12), "swings"),
    (epochs(0.8, 0.8, lambda i: 1.0, lambda i: 10 if i < 5 else 7), "modes missing"),
    (epochs(0.8, 0.8, lambda i: np.nan), "no finite loss"),
    (epochs(0.8, 0.8, lambda i: 1.0, lambda i: 10), "balanced")])
def test_who_wins(history, name):
    found = g.diagnose_players(history, 10)
    assert [f.name for f in found] == [name] and "Try: " in str(found[0])
    if name == "modes missing":
        assert "7 of 10 classes appear, 10 did before" in str(found[0])
    assert g.diagnose_players(history, 10, 0.1)[-1].name == "repeats training images"


def test_slanted_digits_are_slanted():
    pytest.importorskip("sklearn")
    data = g.slanted_digits(32, 0.5)
    images, others = data.train.take(np.arange(5), np.random.default_rng(0))
    assert images.shape == others.shape == (5, 1, 32, 32) and not data.train.paired
    assert abs(g.slant(data.train.images).mean()) < 0.1
    assert g.slant(data.train.labels).mean() == pytest.approx(0.5, abs=0.1)
    bar = np.full((1, 1, 32, 32), -1.0, np.float32)
    bar[0, 0, 8:24, 14:18] = 1
    assert g.slant(bar) == pytest.approx([0], abs=1e-9)
    assert g.slant(g.sheared(bar, 0.4)) == pytest.approx([0.4], abs=0.02)
    assert g.slant(np.full((1, 1, 8, 8), -1.0)) == 0


def test_pairs_belong_together():
    pytest.importorskip("sklearn")
    masks, digits = g.digit_masks(16).train.take([3, 4])
    assert set(np.unique(masks)) == {-1, 1} and digits[masks == 1].mean() > digits[masks == -1].mean() + 0.8
    back = g.digit_masks(16, back=True).train.take([3, 4])
    assert np.array_equal(back[0], digits) and np.array_equal(back[1], masks)
    small, large = g.small_digits(32, 2).test.take([0])
    assert small == pytest.approx(large.reshape(1, 1, 16, 2, 16, 2).mean((3, 5)), abs=1e-6)


def test_a_judge_tells_real_digits_from_noise(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("safetensors")
    data = g.digit_pictures()
    before = pyops.manual_seed(1).bit_generator.state
    judge = g.digit_judge(data, tmp_path, epochs=2)
    assert random.default_generator().bit_generator.state == before, "others draw as if it had not learnt"
    images, labels = data.test.take(np.arange(len(data.test)))
    told = judge(images, labels)
    assert told["as asked"] > 0.8 and told["classes"] == 10 and told["precision"] > 0.8
    noise = judge(np.random.default_rng(0).uniform(-1, 1, (100, 1, 32, 32)))
    assert noise["frechet distance"] > 5 * told["frechet distance"]
    assert noise["recall"] < 0.2 and "as asked" not in noise
    again = g.digit_judge(data, tmp_path)   # read, not learnt
    assert again(images, labels) == told
    assert judge(np.repeat(images[labels == 3][:10], 10, 0))["classes"] <= 2


def folder(root, count=24):
    from PIL import Image
    for i in range(count):
        place = root / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20 + i, 30, 3), 10 * i, np.uint8)).save(place / f"{i:02d}.png")
    return root


def test_a_folder_of_images(tmp_path):
    pytest.importorskip("PIL")
    data = g.picture_folder(folder(tmp_path / "images"), 16)
    assert (len(data.train), len(data.test)) == (21, 3) and data.train.classes == ("a", "b")
    images, labels = data.test.take([0, 1, 2])
    assert images.shape == (3, 3, 16, 16) and images.dtype == np.float32 and labels.tolist() == [0, 0, 1]
    assert images[:, 0, 0, 0] == pytest.approx(np.array([0, 200, 170]) / 127.5 - 1, abs=0.01)
    (tmp_path / "images" / "a" / "00.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="00.png: cannot be read as an image"):
        g.picture_folder(tmp_path / "images", 16)
    with pytest.raises(ValueError, match="0 images are too few"):
        g.picture_folder(empty(tmp_path), 16)
    with pytest.raises(FileNotFoundError):
        g.picture_folder(tmp_path / "none", 16)


def empty(path):
    (path / "empty").mkdir()
    return path / "empty"


def test_images_of_ones_own(tmp_path, capsys):
    from pyops import cli
    for package in ("rich", "matplotlib", "PIL", "safetensors", "sklearn"):
        pytest.importorskip(package)
    data, out = str(folder(tmp_path / "images")), tmp_path / "out"
    small = ["--base", "4", "--epochs", "3", "--out", str(out)]
    assert cli.main(["train", "gan", "cdcgan_32", "--data", data, *small]) == 0
    assert "interpolations.png" in capsys.readouterr().out
    assert cli.main(["generate", str(out / "average.safetensors"), "-o", str(tmp_path / "x"), "--label", "1",
                     "--count", "2"]) == 0
    assert cli.main(["generate", str(out / "average.safetensors"), "-o", str(tmp_path / "x"), "--label", "2"]) == 2
    for arguments, words in ((["cyclegan", "--data", data], "makes them of images"), (["dcgan_32", "--base", "4"],
                             "--base needs --data"), (["dcgan_32", "--back"], "--back is for pix2pix")):
        assert cli.main(["train", "gan", *arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["wgan_gp_32", "vae_32", "pix2pix", "cyclegan", "espcn", "acgan_32", "sngan_32",
                                  "vqvae_32", "stylegan_32", "gan_mlp", "wgan_32", "srcnn"])
def test_an_epoch_of_every_command(name, tmp_path, capsys):
    """Of the smallest data: its pictures, its checkpoint, and what can be made with it."""
    from pyops import cli
    for package in ("sklearn", "rich", "matplotlib", "PIL", "safetensors"):
        pytest.importorskip(package)
    out = tmp_path / name
    assert cli.main(["train", "gan", name, "--epochs", "1", "--out", str(out)]) == 0
    assert (out / "sheets" / "0001.png").is_file() and "average.safetensors" in capsys.readouterr().out
    target, given = str(tmp_path / "made.png"), tmp_path / "given.png"
    code = cli.main(["generate", str(out / "average.safetensors"), "-o", target, "--count", "4"])
    translator = name in ("pix2pix", "cyclegan", "espcn", "srcnn")
    assert code == (2 if translator else 0)
    from PIL import Image
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96), np.uint8)).save(given)
    code = cli.main(["generate", str(out / "average.safetensors"), "-o", target, "--image", str(given)])
    assert code == (0 if translator else 2)
    if translator:
        assert Image.open(target).size == ((192, 128) if name in ("espcn", "srcnn") else (96, 64))
    else:
        assert "makes images of codes" in capsys.readouterr().err
