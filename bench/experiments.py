"""The lecture's experiments on scikit-learn's handwritten digits (8x8 pixels): python -m pyops.bench.experiments [NAMES] [--epochs N --seeds N]

    degradation   plain and residual networks of 8, 20 and 56 layers: does a deeper one train worse?
    pooling       max pooling or a convolution of stride 2 to halve the maps
    head          global average pooling or flattening before the linear layer
    lrn           local response normalisation after the convolutions, or none
    auxiliary     a plain network of 38 layers with and without two classifiers in its middle
    transfer      trained on 0-4, moved to 5-9 with few samples, beside the same network from scratch

Each prints a row a variant: means and deviations over the seeds. A fixed fifth of the digits is for the test.
"""
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable

import numpy as np

import pyops
from pyops import functional as F
from pyops import nn
from pyops.models.classifier import Classifier
from pyops.optim import AdamW, OneCycleLR
from pyops.train import ArrayDataset, Split, Trainer, freeze, replace_head, unfreeze

AUXILIARY_WEIGHT = 0.3
WIDTHS = (16, 32, 64)   # He et al. (2015), section 4.2, CIFAR's networks


def digits(keep=lambda labels: labels >= 0, first: int = 0) -> Split:
    """8x8 digits whose labels `keep` picks, numbered from `first`; the split is the same for all experiments."""
    from sklearn.datasets import load_digits
    source = load_digits()
    images, labels = (source.images[:, None] / 16).astype(np.float32), source.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = [part[keep(labels[part])] for part in (order[len(order) // 5:], order[:len(order) // 5])]
    return Split(*(ArrayDataset(images[part], labels[part] - first) for part in parts), "digits")


def conv(channels: int, filters: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False), nn.BatchNorm2d(filters))


class Block(nn.Module):
    """Two convolutions, beside a shortcut without parameters (subsampled, zeros for new channels) if residual."""

    def __init__(self, channels: int, filters: int, stride: int, residual: bool):
        self.first, self.second = conv(channels, filters, stride), conv(filters, filters)
        self.stride, self.more, self.residual = stride, filters - channels, residual

    def forward(self, input):
        x = self.second(F.relu(self.first(input)))
        if self.residual:
            shortcut = F.avg_pool2d(input, 1, self.stride) if self.stride > 1 else input
            x = F.add(x, F.pad(shortcut, (0, 0, 0, 0, 0, self.more)) if self.more else shortcut)
        return F.relu(x)


class Deep(Classifier):
    """6 n + 2 layers: a convolution, three stages of n blocks, a linear layer. auxiliary: classifiers behind the first two stages."""
    image = (1, 8, 8)
    head_names = ("fc",)

    def __init__(self, n: int, residual: bool, auxiliary: bool = False, classes: int = 10):
        self.stem = conv(1, WIDTHS[0])
        self.stages = nn.ModuleList(nn.Sequential(*(Block(before if not i else width, width, 2 if width > before and not i else 1, residual)
                                                   for i in range(n))) for before, width in zip((WIDTHS[0], *WIDTHS), WIDTHS))
        self.fc = nn.Linear(WIDTHS[-1], classes)
        self.auxiliary = nn.ModuleList(nn.Linear(width, classes) for width in WIDTHS[:2]) if auxiliary else None
        self.apply(initialise)

    def each_stage(self, input):
        x, seen = F.relu(self.stem(input)), []
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        return seen

    def maps(self, input):
        return self.each_stage(input)[-1]

    def classify(self, maps):
        return self.fc(mean(maps))

    def forward(self, input):
        if not (self.training and self.auxiliary is not None):
            return super().forward(input)
        *middle, last = self.each_stage(input)
        return (self.classify(last), *(head(mean(maps)) for head, maps in zip(self.auxiliary, middle)))

    def loss(self, output, target):
        if not isinstance(output, tuple):
            return F.cross_entropy(output, target)
        first, *others = (F.cross_entropy(one, target) for one in output)
        return sum((F.mul(one, AUXILIARY_WEIGHT) for one in others), first)


def mean(maps):
    return F.flatten(F.adaptive_avg_pool2d(maps, 1), 1)


def initialise(module):
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def small(halve: str = "pool", head: str = "mean", lrn: bool = False) -> nn.Sequential:
    """Three convolutions on 8x8: the variants of pooling, head and lrn."""
    layers: list[nn.Module] = []
    for before, width in zip((1, 16, 32), (16, 32, 32)):
        layers += [nn.Conv2d(before, width, 3, 2 if halve == "stride" and before > 1 else 1, padding=1), nn.ReLU()]
        layers += [nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)] if lrn else []
        layers += [nn.MaxPool2d(2)] if halve == "pool" and before > 1 else []
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)] if head == "mean" else [nn.Flatten(), nn.Linear(32 * 4, 10)]
    return nn.Sequential(*layers, *last)


