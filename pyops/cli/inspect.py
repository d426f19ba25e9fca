"""pyops inspect: pictures of what a checkpoint's network has learnt and of what it sees in images.
Each of SHOWS is a module inspect_<name> of this package with draw(opened, args) -> paths."""
from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from . import UsageError, known
from .opened import Opened, of_digits, opened

SHOWS = {"overview": "filters, maps, what the likeliest classes answer most to, occlusion and Grad-CAM",
         "features": "images that channels, neurons, layers, classes, directions or pairs answer most to",
         "evidence": "where in the image a class's score comes from, by ten methods",
         "sanity": "which of these change when weights are drawn anew",
         "blocks": "what each position of a layer sees, and for which of two classes it speaks",
         "atlas": "a layer's answers to many images, laid out and made visible (IMAGE: a folder)",
         "projector": "images by the network's features, wrong ones among their neighbours (a folder of classes)"}
NEED_IMAGE = ("overview", "evidence", "sanity", "blocks")
FOLDERS = ("atlas", "projector")


def numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers joined by commas, got {text}") from None


def add_arguments(parser):
    from .train import positive
    parser.add_argument("checkpoint", type=Path, help="of `pyops train lenet5`, of a Trainer with a network "
                        "of create_model, or models.weights.save's file of one; a Transformer's folder, with --text")
    parser.add_argument("image", type=Path, nargs="?", help="what the network shall look at; a folder for atlas and "
                        "projector (of LeNet-5 the digits that scikit-learn carries)")
    parser.add_argument("--text", help="of a Transformer: what it reads; its heads' attention is drawn")
    parser.add_argument("--target-text", metavar="TEXT",
                        help="what an encoder-decoder writes (default: its own answer)")
    parser.add_argument("-o", "--out", type=Path, default=Path("inspect"), metavar="DIR",
                        help="where the pictures go (default: inspect)")
    parser.add_argument("--show", default="overview", metavar="WHAT",
                        help="; ".join(f"{name}: {text}" for name, text in SHOWS.items()) + " (default: overview)")
    parser.add_argument("--class", dest="target", type=int, metavar="N",
                        help="whose evidence to show (default: the likeliest)")
    parser.add_argument("--layer", metavar="NAME", help="of the network (default: overview: the first convolution "
                        "for filters, the last for Grad-CAM; features: the classes)")
    parser.add_argument("--steps", type=positive(int), metavar="N",
                        help="of ascent (default: overview and blocks 100, features 200, atlas 60)")
    parser.add_argument("--methods", type=lambda text: text.split(","), metavar="NAME[,NAME...]",
                        help="of evidence and sanity: saliency, smooth_grad, integrated_gradients, guided_backprop, "
                        "deconvnet, relevance, occlusion, grad_cam, grad_cam_plus_plus, guided_grad_cam (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--against", type=int, metavar="N", help="blocks: the other class (default: the likeliest)")
    parser.add_argument("--cells", type=positive(int), default=8, metavar="N",
                        help="of blocks and the finer grid of the atlas, a side (default: 8)")
    parser.add_argument("--most", type=positive(int), metavar="N",
                        help="images drawn from a folder (default: atlas 400, projector 600)")
    parser.add_argument("--layout", choices=("umap", "tsne", "pca"), help="default: umap where installed, else tsne")
    ascent = parser.add_argument_group("features")
    ascent.add_argument("--of", default="channel", metavar="KIND",
                        help="channel, neuron (the middle one), layer, pair (of two units), direction (the mean answer "
                        "to IMAGE) (default: channel)")
    ascent.add_argument("--unit", type=numbers, metavar="N[,N...]",
                        help="channels, or without --layer classes (default: the first nine)")
    ascent.add_argument("--size", type=positive(int), metavar="PIXELS",
                        help="side of the images that are made (default: as the network was trained; atlas: "
                        "at most 48)")
    ascent.add_argument("--count", type=positive(int), default=1, metavar="N",
                        help="images of each (default: 1); of a pair, between the two (default: 5)")
    ascent.add_argument("--diversity", type=float, default=0.0, metavar="WEIGHT",
                        help="by which these differ (default: 0)")
    ascent.add_argument("--variation", type=float, default=0.0, metavar="WEIGHT",
                        help="of total variation (default: 0)")


def run(args) -> int:
    from .train import needs
    if args.checkpoint.is_dir():
        from .inspect_attention import run as of_text
        return of_text(args)
    needs("PIL", "safetensors", "matplotlib")
    known(args.show, SHOWS, "--show")
    if args.image is None and args.show in NEED_IMAGE:
        raise UsageError(f"--show {args.show} needs an image to look at")
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    # of a layer anything can be asked that has one
    classifies = args.show != "features" or args.layer is None
    found = shown(args.checkpoint, None if args.show in FOLDERS else args.image, classifies)
    try:
        for path in import_module(f".inspect_{args.show}", __package__).draw(found, args):
            print(f"wrote {path}")
    except MemoryError as why:
        raise UsageError(f"there is not enough memory for this (--size, --most): {why}") from why
    except (ValueError, OSError) as why:
        raise UsageError(str(why)) from why
    return 0


def shown(checkpoint: Path, image: Path | None, classifies: bool) -> Opened:
    """Of `pyops train lenet5` too, whose checkpoints predict knows."""
    from . import predict
    if not predict.is_own(predict.read(checkpoint)[1]):
        return opened(checkpoint, image, classifies)
    model, metadata = predict.load(checkpoint)
    form = of_digits(int(metadata["box"]))
    return Opened(model, None if image is None else form.read(image), None, form)
