"""Images of 16 bits and of floats reach networks as the same picture of eight bits does."""
import numpy as np
import pytest

from pyops.cli import UsageError, images as cli_images
from pyops.detection import images as detection_images
from pyops.files.eight_bits import eight_bits
from pyops.train import folder
from pyops.train.segmentation import read_image

Image = pytest.importorskip("PIL.Image")
GREY = np.random.default_rng(0).integers(0, 256, (8, 9), np.uint8)
READERS = {"classification": lambda path: folder.load_image(path, (8, 9), (8, 9), 1),
           "colour": lambda path: folder.load_image(path, (8, 9), (8, 9)),
           "segmentation": read_image, "detection": detection_images.opened, "digits": cli_images.open_grey}


@pytest.mark.parametrize("reader", READERS)
def test_a_picture_of_more_bits_is_the_same_picture(reader, tmp_path):
    Image.fromarray(GREY).save(tmp_path / "8.png")
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray((GREY / 255).astype(np.float32)).save(tmp_path / "float.tiff")
    Image.fromarray(GREY.astype(np.int32)).save(tmp_path / "32.tiff")
    want = READERS[reader](tmp_path / "8.png")
    for name in ("16.png", "float.tiff", "32.tiff"):
        assert np.array_equal(READERS[reader](tmp_path / name), want), name


@pytest.mark.parametrize("reader", READERS)
def test_nan_is_said(reader, tmp_path):
    holes = (GREY / 255).astype(np.float32)
    holes[2, 3] = np.nan
    Image.fromarray(holes).save(tmp_path / "a.tiff")
    with pytest.raises((ValueError, UsageError), match="holds NaN or infinity"):
        READERS[reader](tmp_path / "a.tiff")


@pytest.mark.parametrize("reader", READERS)
def test_pictures_are_read_as_viewers_show_them(reader, tmp_path):
    """EXIF's orientation 6 is a quarter turn clockwise; what shines through is white."""
    exif = Image.Exif()
    exif[0x0112] = 6
    # as wide as high: load_image scales to the size that it is asked for
    square = GREY[:8, :8].repeat(2, 0).repeat(2, 1)
    Image.fromarray(square).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.rot90(square, -1)).save(tmp_path / "plain.png")
    through = np.dstack([square, square, square, np.where(square < 128, 0, 255).astype(np.uint8)])
    Image.fromarray(through).save(tmp_path / "through.png")
    Image.fromarray(np.where(square < 128, 255, square)).save(tmp_path / "white.png")
    for name, same in (("turned", "plain"), ("through", "white")):
        got, wanted = (READERS[reader](tmp_path / f"{one}.png") for one in (name, same))
        assert np.array_equal(got, wanted), name


@pytest.mark.parametrize("level", [0, 130, 255])
def test_a_picture_of_one_level_shows_no_digit(level, tmp_path):
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="a.png: the image has one grey level only"):
        cli_images.open_grey(tmp_path / "a.png")


def test_dark_images_of_16_bits_stay_dark(tmp_path):
    Image.fromarray(np.full((4, 4), 200, np.uint16)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(eight_bits(image)).max() == 1


@pytest.mark.parametrize("reader", READERS)
def test_a_level_of_sixteen_bits_that_shines_through_is_white(reader, tmp_path):
    """Pillow's conversion of such a picture to colours cut all other levels at 255."""
    levels = GREY.astype(np.uint16) * 257
    Image.fromarray(levels).save(tmp_path / "through.png", transparency=int(levels[3, 4]))
    Image.fromarray(np.where(GREY == GREY[3, 4], np.uint8(255), GREY)).save(tmp_path / "white.png")
    assert np.array_equal(*(READERS[reader](tmp_path / name) for name in ("through.png", "white.png")))
