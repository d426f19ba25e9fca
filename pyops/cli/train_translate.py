"""pyops train translate: the Transformer of 2017 learns to turn words into figures and back, in
English and German, and shows what its heads look at."""
from __future__ import annotations

from pathlib import Path

from . import UsageError
from .train import needs, positive

SHOWN = 8


def add_arguments(parser):
    parser.add_argument("--topic", choices=("numbers", "dates", "both"), default="both", help="default: both")
    parser.add_argument("--steps", type=positive(int), default=1500, metavar="N", help="updates (default: 1500)")
    parser.add_argument("--batch", "--batch-size", type=positive(int), default=64, metavar="N",
                        help="pairs of an update (default: 64)")
    parser.add_argument("--width", type=positive(int), default=128, metavar="N",
                        help="of the vectors, a multiple of --heads (default: 128)")
    parser.add_argument("--layers", type=positive(int), default=2, metavar="N",
                        help="of the encoder and of the decoder (default: 2)")
    parser.add_argument("--heads", type=positive(int), default=4, metavar="N", help="default: 4")
    parser.add_argument("--lr", type=positive(float), default=2e-3,
                        help="the highest rate of the paper's schedule (default: 0.002)")
    parser.add_argument("--label-smoothing", type=float, default=0.1, metavar="SHARE", help="default: 0.1")
    parser.add_argument("--beams", type=positive(int), default=1, metavar="N",
                        help="texts that are kept while the test is translated (default: 1)")
    parser.add_argument("--test", type=positive(int), default=500, metavar="N",
                        help="pairs that are translated at the end (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and pairs (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/translate"), metavar="DIR",
                        help="where checkpoint.safetensors, tokenizer.json, curve.png and attention-*.png go "
                             "(default: runs/translate)")


def run(args) -> int:
    needs("matplotlib", "safetensors", extra="train")
    needs("tokenizers", extra="text")
    import numpy as np

    from .. import manual_seed, models
    from ..train.language import loop, translation
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    topics = translation.TOPICS if args.topic == "both" else (args.topic,)
    words = translation.tokenizer(args.seed)
    codec = translation.Codec(words)
    manual_seed(args.seed)
    try:
        if not 0 <= args.label_smoothing < 1:
            raise ValueError(f"--label-smoothing must be within [0, 1), got {args.label_smoothing}")
        model = models.Translator(words.get_vocab_size(), args.width, args.heads, args.layers, 4 * args.width,
                                  dropout=0.0, norm_first=True, most_positions=64, start=translation.START)
        args.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    stream = translation.pairs(np.random.default_rng(args.seed + 1), True, topics)
    asked = [pair for pair, _ in zip(stream, range(args.test))]
    print(f"Transformer of {args.layers} + {args.layers} layers, {args.width} wide, {args.heads} heads, "
          f"{sum(p.size for p in model.parameters())} parameters; {words.get_vocab_size()} tokens; "
          f"{args.steps} updates of {args.batch} pairs", flush=True)
    try:
        points = loop.teach(
            model, translation.batches(codec, np.random.default_rng(args.seed), args.batch, topics),
            lambda batch: model.loss(*batch, label_smoothing=args.label_smoothing), steps=args.steps, lr=args.lr,
            schedule=loop.noam(), every=max(1, min(100, args.steps // 4)), report=report)
    except ValueError as error:
        raise UsageError(f"{error}: training diverged; take a lower --lr") from error
    except KeyboardInterrupt:
        print("interrupted: nothing was written")
        return 130
    return conclude(args, model, codec, asked, points)


def report(point) -> None:
    print(f"update {point.step:6d}  loss {point.loss:.4f}  {point.seconds:7.1f} s", flush=True)


def conclude(args, model, codec, asked, points) -> int:
    """Translates the test, tells how right it is, and writes the pictures."""
    from ..train import checkpoint
    from ..train.language import curves, translation
    checkpoint.save(args.out / "checkpoint.safetensors", model.state_dict(),
                    {"model": "translator", "width": args.width, "layers": args.layers, "heads": args.heads})
    codec.words.save(str(args.out / "tokenizer.json"))
    curves.draw(args.out / "curve.png", {"Transformer": points}, "words and figures, English and German",
                "loss with label smoothing, nats a token")
    found = translation.answers(model, codec, asked, args.beams)
    print(f"\n{'':10}" + "".join(f"{'to ' + to:>16}" for to in translation.FORMS))
    for topic in sorted({pair.topic for pair in asked}):
        counts = [found.right(topic=topic, to=to) for to in translation.FORMS]
        print(f"{topic:10}" + "".join(f"{f'{right} of {of}':>16}" for right, of in counts))
    right, of = found.right()
    print(f"{right} of {of} right to the letter ({100 * right / of:.1f} %), of numbers and days that training "
          f"never met; {bleu(found)}")
    for pair, written in list(zip(found.pairs, found.written))[:SHOWN]:
        print(f"  {pair.source}\n    -> {written}" + ("" if written == pair.target else f"   WRONG: {pair.target}"))
    for path in attention(args.out, model, codec, found):
        print(f"wrote {path}")
    return 0


def bleu(found) -> str:
    try:
        return f"BLEU of characters {found.bleu():.1f} (sacrebleu)"
    except ImportError:
        return "for BLEU: pip install 'pyops-kernels[text]'"


def attention(out: Path, model, codec, found):
    """Maps of a translation into words from figures, and of one the other way; yields the paths."""
    import numpy as np

    from ..inspect.attention import attention_maps, draw_attention
    from ..train.language import translation
    for name, wanted in (("words", lambda p: p.of == "figures"), ("figures", lambda p: p.to == "figures")):
        pair = max(filter(wanted, found.pairs), key=lambda p: len(p.source) + len(p.target), default=None)
        if pair is None:
            continue
        source, target = codec.source(pair), [translation.START, *codec.target(pair)[:-1]]
        maps = attention_maps(model, np.array([source]), np.array([target]))
        for kind, what, queries, keys in (("self", "encoder", source, source), ("causal", "decoder", target, target),
                                          ("cross", "decoder to encoder", target, source)):
            path = out / f"attention-{name}-{kind}.png"
            draw_attention(path, [m for m in maps if m.kind == kind], codec.labels(queries), codec.labels(keys),
                           title=f"{pair.source} to {pair.to}: {what}")
            yield path
