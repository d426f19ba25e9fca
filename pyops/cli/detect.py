"""pyops detect: boxes, labels and scores in images, drawn into a folder or as COCO's rows, by a
checkpoint of `pyops train detect`, or a Darknet cfg with its weights."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from . import UsageError
from .train import needs, positive

AT_ONCE = 8
LEGIBLE = 256  # pixels of a drawn image's shorter side, if that can be had
OFTEN = 16     # images of one size, from which a Program is worth its making


def add_arguments(parser):
    parser.add_argument("model", metavar="CHECKPOINT|CFG+WEIGHTS",
                        help="a .safetensors of a detector, or a Darknet .cfg and its .weights joined by +")
    parser.add_argument("images", nargs="+", metavar="IMAGE",
                        help="images, folders of images, or numbered frames of a video as frame_%%04d.png")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="draw the boxes into images in DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write COCO's rows of results, with file names")
    parser.add_argument("--score", type=share, default=0.25, help="the least score (default: 0.25)")
    parser.add_argument("--iou", type=share, help="of two boxes that overlap by more the better stays "
                        "(default: as the detector has it)")
    parser.add_argument("--names", type=Path, metavar="FILE", help="names of a cfg's classes, a line each")
    parser.add_argument("--batch", type=positive(int), default=AT_ONCE, help=f"images at a time (default: {AT_ONCE})")


def share(text: str) -> float:
    from argparse import ArgumentTypeError
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"must be a number from 0 to 1, got {text}")
    return value


def run(args) -> int:
    """1 where an image could not be read."""
    needs("PIL", "rich")
    model, paths = opened(args.model, args.names), listed(args.images)
    if args.out is None and args.json is None:
        raise UsageError("say where to: -o DIR draws boxes into images, --json FILE writes rows")
    rows, seen, wrong = [], 0, []
    try:
        places = drawn_places(args.out, paths) if args.out else {}
        for i, path, image, found in progress(detections(model, paths, args, wrong), len(paths)):
            seen += len(found)
            if args.out:
                places[path].parent.mkdir(parents=True, exist_ok=True)
                drawn(found, image).save(places[path])
            rows += [{**row, "file_name": path.name} for row in found.to_coco(i + 1)]
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(rows, indent=1))
    except OSError as why:
        raise UsageError(f"{why.filename}: {why.strerror}" if why.filename else why) from why
    for line in wrong:
        print(f"left out: {line}")
    where = ", ".join(str(place) for place in (args.out, args.json) if place is not None)
    print(f"{seen} objects in {len(paths) - len(wrong)} images; wrote {where}")
    return int(bool(wrong))


def opened(model: str, names: Path | None):
    """The detector in evaluation mode. UsageError where there is none."""
    from ..models.detection.detector import Detector
    from ..train import load_model
    try:
        if ".cfg" in model:
            from ..models.detection.darknet import darknet
            cfg, _, weights = model.partition("+")
            if not weights:
                raise ValueError(f"{cfg}: a cfg needs its weights: {cfg}+FILE.weights")
            return darknet(cfg, weights, names).eval()
        found, _ = load_model(model)
    except ImportError as why:
        raise UsageError("reading a checkpoint needs safetensors: pip install 'pyops-kernels[train]'") from why
    except (OSError, ValueError) as why:
        raise UsageError(why) from why
    if not isinstance(found, Detector):
        raise UsageError(f"{model}: holds a {type(found).__name__}, which is no detector; `pyops predict` classifies")
    if names is not None:
        raise UsageError("--names is for a cfg; a checkpoint has its own")
    return found


def listed(sources: list[str]) -> list[Path]:
    """The files of images, folders and numbered frames, in order."""
    from ..train.folder import SUFFIXES
    paths: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        elif "%" in path.name and not path.exists():
            found = frames(path)
        else:
            found = [path]
        if not found:
            raise UsageError(f"{source}: there is no image in it")
        paths += found
    return paths


def frames(pattern: Path) -> list[Path]:
    """Frames of a name such as frame_%04d.png, from number 0 or 1 on without a gap."""
    try:
        first = next((i for i in (0, 1) if pattern.with_name(pattern.name % i).is_file()), None)
    except (TypeError, ValueError) as why:
        raise UsageError(f"{pattern}: a pattern of frames has one number, such as frame_%04d.png") from why
    found: list[Path] = []
    while first is not None and (path := pattern.with_name(pattern.name % (first + len(found)))).is_file():
        found.append(path)
    return found


def drawn(found, image):
    """A PIL.Image: small images are enlarged to hard pixels, so that words can be read."""
    from ..detection.results import Detections
    times = max(1, -(-LEGIBLE // min(image.shape[:2])))
    if times == 1 or max(image.shape[:2]) * times > 8 * LEGIBLE:
        return found.draw(image)
    larger = Detections(found.boxes * times, found.scores, found.labels, found.class_names)
    return larger.draw(image.repeat(times, 0).repeat(times, 1))


def drawn_places(out: Path, paths: list[Path]) -> dict[Path, Path]:
    """Where each image is drawn: its own name as PNG, with a number where two have one name."""
    places: dict[Path, Path] = {}
    used: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while path not in places and name in used:
            number += 1
            name = f"{path.stem}_{number}"
        used.add(name)
        places.setdefault(path, out / f"{name}.png")
    return places


class Runner:
    """Runs a detector on images; on those of a size that has come often, as frames of a video do,
    by a Program."""

    def __init__(self, model, score: float, iou: float | None):
        model.set_thresholds(score, model.iou_threshold if iou is None else iou, model.max_detections,
                             model.class_names)
        self.model, self.seen, self.programs = model, {}, {}

    def __call__(self, images: list) -> list:
        """images: uint8 (H, W, 3). Detections of each."""
        found: list = [None] * len(images)
        left = []
        for i, image in enumerate(images):
            self.seen[image.shape] = self.seen.get(image.shape, 0) + 1
            if self.seen[image.shape] > OFTEN:
                found[i] = self.by_program(image)
            else:
                left.append(i)
        for i, one in zip(left, self.model.detect([images[i] for i in left]) if left else []):
            found[i] = one
        return found

    def by_program(self, image):
        from .. import compile
        pixels = image.transpose(2, 0, 1)[None].copy()
        if image.shape not in self.programs:
            self.programs[image.shape] = compile(self.model, pixels)
        return self.model.cut(*self.programs[image.shape](pixels))[0]


def detections(model, paths: list[Path], args, wrong: list[str]) -> Iterator[tuple]:
    """(number, path, image, Detections) of each image that can be read."""
    from ..detection.images import opened as pixels
    run = Runner(model, args.score, args.iou)
    for begin in range(0, len(paths), args.batch):
        part = []
        for i, path in enumerate(paths[begin:begin + args.batch], begin):
            try:
                part.append((i, path, pixels(path)))
            except (OSError, ValueError) as why:
                wrong.append(str(why) if str(path) in str(why) else f"{path}: {why}")
        yield from ((*one, found) for one, found in zip(part, run([image for *_, image in part])))


def progress(results: Iterator[tuple], total: int) -> Iterator[tuple]:
    """The same, under a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    console = Console()
    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True,
                  disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        for result in results:
            yield result
            bar.update(task, completed=result[0] + 1)
