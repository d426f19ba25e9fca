"""A task that asks for long memory: the first symbols of a text, after others of the same kind.

    c a f b   d d a e ... b f    ?1 ?2 ?3 ?4   ->   c a f b

A network must keep what came first from what came later, however much that was. Attention looks
back at it; a recurrent state must carry it through every symbol between. Copying and recall over
long distances: Hochreiter and Schmidhuber (1997), Arjovsky et al. (2016), Vaswani et al. (2017).
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ... import functional as F
from ...core.tensor import no_grad
from .curves import save
from .loop import Point

SYMBOLS, KEPT = 8, 4   # of the alphabet; at the beginning, which are asked for
VOCABULARY = SYMBOLS + KEPT   # the last ones ask for one symbol each


def texts(distance: int, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Texts (count, 2 KEPT + distance), and the symbols (count, KEPT) that are asked for at their
    end. distance: symbols between."""
    symbols = generator.integers(0, SYMBOLS, (count, KEPT + distance))
    asked = np.broadcast_to(np.arange(SYMBOLS, VOCABULARY), (count, KEPT))
    return np.concatenate([symbols, asked], 1), symbols[:, :KEPT]


def batches(most: int, size: int, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of distances from 0 to most, as likely each doubling as the next."""
    while True:
        yield texts(int((most + 1) ** generator.random()) - 1, size, generator)


def scores(model, ids: np.ndarray) -> Any:
    """Of what is asked for: (N, KEPT, VOCABULARY), by a GPT or by a CharRNN."""
    found = model(ids)
    return (found[0] if isinstance(found, tuple) else found)[:, -KEPT:]


def loss(model, batch) -> Any:
    """Mean nats of a symbol."""
    ids, wanted = batch
    return F.cross_entropy(F.reshape(scores(model, ids), (-1, VOCABULARY)), wanted.reshape(-1))


def accuracy(model, distances: Sequence[int], count: int = 256, seed: int = 1) -> list[float]:
    """The share of symbols that are recalled over each distance."""
    found = []
    for distance in distances:
        ids, wanted = texts(distance, count, np.random.default_rng(seed))
        with no_grad():
            found.append(float((scores(model, ids).data.argmax(-1) == wanted).mean()))
    return found


def draw(path, distances: Sequence[int], recalled: Mapping[str, Sequence[float]],
         curves: Mapping[str, Sequence[Point]], title: str) -> None:
    """What is recalled over distance on the left, the losses over seconds on the right, as PNG."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, shares in recalled.items():
        left.plot(distances, [100 * share for share in shares], marker="o", label=name)
        right.plot([p.seconds for p in curves[name]], [p.loss for p in curves[name]], marker=".", label=name)
    left.axhline(100 / SYMBOLS, color="grey", linestyle=":", linewidth=1, label="guessing")
    left.set_xscale("symlog", base=2, linthresh=1)
    left.set(xlabel="symbols between", ylabel="recalled, %", xlim=(-0.2, 1.3 * max(distances)), ylim=(0, 103))
    left.set_xticks(distances, [str(d) for d in distances], fontsize=8)
    left.minorticks_off()
    right.axhline(np.log(SYMBOLS), color="grey", linestyle=":", linewidth=1)
    right.set(xlabel="seconds in updates", ylabel="loss, nats a symbol", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title, fontsize=10)
    save(figure, path)
