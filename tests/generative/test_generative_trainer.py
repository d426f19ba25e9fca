"""The trainer of networks that make images, and its commands."""
import numpy as np
import pytest

import pyops
from pyops import cli, train
from pyops.train.generative import GenerativeTrainer, PictureDataset, draw_sheet

pytest.importorskip("safetensors")
pytest.importorskip("PIL")
pytest.importorskip("matplotlib")


def pictures(count=24, size=8):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = np.clip(rng.normal(0, 0.1, (count, 1, size, size)) + labels[:, None, None, None] * 0.6 - 0.6, -1, 1)
    return PictureDataset(images, labels, "abc")


def small(out, seed=0, epochs=2, name="cdcgan_32", **settings):
    pyops.manual_seed(seed)
    classes = {"num_classes": 3} if name.startswith("c") else {}
    model = pyops.create_model(name, size=8, channels=1, base=4, latent=5, **classes)
    return GenerativeTrainer(model, pictures(), out, epochs=epochs, batch_size=8, seed=seed,
                             **{"sheet_every": 2, "draw_curve": False, **settings})


def weights(model):
    return {k: v.copy() for k, v in model.state_dict().items()}


def test_what_a_training_leaves(tmp_path):
    trainer = small(tmp_path, epochs=3, draw_curve=True)
    before = weights(trainer.model)
    history = trainer.fit()
    assert [e.number for e in history] == [1, 2, 3]
    assert set(history[0].losses) == {"discriminator", "generator"} and "generator" in str(history[0])
    assert set(history[0].said) == {"real right", "made right"}
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == ["0002.png", "0003.png"]
    assert (tmp_path / "curve.png").is_file()
    changed = {k for k, v in weights(trainer.model).items() if not np.array_equal(v, before[k])}
    assert changed == set(before), "every array of both players"
    found, told = train.load_model(trainer.average_checkpoint)
    assert told["model"] == "cdcgan_32" and type(found).__name__ == "DCGAN"
    mean = weights(found)
    assert not np.array_equal(mean["generator.0.weight"], trainer.model.generator[0].weight.data)
    assert np.array_equal(mean["discriminator.0.weight"], trainer.model.discriminator[0].weight.data)


def test_the_same_seed_gives_the_same_bits_and_resuming_changes_none(tmp_path):
    whole = small(tmp_path / "a", epochs=4)
    whole.fit()
    small(tmp_path / "b", epochs=2, checkpoint_every=1).fit()
    second = small(tmp_path / "b", epochs=4)
    second.fit(resume=True)
    assert [e.losses for e in second.history] == [e.losses for e in whole.history]
    for key, value in whole.model.state_dict().items():
        assert np.array_equal(value, second.model.state_dict()[key]), key
    for key, value in whole.averaged.state().items():
        assert np.array_equal(value, second.averaged.state()[key]), key


def test_a_player_changes_its_own_weights_only(tmp_path):
    trainer = small(tmp_path)
    data, model = pictures(), trainer.model
    model.plays = lambda batch: ("discriminator",)
    before = weights(model.generator)
    trainer.turn(*data.take(np.arange(8)))
    kept = {k for k, v in weights(model.generator).items() if np.array_equal(v, before[k])}
    assert kept == {k for k in before if "running" not in k and "tracked" not in k}
    assert all(p.requires_grad for p in model.parameters())


def test_a_loss_that_is_no_number_stops_it(tmp_path):
    trainer = small(tmp_path)
    trainer.model.discriminator[0].weight.data[...] = np.inf
    with np.errstate(all="ignore"), pytest.raises(train.NonFiniteError, match="It is the discriminator's"):
        trainer.fit()


def test_averages_follow(tmp_path):
    trainer = small(tmp_path, average=0.9)
    average, p = trainer.averaged, trainer.model.generator[0].weight
    p.data[...] = 1
    want = average.mean["0.0.weight"].copy()
    for n in range(30):
        average.step()
        decay = min(0.9, (1 + n) / (10 + n))
        want = decay * want + (1 - decay) * 1
    assert np.abs(average.mean["0.0.weight"] - want).max() < 1e-6
    with average.in_place():
        assert np.abs(p.data - want).max() < 1e-6
    assert (p.data == 1).all()


