"""A network of Darknet's sections: one module a section, run one after another.

    network = DarknetNetwork(read_cfg("yolov3.cfg"))
    load_weights(network, "yolov3.weights")
    maps = network(image)                       # what each head reads, before it decodes
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn
from .darknet_cfg import Section
from .darknet_layers import JOINTS, LAYERS, Convolutional, Head, Layer, Shape


class DarknetNetwork(nn.Module):
    """sections: of a cfg, [net] first. size: (H, W) in place of the cfg's.

    input: (N, channels, H, W) in 0..1. Returns a list with the maps of every head (yolo, region,
    detection) in order, or of a network without heads the last layer's result. Networks of
    convolutions take other sizes than their own, too.

    Raises ValueError for an unknown section, an option out of range, a source that is no earlier
    layer, or maps that do not fit together; the section and its line are named.
    """

    def __init__(self, sections: Sequence[Section], size: tuple[int, int] | None = None) -> None:
        net, *rest = sections
        if size is None:
            size = net.whole("height", 0), net.whole("width", 0)
            if min(size) < 1:
                raise net.wrong("needs height and width of its images, 1 at least")
        self.net, self.sections = net, list(sections)
        shape: Shape = (net.whole("channels", 3, 1), *size)
        self.input_shape = shape
        self.layers = nn.ModuleList()
        shapes: list[Shape] = []
        for section in rest:
            layer = make_layer(section, shape, shapes)
            self.layers.append(layer)
            shapes.append(layer.shape)
            shape = layer.shape
        self.shapes = shapes
        self.heads: list[Head] = [layer for layer in self.layers if isinstance(layer, Head)]
        self.kept = {i for layer in self.layers for i in layer.sources}
        self.apply(drawn)

    def forward(self, input: Any) -> list[Any]:
        results: dict[int, Any] = {}
        found, x = [], input
        for i, layer in enumerate(self.layers):
            x = layer(*(results[j] for j in layer.sources)) if layer.sources else layer(x)
            if i in self.kept:
                results[i] = x
            if isinstance(layer, Head):
                found.append(x)
        return found or [x]


def make_layer(section: Section, shape: Shape, shapes: list[Shape]) -> Layer:
    if section.kind in JOINTS:
        if not shapes:
            raise section.wrong("has no earlier layer")
        return JOINTS[section.kind](section, shapes)
    if section.kind not in LAYERS:
        raise section.wrong(f"is no section that this reads; there are {', '.join((*LAYERS, *JOINTS))}")
    return LAYERS[section.kind](section, shape)


def drawn(module: nn.Module) -> None:
    """Darknet's start of a convolution: normal with variance 2 / inputs, zero biases."""
    if isinstance(module, Convolutional):
        fan = int(np.prod(module.conv.weight.shape[1:]))
        nn.init.normal_(module.conv.weight, 0.0, (2 / fan) ** 0.5)
        if module.conv.bias is not None:
            nn.init.zeros_(module.conv.bias)
