"""VGG-16 as R-CNNs take it: its convolutions without the last pooling, one map of stride 16."""
from __future__ import annotations

from typing import Any

from ... import nn
from ..classification.vgg import features, initialise

__all__ = ["WIDTH", "VGGTrunk"]

WIDTH = 4096   # of VGG's hidden layers


class VGGTrunk(nn.Sequential):
    """The layers under the names that they have in VGG's `features`. trainable_layers: stages from the
    last one that are trained; the papers keep conv1 and conv2 as they are (3). forward returns a list
    of the one map (N, 512, H / 16, W / 16)."""
    channels = 512

    def __init__(self, trainable_layers: int = 5) -> None:
        layers = list(features(16, False))[:-1]
        starts = [0, *(i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d))]
        if isinstance(trainable_layers, bool) or trainable_layers not in range(len(starts) + 1):
            raise ValueError(f"trainable_layers must be from 0 to {len(starts)}, got {trainable_layers!r}")
        super().__init__(*layers)
        self.apply(initialise)
        for layer in layers[:starts[len(starts) - trainable_layers] if trainable_layers else len(layers)]:
            layer.requires_grad_(False)

    def forward(self, input: Any) -> list[Any]:
        return [super().forward(input)]
