"""Annotated images: readers and what they refuse, augmentation that moves boxes, digit scenes."""
import json

import numpy as np
import pytest

from pyops import cli
from pyops.train.detection import augment
from pyops.train.detection.annotations import Annotations, Picture, checked_files
from pyops.train.detection.dataset import DetectionDataset, Sample, letterboxed
from pyops.train.detection.readers import guess_format, read, read_coco, read_csv, read_voc, read_yolo

Image = pytest.importorskip("PIL.Image")


def save(path, width=40, height=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 30)).save(path)


def coco(tmp_path, rows=(), **more):
    save(tmp_path / "images" / "a.png")
    save(tmp_path / "images" / "b.png", 20, 50)
    content = {"images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
                          {"id": 9, "file_name": "b.png", "width": 20, "height": 50}],
               "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
               "annotations": [{"id": i, "image_id": 7, "category_id": 5, "bbox": [1, 2, 10, 8], **a}
                               for i, a in enumerate(rows)], **more}
    path = tmp_path / "set.json"
    path.write_text(json.dumps(content))
    return path


RLE = {"size": [30, 40], "counts": [600, 100, 500]}


def test_coco_keeps_crowds_areas_and_masks(tmp_path):
    polygon = [[1, 2, 11, 2, 11, 10]]
    found = read_coco(coco(tmp_path, [{"area": 33.5, "segmentation": polygon},
                                      {"iscrowd": 1, "segmentation": RLE, "category_id": 2}]))
    assert found.classes == ("cat", "dog") and found.category_ids == (2, 5) and len(found) == 2
    first, second = found.pictures
    assert first.id == 7 and first.size == (30, 40) and first.load().shape == (30, 40, 3)
    assert first.boxes.tolist() == [[1, 2, 11, 10]] * 2 and first.labels.tolist() == [1, 0]
    assert first.crowd.tolist() == [False, True] and first.area.tolist() == [33.5, 80]
    assert first.segmentation == (polygon, RLE)
    assert second.boxes.shape == (0, 4) and second.labels.shape == (0,)


@pytest.mark.parametrize("change, told", [
    ({"bbox": [50, 2, 5, 5]}, r"annotation 0: box \(50, 2, 55, 7\) lies outside of its image of 40x30"),
    ({"bbox": [30, 2, 15, 5]}, "reaches 5 pixels beyond its image of 40x30"),
    ({"bbox": [3, 2, 0, 5]}, "has width 0 and height 5; both must be positive"),
    ({"bbox": [3, 2, 4, -5]}, "has width 4 and height -5"),
    ({"bbox": [3, float("nan"), 4, 5]}, "is not finite"),
    ({"bbox": [3, 4, 5]}, "a box is four numbers"),
    ({"bbox": None}, "a box is four numbers"),
    ({"category_id": 3}, "category 3 is none of the file's"),
    ({"image_id": 8}, "is of image 8, which the file does not list"),
    ({"image_id": [7]}, "which the file does not list"),
    ({"iscrowd": 2}, "iscrowd is 0 or 1, got 2"),
    ({"area": -1}, "an area is a number of pixels, got -1"),
    ({"segmentation": {"size": [30, 40], "counts": [600, 100]}}, "sum to 700, its image has 1200 pixels"),
    ({"segmentation": {"size": [40, 30], "counts": "abc"}}, r"got \[40, 30\]"),
    ({"segmentation": {"size": 5, "counts": "abc"}}, "got 5"),
    ({"segmentation": [[1, 2, 3]]}, "a polygon is a list of three or more points")])
def test_what_is_wrong_in_coco_is_said_and_left_out(tmp_path, change, told):
    path = coco(tmp_path, [change, {}])
    with pytest.raises(ValueError, match=told):
        read_coco(path)
    found = read_coco(path, strict=False)
    assert len(found.problems) == 1 and len(found.pictures[0].labels) == 1


