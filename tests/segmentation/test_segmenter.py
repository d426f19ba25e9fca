"""Masks from files, augmentation that moves both, the trainer and the two commands."""
import numpy as np
import pytest

import pyops
from pyops import cli, models, train
from pyops.segmentation import overlay, segment
from pyops.train.segmentation import (
    DigitMasks,
    MaskDataset,
    MaskSample,
    PhotographMasks,
    PixelConfusion,
    augment,
    measure_segmenter,
    read_folder,
    read_image,
    read_mask,
)

pytest.importorskip("PIL")


def sample(size=(24, 32), seed=0):
    """An image that says in each pixel which class its mask has there."""
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.integers(0, 4, (size[0] // 4, size[1] // 4)), np.ones((4, 4), int)).astype(np.uint8)
    return MaskSample(np.repeat((mask * 60 + 20)[..., None], 3, -1).astype(np.uint8), mask)


MOVES = {"flip": augment.Flip(1.0, vertical=True), "crop": augment.Crop((16, 20)), "rotate": augment.Rotate(20),
         "elastic": augment.Elastic(1.5), "larger crop": augment.Crop((40, 40)),
         "all": augment.Compose(augment.Flip(), augment.Rotate(10), augment.Crop((20, 20)))}


@pytest.mark.parametrize("name", MOVES)
def test_image_and_mask_move_together(name):
    if name == "elastic":
        pytest.importorskip("scipy")
    for seed in range(5):
        moved = MOVES[name](sample(seed=seed), np.random.default_rng(seed))
        assert moved.image.shape[:2] == moved.mask.shape and moved.mask.dtype == np.uint8
        known = moved.mask != 255
        said = (moved.image[..., 0].astype(int) - 20) / 60
        same = np.abs(said - moved.mask)[known] < 0.5
        assert same.mean() > (0.8 if name in ("rotate", "elastic", "all") else 0.999), "but for blended borders"
        assert set(np.unique(moved.mask)) <= {0, 1, 2, 3, 255}
    assert name in ("flip", "elastic") or moved.mask.shape != (24, 32) or not known.all()


def test_flips_are_flips_and_brightness_leaves_masks():
    one = sample()
    flipped = augment.Flip(1.0)(one, np.random.default_rng(0))
    assert np.array_equal(flipped.image, one.image[:, ::-1]) and np.array_equal(flipped.mask, one.mask[:, ::-1])
    brighter = augment.Brightness()(one, np.random.default_rng(1))
    assert np.array_equal(brighter.mask, one.mask) and not np.array_equal(brighter.image, one.image)


@pytest.fixture
def folder(tmp_path):
    from PIL import Image
    (tmp_path / "images").mkdir(), (tmp_path / "masks").mkdir()
    for i in range(6):
        one = sample((32, 48), i)
        Image.fromarray(one.image).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(one.mask).save(tmp_path / "masks" / f"{i}.png")
    return tmp_path


def test_a_folder_is_a_dataset(folder):
    data = MaskDataset(read_folder(folder), "abcd", size=(16, 24))
    images, masks = data.take([0, 3])
    assert images.shape == (2, 3, 16, 24) and masks.dtype == np.int64 and "6 images" in repr(data)
    assert np.array_equal(masks[1], sample((32, 48), 3).mask[1::2, 1::2])
    assert np.abs((images[0, 0] * 255 - 20) / 60 - masks[0]).mean() < 0.3


def test_palettes_are_numbers_and_sixteen_bits_are_scaled(tmp_path):
    from PIL import Image
    mask = sample().mask
    palette = Image.fromarray(mask, "P")
    palette.putpalette([n for c in range(256) for n in (c, 255 - c, c)])
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), mask)
    Image.fromarray(mask.astype(np.uint16) * 20000).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png")[..., 1], np.rint(mask.astype(float) * 20000 / 65535 * 255))
    Image.fromarray(sample().image).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb.png: a mask must be of one channel .* it is RGB"):
        read_mask(tmp_path / "rgb.png")
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(ValueError, match="nan.tif: holds NaN"):
        read_image(tmp_path / "nan.tif")


