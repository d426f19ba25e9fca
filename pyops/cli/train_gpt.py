"""pyops train gpt: a small GPT learns a text character by character, and an LSTM of as many
parameters learns it for as long."""
from __future__ import annotations

from pathlib import Path

from . import UsageError
from .train import needs, positive
from .train_char_rnn import read

LSTM_BATCH, LSTM_LENGTH = 32, 64   # streams, and how far gradients go back
MEASURED = 8_000   # characters of the test


def add_arguments(parser):
    parser.add_argument("--text", type=Path, metavar="FILE", help="UTF-8 text to learn; default: the first "
                        "million characters of the source of Python's standard library")
    parser.add_argument("--seconds", type=positive(float), default=45.0, metavar="S",
                        help="that each network learns (default: 45)")
    parser.add_argument("--width", type=positive(int), default=96, metavar="N",
                        help="of the GPT, a multiple of --heads; the LSTM's follows from it (default: 96)")
    parser.add_argument("--layers", type=positive(int), default=3, metavar="N", help="of the GPT (default: 3)")
    parser.add_argument("--heads", type=positive(int), default=4, metavar="N", help="default: 4")
    parser.add_argument("--context", type=positive(int), default=128, metavar="N",
                        help="characters that the GPT sees (default: 128)")
    parser.add_argument("--batch", "--batch-size", type=positive(int), default=8, metavar="N",
                        help="of the GPT (default: 8)")
    parser.add_argument("--lr", type=positive(float), default=2e-3, help="the GPT's highest rate (default: 0.002)")
    parser.add_argument("--lstm-lr", type=positive(float), default=4e-3, metavar="LR",
                        help="the LSTM's (default: 0.004)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default: 0)")
    parser.add_argument("--prompt", help="what the samples begin with (default: 'def ', of --text an empty line)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpt"), metavar="DIR",
                        help="where the GPT's folder, lstm.safetensors, curve.png and attention.png go "
                             "(default: runs/gpt)")


def run(args) -> int:
    needs("matplotlib", "safetensors")
    needs("tokenizers", extra="text")
    import numpy as np

    from .. import manual_seed, models
    from ..text import Characters
    from ..train.language import characters as by_character, equal
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    text, name = read(args.text)
    manual_seed(args.seed)
    try:
        known = Characters.of(text)
        if not args.prompt:
            args.prompt = "def " if args.text is None else "\n" if "\n" in known else text[0]
        known.encode(args.prompt)
        taught, asked = by_character.split(known.encode(text), max(args.context, LSTM_BATCH * LSTM_LENGTH))
        gpt = models.gpt2(vocab_size=len(known), n_positions=args.context, n_embd=args.width, n_layer=args.layers,
                          n_head=args.heads, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
        lstm = equal.lstm_like(gpt, len(known))
        args.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    print(f"{name}: {len(text)} characters, {len(known)} distinct, the last {len(asked)} for the test\n"
          f"GPT of {args.layers} layers, {args.width} wide, {equal.count(gpt)} parameters; LSTM of 2 layers, "
          f"{lstm.head.weight.shape[1]} wide, {equal.count(lstm)} parameters", flush=True)
    asked = asked[:MEASURED]
    try:
        curves = learned(args, gpt, lstm, taught, asked)
    except ValueError as error:
        raise UsageError(f"{error}: training diverged; take a lower --lr or --lstm-lr") from error
    except KeyboardInterrupt:
        print("interrupted: nothing was written")
        return 130
    write(args, gpt, lstm, known, name, curves)
    for title, made in (("GPT", gpt.generate(known.encode(args.prompt)[-args.context // 2:], args.context // 2,
                                             temperature=0.8, seed=args.seed)[0]),
                        ("LSTM", list(lstm.generate(known.encode(args.prompt), args.context // 2, 0.8,
                                                    generator=np.random.default_rng(args.seed))))):
        print(f"---- {title}\n{args.prompt}{known.decode(made)}")
    return 0


def learned(args, gpt, lstm, taught, asked):
    """Both networks for equally long; their curves by name."""
    import numpy as np

    from ..train.language import characters as by_character, loop
    trainings = {}
    streamed = by_character.Streamed(lstm, taught, LSTM_BATCH, LSTM_LENGTH)
    stream = by_character.windows(taught, args.batch, args.context, np.random.default_rng(args.seed))
    for name, model, batches, loss, nats, lr in (
            ("GPT", gpt, stream, lambda batch: by_character.gpt_loss(gpt, batch), by_character.gpt_nats, args.lr),
            ("LSTM", lstm, streamed.batches, streamed.loss, by_character.lstm_nats, args.lstm_lr)):
        def report(point, name=name):
            print(f"{name:5} update {point.step:6d}  {point.seconds:6.1f} s  training {point.loss:.3f}  "
                  f"test {point.measured:.3f} nats a character", flush=True)
        trainings[name] = loop.Teaching(model, batches, loss, seconds=args.seconds, lr=lr, every=50, report=report,
                                        measure=lambda nats=nats, model=model: nats(model, asked, args.context))
    loop.together(*trainings.values())
    return {name: training.points for name, training in trainings.items()}


def write(args, gpt, lstm, known, text: str, curves) -> None:
    import json

    from .. import models
    from ..inspect.attention import attention_maps, draw_attention
    from ..train import checkpoint
    from ..train.language import characters as by_character, curves as pictures
    models.save_transformer(gpt, args.out)
    by_character.tokenizer(known).save(str(args.out / "tokenizer.json"))
    hidden = lstm.head.weight.shape[1]
    checkpoint.save(args.out / "lstm.safetensors", lstm.state_dict(),
                    {"model": "char-rnn", "kind": "lstm", "hidden": hidden, "layers": 2, "embedding": hidden,
                     "alphabet": json.dumps(known.alphabet), "text": text})
    pictures.draw(args.out / "curve.png", curves, f"{text}: as many parameters, as many seconds",
                  "nats a character", "test")
    prompt = args.prompt[-args.context:][-40:]
    draw_attention(args.out / "attention.png", attention_maps(gpt, known.encode(prompt)[None]), list(prompt),
                   title="what the GPT's heads look at")
    print(f"wrote {args.out}: config.json, model.safetensors, tokenizer.json, lstm.safetensors, curve.png, "
          "attention.png")