@pytest.mark.parametrize("more, told", [
    ({"images": [{"id": 7, "file_name": "none.png", "width": 40, "height": 30}]},
     "has 1 annotations, and its file .*none.png does not exist"),
    ({"images": [{"id": 7, "file_name": "n" * 5000, "width": 40, "height": 30}]}, "does not exist"),
    ({"images": [{"id": 7, "file_name": "a.png", "width": 0, "height": 30}]}, "height below 2147483648, got 0"),
    ({"images": [{"id": "7", "file_name": "a.png", "width": 4, "height": 30}]}, "needs an id"),
    ({"images": 3}, "the lists images, annotations, categories"),
    ({"annotations": [3]}, "an annotation is an object, got int"),
    ({"categories": [{"name": "cat"}]}, "every category needs an id"),
    ({"categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "cat"}]}, "two classes are called 'cat'")])
def test_a_json_that_is_not_cocos(tmp_path, more, told):
    with pytest.raises(ValueError, match=told):
        read_coco(coco(tmp_path, [{}], **more))


def test_no_json_and_no_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[" * 100000)
    with pytest.raises(ValueError, match="is no JSON"):
        read(tmp_path / "a.json")
    for path in ("b.json", "b"):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / path)
    with pytest.raises(ValueError, match="neither a .json of COCO"):
        read(tmp_path)


VOC = """<annotation><filename>{name}</filename><size><width>{width}</width><height>30</height></size>
<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{xmin}</xmin><ymin>3</ymin><xmax>11</xmax>
<ymax>10</ymax></bndbox></object><object><name>dog</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>
<xmax>40</xmax><ymax>30</ymax></bndbox></object></annotation>"""


def voc(tmp_path, **change):
    save(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "Annotations").mkdir(exist_ok=True)
    text = VOC.format(**{"name": "a.png", "width": 40, "label": "cat", "xmin": 2, **change})
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    return tmp_path


def test_voc_counts_pixels_from_one(tmp_path):
    found = read_voc(voc(tmp_path))
    picture, = found.pictures
    assert picture.boxes.tolist() == [[1, 2, 11, 10], [0, 0, 40, 30]] and picture.crowd.tolist() == [False, True]
    assert found.classes[picture.labels[0]] == "cat" and len(found.classes) == 20
    assert read_voc(voc(tmp_path, label="gnu")).classes == ("dog", "gnu")


def test_voc_of_one_split(tmp_path):
    voc(tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a  1\n\n")
    assert len(read_voc(tmp_path, split="val")) == 1
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\nc\n")
    with pytest.raises(ValueError, match="c.xml: cannot be read"):
        read_voc(tmp_path, split="val")


@pytest.mark.parametrize("change, told", [
    ({"name": "none.png"}, "its image .*none.png does not exist"), ({"width": 41}, "is 41x30; it is 40x30"),
    ({"xmin": "x"}, "a box is four numbers"), ({"xmin": 20}, "has width -8"), ({"xmin": "nan"}, "is not finite"),
    ({"label": "</name>"}, "cannot be read as XML")])
def test_what_is_wrong_in_voc_is_said(tmp_path, change, told):
    with pytest.raises(ValueError, match=told):
        read_voc(voc(tmp_path, **change))


def test_a_class_that_is_not_asked_for(tmp_path):
    with pytest.raises(ValueError, match="object 2: class 'dog' is none of cat"):
        read_voc(voc(tmp_path), classes=["cat"])


def yolo(tmp_path, lines, name="a"):
    save(tmp_path / "images" / "deep" / "a.png")
    save(tmp_path / "images" / "b.png", 20, 50)
    (tmp_path / "labels" / "deep").mkdir(parents=True, exist_ok=True)
    (tmp_path / "labels" / "deep" / f"{name}.txt").write_text(lines)
    return tmp_path


def test_yolo_has_shares_of_the_image(tmp_path):
    found = read_yolo(yolo(tmp_path, "1 0.25 0.5 0.5 0.2\n\n"))
    empty, picture = found.pictures
    assert np.allclose(picture.boxes, [[0, 12, 20, 18]]) and picture.labels.tolist() == [1]
    assert found.classes == ("0", "1") and empty.name == "b.png" and not len(empty.labels)
    (tmp_path / "classes.txt").write_text("cat\ndog\nhen\n")
    assert read_yolo(tmp_path).classes == ("cat", "dog", "hen")


@pytest.mark.parametrize("lines, told", [
    ("0 0.5 0.5 0.1", "line 1: a line has five numbers"), ("0 0.5 0.5 x 0.1", "five numbers"),
    ("0 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.1 0.1", "line 2: label 2 is out of range: there are 2 classes, 0 .. 1"),
    ("-1 0.5 0.5 0.1 0.1", "label -1 is out of range"), ("cow 0.5 0.5 0.1 0.1", "class 'cow' is none of cat, dog"),
    ("0 1.5 0.5 0.1 0.1", "lies outside"), ("0 0.5 0.5 0 0.1", "width 0"), ("0 nan 0.5 0.1 0.1", "not finite")])
def test_what_is_wrong_in_yolo_is_said(tmp_path, lines, told):
    with pytest.raises(ValueError, match=told):
        read_yolo(yolo(tmp_path, lines), classes=["cat", "dog"])


def test_yolo_of_a_missing_image(tmp_path):
    with pytest.raises(ValueError, match="has annotations of an image deep/c that is not in"):
        read_yolo(yolo(tmp_path, "0 0.5 0.5 0.1 0.1", "c"))


def table(tmp_path, text):
    save(tmp_path / "a.png")
    path = tmp_path / "set.csv"
    path.write_text(text)
    return path


def test_a_csv(tmp_path):
    save(tmp_path / "b.png")
    found = read_csv(table(tmp_path, "filename,xmin,ymin,xmax,ymax,class\na.png,1,2,11,10,dog\na.png,0,0,4,4,cat\n"
                           "b.png,,,,,\n"))
    assert found.classes == ("cat", "dog") and found.pictures[0].labels.tolist() == [1, 0]
    assert [len(p.labels) for p in found.pictures] == [2, 0]


@pytest.mark.parametrize("rows, told", [
    ("none.png,1,2,3,4,cat", "line 2: its image .* does not exist"), ("a.png,1,2,3,,cat", "a box is four numbers"),
    (",1,2,3,4,cat", "names no image"), ("a.png,1,2,3,4,", "class '' is none of"), ("a.png,3,2,3,4,cat", "width 0"),
    ("a.png,1,2,300,4,cat", "reaches 260 pixels beyond"), ("a.png,inf,2,3,4,cat", "not finite")])
def test_what_is_wrong_in_a_csv_is_said(tmp_path, rows, told):
    with pytest.raises(ValueError, match=told):
        read_csv(table(tmp_path, f"image,x1,y1,x2,y2,label\n{rows}\n"))


def test_a_csv_without_a_header(tmp_path):
    with pytest.raises(ValueError, match="the first line must name the columns"):
        read_csv(table(tmp_path, "a.png,1,2,3,4,cat\n"))


def test_formats_are_told_apart(tmp_path):
    assert guess_format(coco(tmp_path / "c")) == "coco" and guess_format(voc(tmp_path / "v")) == "voc"
    assert guess_format(yolo(tmp_path / "y", "")) == "yolo"
    assert guess_format(table(tmp_path, "image,x1,y1,x2,y2,label\n")) == "csv"
    assert len(read(tmp_path / "v")) == 1
    with pytest.raises(ValueError, match="no reader is called 'xml'"):
        read(tmp_path / "v", "xml")


# ---- pyops data

def test_data_check(tmp_path, capsys):
    path = coco(tmp_path, [{}, {"bbox": [0, 0, -1, 1]}])
    assert cli.main(["data", "check", str(path)]) == 1
    told = capsys.readouterr().out
    assert "2 images, 1 of them without boxes; 1 objects of 2 classes" in told and "1 problems" in told
    assert "width -1" in told
    assert cli.main(["data", "check", str(voc(tmp_path / "v"))]) == 0
    assert "no problems" in capsys.readouterr().out
    assert cli.main(["data", "check", str(tmp_path / "v"), "--format", "yolo", "--images", "x"]) == 2
    assert "yolo takes no --images" in capsys.readouterr().err
    assert cli.main(["data", "check", str(tmp_path / "none.json")]) == 2


def test_data_check_decodes_images(tmp_path, capsys):
    path = coco(tmp_path)
    save(tmp_path / "images" / "a.png", 41, 30)
    (tmp_path / "images" / "b.png").write_bytes((tmp_path / "images" / "b.png").read_bytes()[:60])
    assert cli.main(["data", "check", str(path)]) == 1
    told = capsys.readouterr().out
    assert "is 41x30, and 40x30 by its annotations" in told and "cannot be read as an image" in told
    assert cli.main(["data", "check", str(path), "--fast"]) == 0


# ---- images of any shape

def annotated(size, boxes, labels=None):
    height, width = size
    boxes = np.array(boxes, float).reshape(-1, 4)
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return Annotations("test", ("thing",), [Picture("x", None, size, boxes, labels, np.zeros(len(boxes), bool),
                                                    np.ones(len(boxes)), pixels=pixels)])


@pytest.mark.parametrize("size", [(1, 1), (20, 8000), (8000, 20), (64, 64), (33, 100)])
def test_a_letterbox_moves_boxes_with_the_pixels(size):
    height, width = size
    images, targets = DetectionDataset(annotated(size, [[0, 0, width, height]]), (64, 64)).take([0])
    assert images.shape == (1, 3, 64, 64) and images.dtype == np.float32 and 0 <= images.min() <= images.max() <= 1
    x1, y1, x2, y2 = targets[0]["boxes"][0]
    filled = np.full((64, 64), True)
    filled[round(y1):round(y2), round(x1):round(x2)] = False
    assert np.allclose(images[0][:, filled], 114 / 255) and max(x2 - x1, y2 - y1) == 64


def test_crowds_are_not_trained_on():
    found = annotated((10, 10), [[0, 0, 5, 5], [1, 1, 6, 6]])
    found.pictures[0].crowd[1] = True
    assert len(DetectionDataset(found, (10, 10)).take([0])[1][0]["boxes"]) == 1


# ---- augmentation

def blocks(seed, count=4, size=(60, 80)):
    """Blocks of one colour each on black, and a sample of them: where an object is can be seen."""
    rng = np.random.default_rng(seed)
    image, boxes = np.zeros((*size, 3), np.uint8), []
    for i in range(count):
        w, h = rng.integers(12, 20, 2)
        x, y = 4 + i * 19, int(rng.integers(2, size[0] - h - 2))
        image[y:y + h, x:x + w] = [250, 60 * i, 40]
        boxes.append([x, y, x + min(w, 19), y + h])
    return Sample(image, np.array(boxes, np.float32), np.arange(count))


STEPS = [augment.Flip(1), augment.Crop(), augment.Crop(0.5), augment.ScaleJitter(0.5, 1.0), augment.ScaleJitter(1, 2)]


@pytest.mark.parametrize("step", STEPS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("seed", range(6))
def test_a_box_holds_what_it_held(step, seed):
    """The block of a box's colour, cut at the image's edge, is within a pixel of where the box
    is."""
    sample = blocks(seed)
    got = step(sample, np.random.default_rng(seed))
    height, width = got.image.shape[:2]
    assert got.boxes.dtype == np.float32 and len(got.boxes) == len(got.labels)
    assert (got.boxes >= 0).all() and (got.boxes[:, 2:] <= [width, height]).all()
    for box, label in zip(got.boxes, got.labels):
        x, y = ((box[:2] + box[2:]) / 2).astype(int)
        if (box[2:] - box[:2]).min() >= 5:
            assert abs(int(got.image[y, x, 1]) - 60 * label) <= 30 and got.image[y, x, 0] > 200
    if isinstance(step, augment.Flip):
        again = step(got, np.random.default_rng(seed))
        assert np.array_equal(again.image, sample.image) and np.array_equal(again.boxes, sample.boxes)


def test_crops_are_of_the_papers_kind():
    sample, rng, sizes = blocks(0), np.random.default_rng(0), []
    for _ in range(200):
        got = augment.Crop()(sample, rng)
        sizes.append(got.image.shape[:2])
        assert len(got.boxes)
        if got.image.shape != sample.image.shape:
            height, width = got.image.shape[:2]
            assert height >= 0.3 * 60 - 1 and width >= 0.3 * 80 - 1 and 0.5 <= height / width <= 2
    # IoUs of 0.3 and more are beyond such small objects: of three kinds that are left one is the whole image
    assert 30 < sum(s == (60, 80) for s in sizes) < 90 and len(set(sizes)) > 50


def test_colours_leave_boxes_alone():
    sample = blocks(1)
    same = augment.HSV(0, 0, 0)(sample, np.random.default_rng(0))
    assert np.abs(same.image.astype(int) - sample.image).max() <= 4      # Pillow's HSV has 256 hues
    got = augment.HSV(0.1, 0.5, 0.5)(sample, np.random.default_rng(0))
    assert not np.array_equal(got.image, sample.image) and got.boxes is sample.boxes
    darker = [augment.HSV(0, 0, 1)(sample, np.random.default_rng(s)).image.max() for s in range(6)]
    assert min(darker) < 200


def test_four_images_in_one_and_one_over_another():
    samples, rng = [blocks(i) for i in range(5)], np.random.default_rng(3)

    def another():
        return samples[rng.integers(5)]
    got = augment.Mosaic()(samples[0], rng, another)
    assert got.image.shape == (60, 80, 3) and len(got.boxes) == len(got.labels) > 0
    for box, label in zip(got.boxes, got.labels):
        x, y = ((box[:2] + box[2:]) / 2).astype(int)
        assert abs(int(got.image[y, x, 1]) - 60 * label) <= 30
    mixed = augment.MixUp(1.0)(samples[0], rng, lambda: samples[1])
    assert np.array_equal(mixed.boxes, np.concatenate([samples[0].boxes, samples[1].boxes]))
    share = (mixed.image[10:, :, 0].astype(float).sum() / (samples[0].image[10:, :, 0].astype(float).sum()
                                                           + samples[1].image[10:, :, 0].astype(float).sum()))
    assert 0.3 < share < 0.7
    assert augment.MixUp(0.0)(samples[0], rng, another) is samples[0]
    assert augment.Mosaic(0.0)(samples[0], rng, another) is samples[0]


@pytest.mark.parametrize("size", [(1, 1), (20, 8000)])
@pytest.mark.parametrize("boxes", [0, 1])
def test_augmentation_of_odd_images(size, boxes):
    rng = np.random.default_rng(0)
    box = np.array([[0, 0, size[1], size[0]]][:boxes], np.float32).reshape(-1, 4)
    sample = Sample(np.zeros((*size, 3), np.uint8), box, np.zeros(boxes, np.int64))
    every = augment.Compose(augment.Mosaic(), augment.MixUp(1.0), augment.Crop(), augment.ScaleJitter(), augment.HSV(),
                            augment.Flip())
    for _ in range(10):
        got = letterboxed(every(sample, rng, lambda: sample), (32, 48))
        assert got.image.shape == (32, 48, 3) and np.isfinite(got.boxes).all()


@pytest.mark.parametrize("make", [lambda: augment.Flip(2), lambda: augment.Crop(0), lambda: augment.ScaleJitter(2, 1),
                                  lambda: augment.HSV(2), lambda: augment.Mosaic(-1), lambda: augment.MixUp(0.5, 0)])
def test_settings_out_of_range(make):
    with pytest.raises(ValueError, match="must|low"):
        make()


# ---- scenes

def scenes(*arguments, **more):
    pytest.importorskip("sklearn")
    from pyops.train.detection import scenes as module
    return module.Scenes(*arguments, **more)


def test_scenes_are_drawn_again_from_their_seed():
    a, b, other = scenes(6), scenes(6), scenes(6, seed=1)
    for i in range(6):
        assert np.array_equal(a.sample(i).image, b.sample(i).image) and np.array_equal(a.sample(i).boxes,
                                                                                       b.sample(i).boxes)
    assert not np.array_equal(a.sample(0).image, other.sample(0).image)
    assert not np.array_equal(a.sample(0).image, scenes(6, "test").sample(0).image)


def test_scenes_hold_what_they_say():
    from pyops.train.detection.scenes import SceneSettings, handwriting
    settings = SceneSettings((48, 80), (2, 4), (10, 20), 0.0, 2)
    data = scenes(20, settings=settings)
    for picture in data.pictures():
        assert picture.load().shape == (48, 80, 3) and 1 <= len(picture.labels) <= 4
        assert (picture.boxes >= 0).all() and (picture.boxes[:, 2:] <= [80, 48]).all()
        assert ((picture.boxes[:, 2:] - picture.boxes[:, :2]) >= 3).all()
        low, high = picture.boxes[:, None, :2], picture.boxes[:, None, 2:]
        both = np.clip(np.minimum(high, picture.boxes[None, :, 2:]) - np.maximum(low, picture.boxes[None, :, :2]), 0,
                       None).prod(2)
        assert (both[~np.eye(len(both), dtype=bool)] == 0).all()      # overlap = 0
    train, test = (handwriting(part)[0] for part in ("train", "test"))
    assert len(train) + len(test) == 1797 and len(test) == 359


def test_fresh_scenes_differ_in_every_epoch_and_follow_the_generator():
    data = scenes(4, fresh=True)
    first, again, other = (data.take([0, 1], np.random.default_rng(s)) for s in (5, 5, 6))
    assert np.array_equal(first[0], again[0]) and not np.array_equal(first[0], other[0])
    assert np.array_equal(data.take([0])[0], data.take([0])[0])
    with pytest.raises(IndexError):
        data.picture(4)


def test_scenes_as_files_are_read_back(tmp_path, capsys):
    pytest.importorskip("sklearn")
    assert cli.main(["data", "scenes", str(tmp_path), "--count", "8"]) == 0
    found = checked_files(read_coco(tmp_path / "train.json"))
    assert not found.problems and len(found) == 8 and len(read_coco(tmp_path / "test.json")) == 2
    for got, own in zip(found.pictures, scenes(8).pictures()):
        assert np.array_equal(got.load(), own.load()) and np.allclose(got.boxes, own.boxes)
        assert np.array_equal(got.labels, own.labels)


@pytest.mark.parametrize("wrong", [{"digits": (3, 2)}, {"sides": (4, 20)}, {"sides": (12, 100)}, {"overlap": 2.0},
                                   {"clutter": -1}])
def test_scenes_that_cannot_be(wrong):
    pytest.importorskip("sklearn")
    from pyops.train.detection.scenes import SceneSettings
    with pytest.raises(ValueError, match="SceneSettings"):
        SceneSettings(**wrong)
    for count, part in ((0, "train"), (3, "val")):
        with pytest.raises(ValueError):
            scenes(count, part)
