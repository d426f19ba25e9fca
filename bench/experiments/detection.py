"""The course's detectors, one step after the other, on the same scenes of handwritten digits.

All start from one trunk that has learnt single digits, as the papers' had learnt ImageNet, and are
trained for as many epochs on the same scenes. The time of an image is that of detect() on one image
alone, run eagerly.
"""
from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap

import numpy as np

import pyops
from pyops import train
from pyops.models.detection.faster_rcnn import FasterRCNN
from pyops.models.detection.small import SMALL_RCNN
from pyops.train.detection.coco import RECALLS
from pyops.train.detection.measured import MeasuredDetector, measure_detector
from pyops.train.detection.pictures import marked
from pyops.train.detection.scenes import Scenes

from .detecting.boxes import windows
from .detecting.grid import Grid
from .detecting.one_stage import OneStage
from .detecting.regions import Proposals, Regions
from .detecting.single import Localiser, Windows
from .detecting.trunk import CHANNELS, CropNet, Level, pretrained
from .detecting.yolo import Yolo
from .outcome import Curves, Outcome
from .training import tell

BATCH, RATE = 16, 4e-3
SHOWN = 3            # the test scene in the picture
TIMED = 12           # scenes


@dataclass(frozen=True)
class Step:
    """make(net, proposals): the detector over a copy of the pretrained net. looked: how many boxes
    of an image it classifies. trained: on scenes, for this share of the epochs."""
    name: str
    why: str
    make: Callable
    looked: Callable[[object], float]
    trained: float = 1


def faster(net: CropNet, proposals: Proposals) -> FasterRCNN:
    return FasterRCNN(Level(net.trunk), 10, **{**SMALL_RCNN, "channels": CHANNELS})


STEPS = (
    Step("localisation", "one object for each image", lambda net, p: Localiser(net.trunk), lambda d: 1),
    Step("sliding windows", "all objects, each window classified alone", lambda net, p: Windows(net),
         lambda d: len(windows((64, 64))), 0),
    Step("R-CNN", "fewer boxes, proposed, and corrected", lambda net, p: Regions(net, p, False), lambda d: 60,
         1 / 3),
    Step("Fast R-CNN", "one pass for all of an image's boxes", lambda net, p: Regions(net, p, True), lambda d: 60),
    Step("Faster R-CNN", "the network proposes", faster, lambda d: d.rpn.settings.after[1]),
    Step("YOLO", "no second stage: a grid's cells say what is there", lambda net, p: Yolo(net.trunk),
         lambda d: 3 * (8 * 8 + 4 * 4)),
    Step("SSD", "anchors on two maps, three hard negatives for each object",
         lambda net, p: OneStage(net.trunk, loss="hard negatives", pyramid=False), lambda d: 2 * (8 * 8 + 4 * 4)),
    Step("RetinaNet", "all anchors count, the easy ones little; a pyramid", lambda net, p: OneStage(net.trunk),
         lambda d: 2 * (8 * 8 + 4 * 4)),
    Step("RetinaNet, cross-entropy", "without the focal loss", lambda net, p: OneStage(net.trunk, loss="cross-entropy"),
         lambda d: 2 * (8 * 8 + 4 * 4)),
    Step("without anchors", "a box for each cell, by its distance to the four sides", lambda net, p: Grid(net.trunk),
         lambda d: 8 * 8),
)
WITHOUT_NMS = "RetinaNet, without NMS"


@dataclass
class DetectionOutcome(Outcome):
    """With what each step finds in one scene. tiles: (array, words)."""
    tiles: list = field(default_factory=list)

    def draw(self, path: Path) -> None:
        from matplotlib.figure import Figure
        names = list(self.rows)
        figure = Figure(figsize=(13, 9.6), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=(1.25, 1))
        for axes, (image, words) in zip(upper.subplots(2, 6).ravel(), self.tiles + [(None, "")] * 12):
            axes.axis("off")
            if image is not None:
                axes.imshow(image)
                name, why = words.split("\n")
                axes.set_title("\n".join([name, *wrap(why, 34), "", ""][:3]), fontsize=7.5)
        upper.suptitle(f"{self.title}: one scene, true boxes green, found ones red")
        precision, bars, times = lower.subplots(1, 3, width_ratios=(1.3, 1, 1))
        for number, (name, values) in enumerate(self.curves.lines.items()):
            precision.plot(self.curves.x, np.mean(values, 0), label=name, color=f"C{number % 10}",
                           linestyle="-" if number < 8 else "--")
        precision.set(xlabel="recall", ylabel="precision at IoU 0.5", xlim=(0, 1), ylim=(0, 1.02))
        precision.legend(fontsize=7)
        for axes, column, logarithmic in ((bars, "AP50, %", False), (times, "ms an image", True)):
            axes.barh(names[::-1], [self.mean(name, column) for name in names[::-1]], color="tab:blue")
            axes.set(xlabel=column, xscale="log" if logarithmic else "linear")
            axes.tick_params("y", labelsize=8)
        times.set_yticklabels([])
        for axes in (precision, bars, times):
            axes.grid(alpha=0.3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=90)


