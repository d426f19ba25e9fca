"""A folder of images with one CSV: a row an object, the image's name, its corners in pixels and its
class."""
from __future__ import annotations

import csv
from pathlib import Path

from ..annotations import Annotations, Collector

COLUMNS = {"image": ("image", "filename", "file", "path", "image_path"),
           "x1": ("x1", "xmin", "left"), "y1": ("y1", "ymin", "top"), "x2": ("x2", "xmax", "right"),
           "y2": ("y2", "ymax", "bottom"), "label": ("label", "class", "class_name", "name")}


def read_csv(path, images=None, classes=None, strict: bool = True) -> Annotations:
    """The annotations of a CSV whose first line names its columns: image, x1, y1, x2, y2, label (or
    filename, xmin, ymin, xmax, ymax, class).

    images: the folder of the images; default: the CSV's own, or `images` beside it. A row whose box
    and label are empty is an image without objects. classes: names in the order of their labels;
    default those that occur, by alphabet, numbers by size.
    """
    path = Path(path)
    folder = Path(images) if images is not None else (
        path.parent / "images" if (path.parent / "images").is_dir() else path.parent)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = found_columns(path, reader.fieldnames or [])
            rows = [(reader.line_num, {k: (row[c] or "").strip() for k, c in columns.items()}) for row in reader]
    except (UnicodeDecodeError, csv.Error) as why:
        raise ValueError(f"{path}: is no CSV: {why}") from why
    names = {row["label"] for _, row in rows} - {""}
    numbers = all(n.isdigit() for n in names)
    collector = Collector(path, classes if classes is not None else sorted(names, key=int if numbers else None))
    grouped: dict[str, list] = {}
    for line, row in rows:
        if row["image"]:
            grouped.setdefault(row["image"], []).append((line, row))
        else:
            collector.problem(f"{path}, line {line}", "names no image")
    for name, lines in grouped.items():
        size = collector.size_of(f"{path}, line {lines[0][0]}", folder / name)
        if size is not None:
            collector.picture(name, folder / name, size, [
                one for line, row in lines for one in parsed(collector, f"{path}, line {line}", row, size)])
    return collector.done(strict)


def found_columns(path: Path, names) -> dict[str, str]:
    """What each column is called in this file."""
    lower = {(name or "").strip().lower(): name for name in names}
    columns = {key: next((lower[a] for a in aliases if a in lower), None) for key, aliases in COLUMNS.items()}
    if missing := [key for key, name in columns.items() if name is None]:
        raise ValueError(f"{path}: the first line must name the columns {', '.join(COLUMNS)}; it has no "
                         f"{', '.join(missing)}")
    return columns


def parsed(collector: Collector, where: str, row: dict[str, str], size: tuple[int, int]) -> list[tuple]:
    """The object of a row, as a list of one, or of none."""
    values = [row[k] for k in ("x1", "y1", "x2", "y2")]
    if not any(values) and not row["label"]:
        return []
    label, box = collector.label(where, row["label"]), collector.box(where, values, size)
    return [] if label is None or box is None else [(box, label, False, None, None)]
