"""Pascal VOC's annotations: an XML file an image (Everingham et al. 2010)."""
from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from ..annotations import Annotations, Collector

CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
           "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")


def read_voc(path, images=None, split: str | None = None, classes=None, strict: bool = True) -> Annotations:
    """The annotations of a folder: path/Annotations/*.xml or path/*.xml, their images in
    path/JPEGImages, or beside them; or in `images`.

    split: only the images that ImageSets/Main/<split>.txt names. classes: names in the order of
    their labels; default VOC's twenty if no other occurs, else those that occur, by alphabet. VOC
    counts pixels from 1 and names the last one that a box holds: here boxes begin and end at
    pixels' outer edges.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder")
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(folder.glob("*.xml"))
    if split is not None:
        names = (path / "ImageSets" / "Main" / f"{split}.txt").read_text().split("\n")
        files = [folder / f"{line.split()[0]}.xml" for line in names if line.strip()]
    trees, broken = [], []
    for file in files:
        try:
            trees.append((file, ElementTree.parse(file).getroot()))
        except (OSError, ElementTree.ParseError, ValueError) as why:
            broken.append((file, f"cannot be read as XML: {why}"))
    found = {(o.findtext("name") or "").strip() for _, tree in trees for o in tree.iter("object")} - {""}
    names = classes if classes is not None else CLASSES if found <= set(CLASSES) else sorted(found)
    collector = Collector(path, names)
    for file, what in broken:
        collector.problem(file, what)
    pictures = Path(images) if images is not None else path / "JPEGImages" if (
        path / "JPEGImages").is_dir() else folder
    for file, tree in trees:
        picture(collector, file, tree, pictures)
    return collector.done(strict)


def picture(collector: Collector, file: Path, tree, folder: Path) -> None:
    name = (tree.findtext("filename") or f"{file.stem}.jpg").strip()
    image = folder / Path(name).name
    real = collector.size_of(file, image)
    if real is None:
        return
    told = tuple((tree.findtext(f"size/{k}") or "").strip() for k in ("height", "width"))
    if any(told) and told != tuple(map(str, real)):
        collector.problem(file, f"says that {image} is {told[1]}x{told[0]}; it is {real[1]}x{real[0]}")
        return
    objects = []
    for number, one in enumerate(tree.findall("object"), 1):
        where = f"{file}: object {number}"
        label = collector.label(where, (one.findtext("name") or "").strip())
        corners = [one.findtext(f"bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax")]
        try:
            numbers = [float(v) - (i < 2) for i, v in enumerate(corners) if v is not None]   # from 0, end open
        except ValueError:
            numbers = corners
        box = collector.box(where, numbers, real)
        if label is not None and box is not None:
            objects.append((box, label, (one.findtext("difficult") or "0").strip() == "1", None, None))
    collector.picture(name, image, real, objects)