def test_settings_that_have_no_meaning(tmp_path):
    model = pyops.create_model("lenet5_modern")
    with pytest.raises(TypeError, match="must be a pyops.models.Generative, got LeNet5Modern"):
        GenerativeTrainer(model, pictures(), tmp_path)
    for settings, words in (({"average": 1.0}, r"average must be in \[0, 1\)"), ({"patience": 3}, "no meaning"),
                            ({"sheet_every": -1}, "sheet_every must be")):
        with pytest.raises(ValueError, match=words):
            small(tmp_path, **settings)
    small(tmp_path).fit()
    with pytest.raises(ValueError, match="average was 0.999, is 0.5"):
        small(tmp_path, average=0.5, epochs=3).fit(resume=True)


def test_pictures_that_are_none():
    with pytest.raises(ValueError, match=r"must lie in -1 \.\. 1"):
        PictureDataset(np.full((2, 1, 4, 4), 255.0), [0, 1])
    with pytest.raises(ValueError, match=r"must lie in -1 \.\. 1"):
        PictureDataset(np.full((2, 1, 4, 4), np.nan), [0, 1])
    with pytest.raises(ValueError, match="N labels"):
        PictureDataset(np.zeros((2, 1, 4, 4)), [0])


def test_a_sheet_shows_each_image(tmp_path):
    from PIL import Image
    images = np.linspace(-1, 1, 5, dtype=np.float32)[:, None, None, None] * np.ones((5, 1, 70, 64), np.float32)
    draw_sheet(tmp_path / "s.png", images, 2)
    page = np.asarray(Image.open(tmp_path / "s.png"))
    assert page.shape == (3 * 72 + 2, 2 * 66 + 2, 3)
    assert [page[2 + i // 2 * 72 + 5, 2 + i % 2 * 66 + 5, 0] for i in range(5)] == [0, 64, 128, 191, 255]


def test_commands(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("rich")
    from PIL import Image
    out = tmp_path / "run"
    assert cli.main(["train", "gan", "cdcgan_32", "--epochs", "1", "--batch-size", "512", "--out", str(out)]) == 0
    assert "average.safetensors" in capsys.readouterr().out
    assert cli.main(["generate", str(out / "average.safetensors"), "-o", str(tmp_path / "s.png"), "--count", "4",
                     "--label", "7", "--seed", "1"]) == 0
    assert Image.open(tmp_path / "s.png").size == (2 * 66 + 2, 2 * 66 + 2)
    assert cli.main(["generate", str(out / "average.safetensors"), "-o", str(tmp_path / "many"), "--count", "3"]) == 0
    assert [Image.open(tmp_path / "many" / f"{i}.png").size for i in range(3)] == [(32, 32)] * 3
    for arguments, words in ((["generate", str(out / "average.safetensors")], "-o must say"),
                             (["generate", str(out / "average.safetensors"), "-o", "x.png", "--label", "10"],
                              "labels must be 0 .. 9"),
                             (["train", "gan", "dcgan_23"], "did you mean dcgan_32")):
        assert cli.main(arguments) == 2
        assert words in capsys.readouterr().err


def test_images_of_images(tmp_path, capsys):
    """Of any size that the network takes, by the command as by paint."""
    from PIL import Image
    model = pyops.create_model("espcn", factor=2).eval()
    pyops.models.weights.save(model, tmp_path / "w.safetensors")
    grey = np.random.default_rng(0).integers(0, 256, (12, 20), np.uint8)
    Image.fromarray(grey).save(tmp_path / "given.png")
    network, given, made = (str(tmp_path / name) for name in ("w.safetensors", "given.png", "made.png"))
    assert cli.main(["generate", network, "-o", made, "--image", given]) == 0
    want = model.paint(grey[None, None] / np.float32(127.5) - 1)[0, 0]
    got = np.asarray(Image.open(made))[..., 0]
    assert got.shape == (24, 40) and np.abs(got - np.clip((want + 1) * 127.5, 0, 255)).max() <= 1
    for arguments, words in ((["-o", made], "give them by --image"), (["-o", made, "--image", "none.png"], "none.png")):
        assert cli.main(["generate", network, *arguments]) == 2
        assert words in capsys.readouterr().err
