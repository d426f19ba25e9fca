"""Pictures for slides: images beside their maps, with titles and colour bars. Needs matplotlib."""
from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np

from .sheet import as_pixels

WIDEST, LEAST_INCHES, DPI = 2.7, 8.4, 150   # of a panel and of a figure: 1,260 pixels
HEAT, SIGNED = "inferno", "RdBu_r"


class Panel(NamedTuple):
    """kind: "image", floats (C, H, W) or pixels as `sheet` takes them; "heat", a map (H, W) in which
    0 is dark; "signed", one in which 0 is white. under: an image (C, H, W) that shows
    through a map. mark: in red, as something is wrong with it."""
    array: np.ndarray
    text: str
    kind: str = "image"
    under: np.ndarray | None = None
    mark: bool = False


def figure(path: Any, panels: Sequence[Panel], title: str, columns: int | None = None, note: str = "") -> Path:
    """Writes panels row by row as one PNG, SVG or PDF (by the path's ending) of at least 1,200
    pixels, with a colour bar beside each map. Returns the path."""
    from matplotlib.figure import Figure
    columns = columns or max(1, min(len(panels), math.ceil(math.sqrt(1.6 * len(panels)))))
    rows = math.ceil(len(panels) / columns)
    tallest = max(p.array.shape[-2] / p.array.shape[-1] if p.array.dtype != np.uint8 or p.array.ndim == 2
                  else p.array.shape[0] / p.array.shape[1] for p in panels)
    width = max(LEAST_INCHES, WIDEST * columns)
    barred = any(p.kind != "image" for p in panels)
    height = rows * (width / columns * tallest * (0.78 if barred else 0.95) + 0.4) + 0.6 + 0.2 * bool(note)
    page = Figure(figsize=(width, height), layout="constrained")
    page.get_layout_engine().set(w_pad=0.05, h_pad=0.05)
    axes = np.atleast_1d(page.subplots(rows, columns, squeeze=False).ravel())
    for one in axes:
        one.set_axis_off()
    for one, panel in zip(axes, panels):
        place(page, one, panel, round(width / columns * 11))
    page.suptitle(fill(title, round(width * 9)), fontsize=13)
    if note:
        page.supxlabel(fill(note, round(width * 14)), fontsize=8)
    return saved(page, path)


def place(page: Any, axes: Any, panel: Panel, letters: int) -> None:
    axes.set_title(fill(panel.text, letters), fontsize=9, color="firebrick" if panel.mark else "black")
    if panel.kind == "image":
        axes.imshow(as_pixels(panel.array), interpolation="nearest")
        return
    values = np.asarray(panel.array, np.float64)
    most = max(float(np.abs(values).max()), 1e-12)
    limits = dict(vmin=-most, vmax=most, cmap=SIGNED) if panel.kind == "signed" else dict(
        vmin=min(0.0, float(values.min())), vmax=max(float(values.max()), 1e-12), cmap=HEAT)
    height, width = values.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    if panel.under is not None:
        axes.imshow(as_pixels(panel.under).mean(2), cmap="gray", extent=extent, interpolation="bilinear")
    drawn = axes.imshow(values, extent=extent, interpolation="nearest",
                        alpha=None if panel.under is None else 0.6, **limits)
    bar = page.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=6)
    bar.formatter.set_powerlimits((-3, 4))
    bar.ax.yaxis.get_offset_text().set_fontsize(6)


def saved(page: Any, path: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.savefig(path, dpi=DPI, facecolor="white")
    return path
