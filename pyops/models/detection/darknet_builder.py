"""Darknet's sections written in Python: a network as a list of layers, each of which knows its number.

What comes out is what a .cfg file holds, so that a network described here is read and written with
the same .weights files, and by other programs (write_cfg).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .darknet_cfg import Section


class Layers:
    """size: of the square input. width_mult: of all filters, for smaller networks of the same form.
    activation: of convolutions that name none."""

    def __init__(self, size: int, width_mult: float = 1.0, activation: str = "leaky") -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"a network's size must be a positive int, got {size!r}")
        self.sections = [Section("net", {"width": str(size), "height": str(size), "channels": "3", "batch": "1",
                                         "subdivisions": "1"})]
        self.width_mult, self.activation = width_mult, activation

    def add(self, kind: str, **options: Any) -> int:
        """A section; returns the layer's number."""
        number = len(self.sections) - 1
        self.sections.append(Section(kind, {key: str(value) for key, value in options.items()},
                                     f"layer {number}"))
        return number

    @property
    def last(self) -> int:
        return len(self.sections) - 2

    def wide(self, filters: int) -> int:
        """Filters times width_mult, an even number, since YOLOv4-tiny halves channels."""
        return max(2 * round(filters * self.width_mult / 2), 2)

    def conv(self, filters: int, size: int = 3, stride: int = 1, activation: str | None = None) -> int:
        """A padded convolution with batch norm."""
        return self.add("convolutional", batch_normalize=1, filters=self.wide(filters), size=size, stride=stride,
                        pad=1, activation=activation or self.activation)

    def convs(self, *filters: int) -> int:
        """1x1 and 3x3 convolutions in turn."""
        for i, count in enumerate(filters):
            self.conv(count, 1 + 2 * (i % 2))
        return self.last

    def numbers(self, count: int) -> int:
        """A 1x1 convolution that says `count` numbers at each cell."""
        return self.add("convolutional", filters=count, size=1, stride=1, pad=1, activation="linear")

    def maxpool(self, size: int = 2, stride: int = 2) -> int:
        return self.add("maxpool", size=size, stride=stride)

    def route(self, *layers: int, **options: Any) -> int:
        return self.add("route", layers=",".join(map(str, layers)), **options)

    def add_from(self, layer: int) -> int:
        """The last layer plus an earlier one."""
        return self.add("shortcut", **{"from": layer - self.last - 1}, activation="linear")

    def residual(self, narrow: int, wide: int) -> int:
        """1x1 to `narrow` channels, 3x3 to `wide`, and what came in on top."""
        start = self.last
        self.conv(narrow, 1)
        self.conv(wide, 3)
        return self.add_from(start)

    def pyramid_pooling(self) -> int:
        """The last maps beside their maxima over 5x5, 9x9 and 13x13 (He et al., 2015; Huang & Wang,
        "DC-SPP-YOLO", 2019)."""
        start = self.last
        pooled = []
        for size in (5, 9, 13):
            if pooled:
                self.route(start)
            pooled.append(self.maxpool(size, 1))
        return self.route(*reversed(pooled), start)

    def yolo(self, mask: Sequence[int], anchors: Sequence[tuple[int, int]], classes: int, **options: Any) -> int:
        self.numbers(len(mask) * (5 + classes))
        return self.add("yolo", mask=",".join(map(str, mask)), anchors=written(anchors), classes=classes,
                        num=len(anchors), **options)


def written(anchors: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{w:g},{h:g}" for w, h in anchors)


def checked_anchors(name: str, anchors: Any, count: int) -> tuple[tuple[float, float], ...]:
    """ValueError for another number of pairs."""
    try:
        pairs = tuple((float(w), float(h)) for w, h in anchors)
    except (TypeError, ValueError):
        pairs = ()
    if len(pairs) != count or min(map(min, pairs), default=0) <= 0:
        raise ValueError(f"{name}: anchors must be {count} pairs of positive widths and heights, got {anchors!r}")
    return pairs
