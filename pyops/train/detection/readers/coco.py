"""COCO's annotations (cocodataset.org/#format-data): one JSON with images, categories and
annotations."""
from __future__ import annotations

import json
from pathlib import Path

from ..annotations import Annotations, Collector, exists

LONGEST, MOST = 1 << 31, 1e18     # pixels of a side, and of an area


def read_coco(path, images=None, strict: bool = True) -> Annotations:
    """The annotations of a JSON file. images: the folder that its file names are in; default: the
    file's own, or `images` beside it.

    Labels are 0, 1, ... in the order of the categories' ids, which category_ids keeps. Crowds,
    areas and segmentations (polygons, or RLE, compressed or not) are kept as they are.
    """
    path = Path(path)
    content = parsed(path)
    folder = Path(images) if images is not None else (
        path.parent / "images" if (path.parent / "images").is_dir() else path.parent)
    categories = sorted(content["categories"], key=lambda c: c["id"])
    ids = tuple(c["id"] for c in categories)
    collector = Collector(path, [c.get("name", c["id"]) for c in categories])
    for i in sorted({i for i in ids if ids.count(i) > 1}):
        collector.problem(path, f"two categories have the id {i}")
    entries = listed(collector, content["images"])
    objects: dict = {i: [] for i in entries}
    for number, one in enumerate(content["annotations"]):
        where = f"{path}: annotation {one.get('id', f'number {number}') if isinstance(one, dict) else number}"
        annotation(collector, where, one, entries, ids, objects)
    for i, entry in entries.items():
        file = folder / entry["file_name"]
        if not exists(file):
            used = f"has {len(objects[i])} annotations, and its" if objects[i] else "is listed, and its"
            collector.problem(f"{path}: image {i}", f"{used} file {file} does not exist")
            continue
        collector.picture(entry["file_name"], file, (entry["height"], entry["width"]), objects[i], i)
    return collector.done(strict, ids)


def kinds(content: object) -> str:
    """What a file holds: its keys with their types."""
    if not isinstance(content, dict):
        return type(content).__name__
    return ", ".join(f"{key} ({type(value).__name__})" for key, value in content.items()) or "an empty one"


def parsed(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as why:
        raise ValueError(f"{path}: is no JSON: {why}") from why
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in lists):
        raise ValueError(f"{path}: COCO's annotations are an object with the lists {', '.join(lists)}, got "
                         f"{kinds(content)}")
    if not all(isinstance(c, dict) and type(c.get("id")) is int for c in content["categories"]):
        raise ValueError(f"{path}: every category needs an id, a whole number")
    return content


def listed(collector: Collector, images: list) -> dict:
    """Images by id, those that are told whole."""
    entries: dict = {}
    for number, entry in enumerate(images):
        where = f"{collector.source}: image {entry.get('id') if isinstance(entry, dict) else number}"
        if not isinstance(entry, dict) or type(entry.get("id")) is not int or not isinstance(
                entry.get("file_name"), str):
            collector.problem(where, "an image needs an id, a whole number, and a file_name")
        elif not all(type(entry.get(k)) is int and 0 < entry[k] < LONGEST for k in ("width", "height")):
            collector.problem(where, f"an image needs a positive width and height below {LONGEST}, got "
                              f"{entry.get('width')} and {entry.get('height')}")
        elif entry["id"] in entries:
            collector.problem(where, "two images have this id")
        else:
            entries[entry["id"]] = entry
    return entries


def annotation(collector: Collector, where: str, one, entries: dict, ids: tuple, objects: dict) -> None:
    if not isinstance(one, dict):
        collector.problem(where, f"an annotation is an object, got {type(one).__name__}")
        return
    entry = entries.get(one.get("image_id")) if type(one.get("image_id")) is int else None
    if entry is None:
        collector.problem(where, f"is of image {one.get('image_id')!r}, which the file does not list")
        return
    if one.get("category_id") not in ids:
        collector.problem(where, f"category {one.get('category_id')} is none of the file's")
        return
    values = one.get("bbox")
    corners = ([values[0], values[1], values[0] + values[2], values[1] + values[3]] if isinstance(values, list)
               and len(values) == 4 and all(type(v) in (int, float) for v in values) else values)
    box = collector.box(where, corners, (entry["height"], entry["width"]))
    if box is None:
        return
    area, crowd = one.get("area"), one.get("iscrowd", 0)
    if area is not None and not (type(area) in (int, float) and 0 <= area < MOST):
        collector.problem(where, f"an area is a number of pixels, got {area!r}")
    elif crowd not in (0, 1):
        collector.problem(where, f"iscrowd is 0 or 1, got {crowd!r}")
    elif fault := wrong_mask(one.get("segmentation"), (entry["height"], entry["width"])):
        collector.problem(where, fault)
    else:
        objects[one["image_id"]].append((box, ids.index(one["category_id"]), bool(crowd), area,
                                         one.get("segmentation")))


def wrong_mask(mask, size: tuple[int, int]) -> str:
    """What is wrong with a segmentation; "" if nothing is."""
    if mask is None or mask == []:
        return ""
    if isinstance(mask, list):
        good = all(isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0
                   and all(type(v) in (int, float) for v in p) for p in mask)
        return "" if good else "a polygon is a list of three or more points, x and y in turn"
    if not isinstance(mask, dict) or mask.get("size") != list(size):
        return (f"RLE has counts and the size [height, width] of its image, {list(size)}, got "
                f"{mask.get('size') if isinstance(mask, dict) else type(mask).__name__}")
    counts = mask.get("counts")
    if isinstance(counts, str):
        return ""
    if not isinstance(counts, list) or not all(type(c) is int and c >= 0 for c in counts):
        return "the counts of RLE are a text or a list of whole numbers"
    return "" if sum(counts) == size[0] * size[1] else (
        f"the counts of RLE sum to {sum(counts)}, its image has {size[0] * size[1]} pixels")
