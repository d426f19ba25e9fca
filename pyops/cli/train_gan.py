"""pyops train gan NAME: a network that makes images, on handwritten digits, with sheets of images along
the way, curves, what a classifier says of them, and a checkpoint for `pyops generate`."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from . import UsageError, known
from .train import needs, positive

CLASSES = 10
COMPARED = 2000   # training images among which the nearest are looked for


class Preset(NamedTuple):
    """What trains a network on digits within minutes. data: a function of pyops.train.generative.
    average: how much of the weights' running mean a step leaves. lr None: the network's own."""
    settings: dict[str, Any]
    epochs: int
    batch_size: int = 64
    lr: float | None = None
    average: float = 0.99
    data: str = "digit_pictures"


SMALL: dict[str, Any] = {"channels": 1, "base": 16}
PRESETS = {
    "gan_mlp": Preset({"size": 32, "hidden": 256, "units": 64}, 100),
    "dcgan_32": Preset(SMALL, 60, 32, 5e-4),
    "dcgan_64": Preset({"channels": 1, "base": 8}, 40, 32, 5e-4, data="digit_pictures"),
    "dcgan_128": Preset({"channels": 1, "base": 4}, 40, 32, 5e-4, data="digit_pictures"),
    "cdcgan_32": Preset(SMALL, 40, 32, 5e-4),
    "acgan_32": Preset(SMALL, 40, 32, 5e-4),
    "wgan_32": Preset(SMALL, 60, 32, 2e-4),
    "wgan_gp_32": Preset({**SMALL, "num_classes": CLASSES, "critic_steps": 2}, 40, 32, 5e-4),
    "sngan_32": Preset({**SMALL, "num_classes": CLASSES}, 40, 32, 5e-4),
    "stylegan_32": Preset({"channels": 1, "base": 16}, 40, 32, 5e-4),
    "vae_32": Preset({"latent": 2, "base": 16}, 60, 64, 2e-3),
    "vqvae_32": Preset({"channels": 1, "hidden": 32, "entries": 64, "depth": 16}, 30, 64, 2e-3),
    "pix2pix": Preset({"size": 32, "in_channels": 1, "out_channels": 1, "base": 16, "depth": 5, "layers": 1,
                       "dropout": 0.0}, 15, 16, 5e-4, data="digit_masks"),
    "cyclegan": Preset({"size": 32, "channels": 1, "base": 8, "blocks": 3, "layers": 2}, 20, 8, 5e-4,
                       data="slanted_digits"),
    "srcnn": Preset({"factor": 2}, 20, 32, data="small_digits"),
    "espcn": Preset({"factor": 2}, 20, 32, data="small_digits"),
}


def add_arguments(parser):
    parser.add_argument("model", metavar="NAME", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="a folder of images, in folders of their classes where there are such (default: "
                             "handwritten digits)")
    parser.add_argument("--base", type=positive(int), metavar="CHANNELS", help="the network's width, of those that "
                        "have one (with --data; default: the paper's)")
    parser.add_argument("--epochs", type=positive(int), help="default: enough for digits")
    parser.add_argument("--batch-size", type=positive(int), help="default: the network's")
    parser.add_argument("--lr", type=positive(float), help="learning rate (default: the network's)")
    parser.add_argument("--back", action="store_true", help="of pix2pix: from digits to masks")
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
    if args.back and (args.model != "pix2pix" or args.data is not None):
        raise UsageError("--back is for pix2pix on digits")
    if args.data is not None and preset.data != "digit_pictures":
        raise UsageError(f"--data is for networks that make images of nothing; {args.model} makes them of images")
    if args.base is not None and args.data is None:
        raise UsageError("--base needs --data")
    try:
        begin = time.perf_counter()
        out.mkdir(parents=True, exist_ok=True)
        if args.data is None:
            data, settings = made_of_digits(args), preset.settings
        else:
            data, settings = of_folder(args)
        digits = preset.data == "digit_pictures" and args.data is None
        judge = train.generative.digit_judge(data, out) if digits else None
        manual_seed(args.seed)
        model = models.create_model(args.model, **settings)
        trainer = train.GenerativeTrainer(
            model, data, out, epochs=args.epochs or preset.epochs, batch_size=args.batch_size or preset.batch_size,
            lr=args.lr or preset.lr, seed=args.seed, average=preset.average, sheet_every=args.sheet_every,
            measure=judge, measure_every=args.sheet_every,
            metadata={"data": data.name, "seed": args.seed, "pyops": __version__})
        print(f"{args.model}, {sum(p.size for p in model.parameters())} parameters, on {data}")
        train.show(trainer, resume=args.resume)
    except (OSError, ValueError, TypeError, train.NonFiniteError) as error:
        raise UsageError(error) from error
    return conclude(trainer, begin)


def made_of_digits(args):
    """The preset's data, of the network's size."""
    from inspect import signature

    from ..models.registry import NETWORKS
    from ..train import generative
    preset = PRESETS[args.model]
    of_network = signature(NETWORKS[args.model].make).parameters.get("size")
    size = preset.settings.get("size", 32 if of_network is None else of_network.default)
    return getattr(generative, preset.data)(size, **({"back": True} if args.back else {}))


def of_folder(args):
    """The images of --data, and what the network is made with."""
    from inspect import signature

    from ..models.registry import NETWORKS
    from ..train.generative import picture_folder
    known = signature(NETWORKS[args.model].make).parameters
    data = picture_folder(args.data, known["size"].default)
    settings = {"channels": 3} | ({} if args.base is None else {"base": args.base})
    if "num_classes" in known:
        settings["num_classes"] = len(data.train.classes or ())
    return data, {name: value for name, value in settings.items() if name in known}


def conclude(trainer, begin: float) -> int:
    if not trainer.history:
        print("interrupted before the first epoch ended: nothing was written")
        return 130
    if trainer.interrupted:
        print(f"interrupted after epoch {trainer.history[-1].number}; checkpoint {trainer.checkpoint}")
        return 130
    with trainer.averaged.in_place():
        for line in explored(trainer):
            print(line)
    print(f"done: {time.perf_counter() - begin:.1f} s\ncheckpoint  {trainer.average_checkpoint}\npictures    "
          f"{trainer.out}: sheets/, {', '.join(sorted(p.name for p in trainer.out.glob('*.png')))}")
    return 0


def explored(trainer):
    """Draws what the network has learnt, and says it."""
    import numpy as np

    from ..models.generative.base import ImageTranslator
    from ..train import generative as g
    model, out, rng = trainer.model, trainer.out, np.random.default_rng(trainer.seed)
    test, labels = trainer.split.test.take(np.arange(min(COMPARED, len(trainer.split.test))))
    if isinstance(model, ImageTranslator):
        yield from translated(model, test, labels)
        return
    training = trainer.split.train.take(np.arange(min(COMPARED, len(trainer.split.train))))[0]
    made = trainer.sample(trainer.measured, rng)[0]
    repeats = g.memorised(made, test, training)
    g.draw_nearest(out / "nearest.png", made, training)
    yield f"made images are {repeats:.2f} times as far from their nearest training image as test images are"
    if len(model.image) == 1:
        g.draw_interpolations(out / "interpolations.png", model, rng=rng)
    if model.players == ("autoencoder",):
        away = np.sqrt(((model.reconstruct(test) - test) ** 2).mean())
        yield f"test images are given back to {away:.3f}, root mean square of values in -1 .. 1"
        if model.image == (2,):
            g.draw_plane(out / "plane.png", model, test, labels)
    if len(trainer.history) >= 3:
        yield from map(str, g.diagnose_players(trainer.history, len(trainer.split.train.classes or ()), repeats))


def translated(model, test, wanted):
    """Of networks that make images of images: how near the test's are to what was wanted."""
    import numpy as np

    from ..train.generative import slant
    made = model.paint(test)
    if hasattr(model, "enlarged"):
        bicubic = np.clip(np.asarray(model.enlarged(test)), -1, 1)
        yield (f"root mean square error on test images {np.sqrt(((made - wanted) ** 2).mean()):.4f}, of bicubic "
               f"enlargement {np.sqrt(((bicubic - wanted) ** 2).mean()):.4f}")
    elif hasattr(model, "back"):
        yield (f"slant of test images {slant(test).mean():.2f}, made {slant(made).mean():.2f}, of slanted ones "
               f"{slant(wanted).mean():.2f} columns a row")
    else:
        yield f"mean distance of made test images from the wanted ones {np.abs(made - wanted).mean():.4f} in -1 .. 1"
