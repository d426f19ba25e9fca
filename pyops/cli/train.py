"""pyops train NETWORK: each network has a module train_<network> of this package with
add_arguments(parser) and run(args)."""
from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec

from . import UsageError

NETWORKS = {"lenet5": "LeNet-5 on handwritten digits",
            "detect": "a detector on annotated images, or on scenes of handwritten digits",
            "segment": "a network that labels pixels, on images with masks, or on scattered handwritten digits",
            "gan": "a network that makes images, on handwritten digits",
            "char-rnn": "a recurrent network on the characters of a text",
            "translate": "the Transformer of 2017, between words and figures in English and German",
            "masked-lm": "a small BERT on masked words, then as a classifier of few labelled passages",
            "gpt": "a small GPT on the characters of a text, beside an LSTM",
            "recall": "a Transformer and an LSTM on what came first, over growing distances"}


def module(network: str):
    return import_module(f".train_{network.replace('-', '_')}", __package__)


def add_arguments(parser):
    networks = parser.add_subparsers(dest="network", metavar="NETWORK", required=True)
    for name, text in NETWORKS.items():
        sub = networks.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        module(name).add_arguments(sub)


def run(args) -> int:
    return module(args.network).run(args)


def needs(*packages: str, extra: str = "train") -> None:
    """UsageError that names those of the extra which are not installed, before any work is done."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(f"training needs {', '.join(missing)}: pip install 'pyops-kernels[{extra}]'")


def positive(kind):
    """A parser of positive numbers for argparse."""
    def parse(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be positive, got {text}")
        return value
    parse.__name__ = kind.__name__
    return parse
