"""pyops train detect: a detector on annotated images, or on scenes of handwritten digits, with a
progress bar, curves, COCO's numbers and a checkpoint for `pyops detect`."""
from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from . import UsageError, known
from .data import FORMS
from .train import needs, positive

SCENES, TESTED = 1600, 200     # digit scenes an epoch, and to test


class Preset(NamedTuple):
    """What trains a network on digit scenes within minutes."""
    epochs: int
    batch: int
    lr: float


PRESETS = {"yolov3_small": Preset(12, 16, 4e-3), "fasterrcnn_small": Preset(6, 8, 3e-3)}
OTHER = Preset(20, 8, 1e-3)
AUGMENTATIONS = ("none", "colour", "light", "full")


def add_arguments(parser):
    parser.add_argument("--model", default="yolov3_small",
                        help="a detector of create_model (default: yolov3_small)")
    parser.add_argument("--data", type=Path, metavar="PATH", help="annotations to train on: a .json of COCO, a .csv, a "
                        "folder of Pascal VOC or YOLO (default: scenes of handwritten digits)")
    parser.add_argument("--test", type=Path, metavar="PATH", help="annotations to test on (default: a fifth of --data)")
    parser.add_argument("--format", choices=FORMS, help="of --data and --test (default: found by what is there)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the images are (coco, voc, csv)")
    parser.add_argument("--size", type=positive(int), metavar="PIXELS",
                        help="side of the images that are trained on (default: as the model has it)")
    parser.add_argument("--augment", choices=AUGMENTATIONS, help="none; colour: HSV; light: flip, SSD's crops and HSV; "
                        "full: mosaic, mixup, scale jitter, too (default: none of fresh scenes, else light)")
    parser.add_argument("--epochs", type=positive(int), help="default: enough for digit scenes, else 20")
    parser.add_argument("--batch-size", type=positive(int), help="default: 8 or 16, by the model")
    parser.add_argument("--lr", type=positive(float), help="the highest rate of the one-cycle schedule")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and scenes (default: 0)")
    parser.add_argument("--check", action="store_true", help="only the sanity check: initial loss, ten images learnt")
    parser.add_argument("--resume", action="store_true",
                        help="go on from DIR's checkpoint, to the same bits as without the interruption")
    parser.add_argument("--out", type=Path, default=Path("runs/detect"), metavar="DIR",
                        help="where checkpoint.safetensors, curve.png, pr.png, confusion.png and worst.png go "
                        "(default: runs/detect)")


def run(args) -> int:
    needs("rich", "matplotlib", "safetensors", "PIL", *(() if args.data else ("sklearn",)))
    from .. import __version__, manual_seed, models, train
    from ..models.registry import NETWORKS
    from ..train.detection.sanity import sanity_check_detector
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    known(args.model, models.list_models(task="detection"), "detector")
    manual_seed(args.seed)
    preset = PRESETS.get(args.model, OTHER)
    try:
        names, annotated = classes_of(args)
        model = models.create_model(args.model, classes=len(names), class_names=names)
        size = (args.size, args.size) if args.size else tuple(NETWORKS[args.model].image[1:])
        data = split(args, annotated, size)
        if args.check:
            report = sanity_check_detector(model, data.train)
            print(report)
            return int(not report.ok)
        args.out.mkdir(parents=True, exist_ok=True)
        trainer = train.Detector(model, data, args.out, epochs=args.epochs or preset.epochs,
                                 batch_size=args.batch_size or preset.batch, lr=args.lr or preset.lr, clip_norm=100.0,
                                 metadata={"data": data.name, "seed": args.seed, "pyops": __version__},
                                 checkpoint_every=50, workers=1)
        begin = time.perf_counter()
        print(f"{args.model}, {sum(p.size for p in model.parameters())} parameters, on {data}, {size[1]}x{size[0]}")
        train.show(trainer, resume=args.resume)
    except (OSError, ValueError, TypeError, train.NonFiniteError) as error:
        raise UsageError(error) from error
    return conclude(trainer, begin)


def classes_of(args):
    """The names of the classes, and the annotations to train and test on; None for digit scenes."""
    from ..train.detection.readers import read
    from ..train.detection.scenes import CLASSES
    if args.data is None:
        if args.test is not None:
            raise ValueError("--test needs --data")
        return CLASSES, None
    more = {"images": args.images} if args.images is not None else {}
    found = [read(path, args.format, **more) for path in (args.data, args.test) if path is not None]
    if len(found) == 2 and found[1].classes != found[0].classes:
        raise ValueError(f"{args.test}: has other classes than {args.data}: {', '.join(found[1].classes)}")
    return found[0].classes, found


def split(args, annotated, size: tuple[int, int]):
    """Two datasets. Of one set of annotations every fifth image, in a drawn order, is for the
    test."""
    import numpy as np

    from ..train import Split
    from ..train.detection.annotations import Annotations
    from ..train.detection.dataset import DetectionDataset
    from ..train.detection.scenes import Scenes, SceneSettings
    if annotated is None:
        settings = SceneSettings(size)
        return Split(Scenes(SCENES, "train", args.seed, True, settings, augmentation(args.augment or "none")),
                     Scenes(TESTED, "test", args.seed, settings=settings), "digit scenes")
    train, test = annotated[0], annotated[-1]
    if len(annotated) == 1:
        if len(train) < 5:
            raise ValueError(f"{args.data}: {len(train)} images are too few to keep a fifth for the test; give --test")
        order = np.random.default_rng(args.seed).permutation(len(train))
        parts = np.split(order, [len(order) - len(order) // 5])
        train, test = (Annotations(train.source, train.classes, [train.pictures[i] for i in part]) for part in parts)
    return Split(DetectionDataset(train, size, augmentation(args.augment or "light")), DetectionDataset(test, size),
                 Path(args.data).name)


def augmentation(name: str):
    from ..train.detection import augment as a
    light = (a.Flip(), a.Crop(), a.HSV())
    return {"none": None, "colour": a.HSV(), "light": a.Compose(*light),
            "full": a.Compose(a.Mosaic(0.5), a.MixUp(), a.ScaleJitter(), *light)}[name]


def conclude(trainer, begin: float) -> int:
    if not trainer.history:
        print("interrupted before the first epoch ended: nothing was written")
        return 130
    if trainer.interrupted:
        print(f"interrupted after epoch {trainer.history[-1].number}; checkpoint {trainer.checkpoint}")
        return 130
    from ..train.detection.measured import measure_detector
    measured = measure_detector(trainer.model, trainer.split.test)
    paths = measured.draw(trainer.out)
    print(measured.coco)
    print(f"done: {len(measured.indices)} test images, AP50 {measured.ap50:.3f}, {time.perf_counter() - begin:.1f} s\n"
          f"checkpoint  {trainer.checkpoint}\npictures    {trainer.out / 'curve.png'}, {', '.join(map(str, paths))}")
    if len(trainer.history) >= 3:
        print(trainer.diagnose())
    return 0