def trained(step: Step, net: CropNet, proposals: Proposals, data: train.Split, epochs: int, seed: int):
    """(the step's detector, seconds that its training took)."""
    pyops.manual_seed(seed)
    detector, begin = step.make(copy.deepcopy(net), proposals), time.perf_counter()
    if step.trained:
        with tempfile.TemporaryDirectory() as out:
            train.Detector(detector, data, out, epochs=max(1, round(step.trained * epochs)), batch_size=BATCH, lr=RATE,
                           seed=seed, clip_norm=10.0, draw_curve=False, measured=1, sampled=0).fit()
    return detector, time.perf_counter() - begin


def milliseconds(detector, data: Scenes) -> float:
    """The median of detect() of one image."""
    taken = []
    for i in range(len(data)):
        image = data.picture(i).load()
        begin = time.perf_counter()
        detector.detect([image])
        taken.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(taken))


def figures(measured: MeasuredDetector, ms: float, looked: float, seconds: float) -> dict[str, float]:
    return {"AP50, %": 100 * measured.ap50, "AP, %": 100 * measured.ap, "ms an image": ms, "boxes looked at": looked,
            "seconds of training": seconds}


def precision_of(measured: MeasuredDetector) -> np.ndarray:
    """(101,): of the classes that are there, at IoU 0.5."""
    curves = measured.coco.precision[0, :, :, 0]
    return curves[:, (curves > -1).all(0)].mean(1)


def tile(measured: MeasuredDetector, name: str) -> tuple[np.ndarray, str]:
    """What scores at least half as much as the best: losses differ in how sure they make a
    network."""
    picture, found = measured.data.picture(SHOWN), measured.detections[SHOWN]
    return marked(picture.load(), picture.target, found, float(found.scores.max(initial=0)) / 2), name


def run(seeds: int, quick: bool, data: str | None) -> Outcome:
    """data: of MNIST, has no meaning here: scenes are of scikit-learn's digits."""
    count, epochs, tested, steps = (16, 1, 4, 3) if quick else (1000, 6, 150, 300)
    rows: dict[str, dict[str, list]] = {}
    lines: dict[str, list] = {}
    tiles: list = []
    for seed in range(seeds):
        scenes, test, proposals = Scenes(count, "train", seed), Scenes(tested, "test", seed), Proposals()
        pyops.manual_seed(seed)
        net = pretrained(scenes, steps, seed)
        for step in STEPS:
            detector, seconds = trained(step, net, proposals, train.Split(scenes, test, "scenes"), epochs, seed)
            ways = {step.name: detector.iou_threshold, **({WITHOUT_NMS: 1.0} if step.name == "RetinaNet" else {})}
            for name, iou in ways.items():
                detector.iou_threshold = iou
                measured = measure_detector(detector, test)
                # scenes that no step has seen: proposals are found once for an image
                ms = milliseconds(detector, Scenes(TIMED, "test", 1000 + sum(map(len, lines.values()))))
                found = figures(measured, ms, step.looked(detector), seconds)
                tell(f"{name}, seed {seed}", found)
                for column, value in found.items():
                    rows.setdefault(name, {}).setdefault(column, []).append(value)
                lines.setdefault(name, []).append(precision_of(measured))
                if seed == 0:
                    tiles.append(tile(measured, f"{name}\n{step.why if iou < 1 else 'every box stays'}"))
    setup = (f"{count} scenes of 64x64 pixels with 1 to 5 digits, {epochs} epochs of batches of {BATCH}; {tested} "
             "scenes of other handwriting to test. Every step starts from one trunk that has learnt single digits; "
             "sliding windows are that trunk's classifier, with nothing trained on scenes, and R-CNN, a step of which "
             "costs several of the others', gets a third of the epochs. Boxes looked at: of an image, by a "
             "classifier, at most. The time is of one image, eagerly, with whatever else ran.")
    return DetectionOutcome(
        "from one object to all of them", setup, "step",
        {"AP50, %": 1, "AP, %": 1, "ms an image": 1, "boxes looked at": None, "seconds of training": 0}, rows,
        Curves(RECALLS, lines, "recall", "precision at IoU 0.5"), tiles)
