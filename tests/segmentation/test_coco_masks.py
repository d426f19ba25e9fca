"""COCO's polygons and run lengths, beside pycocotools."""
import json

import numpy as np
import pytest

from pyops.train.detection.readers import read_coco
from pyops.train.segmentation import MaskDataset, coco

RNG = np.random.default_rng(7)
SIZE = (37, 53)


def polygons(kind):
    if kind == "stars":
        angle = np.sort(RNG.uniform(0, 2 * np.pi, 9))
        return (np.array([26, 18]) + RNG.uniform(3, 25, 9)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1))
    if kind == "whole":       # corners on the grid, and its halves
        return RNG.integers(0, 80, (6, 2)) / 2
    if kind == "tangled":     # crosses itself, and reaches beyond the image
        return RNG.uniform(-10, 60, (7, 2))
    whole = np.array([[0, 0], [53, 0], [53, 37], [0, 37]]) * 1.0
    return whole if RNG.random() < 0.3 else RNG.uniform(0, 4, (3, 2)) + 20


@pytest.mark.parametrize("kind", ["stars", "whole", "tangled", "tiny"])
def test_polygons_are_pycocotools(kind):
    peer = pytest.importorskip("pycocotools.mask")
    for _ in range(60):
        points = polygons(kind)
        want = peer.decode(peer.frPyObjects([points.ravel().tolist()], *SIZE))[..., 0]
        assert np.array_equal(coco.from_polygon(points, SIZE), want.astype(bool)), points.tolist()
    two = [polygons(kind).ravel().tolist() for _ in range(2)]
    want = peer.decode(peer.merge(peer.frPyObjects(two, *SIZE)))
    assert np.array_equal(coco.object_mask(two, SIZE), want.astype(bool))


def test_runs_are_pycocotools():
    peer = pytest.importorskip("pycocotools.mask")
    for share in (0, 0.02, 0.5, 1):
        mask = RNG.random(SIZE) < share
        packed = peer.encode(np.asfortranarray(mask.astype(np.uint8)))
        told = {"counts": packed["counts"].decode(), "size": list(SIZE)}
        assert np.array_equal(coco.object_mask(told, SIZE), mask)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], mask.T.ravel()]))).tolist()
        plain = np.diff([0, *edges, mask.size]).tolist()
        assert np.array_equal(coco.object_mask({"counts": plain, "size": list(SIZE)}, SIZE), mask)


@pytest.mark.parametrize("counts, said", [([5, 3], "sum to 8, the image has 1961"), ("P", "end within a number"),
                                          ("\x7f", "no part of a number"), ("o" * 20, "no part of a number"),
                                          ([2000, -39], "sum to 1961")])
def test_wrong_runs_are_said(counts, said):
    with pytest.raises(ValueError, match=said):
        coco.object_mask({"counts": counts, "size": list(SIZE)}, SIZE)


def test_objects_become_a_mask(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i in range(5):
        image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")

    def square(x, y, side):
        return [[x, y, x + side, y, x + side, y + side, x, y + side]]

    def told(number, kind, x, y, side, **more):
        return {"id": number, "image_id": 1, "category_id": kind, "bbox": [x, y, side, side], "area": side * side,
                "iscrowd": 0, "segmentation": square(x, y, side), **more}
    annotations = [told(1, 9, 6, 6, 4), told(2, 4, 2, 2, 12), told(3, 4, 16, 2, 6, iscrowd=1),
                   told(4, 9, 24, 10, 5, segmentation=[])]
    file = tmp_path / "a.json"
    file.write_text(json.dumps({
        "images": [{"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in range(5)],
        "categories": [{"id": 9, "name": "cup"}, {"id": 4, "name": "plate"}], "annotations": annotations}))
    found = read_coco(file)
    data = MaskDataset(found.pictures, ("ground", *found.classes))
    want = np.zeros((20, 30), np.uint8)
    want[2:14, 2:14] = 1          # the plate, of category 4
    want[6:10, 6:10] = 2          # the cup on it, though the file has it first
    want[2:8, 16:22] = 255        # a crowd
    want[10:15, 24:29] = 255      # no mask: perhaps all of its box
    assert np.array_equal(data.sample(1).mask, want) and not data.sample(0).mask.any()
    assert (data.sample(2).image == 80).all()

    from pyops.cli import main
    pytest.importorskip("safetensors")
    for needed in ("matplotlib", "rich"):
        pytest.importorskip(needed)
    assert main(["train", "segment", "--data", str(file), "--size", "32", "--epochs", "1", "--model",
                 "lraspp_mobilenet_v3_large",
                 "--out", str(tmp_path / "run"), "--batch-size", "4"]) == 0
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()


def test_a_wrong_mask_names_its_image(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}], "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0,
                         "segmentation": {"counts": "52", "size": [20, 30]}}]}))
    with pytest.raises(ValueError, match="a.png: the counts of RLE sum to"):
        MaskDataset(read_coco(tmp_path / "a.json").pictures, ("ground", "x")).sample(0)
