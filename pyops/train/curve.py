"""The curve of a training as a picture."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap


def draw(path, history: Sequence, title: str, text: str = "") -> None:
    """Loss (left) and accuracy (right) over the epochs of `history` (trainer.Epoch), `text` below,
    as PNG, SVG or PDF by the path's ending."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import MaxNLocator
    epochs = [e.number for e in history]
    lines = [part for line in text.splitlines() for part in wrap(line, 130)]
    figure = Figure(figsize=(9, 3.6 + 0.19 * len(lines)), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [e.train_loss for e in history], marker=".", label="training")
    loss.plot(epochs, [e.test_loss for e in history], marker=".", label="test")
    loss.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    accuracy.plot(epochs, [100 * e.train_accuracy for e in history], marker=".", label="training")
    accuracy.plot(epochs, [100 * e.test_accuracy for e in history], marker=".", label="test")
    accuracy.axhline(98, color="grey", linewidth=0.8, linestyle=":")
    accuracy.set(xlabel="epoch", ylabel="accuracy, %", title=f"test: {100 * history[-1].test_accuracy:.2f} %")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
