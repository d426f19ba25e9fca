"""pyops generate: text from a checkpoint that `pyops train char-rnn` wrote, a character at a
time as it is drawn."""
from __future__ import annotations

import json
from pathlib import Path

from . import UsageError
from .train import positive


def add_arguments(parser):
    parser.add_argument("checkpoint", type=Path, help="checkpoint.safetensors of `pyops train char-rnn`")
    parser.add_argument("--prompt", help="what the text begins with (default: an empty line)")
    parser.add_argument("--length", type=positive(int), default=500, metavar="N",
                        help="characters after the prompt (default: 500)")
    parser.add_argument("--temperature", type=positive(float), default=0.8,
                        help="below 1 keeps to the likely, above dares more (default: 0.8)")
    parser.add_argument("--top-k", type=positive(int), metavar="K",
                        help="draw among the K likeliest only; 1 always takes the likeliest")
    parser.add_argument("--seed", type=int,
                        help="the same seed draws the same text (default: another one each time)")


def run(args) -> int:
    import numpy as np
    if args.seed is not None and args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    model, characters = load(args.checkpoint)
    prompt = args.prompt
    if prompt is None:
        prompt = "\n" if "\n" in characters else characters.alphabet[0]
    try:
        numbers = characters.encode(prompt)
        drawn = model.generate(numbers, args.length, args.temperature, args.top_k,
                               np.random.default_rng(args.seed))
        print(prompt if args.prompt is not None else "", end="", flush=True)
        for number in drawn:
            print(characters.decode([number]), end="", flush=True)
    except ValueError as error:
        raise UsageError(error) from error
    except KeyboardInterrupt:
        print()
        return 130
    print()
    return 0


def load(path: Path):
    """The model of a checkpoint, in evaluation mode, and its Characters. UsageError says
    what does not fit."""
    from .. import models, nn, train
    from ..text import Characters
    try:
        state, metadata = train.checkpoint.load(path)
    except ImportError as error:
        raise UsageError(
            "reading a checkpoint needs safetensors: pip install 'pyops-kernels[train]'") from error
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    if metadata.get("model") != "char-rnn":
        raise UsageError(
            f"{path}: not a checkpoint of `pyops train char-rnn`: its metadata is {metadata or 'empty'}")
    try:
        characters = Characters(alphabet(metadata["alphabet"]))
        sizes = {name: int(metadata[name]) for name in ("hidden", "layers", "embedding")}
        with nn.init.skip_draws():
            model = models.char_rnn(len(characters), metadata["kind"], **sizes).eval()
        model.load_state_dict(state)
    except KeyError as error:
        raise UsageError(f"{path}: its metadata has no {error}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    return model, characters


def alphabet(value: str) -> str:
    """The str that is JSON in the metadata, as any other character might not survive there.
    ValueError where it is something else."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, str):
        raise ValueError("its metadata's alphabet is no string of characters")
    return found
