"""Annotated images: COCO's JSON, VOC's XML, YOLO's text and CSV with their words and characters
changed.

Whatever a file holds, it is refused by a ValueError, or what is right in it is read: boxes are
finite and lie within their images, and labels are of the classes.
"""

from __future__ import annotations

import atexit
import json
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np

from pyops.train.detection.readers import read_coco, read_csv, read_voc, read_yolo

from .checkpoints import changed

REFUSED = (ValueError, FileNotFoundError)
FOLDER = Path(tempfile.mkdtemp(prefix="pyops-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
SIZE = (30, 40)
COCO = {"images": [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in (1, 2)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 10, 8], "area": 44.5, "iscrowd": 0,
             "segmentation": [[1, 2, 11, 2, 11, 10]]},
            {"id": 2, "image_id": 2, "category_id": 4, "bbox": [0, 0, 40, 30], "iscrowd": 1,
             "segmentation": {"size": [30, 40], "counts": [600, 100, 500]}}]}
VOC = ("<annotation><filename>1.png</filename><size><width>40</width><height>30</height></size><object>"
       "<name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>30</ymax>"
       "</bndbox></object></annotation>")
YOLO = "0 0.5 0.5 0.2 0.2\n1 0.4 0.4 0.1 0.1\n"
CSV = "image,x1,y1,x2,y2,label\n1.png,1,2,30,30,cat\n2.png,,,,,\n"
PIECES = (*"0123456789.-<>/,\n\"' \0", "nan", "inf", "1e999", "</object>", "&lt;", "&x;", "-1", "cat", "é")
FORMATS = {b"c": (read_coco, "a.json"), b"v": (read_voc, "a.xml"), b"y": (read_yolo, "1.txt"),
           b"t": (read_csv, "a.csv")}


def collect() -> None:
    from PIL import Image
    for i in (1, 2):
        Image.new("RGB", SIZE[::-1]).save(FOLDER / f"{i}.png")


def make(seed: int) -> bytes:
    """The format's letter, and the file."""
    draw = random.Random(seed)
    if draw.random() < 0.5:
        content = json.loads(json.dumps(COCO))
        for _ in range(draw.choice((1, 1, 2))):
            changed(draw, content)
        return b"c" + json.dumps(content).encode()
    letter, text = draw.choice((("v", VOC), ("y", YOLO), ("t", CSV), ("c", json.dumps(COCO))))
    characters = list(text)
    for _ in range(draw.choice((1, 2, 4))):
        characters[draw.randrange(len(characters))] = draw.choice(PIECES) if draw.random() < 0.7 else ""
    return (letter + "".join(characters)).encode()


def attempt(data: bytes) -> None:
    reader, name = FORMATS.get(data[:1], FORMATS[b"c"])
    path = FOLDER / name
    path.write_bytes(data[1:])
    try:
        found = reader(path if name in ("a.json", "a.csv") else FOLDER, strict=False)
    finally:
        path.unlink()
    assert found.report()
    for picture in found.pictures:
        height, width = picture.size
        assert np.isfinite(picture.boxes).all() and (picture.boxes >= 0).all()
        assert (picture.boxes[:, 2:] <= [width, height]).all() and (picture.boxes[:, 2:] > picture.boxes[:, :2]).all()
        assert all(0 <= label < len(found.classes) for label in picture.labels)


def one(seed: int) -> None:
    attempt(make(seed))
