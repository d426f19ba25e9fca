"""Pictures and pages of atlases, building blocks and projections."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .atlas import Atlas
from .figure import Panel, figure, saved
from .grid import Seen, mosaic
from .page import Item, page
from .projector import Embedded, purity, worst
from .sheet import as_pixels

GAP, EDGE = 0.04, 0.06   # of a cell, around it and its frame


def colours(count: int) -> list[str]:
    """Of classes, as #rrggbb."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex
    if count <= 20:
        return [to_hex(colormaps["tab10" if count <= 10 else "tab20"](i)) for i in range(count)]
    return [to_hex(colormaps["hsv"](i / count)) for i in range(count)]


def draw_atlas(path: Any, found: Atlas, title: str, side: int | None = None) -> Path:
    """The grid of `side` cells (None: the finest), each framed in the colour of the class that it
    speaks for most, and where the positions lie."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle
    side = max(cell.side for cell in found.cells) if side is None else side
    shades = colours(len(found.names))
    sheet = Figure(figsize=(13, 9.4), layout="constrained")
    axes, points = sheet.subplots(1, 2, width_ratios=(3, 1))
    for cell in (c for c in found.cells if c.side == side):
        best = int(np.argmax(cell.evidence))
        axes.add_patch(Rectangle((cell.column, cell.row), 1, 1, color=shades[best], lw=0))
        axes.imshow(as_pixels(byte(cell.image)), interpolation="bilinear", zorder=2,   # above the frame
                    extent=(cell.column + EDGE, cell.column + 1 - EDGE, cell.row + 1 - EDGE, cell.row + EDGE))
    axes.set(xlim=(0, side), ylim=(side, 0), aspect="equal")
    axes.set_axis_off()
    points.scatter(*found.places.T, s=3, color="grey")
    points.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", title=f"{len(found.places)} positions", xticks=[], yticks=[])
    sheet.legend(handles=[Patch(color=shade, label=name) for shade, name in zip(shades, found.names)],
                 title="the cell speaks for", loc="outside right lower", fontsize=8)
    sheet.suptitle(title)
    return saved(sheet, path)


def atlas_page(path: Any, found: Atlas, title: str) -> Path:
    """The same as one HTML page: the nearer, the finer the grid; a cell tells its evidence."""
    levels = []
    for side in sorted({cell.side for cell in found.cells}):
        items = []
        for cell in (c for c in found.cells if c.side == side):
            order = np.argsort(-cell.evidence, kind="stable")
            lines = [f"{cell.count} position{'s' if cell.count > 1 else ''}"]
            lines += [f"{found.names[k]}: {cell.evidence[k]:+.2f}" for k in [*order[:3], *order[3:][-1:]]]
            items.append(Item((cell.column + GAP / 2) / side, (cell.row + GAP / 2) / side, (1 - GAP) / side,
                              cell.image, int(order[0]), "\n".join(lines)))
        levels.append(items)
    note = (f"Answers of {found.layer}, laid out by likeness; each cell shows what their mean answers most to, "
            "framed in the colour of the class it speaks for most. Drag, turn the wheel, point at a cell, choose a "
            "class.")
    return page(path, levels, list(zip(found.names, colours(len(found.names)))), title, note)


def byte(image: np.ndarray) -> np.ndarray:
    """Floats (C, H, W) in 0 .. 1 as uint8 pixels, not stretched."""
    pixels = np.clip(np.rint(255 * image), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def draw_blocks(path: Any, image: np.ndarray, seen: Seen, evidence: Sequence[tuple[str, np.ndarray]],
                title: str) -> Path:
    """The image, what each position sees (greyer where its answer is short), and (text, map (h, w))
    for each of `evidence` over the image."""
    strength = seen.lengths / max(float(seen.lengths.max()), 1e-12)
    panels = [Panel(byte(image), "the image"),
              Panel(byte(mosaic(seen.images, strength=strength)), "what each position sees")]
    return figure(path, panels + [Panel(values, text, "signed", byte(image)) for text, values in evidence], title, 5,
                  note="red: speaks for the class; blue: against it")


def draw_projection(path: Any, found: Embedded, names: Sequence[str], title: str) -> Path:
    """The points, coloured by class, wrong predictions ringed."""
    from matplotlib.figure import Figure
    shades, sheet = colours(len(names)), Figure(figsize=(10, 8.4), layout="constrained")
    axes = sheet.subplots()
    for k, name in enumerate(names):
        mine = found.labels == k
        if mine.any():
            axes.scatter(*found.places[mine].T, s=14, color=shades[k], label=name)
    axes.scatter(*found.places[found.wrong].T, s=70, facecolors="none", edgecolors="black", linewidths=1,
                 label=f"taken for another class ({len(found.wrong)})")
    axes.set(xticks=[], yticks=[], xlabel=f"of {found.neighbours.shape[1]} neighbours by features, "
             f"{100 * purity(found):.0f} % are of an image's own class")
    axes.invert_yaxis()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    axes.set_title(title)
    return saved(sheet, path)


def projection_page(path: Any, found: Embedded, images: np.ndarray, names: Sequence[str], title: str) -> Path:
    """The images themselves at their places; images (N, C, H, W) in 0 .. 1."""
    side = 0.6 / np.sqrt(len(images))
    items = []
    for i, (x, y) in enumerate(found.places * (1 - side)):
        near = ", ".join(names[k] for k in found.labels[found.neighbours[i]])
        text = f"{names[found.labels[i]]}, taken for {names[found.chosen[i]]}\nneighbours: {near}"
        wrong = bool(found.labels[i] != found.chosen[i])
        items.append(Item(x, y, side, images[i], int(found.labels[i]), text, wrong))
    note = ("Features laid out by likeness, framed in the colour of the class, in black those that were taken for "
            "another one. Drag, turn the wheel, point at an image, choose a class.")
    return page(path, [items], list(zip(names, colours(len(names)))), title, note, grows=False)


def draw_neighbours(path: Any, found: Embedded, images: np.ndarray, names: Sequence[str], title: str,
                    most: int = 8) -> Path | None:
    """A row for each wrong prediction: the image, and its nearest neighbours. None where there are
    none, and then no file."""
    chosen = worst(found, most)
    if not chosen:
        return None
    panels = []
    for i in chosen:
        text = f"{names[found.labels[i]]}, taken for {names[found.chosen[i]]}"
        panels.append(Panel(byte(images[i]), text, mark=True))
        panels += [Panel(byte(images[j]), names[found.labels[j]]) for j in found.neighbours[i]]
    return figure(path, panels, title, 1 + found.neighbours.shape[1], "beside each its nearest neighbours by features")


