"""The `pyops` command. A subcommand is a module of this package with add_arguments(parser) and
run(args) -> exit code.

Only the chosen one is imported, so that `pyops info` needs nothing but NumPy.
"""
from __future__ import annotations

import argparse
import os
import sys
from difflib import get_close_matches
from importlib import import_module

from .. import __version__

COMMANDS = {
    "info": "this machine: CPU, instruction set and threads chosen and why, OpenMP copies",
    "validate": "check every op, on every backend, against its reference",
    "bench": "time the ops beside torch, ONNX Runtime, OpenVINO and ncnn",
    "run": "run an ONNX model",
    "tune": "measure what convolution algorithms cost here, for pyops.compile to choose",
    "train": "train a network",
    "data": "check annotated images, or write some",
    "predict": "classify an image with a checkpoint",
    "detect": "find objects in images with a checkpoint, or a Darknet cfg and weights",
    "segment": "label the pixels of images with a checkpoint",
    "inspect": "draw what a checkpoint's network has learnt and sees in an image",
    "draw": "draw a network's graph as SVG, or print its layers",
    "generate": "write text or images with a checkpoint, or text with a Hugging Face folder",
}


class UsageError(Exception):
    """What the user asked for cannot be done; the message is all they need."""


def known(value: str, choices, what: str) -> str:
    """`value` if it is one of `choices`; otherwise a UsageError with the closest of them."""
    choices = list(choices)
    if value in choices:
        return value
    close = get_close_matches(value, choices, n=3, cutoff=0.4)
    raise UsageError(f"no {what} is called {value!r}; " + (f"did you mean {', '.join(close)}?" if close else
                                                           f"there are {', '.join(choices)}"))


def parser(command: str | None) -> argparse.ArgumentParser:
    """All commands by name, and the arguments of `command`."""
    top = argparse.ArgumentParser(prog="pyops",
                                  description="Compiled kernels behind torch.nn.functional's names.")
    top.add_argument("--version", action="version", version=f"pyops {__version__}")
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        sub = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == command:
            import_module(f".{name}", __name__).add_arguments(sub)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs `pyops` with these arguments (default: the command line's) and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = next((a for a in arguments if a in COMMANDS), None)
    try:
        args = parser(command).parse_args(arguments)
        return import_module(f".{args.command}", __name__).run(args)
    except UsageError as error:
        print(f"pyops: {error}", file=sys.stderr)
        return 2
    except (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as error:   # of -o, most often
        print(f"pyops: {error.filename or error}: {error.strerror or 'cannot be written'}", file=sys.stderr)
        return 2
    except BrokenPipeError:   # `pyops ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