def train(model, data: Split, epochs: int, seed: int, lr: float = 3e-3, optimizer=None) -> tuple[float, float]:
    """The last epoch's training loss and test accuracy in %."""
    with tempfile.TemporaryDirectory() as out:
        optimizer = optimizer or AdamW(model.parameters(), lr)
        steps = max(1, epochs * -(-len(data.train) // 32))
        rates = [group["lr"] for group in optimizer.param_groups]
        trainer = Trainer(model, data, out, epochs=epochs, optimizer=optimizer, seed=seed, draw_curve=False,
                          schedule=OneCycleLR(optimizer, rates, steps, cycle_momentum=False))
        last = trainer.fit()[-1]
    return last.train_loss, 100 * last.test_accuracy


def compare(title: str, variants: dict[str, Callable], epochs: int, seeds: int) -> None:
    """A row a variant: make() under each seed, trained on all digits."""
    print(f"\n{title}\n{'':24}  parameters  training loss      test accuracy, %")
    data = digits()
    for name, make in variants.items():
        rows, size = [], 0
        for seed in range(seeds):
            pyops.manual_seed(seed)
            model = make()
            size = sum(p.size for p in model.parameters())
            rows.append(train(model, data, epochs, seed))
        print(f"{name:24}  {size:10,}  {spread([r[0] for r in rows], 4)}  {spread([r[1] for r in rows], 2)}", flush=True)


def spread(values, places: int) -> str:
    return f"{np.mean(values):7.{places}f} +- {np.std(values):.{places}f}"


def degradation(epochs, seeds):
    compare("plain and residual networks", {f"{kind} {6 * n + 2} layers": lambda n=n, kind=kind: Deep(n, kind == "residual")
                                            for n in (1, 3, 9) for kind in ("plain", "residual")}, epochs, seeds)


def pooling(epochs, seeds):
    compare("how maps are halved", {"max pooling": lambda: small("pool"), "convolution of stride 2": lambda: small("stride")}, epochs, seeds)


def head(epochs, seeds):
    compare("before the linear layer", {"global average pooling": lambda: small(head="mean"), "flatten": lambda: small(head="flatten")}, epochs, seeds)


def lrn(epochs, seeds):
    compare("local response normalisation", {"on": lambda: small(lrn=True), "off": small}, epochs, seeds)


def auxiliary(epochs, seeds):
    compare("auxiliary classifiers in a plain network of 38 layers",
            {"on": lambda: Deep(6, False, True), "off": lambda: Deep(6, False)}, epochs, seeds)


def transfer(epochs, seeds):
    """Trunk trained on 0-4; then 5-9: the head alone, then the last two layers too at a tenth of its rate, then all, beside as many steps from scratch."""
    before, after = digits(lambda labels: labels < 5), digits(lambda labels: labels >= 5, 5)
    counts = [n for n in (10, 100, 1000) if n <= len(after.train)]
    counts += [len(after.train)] if len(after.train) < 1000 else []
    found: dict[tuple, list] = {}
    for seed in range(seeds):
        pyops.manual_seed(seed)
        first = Deep(1, True, classes=5)
        train(first, before, epochs, seed)
        for count in counts:
            chosen = np.random.default_rng(seed).permutation(len(after.train))[:count]
            few = Split(ArrayDataset(after.train.images[chosen], after.train.labels[chosen]), after.test)
            stretched = max(epochs, round(epochs * 200 / count) if count < 200 else epochs)   # few samples make short epochs
            moved = Deep(1, True, classes=5)
            moved.load_state_dict(first.state_dict())
            freeze(replace_head(moved, 5))
            found.setdefault((count, "new head"), []).append(train(moved, few, stretched, seed, 1e-2, AdamW(moved.head.parameters(), 1e-2))[1])
            groups = unfreeze(moved, top=2, lr=3e-4, head_lr=3e-3)
            found.setdefault((count, "then the top tuned"), []).append(train(moved, few, stretched, seed, optimizer=AdamW(groups))[1])
            groups = unfreeze(moved, lr=1e-3, head_lr=3e-3)
            found.setdefault((count, "then all tuned"), []).append(train(moved, few, stretched, seed, optimizer=AdamW(groups))[1])
            pyops.manual_seed(seed)
            found.setdefault((count, "from scratch"), []).append(train(Deep(1, True, classes=5), few, 3 * stretched, seed)[1])
    print(f"\ntransfer from 0-4 to 5-9\n{'samples':>8}  {'':20}  test accuracy, %")
    for (count, name), values in found.items():
        print(f"{count:8}  {name:20}  {spread(values, 2)}", flush=True)


EXPERIMENTS = {one.__name__: one for one in (degradation, pooling, head, lrn, auxiliary, transfer)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EXPERIMENTS)} (default: all)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in EXPERIMENTS]:
        parser.error(f"no experiment is called {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    if args.epochs < 1 or args.seeds < 1:
        parser.error(f"--epochs and --seeds must be positive, got {args.epochs} and {args.seeds}")
    for name in args.names or EXPERIMENTS:
        EXPERIMENTS[name](args.epochs, args.seeds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
