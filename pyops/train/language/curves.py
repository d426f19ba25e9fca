"""Curves of these trainings as pictures."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .loop import Point


def draw(path, curves: Mapping[str, Sequence[Point]], title: str, loss: str, measured: str = "") -> None:
    """The curves by their names as PNG, SVG or PDF by the path's ending: `loss` over updates on the
    left, over seconds on the right, of what was measured where it is named, else of training."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, over in zip(figure.subplots(1, 2, sharey=True), ("step", "seconds")):
        for name, points in curves.items():
            at = [getattr(p, over) for p in points]
            line, = axes.plot(at, [p.loss for p in points], alpha=0.4 if measured else 1.0,
                              label=None if measured else name)
            if measured:
                axes.plot(at, [p.measured for p in points], marker=".", color=line.get_color(), label=name)
        axes.set(xlabel="updates" if over == "step" else "seconds in updates")
        axes.grid(alpha=0.3)
        axes.legend()
        if over == "step":
            axes.set(ylabel=f"{loss}; thick: {measured}" if measured else loss)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def save(figure, path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def draw_measured(path, curves: Mapping[str, Sequence[Point]], title: str, measured: str, scale: float = 1.0) -> None:
    """What was measured, times `scale`, over updates, and the losses of training beside it."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in curves.items():
        steps = [p.step for p in points]
        left.plot(steps, [scale * p.measured for p in points], marker="o", label=name)
        right.plot(steps, [p.loss for p in points], marker="o", label=name)
    left.set(xlabel="updates", ylabel=measured, ylim=(0, None))
    right.set(xlabel="updates", ylabel="training loss", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title, fontsize=10)
    save(figure, path)
