"""COCO's twelve numbers by pyops and by pycocotools, on the same random sets, in turn:
python -m pyops.bench.coco_ap [--sets N] [--images N] [--classes N]

First that both give the same numbers on N sets of a few images, then how long each takes for one
large set.
"""
from __future__ import annotations

import argparse
import contextlib
import io
from typing import NamedTuple

import numpy as np

from pyops.bench.measure import interleaved
from pyops.train.detection.coco import MOST, CocoAP, flat_ap
from pyops.train.detection.flat import Flat


class Rows(NamedTuple):
    """Annotations and results as COCO's files have them. Images are 1 .. images."""
    images: int
    classes: int
    annotations: list[dict]
    results: list[dict]


def random_rows(seed: int, images: int | None = None, classes: int | None = None) -> Rows:
    """True boxes, crowds among them, and detections near them and elsewhere, some of equal scores,
    in some sets on whole pixels, in some images more than count."""
    rng = np.random.default_rng(seed)
    images, classes = images or int(rng.integers(1, 8)), classes or int(rng.integers(1, 5))
    scale, whole = rng.choice([20, 60, 150, 300]), rng.random() < 0.5
    annotations: list[dict] = []
    results: list[dict] = []
    for image in range(1, images + 1):
        mine = [annotation(rng, image, int(rng.integers(classes)), scale, whole)
                for _ in range(rng.integers(0, 8))]
        annotations += mine
        for _ in range(rng.integers(0, 130 if rng.random() < 0.1 else 15)):
            results.append(result(rng, image, mine, classes, scale, whole))
    return Rows(images, classes, [{**a, "id": i} for i, a in enumerate(annotations, 1)], results)


def annotation(rng, image: int, label: int, scale: float, whole: bool) -> dict:
    box = np.r_[rng.random(2) * scale, rng.random(2) * scale * rng.choice([0.2, 1]) + 1]
    box = np.round(box) if whole else box
    return {"image_id": image, "category_id": label, "bbox": box.tolist(), "iscrowd": int(rng.random() < 0.15),
            "area": float(box[2] * box[3] * rng.uniform(0.5, 1))}


def result(rng, image: int, mine: list[dict], classes: int, scale: float, whole: bool) -> dict:
    label, box = int(rng.integers(classes)), np.r_[rng.random(2) * scale, rng.random(2) * scale]
    if mine and rng.random() < 0.8:
        near = mine[rng.integers(len(mine))]
        sides = np.tile(near["bbox"][2:], 2)
        box = np.array(near["bbox"]) + rng.normal(0, 0.08, 4) * sides
        box[2:] = np.abs(box[2:])
        label = near["category_id"] if rng.random() < 0.85 else label
    box = np.round(box) if whole else box
    return {"image_id": image, "category_id": label, "bbox": box.tolist(),
            "score": float(np.round(rng.random(), int(rng.choice([1, 6]))))}


def ours(rows: Rows) -> tuple[Flat, Flat]:
    def column(part, name, kind):
        return np.array([row[name] for row in part], kind)

    def flat(part, **more):
        return Flat(rows.images, rows.classes, column(part, "image_id", np.int64) - 1,
                    column(part, "category_id", np.int64), column(part, "bbox", np.float64).reshape(-1, 4), **more)
    return (flat(rows.annotations, area=column(rows.annotations, "area", np.float64),
                 ignore=column(rows.annotations, "iscrowd", bool)),
            flat(rows.results, scores=column(rows.results, "score", np.float64)))


def theirs(rows: Rows):
    """A pycocotools.COCOeval that has read the rows and computed nothing yet. It takes no set
    without a detection."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": [{"id": i + 1} for i in range(rows.images)],
                         "categories": [{"id": c} for c in range(rows.classes)],
                         "annotations": [dict(a) for a in rows.annotations]}
        truth.createIndex()
        return COCOeval(truth, truth.loadRes([dict(r) for r in rows.results]), "bbox")


def computed(judge):
    with contextlib.redirect_stdout(io.StringIO()):
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def difference(rows: Rows) -> float:
    """The largest, of all precisions and recalls and of the twelve numbers."""
    own, judge = flat_ap(*ours(rows)), computed(theirs(rows))
    pairs = ((own.precision, judge.eval["precision"][..., len(MOST) - 1]), (own.recall, judge.eval["recall"]),
             (np.array(list(own.numbers.values())), judge.stats))
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def compared(images: int, classes: int, seconds: float = 5.0) -> tuple[Rows, dict[str, float], CocoAP]:
    """One set, the median seconds of both, and what came of it."""
    rows = random_rows(0, images, classes)
    (truth, found), judge = ours(rows), theirs(rows)
    samples, _ = interleaved({"pyops": lambda: flat_ap(truth, found), "pycocotools": lambda: computed(judge)},
                             seconds)
    return rows, {name: float(np.median(values)) for name, values in samples.items()}, flat_ap(truth, found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.coco_ap", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=100, help="random sets to compare (default: 100)")
    parser.add_argument("--images", type=int, default=500, help="of the large set (default: 500)")
    parser.add_argument("--classes", type=int, default=20, help="of the large set (default: 20)")
    args = parser.parse_args()
    worst = max((difference(rows) for rows in map(random_rows, range(args.sets)) if rows.results), default=0.0)
    print(f"{args.sets} random sets: differences of at most {worst:.1e}")
    rows, seconds, _ = compared(args.images, args.classes)
    print(f"{args.images} images, {args.classes} classes, {len(rows.annotations)} objects, {len(rows.results)} "
          f"detections: pyops {1e3 * seconds['pyops']:.1f} ms, pycocotools {1e3 * seconds['pycocotools']:.1f} ms "
          f"(reading counted for neither), {seconds['pycocotools'] / seconds['pyops']:.1f} times as fast")
    return int(worst > 1e-9)


if __name__ == "__main__":
    raise SystemExit(main())
