"""One training, and several networks trained alike."""
from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable

import numpy as np

import pyops
from pyops.optim import AdamW, OneCycleLR
from pyops.train import Epoch, Split, Trainer

BATCH = 32


def train(model, data: Split, epochs: int, seed: int, lr: float = 3e-3, groups: list[dict] | None = None,
          kind: Callable = AdamW) -> list[Epoch]:
    """One cycle up to lr, or to the rate of each of `groups`; cross-entropy, or the model's own
    loss. kind(parameters, lr) makes the optimiser."""
    optimizer = kind(groups or model.parameters(), lr)
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = epochs * -(-len(data.train) // BATCH)
    with tempfile.TemporaryDirectory() as out:
        return Trainer(model, data, out, epochs=epochs, batch_size=BATCH, optimizer=optimizer, seed=seed,
                       draw_curve=False,
                       schedule=OneCycleLR(optimizer, rates, steps, cycle_momentum=False)).fit()


def nothing(model, data: Split) -> dict[str, float]:
    return {}


def each(variants: dict[str, Callable], data: Callable[[int], Split], epochs: int, seeds: int,
         before: Callable = nothing, after: Callable = nothing,
         fit: Callable = train) -> tuple[dict[str, dict[str, list[float]]], dict[str, list[list[Epoch]]]]:
    """Trains make() of each variant under each seed, on data(seed), by fit(model, data, epochs,
    seed). Returns (variant -> column -> a value a seed, variant -> a history a seed).

    Columns: parameters, the last epoch's training loss and test accuracy, and what before(model,
    data) and after(model, data) add.
    """
    rows: dict[str, dict[str, list]] = {}
    histories: dict[str, list] = {}
    for name, make in variants.items():
        for seed in range(seeds):
            split = data(seed)
            pyops.manual_seed(seed)
            model = make()
            found = {"parameters": sum(p.size for p in model.parameters()), **before(model, split)}
            history = fit(model, split, epochs, seed)
            found |= {"training loss": history[-1].train_loss,
                      "test accuracy, %": 100 * history[-1].test_accuracy, **after(model, split)}
            for column, value in found.items():
                rows.setdefault(name, {}).setdefault(column, []).append(value)
            histories.setdefault(name, []).append(history)
            tell(f"{name}, seed {seed}", found)
    return rows, histories


def tell(what: str, found: dict[str, float]) -> None:
    """A line for whoever waits."""
    print(f"    {what}: "
          f"{', '.join(f'{name} {value:.4g}' for name, value in found.items() if name != 'parameters')}",
          file=sys.stderr, flush=True)


def curves(histories: dict[str, list[list[Epoch]]], what: str,
           scale: float = 1) -> dict[str, list[np.ndarray]]:
    """An attribute of Epoch over the epochs."""
    return {name: [scale * np.array([getattr(epoch, what) for epoch in one]) for one in several]
            for name, several in histories.items()}
