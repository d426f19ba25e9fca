"""pyops train recall: a Transformer and an LSTM of as many parameters learn, for as long, to recall
the first symbols of a text over growing distances."""
from __future__ import annotations

from pathlib import Path

from . import UsageError
from .train import needs, positive

LAYERS, HEADS = 2, 4


def add_arguments(parser):
    parser.add_argument("--distance", type=positive(int), default=256, metavar="N",
                        help="most symbols between those to be recalled and the question (default: 256)")
    parser.add_argument("--seconds", type=positive(float), default=25.0, metavar="S",
                        help="that each network learns (default: 25)")
    parser.add_argument("--width", type=positive(int), default=64, metavar="N",
                        help="of the Transformer, a multiple of 4; the LSTM's follows from it (default: 64)")
    parser.add_argument("--batch", "--batch-size", type=positive(int), default=32, metavar="N", help="default: 32")
    parser.add_argument("--lr", type=positive(float), default=2e-3, help="the highest rate (default: 0.002)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and texts (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/recall"), metavar="DIR",
                        help="where recall.png and attention.png go (default: runs/recall)")


def run(args) -> int:
    needs("matplotlib")
    import numpy as np

    from .. import manual_seed, models
    from ..train.language import equal, loop, recall
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    manual_seed(args.seed)
    try:
        transformer = models.gpt2(vocab_size=recall.VOCABULARY, n_positions=2 * recall.KEPT + args.distance,
                                  n_embd=args.width, n_layer=LAYERS, n_head=HEADS, embd_pdrop=0.0, attn_pdrop=0.0,
                                  resid_pdrop=0.0)
        networks = {"Transformer": transformer, "LSTM": equal.lstm_like(transformer, recall.VOCABULARY, 1)}
        args.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    distances = [0, *(2 ** i for i in range(args.distance.bit_length()) if 2 ** i <= args.distance)]
    trainings = {name: loop.Teaching(
        model, recall.batches(args.distance, args.batch, np.random.default_rng(args.seed)),
        lambda batch, model=model: recall.loss(model, batch), seconds=args.seconds, lr=args.lr, every=20)
        for name, model in networks.items()}
    print(f"a Transformer and an LSTM learn for {args.seconds:g} s each, by turns", flush=True)
    try:
        loop.together(*trainings.values())
    except ValueError as error:
        raise UsageError(f"{error}: training diverged; take a lower --lr") from error
    except KeyboardInterrupt:
        print("interrupted: nothing was written")
        return 130
    recalled = {name: recall.accuracy(model, distances) for name, model in networks.items()}
    print("recalled over     " + "".join(f"{distance:6d}" for distance in distances))
    for name, shares in recalled.items():
        print(f"{name:12}      " + "".join(f"{100 * share:5.0f}%" for share in shares) +
              f"   {equal.count(networks[name])} parameters, {trainings[name].step} updates")
    curves = {name: training.points for name, training in trainings.items()}
    recall.draw(args.out / "recall.png", distances, recalled, curves,
                f"the first {recall.KEPT} of a text's symbols, {recall.SYMBOLS} different ones, recalled at its end")
    print(f"guessing would recall {100 / recall.SYMBOLS:.0f} %\nwrote {args.out / 'recall.png'}\n"
          f"wrote {looked(args.out, transformer, recall, min(12, args.distance))}")
    return 0


def looked(out: Path, model, recall, distance: int) -> Path:
    """What the Transformer's heads look at while it recalls."""
    import numpy as np

    from ..inspect.attention import attention_maps, draw_attention
    ids, _ = recall.texts(distance, 1, np.random.default_rng(0))
    names = [*"abcdefgh"[:recall.SYMBOLS], *(f"?{i + 1}" for i in range(recall.KEPT))]
    draw_attention(out / "attention.png", attention_maps(model, ids), [names[i] for i in ids[0]],
                   title="each row looks at what is dark")
    return out / "attention.png"
