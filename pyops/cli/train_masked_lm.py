"""pyops train masked-lm: a small BERT guesses masked words of the documentation that Python carries,
then learns from few labelled passages which package each belongs to, beside one that starts from
nothing."""
from __future__ import annotations

from pathlib import Path

from . import UsageError
from .train import needs, positive

FINE_TUNED = "bert"   # the folder of the pre-trained network within --out


def add_arguments(parser):
    parser.add_argument("--steps", type=positive(int), default=1500, metavar="N",
                        help="updates on masked words (default: 1500)")
    parser.add_argument("--fine-tuning", type=positive(int), default=120, metavar="N",
                        help="updates of each classifier (default: 120)")
    parser.add_argument("--classes", type=positive(int), default=8, metavar="N",
                        help="packages, those with most passages (default: 8)")
    parser.add_argument("--labelled", type=positive(int), default=16, metavar="N",
                        help="passages of each class to learn from (default: 16)")
    parser.add_argument("--width", type=positive(int), default=96, metavar="N",
                        help="a multiple of --heads (default: 96)")
    parser.add_argument("--layers", type=positive(int), default=2, metavar="N", help="default: 2")
    parser.add_argument("--heads", type=positive(int), default=4, metavar="N", help="default: 4")
    parser.add_argument("--vocabulary", type=positive(int), default=1000, metavar="N",
                        help="word pieces (default: 1000)")
    parser.add_argument("--length", type=positive(int), default=32, metavar="N",
                        help="word pieces of a passage that are read (default: 32)")
    parser.add_argument("--batch", "--batch-size", type=positive(int), default=32, metavar="N", help="default: 32")
    parser.add_argument("--lr", type=positive(float), default=2e-3,
                        help="the highest rate on masked words (default: 0.002)")
    parser.add_argument("--fine-tuning-lr", type=positive(float), default=1e-3, metavar="LR",
                        help="of both classifiers (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, masks and the choice of passages (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/masked-lm"), metavar="DIR",
                        help="where the folders bert and classifier and the pictures go (default: runs/masked-lm)")


def run(args) -> int:
    needs("matplotlib", "safetensors")
    needs("tokenizers", extra="text")
    import numpy as np

    from .. import manual_seed, models
    from ..train.language import equal, masked
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    manual_seed(args.seed)
    generator = np.random.default_rng(args.seed)
    try:
        if args.length < 4:
            raise ValueError(f"--length must be at least 4, got {args.length}")
        parts = masked.split(masked.passages(), args.classes, args.labelled, generator)
        words = masked.tokenizer([p.text for p in parts.unlabelled], args.vocabulary)
        settings = dict(vocab_size=words.get_vocab_size(), hidden_size=args.width, num_hidden_layers=args.layers,
                        num_attention_heads=args.heads, intermediate_size=4 * args.width,
                        max_position_embeddings=args.length, type_vocab_size=1, num_labels=args.classes,
                        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.1,
                        initializer_range=args.width ** -0.5)
        model = models.bert_base(models.BertForMaskedWords, **settings)
        args.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    rows = masked.pieces(words, [p.text for p in parts.unlabelled], args.length)
    print(f"BERT of {args.layers} layers, {args.width} wide, {equal.count(model)} parameters; {len(rows)} texts of up "
          f"to {args.length} of {words.get_vocab_size()} word pieces\nclasses: {', '.join(parts.classes)}; "
          f"{args.labelled} labelled passages of each, {len(parts.test[0])} for the test", flush=True)
    try:
        points = pre_trained(args, model, rows, words, generator)
        save(args.out / FINE_TUNED, model, words)
        curves = compared(args, parts, words, settings)
    except ValueError as error:
        raise UsageError(f"{error}: training diverged; take a lower --lr") from error
    except KeyboardInterrupt:
        print("interrupted: nothing more was written")
        return 130
    guesses(model, words, parts)
    pictures(args, points, curves, model, words, parts)
    return 0


