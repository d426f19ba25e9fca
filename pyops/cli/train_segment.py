"""pyops train segment: a network that labels pixels, on images with masks or on scattered handwritten
digits, with a progress bar, curves, a sheet of answers and a checkpoint for `pyops segment`."""
from __future__ import annotations

import json
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from . import UsageError, known
from .train import needs, positive

SCENES, TESTED = 800, 100     # digit scenes an epoch, and to test
PHOTOGRAPHS = ("coins", "tissue")
LOSSES = ("cross-entropy+dice", "cross-entropy", "dice", "focal", "lovasz")


class Preset(NamedTuple):
    """What trains a network on digit scenes within minutes: settings, epochs, the highest rate."""
    settings: dict[str, Any]
    epochs: int
    lr: float


GROUND = 0.3                  # what a pixel of the digits' ground, of which most are, counts beside one of ink
PRESETS = {"unet": Preset({"base": 16, "depth": 3, "batch_norm": True}, 12, 4e-3),
           # of all five stages digits, in scenes of 64 pixels, would have to pass through 2x2 maps
           "segnet": Preset({"base": 32, "depth": 3}, 15, 4e-3),
           "deeplabv3_small": Preset({"base": 16}, 12, 4e-3),
           "deeplabv3plus_resnet50": Preset({}, 10, 1e-3)}
OTHER = Preset({}, 20, 2e-3)


def add_arguments(parser):
    parser.add_argument("--model", default="unet", help="a segmentation network of create_model (default: unet)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder with images/ and masks/, or of Pascal VOC, "
                        "a .json of COCO, or coins or tissue, photographs that scikit-image ships (default: scattered "
                        "handwritten digits)")
    parser.add_argument("--classes", metavar="NAMES",
                        help="names of the masks' numbers, joined by commas (with --data)")
    parser.add_argument("--size", type=positive(int), metavar="PIXELS",
                        help="side that images are resized to (default: 256; digits: 64)")
    parser.add_argument("--loss", choices=LOSSES, help=f"default: {LOSSES[0]}; digits: cross-entropy, where a pixel of "
                        f"ground counts {GROUND} of one of ink")
    parser.add_argument("--epochs", type=positive(int), help="default: enough for digits, else 20")
    parser.add_argument("--batch-size", type=positive(int), default=16, help="default: 16")
    parser.add_argument("--lr", type=positive(float), help="the highest rate of the one-cycle schedule")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and scenes (default: 0)")
    parser.add_argument("--resume", action="store_true",
                        help="go on from DIR's checkpoint, to the same bits as without the interruption")
    parser.add_argument("--out", type=Path, default=Path("runs/segment"), metavar="DIR",
                        help="where checkpoint.safetensors, curve.png and answers.png go (default: runs/segment)")


def run(args) -> int:
    needs("rich", "matplotlib", "safetensors", "PIL", *(() if args.data else ("sklearn",)))
    from .. import __version__, manual_seed, models, train
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    known(args.model, models.list_models(task="segmentation"), "segmentation network")
    manual_seed(args.seed)
    preset = PRESETS.get(args.model, OTHER)
    try:
        data = split(args)
        model = models.create_model(args.model, classes=len(data.train.classes),
                                    **(preset.settings if drawn(args) else {}))
        args.out.mkdir(parents=True, exist_ok=True)
        trainer = train.Segmenter(
            model, data, args.out, epochs=args.epochs or preset.epochs, batch_size=args.batch_size,
            lr=args.lr or preset.lr, loss=chosen_loss(args, model), checkpoint_every=50, workers=1,
            metadata={"data": data.name, "seed": args.seed, "pyops": __version__,
                      "classes": json.dumps(data.train.classes)})
        begin = time.perf_counter()
        print(f"{args.model}, {sum(p.size for p in model.parameters())} parameters, on {data}")
        train.show(trainer, resume=args.resume)
    except (OSError, ValueError, TypeError, train.NonFiniteError) as error:
        raise UsageError(error) from error
    return conclude(trainer, begin)


def drawn(args) -> bool:
    """Whether images are small crops or scenes, for which presets are."""
    return args.data is None or (str(args.data) in PHOTOGRAPHS and not args.data.exists())


def split(args):
    """Two datasets; of a folder every fifth image, in a drawn order, is for the test."""
    from ..train import Split, segmentation as s
    if args.data is None:
        if args.classes is not None:
            raise ValueError("--classes needs --data")
        settings = scene_settings(args.size or 64)
        return Split(s.DigitMasks(SCENES, "train", args.seed, True, settings),
                     s.DigitMasks(TESTED, "test", args.seed, settings=settings), "scattered digits")
    if args.data.suffix.lower() == ".json":
        return coco(args)
    if drawn(args):
        return photographs(args)
    if args.classes is None:
        raise ValueError("--data needs --classes: the names of the masks' numbers, from 0 on")
    names = tuple(name.strip() for name in args.classes.split(","))
    voc = (args.data / "JPEGImages").is_dir()
    pairs = s.read_folder(args.data, *(("JPEGImages", "SegmentationClass") if voc else ("images", "masks")))
    if len(pairs) < 5:
        raise ValueError(f"{args.data}: {len(pairs)} images are too few to keep a fifth for the test")
    return parted(args, pairs, names)


