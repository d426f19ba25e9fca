"""A picture of many small pictures in a plane as one HTML page that zooms, with nothing to load."""
from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files import whole


class Item(NamedTuple):
    """x, y: of the upper left corner, w: the side, all in 0 .. 1 of the plane. image: float (C, H, W) in
    0 .. 1. kind: its number in the legend, whose colour frames it. text: shown beside the pointer."""
    x: float
    y: float
    w: float
    image: np.ndarray
    kind: int
    text: str
    mark: bool = False


def page(path: Any, levels: Sequence[Sequence[Item]], legend: Sequence[tuple[str, str]], title: str, note: str = "",
         grows: bool = True) -> Path:
    """Writes the page and returns its path. levels: what is shown, from far to near. legend: names and
    colours (#rrggbb). grows: whether items grow with the plane, or, as points do, more slowly. Needs
    Pillow."""
    items = [item for level in levels for item in level]
    if not items:
        raise ValueError("page: there is nothing to show")
    tile = max(max(item.image.shape[1:]) for item in items)
    columns = math.ceil(math.sqrt(len(items)))
    numbers = iter(range(len(items)))
    told = {"levels": [[placed(item, next(numbers)) for item in level] for level in levels],
            "legend": [{"name": name, "colour": colour} for name, colour in legend], "columns": columns, "tile": tile,
            "grows": grows, "smooth": tile >= 40, "sprites": sprites([i.image for i in items], tile, columns)}
    text = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    for key, value in (("@TITLE@", html.escape(title)), ("@NOTE@", html.escape(note)),
                       ("@DATA@", json.dumps(told).replace("</", "<\\/"))):
        text = text.replace(key, value)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole.writing(path) as file:
        file.write(text.encode())
    return path


def placed(item: Item, sprite: int) -> dict[str, Any]:
    told = {"x": round(float(item.x), 5), "y": round(float(item.y), 5), "w": round(float(item.w), 5), "kind": item.kind,
            "text": item.text, "sprite": sprite}
    return {**told, "mark": 1} if item.mark else told


def sprites(images: Sequence[np.ndarray], tile: int, columns: int) -> str:
    """All on one sheet, as a data: address of a PNG."""
    from PIL import Image
    sheet = Image.new("RGB", (columns * tile, math.ceil(len(images) / columns) * tile), "white")
    for i, image in enumerate(images):
        pixels = np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)
        pixels = pixels.repeat(3, 0) if len(pixels) == 1 else pixels
        one = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        sheet.paste(one.resize((tile, tile), Image.Resampling.NEAREST), (i % columns * tile, i // columns * tile))
    kept = io.BytesIO()
    sheet.save(kept, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(kept.getvalue()).decode()