def test_wrong_folders_are_refused(folder):
    from PIL import Image
    with pytest.raises(FileNotFoundError, match="labels: no such folder"):
        read_folder(folder, masks="labels")
    with pytest.raises(ValueError, match=r"its mask holds 3; classes are 0 to 2, and 255"):
        MaskDataset(read_folder(folder), "abc").sample(0)
    Image.fromarray(sample().mask).save(folder / "masks" / "0.png")
    with pytest.raises(ValueError, match=r"0.png: is 48x32, its mask 32x24"):
        MaskDataset(read_folder(folder), "abcd").sample(0)
    (folder / "masks" / "5.png").unlink()
    with pytest.raises(ValueError, match=r"5.png: has no mask of its name"):
        read_folder(folder)
    with pytest.raises(ValueError, match="there are no images"):
        MaskDataset([], "ab")
    for classes, match in ((("cat", "dog", "cat"), "class 'cat' is named twice"), (("cat", ""), "a class has no name"),
                           ((), "needs 1 to 255 classes"), ([f"{i}" for i in range(256)], "got 256")):
        with pytest.raises(ValueError, match=match):
            MaskDataset(read_folder(folder, "masks"), classes)
    for size, match in ((4, r"size must be \(height, width\)"), ((0, 4), "height must be at least 1, got 0")):
        with pytest.raises(ValueError, match=match):
            MaskDataset(read_folder(folder, "masks"), "ab", size=size)
    one = sample()
    for wrong, match in ((one._replace(image=one.image / 255), r"image must be uint8 .* got float64"),
                         (one._replace(image=one.image[..., 0]), r"image must be uint8 \(height, width, 3\)"),
                         (one._replace(mask=one.mask[0]), r"a mask must be \(height, width\), got \(")):
        with pytest.raises(ValueError, match=match):
            MaskDataset([wrong], "abcd").take([0])
    with pytest.raises(TypeError, match="classes must be names"):
        MaskDataset(read_folder(folder, "masks"), (1, 2))


def test_digits_lie_where_their_masks_say():
    pytest.importorskip("sklearn")
    data, again = DigitMasks(6, "test", 3), DigitMasks(6, "test", 3)
    images, masks = data.take(range(6))
    assert np.array_equal(masks, again.take(range(6))[1]) and masks.max() <= 10
    ink, ground = images.max(1)[masks > 0], images.max(1)[masks == 0]
    assert np.median(ink) > np.median(ground) + 0.3
    fresh = DigitMasks(6, "train", 3, fresh=True)
    assert not np.array_equal(fresh.take([0], np.random.default_rng(0))[1],
                              fresh.take([0], np.random.default_rng(1))[1])


def made(tmp_path, epochs, **settings):
    pyops.manual_seed(0)
    model = models.create_model("unet", classes=4, base=6, depth=1, batch_norm=True)
    samples = [sample((16, 16), i) for i in range(12)]
    data = train.Split(MaskDataset(samples[:9], "abcd"), MaskDataset(samples[9:], "abcd"), "squares")
    return train.Segmenter(model, data, tmp_path, epochs=epochs, batch_size=3, lr=2e-2, seed=5, draw_curve=False,
                           **settings)


def test_a_network_learns_and_is_measured(tmp_path):
    pytest.importorskip("safetensors")
    trainer = made(tmp_path, 60)
    history = trainer.fit()
    assert history[-1].test_accuracy > 0.9 > history[0].test_accuracy and "mIoU" in str(history[-1])
    assert "loss" in str(trainer.diagnose())
    assert measure_segmenter(trainer.model, trainer.split.test).confusion.accuracy == history[-1].test_pixels
    loaded, _ = train.load_model(trainer.checkpoint)
    assert loaded.depth == 1
    x = trainer.split.test.take([0])[0]
    assert np.array_equal(loaded.eval().labels(pyops.Tensor(x)).data, trainer.model.eval().labels(pyops.Tensor(x)).data)


def test_images_of_which_nothing_is_labelled_teach_nothing(tmp_path):
    """A batch of them changes no weight; among others they count nothing."""
    pytest.importorskip("safetensors")
    samples = [MaskSample(sample((16, 16), i).image, np.full((16, 16), 255, np.uint8)) for i in range(4)]
    data = train.Split(MaskDataset(samples, "abcd"), MaskDataset(samples[:2], "abcd"), "nothing")
    model = models.create_model("unet", classes=4, base=6, depth=1)
    before = {key: p.data.copy() for key, p in model.named_parameters()}
    history = train.Segmenter(model, data, tmp_path, epochs=1, batch_size=2, draw_curve=False).fit()
    assert history[0].train_loss == history[0].test_loss == history[0].test_accuracy == 0
    assert all((p.data == before[key]).all() for key, p in model.named_parameters())


