"""Pictures of segmentation: the curve of a training, and images beside what is there and what was
found."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def draw_curve(path, history: Sequence, title: str) -> None:
    """history: SegmentationEpochs. PNG, SVG or PDF by the path's ending."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import MaxNLocator
    epochs = [e.number for e in history]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    loss, overlap = figure.subplots(1, 2)
    loss.plot(epochs, [e.train_loss for e in history], marker=".", label="training")
    loss.plot(epochs, [e.test_loss for e in history], marker=".", label="test")
    loss.set(xlabel="epoch", ylabel="loss a pixel", ylim=(0, None))
    overlap.plot(epochs, [100 * e.train_accuracy for e in history], marker=".", label="mean IoU, training images")
    overlap.plot(epochs, [100 * e.test_accuracy for e in history], marker=".", label="mean IoU, test")
    overlap.plot(epochs, [100 * e.test_pixels for e in history], marker=".", label="pixels right, test")
    overlap.set(xlabel="epoch", ylabel="%", ylim=(0, 100), title=f"test: mIoU {100 * history[-1].test_accuracy:.1f} %")
    for axes in (loss, overlap):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(title)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def draw_sheet(path, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], found: Sequence[np.ndarray],
               classes: Sequence[str], scores: Sequence[float] | None = None) -> None:
    """A row an image, at most twelve: the image, what is there, what was found, and in red what is
    wrong; with a legend of the colours."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from ...segmentation import PALETTE, coloured
    rows = min(12, len(images))
    figure = Figure(figsize=(10, 2.6 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for i in range(rows):
        wrong = np.asarray(images[i]) // 2
        wrong[(masks[i] != found[i]) & (masks[i] != 255)] = (255, 40, 40)
        for at, (picture, name) in enumerate(((images[i], "image"), (coloured(masks[i]), "there"),
                                              (coloured(found[i]), "found"), (wrong, "wrong (red)"))):
            axes[i, at].imshow(picture, interpolation="nearest")
            axes[i, at].set_axis_off()
            if i == 0:
                axes[i, at].set_title(name, fontsize=10)
        if scores is not None:
            axes[i, 2].text(0.02, 0.02, f"mIoU {scores[i]:.2f}", transform=axes[i, 2].transAxes, color="white",
                            fontsize=8, bbox={"facecolor": "black", "pad": 2})
    seen = np.unique(np.concatenate([np.ravel(m) for m in (*masks[:rows], *found[:rows])]))
    handles = [Patch(facecolor=PALETTE[c] / 255, edgecolor="grey", label=classes[c]) for c in seen if c < len(classes)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(11, len(handles)), fontsize=8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
