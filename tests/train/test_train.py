"""Reading, training, keeping and predicting: what works and what must be refused."""
import gzip
import struct

import numpy as np
import pytest

import pyops
from pyops import models
from pyops.cli import main
from pyops.train import checkpoint, data, read_idx
from pyops.train.trainer import Trainer

pytest.importorskip("sklearn")


def idx(array, type_code=0x08):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, type_code, array.ndim, *array.shape) + array.tobytes()


def mnist_like(directory, count=64, gz=True):
    """Files of MNIST's names with UCI digits in 28 x 28 pixels."""
    source = data.uci_digits()
    images, labels = source.train_images[:count, 2:30, 2:30], source.train_labels[:count].astype(np.uint8)
    for part in ("train", "t10k"):
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            if gz:
                (directory / f"{name}.gz").write_bytes(gzip.compress(idx(np.ascontiguousarray(array))))
            else:
                (directory / name).write_bytes(idx(np.ascontiguousarray(array)))
    return directory


# ---- IDX

@pytest.mark.parametrize("code, dtype", [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"),
                                         (0x0D, ">f4"), (0x0E, ">f8")])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 5)])
def test_idx_of_every_type(tmp_path, code, dtype, shape):
    array = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    (tmp_path / "a").write_bytes(idx(array, code))
    (tmp_path / "b").write_bytes(gzip.compress(idx(array, code)))   # known by its content, not by its name
    for name in "ab":
        got = read_idx(tmp_path / name)
        assert np.array_equal(got, array) and got.dtype.isnative and got.flags.writeable


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize("content, match", [
    (b"", "not an IDX file"), (b"\0\0\x08", "not an IDX file"), (b"\x89PNG\r\n", "not an IDX file"),
    (b"\0\0\x07\x01" + b"\0" * 9, "not an IDX file"),
    (GOOD[:9], "truncated: the header"), (GOOD[:-1], "truncated: shape"), (GOOD + b"x", "damaged: shape"),
    (b"\0\0\x08\x03" + b"\xff" * 12, "truncated: shape"), (gzip.compress(GOOD)[:-9], "gzip"),
    (b"\x1f\x8bnothing", "gzip"), (gzip.compress(GOOD[:-1]), "truncated: shape"),
], ids=["empty", "short", "png", "type", "header", "one_byte_less", "one_byte_more", "absurd_size", "gz_cut",
        "gz_damaged", "gz_of_truncated"])
def test_a_bad_idx_file_is_refused(tmp_path, content, match):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=match) as error:
        read_idx(tmp_path / "file")
    assert str(tmp_path / "file") in str(error.value)


@pytest.mark.parametrize("gz", [True, False])
def test_mnist_is_read_and_padded(tmp_path, gz):
    digits = data.mnist(mnist_like(tmp_path, gz=gz))
    assert digits.train_images.shape == (64, 32, 32) and digits.train_labels.dtype == np.int64
    assert np.array_equal(digits.train_images, data.uci_digits().train_images[:64])


def test_mnist_that_does_not_fit_together_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images"):
        data.mnist(tmp_path)
    labels = mnist_like(tmp_path) / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.zeros(63, np.uint8))))
    with pytest.raises(ValueError, match="expected 64 labels"):
        data.mnist(tmp_path)
    labels.write_bytes(gzip.compress(idx(np.full(64, 10, np.uint8))))
    with pytest.raises(ValueError, match="0 .. 9"):
        data.mnist(tmp_path)


# ---- images and batches

def test_uci_digits_are_split_once_and_for_all():
    a, b = data.uci_digits(), data.uci_digits()
    assert (np.array_equal(a.test_labels, b.test_labels) and len(a.test_labels) == 359
            and len(a.train_labels) == 1438)
    assert (a.train_images.shape[1:] == (32, 32) and a.train_images.max() == 255
            and not a.train_images[:, :4].any())
    assert set(a.test_labels) == set(range(10))


def test_input_has_the_papers_grey_levels():
    x = data.to_input(np.array([[[0, 255]]], np.uint8))
    assert x.dtype == np.float32 and x.shape == (1, 1, 1, 2) and np.allclose(x, [-0.1, 1.175])


def test_batches_hold_every_image_once():
    images, labels = np.arange(10,
                               dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8), np.arange(10)
    got = list(data.batches(images, labels, 4, np.random.default_rng(0)))
    assert ([len(y) for _, y in got] == [4, 4, 2]
            and sorted(np.concatenate([y for _, y in got])) == list(range(10)))
    for x, y in got:
        assert np.array_equal(x, data.to_input(images[y]))


def test_shifts_move_and_lose_nothing_in_the_middle():
    images = np.zeros((50, 9, 9), np.uint8)
    images[:, 4, 4] = 7
    moved = data.shifted(images, 2, np.random.default_rng(0))
    where = np.argwhere(moved == 7)
    assert (len(where) == 50 and where[:, 1:].min() == 2 and where[:, 1:].max() == 6
            and len({tuple(w) for w in where[:, 1:]}) > 12)


# ---- training