def photographs(args):
    """Crops of one photograph: of its upper part to train on, of the lower one to test."""
    from ..train import Split, segmentation as s
    if find_spec("skimage") is None:
        raise ValueError(f"--data {args.data} needs scikit-image: pip install scikit-image")
    if args.classes is not None:
        raise ValueError("--classes is for folders: the photographs have theirs")
    name, side = str(args.data), args.size or 64
    return Split(s.PhotographMasks(name, SCENES, "train", side, args.seed, True),
                 s.PhotographMasks(name, TESTED, "test", side, args.seed), f"crops of {name}")


def coco(args):
    """The images of a JSON of COCO's, with the ground as class 0."""
    from ..train.detection.readers import read_coco
    if args.classes is not None:
        raise ValueError("--classes is for folders: COCO's file names its own")
    found = read_coco(args.data)
    if len(found) < 5:
        raise ValueError(f"{args.data}: {len(found)} images are too few to keep a fifth for the test")
    return parted(args, found.pictures, ("ground", *found.classes))


def parted(args, samples, names):
    import numpy as np

    from ..train import Split, segmentation as s
    order = np.random.default_rng(args.seed).permutation(len(samples))
    train, test = ([samples[i] for i in part] for part in np.split(order, [len(order) - len(order) // 5]))
    size = (args.size or 256,) * 2
    moved = s.augment.Compose(s.augment.Flip(), s.augment.Rotate(10), s.augment.Brightness())
    return Split(s.MaskDataset(train, names, size, moved, args.data.name),
                 s.MaskDataset(test, names, size, name=args.data.name), args.data.name)


def scene_settings(side: int):
    """Digits side by side, all over the ground: a scene teaches many of them at once."""
    from ..train.detection.scenes import SceneSettings
    share, most = (side / 64) ** 2, min(20, side)
    return SceneSettings((side, side), (max(1, round(6 * share)), max(1, round(10 * share))), (min(14, most), most),
                         overlap=0.1, clutter=0)


def chosen_loss(args, model):
    if args.data is not None:
        return loss_called(args.loss or LOSSES[0], model)
    import numpy as np
    return loss_called(args.loss or "cross-entropy", model, np.array([GROUND, *[1.0] * 10], np.float32))


def loss_called(name: str, model, weight=None):
    """loss(output, masks), with cross-entropy's weights of the classes; None: the model's own."""
    from .. import segmentation as s
    beside = {"cross-entropy+dice": s.dice_loss, "dice": s.dice_loss, "focal": s.focal_loss,
              "lovasz": s.lovasz_softmax}.get(name)
    whole = model.loss if weight is None else partial(model.loss, weight=weight)
    if beside is None:
        return None if weight is None else whole

    def loss(output, masks):
        part = beside(output[0] if isinstance(output, tuple) else output, masks)
        return whole(output, masks) + part if name.startswith("cross-entropy") else part
    return loss


def conclude(trainer, begin: float) -> int:
    if not trainer.history:
        print("interrupted before the first epoch ended: nothing was written")
        return 130
    if trainer.interrupted:
        print(f"interrupted after epoch {trainer.history[-1].number}; checkpoint {trainer.checkpoint}")
        return 130
    sheet = answers(trainer)
    print(trainer.test().confusion)
    print(f"done: {len(trainer.split.test)} test images, mean IoU {trainer.history[-1].test_accuracy:.3f}, "
          f"{time.perf_counter() - begin:.1f} s\ncheckpoint  {trainer.checkpoint}\npictures    "
          f"{trainer.out / 'curve.png'}, {sheet}")
    if len(trainer.history) >= 3:
        print(trainer.diagnose())
    return 0


def answers(trainer) -> Path:
    """The first test images with what was found in them."""
    from ..core.tensor import Tensor, no_grad
    from ..train.segmentation import PixelConfusion, draw_sheet
    data, path = trainer.split.test, trainer.out / "answers.png"
    samples = [data.sample(i) for i in range(min(6, len(data)))]
    images, _ = data.take(range(len(samples)))
    trainer.model.eval()
    with no_grad():
        found = trainer.model.labels(Tensor(images)).data
    scores = [PixelConfusion(len(data.classes)).add(f, s.mask).mean_iou for f, s in zip(found, samples)]
    draw_sheet(path, [s.image for s in samples], [s.mask for s in samples], found, data.classes, scores)
    return path
