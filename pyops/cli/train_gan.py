"""pyops train gan NAME: a network that makes images, on handwritten digits, with sheets of images along
the way, curves and a checkpoint for `pyops generate`."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from . import UsageError, known
from .train import needs, positive


class Preset(NamedTuple):
    """What trains a network on digits within minutes: settings, epochs, batch size, rate (None: the
    network's own), and how much of the weights' running mean a step leaves."""
    settings: dict[str, Any]
    epochs: int
    batch_size: int = 64
    lr: float | None = None
    average: float = 0.995


PRESETS = {"dcgan_32": Preset({"channels": 1, "base": 16}, 60, lr=1e-3),
           "cdcgan_32": Preset({"channels": 1, "base": 16}, 60, lr=1e-3)}


def add_arguments(parser):
    parser.add_argument("model", metavar="NAME", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--epochs", type=positive(int), help="default: enough for digits")
    parser.add_argument("--batch-size", type=positive(int), help="default: the network's")
    parser.add_argument("--lr", type=positive(float), help="learning rate (default: the network's)")
    parser.add_argument("--sheet-every", type=positive(int), default=10, metavar="EPOCHS",
                        help="epochs from one sheet of images to the next (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and codes (default: 0)")
    parser.add_argument("--resume", action="store_true",
                        help="go on from DIR's checkpoint, to the same bits as without the interruption")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="where checkpoint.safetensors, average.safetensors, curve.png and sheets/ go "
                             "(default: runs/NAME)")


def run(args) -> int:
    needs("rich", "matplotlib", "safetensors", "PIL", "sklearn")
    from .. import __version__, manual_seed, models, train
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    known(args.model, PRESETS, "network that makes digits")
    preset, out = PRESETS[args.model], args.out or Path("runs") / args.model
    manual_seed(args.seed)
    try:
        model = models.create_model(args.model, **preset.settings)
        data = train.generative.digit_pictures(model.pictures[1])
        out.mkdir(parents=True, exist_ok=True)
        trainer = train.GenerativeTrainer(
            model, data, out, epochs=args.epochs or preset.epochs, batch_size=args.batch_size or preset.batch_size,
            lr=args.lr or preset.lr, seed=args.seed, average=preset.average, sheet_every=args.sheet_every,
            metadata={"data": data.name, "seed": args.seed, "pyops": __version__})
        begin = time.perf_counter()
        print(f"{args.model}, {sum(p.size for p in model.parameters())} parameters, on {data}")
        train.show(trainer, resume=args.resume)
    except (OSError, ValueError, TypeError, train.NonFiniteError) as error:
        raise UsageError(error) from error
    return conclude(trainer, begin)


def conclude(trainer, begin: float) -> int:
    if not trainer.history:
        print("interrupted before the first epoch ended: nothing was written")
        return 130
    if trainer.interrupted:
        print(f"interrupted after epoch {trainer.history[-1].number}; checkpoint {trainer.checkpoint}")
        return 130
    print(f"done: {time.perf_counter() - begin:.1f} s\ncheckpoint  {trainer.average_checkpoint}\npictures    "
          f"{trainer.out / 'curve.png'}, {trainer.out / 'sheets'}")
    return 0