def test_a_resumed_training_is_the_same(tmp_path):
    pytest.importorskip("safetensors")
    whole = made(tmp_path / "whole", 3)
    whole.fit()
    first = made(tmp_path / "parts", 3)
    first.report = lambda epoch: (_ for _ in ()).throw(KeyboardInterrupt)
    first.fit()
    second = made(tmp_path / "parts", 3)
    second.fit(resume=True)
    for a, b in zip(whole.model.parameters(), second.model.parameters()):
        assert np.array_equal(a.data, b.data)
    # chance, for diagnose: a resumed training begins with a loss that was learnt
    assert whole._first_loss() == whole.batch_losses[0]
    assert second._first_loss() == second.history[0].train_loss == whole.history[0].train_loss


def test_wrong_trainings_are_refused(tmp_path):
    with pytest.raises(TypeError, match="must be a pyops.models.Segmenter, got LeNet5Modern"):
        data = made(tmp_path, 1).data
        train.Segmenter(models.create_model("lenet5_modern"), data, tmp_path)
    trainer = made(tmp_path, 1)
    trainer.model = models.create_model("unet", classes=2, base=2, depth=1)
    with pytest.raises(ValueError, match="the data has 4 classes, a, b, c, d, the model 2"):
        trainer.batch(*trainer.split.train.take([0]))


def test_other_arguments_that_fit_nothing_are_refused():
    image, labels = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), int)
    for share in (2.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="share must be 0 to 1"):
            overlay(image, labels, share)
    with pytest.raises(ValueError, match="classes must be a positive int, got True"):
        PixelConfusion(True)


def test_networks_of_torch_are_named():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="got a torch module Conv2d"):
        segment(torch.nn.Conv2d(3, 2, 1), np.zeros((3, 8, 8), np.float32))


def test_the_commands_train_and_label(folder, tmp_path, capsys):
    for needed in ("rich", "matplotlib", "safetensors"):
        pytest.importorskip(needed)
    from PIL import Image
    out = tmp_path / "out"
    arguments = ["train", "segment", "--data", str(folder), "--classes", "a,b,c,d", "--size", "32", "--epochs", "3",
                 "--model", "segnet_basic", "--batch-size", "2", "--out", str(out)]
    assert cli.main(arguments) == 0
    assert {"checkpoint.safetensors", "curve.png", "answers.png"} <= {p.name for p in out.iterdir()}
    assert cli.main(["segment", str(out / "checkpoint.safetensors"), str(folder / "images"), "-o", str(out / "s"),
                     "--tile", "20", "--margin", "16"]) == 0
    shown = capsys.readouterr().out
    assert "6 images; wrote" in shown and "%" in shown
    assert np.asarray(Image.open(out / "s" / "0_mask.png")).shape == (32, 48)
    assert np.asarray(Image.open(out / "s" / "0.png")).shape == (32, 48, 3)
    (folder / "images" / "broken.png").write_bytes(b"no image")
    assert cli.main(["segment", str(out / "checkpoint.safetensors"), str(folder / "images"), "-o", str(out / "s")]) == 1
    assert "left out" in capsys.readouterr().out
    for wrong, match in ((["--classes", "a,b"], "--classes needs --data"), (["--data", str(folder)], "needs --classes"),
                         (["--model", "resnet18"], "no segmentation network is called 'resnet18'")):
        assert cli.main(["train", "segment", *wrong, "--out", str(out)]) == 2
        assert match in capsys.readouterr().err


@pytest.mark.parametrize("name, shares", [("coins", (0.6, 0.3)), ("tissue", (0.25, 0.08, 0.3))])
def test_photographs_are_cut_into_two_parts(name, shares):
    pytest.importorskip("skimage")
    parts = [PhotographMasks(name, 6, part, 48) for part in ("train", "test")]
    for data in parts:
        images, masks = data.take(range(6))
        assert images.shape == (6, 3, 48, 48) and images.dtype == np.float32 and len(data.classes) == len(shares)
        assert np.array_equal(images, data.take(range(6))[0])
        assert all((data.whole.mask == k).mean() > share for k, share in enumerate(shares))
    whole = [data.whole.image for data in parts]
    assert 2 < len(whole[0]) / len(whole[1]) < 2.5 and not np.array_equal(whole[0][-len(whole[1]):], whole[1])
    fresh = PhotographMasks(name, 6, fresh=True)
    assert not np.array_equal(*(fresh.take([0], np.random.default_rng(s))[0] for s in range(2)))
    bright = [parts[0].whole.image[parts[0].whole.mask == k].mean() for k in range(len(shares))]
    assert (bright[1] > bright[0]) if name == "coins" else (bright[0] > max(bright[1:]))
    for asked, said in ((("cells", 3), "coins or tissue"), ((name, 0), "count must be"),
                        ((name, 3, "test", 999), "side must")):
        with pytest.raises(ValueError, match=said):
            PhotographMasks(*asked)
