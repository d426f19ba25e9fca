"""pyops train char-rnn: a network learns to write like a text, and shows at set
iterations how far it is."""
from __future__ import annotations

import argparse
import math
from pathlib import Path

from . import UsageError
from .train import needs, positive

KINDS = ("rnn", "lstm", "gru", "peephole")
LIBRARY_LENGTH = 1_000_000
FURTHEST = 0.05   # from ln(vocabulary), of the loss before training


def add_arguments(parser):
    parser.add_argument("--text", type=Path, metavar="FILE", help="UTF-8 text to learn; default: the first "
                        "million characters of the source of Python's standard library")
    parser.add_argument("--kind", choices=KINDS, default="lstm", help="default: lstm")
    parser.add_argument("--hidden", type=positive(int), default=128, help="units of a layer (default: 128)")
    parser.add_argument("--layers", type=positive(int), default=2, help="default: 2")
    parser.add_argument("--embedding", type=positive(int), metavar="WIDTH",
                        help="of a character's vector (default: as --hidden)")
    parser.add_argument("--dropout", type=share, default=0.0,
                        help="share of each layer's outputs dropped in training (default: 0)")
    parser.add_argument("--seq-length", type=positive(int), default=50, metavar="N",
                        help="characters that gradients go back (default: 50)")
    parser.add_argument("--batch", "--batch-size", type=positive(int), default=32, metavar="N",
                        help="places of the text that are read side by side (default: 32)")
    duration = parser.add_mutually_exclusive_group()
    duration.add_argument("--iterations", type=positive(int), metavar="N", help="updates (default: 2000)")
    duration.add_argument("--epochs", type=positive(float), metavar="N",
                          help="times through the text, in place of --iterations")
    parser.add_argument("--optimizer", choices=("adam", "rmsprop"), default="adam", help="default: adam")
    parser.add_argument("--lr", type=positive(float), default=4e-3,
                        help="rate at the beginning; it falls to a tenth (default: 0.004)")
    parser.add_argument("--clip", type=positive(float), default=5.0, metavar="NORM",
                        help="most that the joint norm of the gradients may be (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and samples (default: 0)")
    moments = parser.add_mutually_exclusive_group()
    moments.add_argument("--sample-at", type=iterations, default=(100, 700, 1200, 2000), metavar="N,N,...",
                         help="iterations at which a sample is printed and the checkpoint written (default: "
                         "100,700,1200,2000)")
    moments.add_argument("--sample-every", type=positive(int), metavar="N",
                         help="the same at every so many iterations")
    parser.add_argument("--sample-length", type=positive(int), default=200, metavar="N",
                        help="characters of a sample (default: 200)")
    parser.add_argument("--temperature", type=positive(float), default=0.8, help="of samples (default: 0.8)")
    parser.add_argument("--out", type=Path, default=Path("runs/char-rnn"), metavar="DIR",
                        help="where checkpoint.safetensors goes (default: runs/char-rnn)")


def share(text):
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be within [0, 1), got {text}")
    return value


def iterations(text):
    return tuple(positive(int)(part) for part in text.split(","))


def run(args) -> int:
    needs("safetensors")
    from .. import manual_seed, models
    from ..text import Characters
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    text, name = read(args.text)
    try:
        characters = Characters.of(text)
        manual_seed(args.seed)
        model = models.char_rnn(len(characters), args.kind, args.hidden, args.layers, args.dropout,
                                args.embedding)
        trainer = trainer_of(args, model, characters, text, name)
        args.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {error}") from error
    print(f"char-rnn ({args.kind}, {args.layers} x {args.hidden}), {sum(p.size for p in model.parameters())} "
          f"parameters, on {name}: {len(text)} characters, {len(characters)} distinct; {trainer.iterations} "
          f"iterations, {trainer.iterations / trainer.chunks_per_epoch:.2f} epochs", flush=True)
    try:
        trainer.fit()
    except ValueError as error:
        raise UsageError(f"{error}: training diverged; take a lower --lr or --clip") from error
    return conclude(trainer)


def read(path: Path | None) -> tuple[str, str]:
    """The text to learn and what it is called."""
    from ..text import standard_library
    try:
        if path is None:
            return standard_library(LIBRARY_LENGTH), "Python's standard library"
        return path.read_bytes().decode(), str(path)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from error
    except OSError as error:
        raise UsageError(f"{error}; --text names another text" if path is None else error) from error


def trainer_of(args, model, characters, text, name):
    """The trainer with what it shows: the first loss beside ln(vocabulary), a line a hundred
    iterations, samples."""
    import json

    from .. import __version__, train
    metadata = {"model": "char-rnn", "kind": args.kind, "hidden": args.hidden, "layers": args.layers,
                "embedding": args.embedding or args.hidden, "alphabet": json.dumps(characters.alphabet),
                "text": name, "seed": args.seed, "pyops": __version__}
    count = args.iterations or 2000
    if args.epochs:
        count = max(1, round(
            args.epochs * sum(1 for _ in train.chunks(characters.encode(text), args.batch, args.seq_length))))
    sample_at = (range(args.sample_every, count + 1, args.sample_every) if args.sample_every
                 else args.sample_at)
    prompt = characters.encode("\n" if "\n" in characters else text[:1])

    def begun(loss):
        expected = math.log(len(characters))
        off = (loss - expected) / expected if expected else loss
        print(f"initial loss {loss:.4f}, ln({len(characters)}) = {expected:.4f}, {100 * off:+.2f} %" + (
            "" if abs(off) <= FURTHEST else f": more than {100 * FURTHEST:.0f} % off, something is wrong"),
              flush=True)

    def report(now):
        print(f"iteration {now.iteration:6d}  epoch {now.epoch:7.2f}  loss {now.loss:.4f}  "
              f"{now.seconds:7.1f} s", flush=True)

    def sample(now):
        import numpy as np
        drawn = model.eval().generate(prompt, args.sample_length, args.temperature,
                                      generator=np.random.default_rng(args.seed))
        print(f"---- {now.iteration} iterations\n{characters.decode(list(drawn))}\n----", flush=True)
    return train.TextTrainer(model, characters, text, args.out, count, args.seq_length, args.batch, args.lr,
                             args.optimizer, args.clip,
                             sample_at, metadata=metadata, begun=begun, report=report, sample=sample)


def conclude(trainer) -> int:
    if trainer.written is None:
        print("interrupted before the first sample: nothing was written")
        return 130
    last = trainer.written
    print(f"{'interrupted; written after' if trainer.interrupted else 'done:'} iteration {last.iteration}, "
          f"loss {last.loss:.4f}, {last.seconds:.1f} s\ncheckpoint  {trainer.checkpoint}")
    return 130 if trainer.interrupted else 0
