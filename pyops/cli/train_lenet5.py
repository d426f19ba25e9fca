"""pyops train lenet5: a network on handwritten digits, with a progress bar, a curve and a
checkpoint."""
from __future__ import annotations

import time
from pathlib import Path

from . import UsageError
from .train import needs, positive

FORMS = {"1998": "the paper's network, connections, squashing, distances and loss",
         "modern": "ReLU, max pooling, cross-entropy"}


def add_arguments(parser):
    parser.add_argument("--form", choices=FORMS, default="1998",
                        help="; ".join(f"{k}: {v}" for k, v in FORMS.items()) + " (default: 1998)")
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="MNIST's IDX files, gzipped or not; default: scikit-learn's UCI digits")
    parser.add_argument("--epochs", type=positive(int), help="default: 20, with --data 5")
    parser.add_argument("--batch-size", type=positive(int), help="default: 32, with --data 64")
    parser.add_argument("--lr", type=positive(float), default=3e-3,
                        help="the highest rate of the one-cycle schedule (default: 0.003)")
    parser.add_argument("--seed", type=int, default=0,
                        help="of initial weights, order and shifts (default: 0)")
    parser.add_argument("--resume", action="store_true",
                        help="go on from DIR's checkpoint, to the same bits as without the interruption")
    parser.add_argument("--out", type=Path, default=Path("runs/lenet5"), metavar="DIR",
                        help="where checkpoint.safetensors and curve.png go (default: runs/lenet5)")


def run(args) -> int:
    needs("rich", "matplotlib", "safetensors", "sklearn")
    from .. import __version__, manual_seed, models, train
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, got {args.seed}")
    try:
        data = train.mnist(args.data) if args.data else train.uci_digits()
        args.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    manual_seed(args.seed)
    model = models.lenet5() if args.form == "1998" else models.lenet5_modern()
    metadata = {"model": "lenet5", "form": args.form, "data": data.name, "box": data.box, "seed": args.seed,
                "pyops": __version__}
    trainer = train.Trainer(model, data, args.out, epochs=args.epochs or (5 if args.data else 20),
                            batch_size=args.batch_size or (64 if args.data else 32), lr=args.lr,
                            metadata=metadata, checkpoint_every=50)
    begin = time.perf_counter()
    print(f"lenet5 ({args.form}), {sum(p.size for p in model.parameters())} parameters, on {data}")
    try:
        train.show(trainer, resume=args.resume)
    except (train.NonFiniteError, ValueError) as error:
        raise UsageError(error) from error
    return conclude(trainer, time.perf_counter() - begin)


def conclude(trainer, seconds: float) -> int:
    if not trainer.history:
        print("interrupted before the first epoch ended: nothing was written")
        return 130
    last = trainer.history[-1]
    print(f"{'interrupted after' if trainer.interrupted else 'done:'} epoch {last.number}, test accuracy "
          f"{100 * last.test_accuracy:.2f} %, {seconds:.1f} s\ncheckpoint  {trainer.checkpoint}\ncurve       "
          f"{trainer.out / 'curve.png'}")
    return 130 if trainer.interrupted else 0