@pytest.mark.parametrize("form", ["1998", "modern"])
def test_training_reaches_98_percent(tmp_path, capsys, form):
    assert main(["train", "lenet5", "--form", form, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "epoch  20" in said and "checkpoint" in said
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    _, metadata = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert float(metadata["test_accuracy"]) >= 0.98 and metadata["epoch"] == "20" and metadata["form"] == form
    digits = data.uci_digits()
    right = 0
    for picture, label in zip(digits.test_images[:20], digits.test_labels[:20]):
        from PIL import Image
        # dark on light, another size
        Image.fromarray(255 - np.pad(picture, 9)).resize((150, 150)).save(tmp_path / "digit.png")
        assert main(["predict", str(tmp_path / "checkpoint.safetensors"), str(tmp_path / "digit.png")]) == 0
        answer = next(line for line in capsys.readouterr().out.splitlines() if line.endswith("<-"))
        right += answer.startswith(str(label))
    assert right >= 18


def test_training_on_idx_files(tmp_path, capsys):
    mnist_like(tmp_path)
    assert main(["train", "lenet5", "--data", str(tmp_path), "--epochs", "1", "--form", "modern", "--out",
                 str(tmp_path / "run")]) == 0
    assert "64 images to train on" in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")[1]["box"] == "20"


def test_the_seed_decides_the_training(tmp_path):
    states = []
    for _ in range(2):
        pyops.manual_seed(5)
        trainer = small_trainer(tmp_path)
        trainer.fit()
        states.append({k: v.copy() for k, v in trainer.model.state_dict().items()})
    assert all(np.array_equal(states[0][k], states[1][k]) for k in states[0])


def small_trainer(out, **settings):
    digits = data.uci_digits()
    few = data.Digits("few", 24, digits.train_images[:64], digits.train_labels[:64], digits.test_images[:32],
                      digits.test_labels[:32])
    return Trainer(models.lenet5_modern(), few, out, **{"epochs": 3, **settings})


def test_interrupt_keeps_the_last_checkpoint(tmp_path):
    trainer = small_trainer(tmp_path)

    def press_ctrl_c(epoch, batch, loss):
        if epoch == 2:
            raise KeyboardInterrupt
    trainer.tick = press_ctrl_c
    trainer.fit()
    assert trainer.interrupted and len(trainer.history) == 1
    assert checkpoint.load(trainer.checkpoint)[1]["epoch"] == "1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors",
                                                          "curve.png"], "something half-written was left"


def test_an_interrupted_command_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Trainer, "epoch", lambda self, number: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["train", "lenet5", "--out", str(tmp_path)]) == 130
    assert "nothing was written" in capsys.readouterr().out


# ---- checkpoints

def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, {"a": np.ones(3)}, {"epoch": 1})
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"a": np.zeros(3)}, {"epoch": 2})
    state, metadata = checkpoint.load(path)
    assert (np.array_equal(state["a"], np.ones(3)) and metadata == {"epoch": "1"}
            and len(list(tmp_path.iterdir())) == 1)


def predicting(tmp_path, capsys, state, metadata=None):
    from PIL import Image
    metadata = {"model": "lenet5", "form": "modern", "box": 24} if metadata is None else metadata
    checkpoint.save(tmp_path / "c.safetensors", state, metadata)
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(tmp_path / "i.png")
    code = main(["predict", str(tmp_path / "c.safetensors"), str(tmp_path / "i.png")])
    said = capsys.readouterr()
    return code, said.err + said.out


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, capsys):
    good = models.lenet5_modern().state_dict()
    assert predicting(tmp_path, capsys, good)[0] == 0
    code, said = predicting(tmp_path, capsys,
                            {k: v for k, v in good.items() if k != "fc1.bias"} | {"more": np.zeros(2)})
    assert code == 2 and "missing: fc1.bias" in said and "unexpected: more" in said
    code, said = predicting(tmp_path, capsys, good, {})
    assert code == 2 and "not a checkpoint" in said
    (tmp_path / "c.safetensors").write_bytes(b"nonsense")
    assert main(["predict", str(tmp_path / "c.safetensors"), str(tmp_path / "i.png")]) == 2
    assert "safetensors" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_is_refused(tmp_path, capsys):
    from PIL import Image
    predicting(tmp_path, capsys, models.lenet5_modern().state_dict())
    (tmp_path / "i.png").write_bytes(b"nonsense")
    assert main(["predict", str(tmp_path / "c.safetensors"), str(tmp_path / "i.png")]) == 2
    Image.new("L", (9, 9), 200).save(tmp_path / "i.png")
    assert main(["predict", str(tmp_path / "c.safetensors"), str(tmp_path / "i.png")]) == 2
    assert "nothing is drawn" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--lr", "0"], ["--epochs", "-1"], ["--batch-size", "x"],
                                       ["--data", "/nowhere"], ["--seed", "-1"]])
def test_bad_arguments_are_refused(tmp_path, arguments, capsys):
    try:
        code = main(["train", "lenet5", "--out", str(tmp_path), *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and capsys.readouterr().err


def test_a_digit_may_be_dark_or_light_and_anywhere():
    from pyops.cli.images import prepare
    drawn = np.zeros((60, 80), np.float32)
    drawn[10:50, 5:15] = 255
    light, dark = prepare(drawn, 24), prepare(255 - drawn, 24)
    assert np.array_equal(light, dark) and light.shape == (32, 32)
    rows, columns = np.nonzero(light)
    assert rows.min() == 4 and rows.max() == 27 and columns.min() == 13 and columns.max() == 18
