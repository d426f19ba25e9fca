"""Annotations from files: COCO's JSON, Pascal VOC's XML, YOLO's text, and one CSV.

Each reader takes strict=True: what is wrong raises ValueError, which lists it; with strict=False it
is left out and listed in Annotations.problems. FileNotFoundError where there is no such file.
"""
from __future__ import annotations

from pathlib import Path

from ..annotations import Annotations
from .coco import read_coco
from .csv_file import read_csv
from .voc import read_voc
from .yolo import read_yolo

READERS = {"coco": read_coco, "voc": read_voc, "yolo": read_yolo, "csv": read_csv}

__all__ = ["READERS", "guess_format", "read", "read_coco", "read_csv", "read_voc", "read_yolo"]


def guess_format(path) -> str:
    """coco for a .json, csv for a .csv, voc for a folder with Annotations/ or XML files, yolo for
    one with labels/ or text files. ValueError where it is none of them."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    by_name = {".json": "coco", ".csv": "csv"}
    if path.is_file() and path.suffix.lower() in by_name:
        return by_name[path.suffix.lower()]
    if path.is_dir():
        if (path / "Annotations").is_dir() or any(path.glob("*.xml")):
            return "voc"
        if (path / "labels").is_dir() or any(path.glob("*.txt")):
            return "yolo"
    raise ValueError(f"{path}: neither a .json of COCO, a .csv, nor a folder with Annotations/*.xml of VOC or "
                     "labels/*.txt of YOLO")


def read(path, form: str | None = None, **settings) -> Annotations:
    """By the reader of `form`, or the one that guess_format finds."""
    form = form or guess_format(path)
    if form not in READERS:
        raise ValueError(f"no reader is called {form!r}; there are {', '.join(READERS)}")
    return READERS[form](path, **settings)
