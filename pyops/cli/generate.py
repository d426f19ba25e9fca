"""pyops generate: text from a checkpoint that `pyops train char-rnn` wrote, a character at a
time as it is drawn, or from a Hugging Face folder, a token at a time; images from a checkpoint of
`pyops train gan`."""
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from . import UsageError
from .train import positive


def add_arguments(parser):
    parser.add_argument("checkpoint", type=Path,
                        help="checkpoint.safetensors of `pyops train char-rnn` or `pyops train gan`, or a folder with "
                             "config.json, weights and tokenizer.json (GPT-2, GPT-NeoX, T5)")
    parser.add_argument("-o", "--out", type=Path, metavar="PATH",
                        help="of images: FILE.png for one sheet of all, or a folder for a file each")
    parser.add_argument("--count", type=positive(int), default=64, metavar="N", help="of images (default: 64)")
    parser.add_argument("--image", type=Path, nargs="+", metavar="IMAGE",
                        help="what pix2pix, CycleGAN and super-resolution make images of")
    parser.add_argument("--label", type=int, metavar="CLASS", help="of images: the class to make (default: in turn)")
    parser.add_argument("--prompt", help="what the text begins with (default: an empty line)")
    parser.add_argument("--length", type=positive(int), metavar="N",
                        help="characters after the prompt (default: 500), of a folder tokens (default: 100)")
    parser.add_argument("--temperature", type=positive(float), default=0.8,
                        help="below 1 keeps to the likely, above dares more (default: 0.8)")
    parser.add_argument("--top-k", type=positive(int), metavar="K",
                        help="draw among the K likeliest only; 1 always takes the likeliest")
    parser.add_argument("--top-p", type=positive(float), metavar="P",
                        help="of a folder: draw among the fewest likeliest that together have this probability")
    parser.add_argument("--repetition-penalty", type=positive(float), default=1.0, metavar="X",
                        help="of a folder: above 1, tokens that the text has already become less likely (default: 1)")
    parser.add_argument("--weights", choices=("float32", "int8", "bf16"), default="float32",
                        help="of a folder: how linear layers store their weights; fewer bits are read in less time "
                             "(default: float32)")
    parser.add_argument("--cache", choices=("float32", "bf16"), default="float32",
                        help="of a folder: how keys and values of what was read are kept (default: float32)")
    parser.add_argument("--seed", type=int,
                        help="the same seed draws the same text (default: another one each time)")


def run(args) -> int:
    import numpy as np
    if args.seed is not None and args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    if args.checkpoint.is_dir():
        return run_folder(args)
    from . import generate_images
    if generate_images.is_generative(generate_images.metadata_of(args.checkpoint)):
        return generate_images.run(args)
    if args.out is not None or args.label is not None or args.image:
        raise UsageError(f"{args.checkpoint}: -o, --label and --image are for networks that make images")
    if args.top_p is not None:
        raise UsageError("--top-p is for folders of Transformers")
    if args.weights != "float32" or args.cache != "float32" or args.repetition_penalty != 1:
        raise UsageError("--weights, --cache and --repetition-penalty are for folders of Transformers")
    model, characters = load(args.checkpoint)
    prompt = args.prompt
    if prompt is None:
        prompt = "\n" if "\n" in characters else characters.alphabet[0]
    try:
        numbers = characters.encode(prompt)
        drawn = model.generate(numbers, args.length or 500, args.temperature, args.top_k,
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


def run_folder(args) -> int:
    """Streams what follows the prompt, and says on the error stream how fast it came."""
    from ..models import load_transformer
    from ..text.tokenizer import read_tokenizer
    if not args.prompt:
        raise UsageError("--prompt must say what the text begins with")
    try:
        model, tokenizer = load_transformer(args.checkpoint), read_tokenizer(args.checkpoint)
        if not hasattr(model, "generate"):
            raise UsageError(f"{args.checkpoint}: {type(model).__name__} writes no texts")
        ids = tokenizer.encode(args.prompt).ids
        shown = Shown(tokenizer, "" if hasattr(model, "start") else args.prompt)
        model.generate(ids, args.length or 100, args.temperature, args.top_k, args.top_p,
                       stop=model.config.eos_token_id, seed=args.seed, stream=lambda _, token: shown.add(token),
                       weights=args.weights, cache=args.cache, repetition_penalty=args.repetition_penalty)
    except ImportError as error:
        raise UsageError(f"{error}: pip install 'pyops-kernels[text]'") from error
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    except KeyboardInterrupt:
        print()
        return 130
    print()
    print(shown.speed(), file=sys.stderr)
    if args.weights != "float32" or args.cache != "float32":
        off = model.stored_error(ids, args.weights, args.cache)
        print(f"weights {args.weights}, cache {args.cache}: the first scores are off by {off:.2%} of the largest",
              file=sys.stderr)
    return 0


class Shown:
    """Tokens as text as soon as they are whole characters."""

    def __init__(self, tokenizer, prompt: str):
        self.tokenizer, self.tokens, self.text = tokenizer, [], ""
        self.times: list[float] = []
        print(prompt, end="", flush=True)

    def add(self, token: int) -> None:
        self.times.append(time.perf_counter())
        self.tokens.append(token)
        text = self.tokenizer.decode(self.tokens)
        if not text.endswith("\ufffd"):   # half of a character, as far as is known
            print(text[len(self.text):], end="", flush=True)
            self.text = text

    def speed(self) -> str:
        """Of the tokens behind the first, before which the prompt is read and Programs are made."""
        count = len(self.times) - 1
        if count < 1:
            return f"{len(self.times)} tokens"
        return f"{count + 1} tokens, {count / (self.times[-1] - self.times[0]):.1f} tokens/s"


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