def pre_trained(args, model, rows, words, generator):
    from ..train.language import loop, masked

    def report(point):
        print(f"update {point.step:6d}  {point.seconds:6.1f} s  {point.loss:.3f} nats a masked word", flush=True)
    return loop.teach(model, masked.masked(rows, args.batch, words.get_vocab_size(), generator),
                      lambda batch: masked.words_loss(model, batch), steps=args.steps, lr=args.lr,
                      weight_decay=0.01, every=max(1, min(100, args.steps // 4)), report=report)


def save(folder: Path, model, words) -> None:
    from .. import models
    models.save_transformer(model, folder)
    words.save(str(folder / "tokenizer.json"))
    print(f"wrote {folder}", flush=True)


def compared(args, parts, words, settings):
    """A classifier on top of what masked words taught, and one from nothing; their curves by name."""
    import numpy as np

    from .. import models
    from ..train.language import loop, masked
    learn, test = ((masked.encoded(words, [p.text for p in chosen], args.length), classes)
                   for chosen, classes in (parts.labelled, parts.test))
    networks = {"fine-tuned": models.load_transformer(args.out / FINE_TUNED, "BertForSequenceClassification",
                                                      fresh_head=True),
                "from nothing": models.bert_base(models.BertForSequences, **settings)}
    trainings = {name: loop.Teaching(
        model, masked.labelled(*learn, args.batch, np.random.default_rng(args.seed)),
        lambda batch, model=model: masked.class_loss(model, batch), steps=args.fine_tuning, lr=args.fine_tuning_lr,
        weight_decay=0.01, every=max(1, args.fine_tuning // 6),
        measure=lambda model=model: masked.accuracy(model, *test)) for name, model in networks.items()}
    loop.together(*trainings.values())
    for name, training in trainings.items():
        print(f"{name:13} test accuracy after updates: " + ", ".join(
            f"{p.step}: {100 * p.measured:.1f} %" for p in training.points))
    print(f"always the commonest class: {100 * np.bincount(test[1]).max() / len(test[1]):.1f} %", flush=True)
    save(args.out / "classifier", networks["fine-tuned"], words)
    return {name: training.points for name, training in trainings.items()}


def guesses(model, words, parts, most: int = 4) -> None:
    """What the network puts in the place of a word of passages that it never saw."""
    import numpy as np

    from .. import no_grad
    from ..train.language import masked
    for passage in parts.test[0][:most]:
        ids = masked.encoded(words, [passage.text], min(24, model.config.max_position_embeddings))
        ids = ids[:, :int((ids != masked.PAD).sum())]
        place = ids.shape[1] // 2
        right = int(ids[0, place])
        ids[0, place] = masked.MASK
        with no_grad():
            scores = model(ids).data[0, place]
        likeliest = [words.id_to_token(int(i)) for i in np.argsort(-scores)[:4]]
        print(f"  {words.decode(ids[0].tolist(), skip_special_tokens=False)[6:]}\n    -> {', '.join(likeliest)}; "
              f"it was {words.id_to_token(right)}")


def pictures(args, points, curves, model, words, parts) -> None:
    from ..inspect.attention import attention_maps, draw_attention
    from ..train.language import curves as drawn, masked
    drawn.draw(args.out / "masked-words.png", {"BERT": points}, "masked words", "nats a masked word")
    drawn.draw_measured(args.out / "transfer.png", curves,
                        f"which of {args.classes} packages, from {args.labelled} passages of each",
                        "test accuracy, %", 100.0)
    ids = masked.encoded(words, [parts.test[0][0].text], min(24, args.length))
    ids = ids[:, :int((ids != masked.PAD).sum())]
    draw_attention(args.out / "attention.png", attention_maps(model, ids), [words.id_to_token(i) for i in ids[0]],
                   title="what the heads look at in a passage of the test")
    for name in ("masked-words.png", "transfer.png", "attention.png"):
        print(f"wrote {args.out / name}")
