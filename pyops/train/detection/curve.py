"""The curve of a detector's training as a picture: losses by part, AP50 and AP."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def draw(path, history: Sequence, title: str) -> None:
    """history: DetectionEpochs. PNG, SVG or PDF by the path's ending."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import MaxNLocator
    epochs = [e.number for e in history]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    loss, precision = figure.subplots(1, 2)
    line, = loss.plot(epochs, [e.train_loss for e in history], marker=".", color="black", label="training")
    loss.plot(epochs, [e.test_loss for e in history], marker=".", color="black", linestyle="--", label="test")
    for name in history[-1].parts:
        line, = loss.plot(epochs, [e.parts.get(name, float("nan")) for e in history], linewidth=1,
                          label=name.removeprefix("loss_"))
        loss.plot(epochs, [e.test_parts.get(name, float("nan")) for e in history], linewidth=1, linestyle="--",
                  color=line.get_color())
    loss.set(xlabel="epoch", ylabel="loss and its parts (dashed: test)", ylim=(0, None))
    precision.plot(epochs, [100 * e.train_accuracy for e in history], marker=".", label="AP50, training images")
    precision.plot(epochs, [100 * e.test_accuracy for e in history], marker=".", label="AP50, test")
    precision.plot(epochs, [100 * e.test_ap for e in history], marker=".", label="AP of IoU 0.50 .. 0.95, test")
    precision.set(xlabel="epoch", ylabel="average precision, %", ylim=(0, 100),
                  title=f"test: AP50 {100 * history[-1].test_accuracy:.1f} %, AP {100 * history[-1].test_ap:.1f} %")
    for axes in (loss, precision):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
