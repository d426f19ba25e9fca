"""YOLO's annotations: beside each image a text file, a line an object: label, then middle, width
and height of its box as shares of the image."""
from __future__ import annotations

from pathlib import Path

from ...folder import SUFFIXES
from ..annotations import Annotations, Collector

NAMES = ("classes.txt", "obj.names", "names.txt")


def read_yolo(path, classes=None, strict: bool = True) -> Annotations:
    """The annotations of a folder: path/images/**/NAME.jpg with path/labels/**/NAME.txt, or text
    files beside their images.

    classes: names in the order of their labels; default: the lines of classes.txt or *.names in the
    folder, else 0, 1, ... up to the highest label. An image without a text file, or with an empty
    one, has no objects.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder")
    images, labels = (path / name if (path / "labels").is_dir() else path for name in ("images", "labels"))
    lists = [path / name for name in NAMES if (path / name).is_file()] or sorted(path.glob("*.names"))
    files = {p.relative_to(images).with_suffix(""): p for p in sorted(images.rglob("*"))
             if p.suffix.lower() in SUFFIXES and p.is_file()}
    texts = {p.relative_to(labels).with_suffix(""): p for p in sorted(labels.rglob("*.txt")) if p not in lists}
    rows = {key: p.read_text(encoding="utf-8", errors="replace").split("\n") for key, p in texts.items()}
    if classes is None:
        classes = ([line.strip() for line in lists[0].read_text(encoding="utf-8").splitlines() if line.strip()]
                   if lists else range(1 + max((highest(lines) for lines in rows.values()), default=-1)))
    collector = Collector(path, classes)
    for key in rows.keys() - files.keys():
        collector.problem(texts[key], f"has annotations of an image {key} that is not in {images}")
    for key, image in files.items():
        size = collector.size_of(texts.get(key, image), image)
        if size is not None:
            objects = [one for number, line in enumerate(rows.get(key, ()), 1) if line.strip()
                       for one in parsed(collector, f"{texts[key]}, line {number}", line.split(), size)]
            collector.picture(str(image.relative_to(images)), image, size, objects)
    return collector.done(strict)


def highest(lines: list[str]) -> int:
    return max((int(line.split()[0]) for line in lines if line.split() and line.split()[0].isdigit()), default=-1)


def parsed(collector: Collector, where: str, words: list[str], size: tuple[int, int]) -> list[tuple]:
    """The object of a line, as a list of one, or of none."""
    height, width = size
    if len(words) != 5:
        collector.problem(where, f"a line has five numbers (label, x, y, width, height), got {len(words)}")
        return []
    try:
        x, y, w, h = (float(v) for v in words[1:])
    except ValueError:
        collector.problem(where, f"a line has five numbers (label, x, y, width, height), got {' '.join(words)!r}")
        return []
    label = collector.label(where, int(words[0]) if words[0].lstrip("-").isdigit() else words[0])
    box = collector.box(where, ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height),
                        size)
    return [] if label is None or box is None else [(box, label, False, None, None)]
