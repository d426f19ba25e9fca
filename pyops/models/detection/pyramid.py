"""Feature pyramids. Lin et al., "Feature Pyramid Networks for Object Detection" (2017), figure 3, over
the stages of a classifier, with torchvision's parameter names.

    c5 --1x1--+-----------3x3--> p5      coarse maps know what is there,
              x2                         fine ones where: each level gets both
    c4 --1x1--+-----------3x3--> p4
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import functional as F, nn
from ..classification.mobilenet_v3 import mobilenet_v3_large
from ..classification.resnet import ResNet

__all__ = ["FrozenBatchNorm2d", "MobileNetStages", "PyramidBackbone", "ResNetStages", "mobilenet_pyramid",
           "resnet_pyramid"]

CHANNELS = 256   # of every level
Norm = Callable[[int], nn.Module]


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and factors stay what they were: small batches of large
    images say too little about either."""

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        self.eps = eps
        for name, start in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, np.full(num_features, start, np.float32))

    def forward(self, input: Any) -> Any:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def freeze_norms(module: nn.Module, eps: float | None = None) -> None:
    """Puts a FrozenBatchNorm2d in the place of every BatchNorm2d below a module. eps: another than theirs."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps if eps is None else eps)
            frozen.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, frozen)
        else:
            freeze_norms(child, eps)


class ResNetStages(nn.Module):
    """The maps of a ResNet's stages: those of `returned` (1 to 4), the fine ones first."""

    def __init__(self, trunk: Any, returned: Sequence[int]) -> None:
        self.conv1, self.bn1, self.relu, self.maxpool = trunk.conv1, trunk.bn1, trunk.relu, trunk.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4
        self.returned = tuple(returned)

    def forward(self, input: Any) -> list[Any]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(input))))
        found = []
        for number, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), 1):
            x = layer(x)
            if number in self.returned:
                found.append(x)
        return found


class MobileNetStages(nn.Sequential):
    """The maps behind those layers of a MobileNet that `returned` numbers."""

    def __init__(self, trunk: Any, returned: Sequence[int]) -> None:
        super().__init__(*trunk.features)
        self.returned = tuple(returned)

    def forward(self, input: Any) -> list[Any]:
        found = []
        for number, layer in enumerate(self.children()):
            input = layer(input)
            if number in self.returned:
                found.append(input)
        return found


def convolution(channels: int, filters: int, kernel: int, norm: Norm | None) -> nn.Sequential:
    """A convolution that keeps the size, with a normalisation in the place of its bias where there
    is one."""
    return nn.Sequential(nn.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=norm is None),
                         *([norm(filters)] if norm else []))


class MaxLevel(nn.Module):
    """One more level: every second pixel of the last one."""

    def forward(self, levels: list[Any], stages: list[Any]) -> list[Any]:
        return [*levels, F.max_pool2d(levels[-1], 1, 2)]


class TwoLevels(nn.Module):
    """RetinaNet's P6 and P7, strided convolutions, from P5, or from C5 where that has other
    channels."""

    def __init__(self, channels: int, filters: int = CHANNELS) -> None:
        self.p6 = nn.Conv2d(channels, filters, 3, 2, 1)
        self.p7 = nn.Conv2d(filters, filters, 3, 2, 1)
        self.of_level = channels == filters
        for layer in (self.p6, self.p7):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)

    def forward(self, levels: list[Any], stages: list[Any]) -> list[Any]:
        p6 = self.p6(levels[-1] if self.of_level else stages[-1])
        return [*levels, p6, self.p7(F.relu(p6))]


class Pyramid(nn.Module):
    """channels: of the stages, fine ones first. more: what makes coarser levels."""

    def __init__(self, channels: Sequence[int], more: nn.Module, norm: Norm | None = None) -> None:
        self.inner_blocks = nn.ModuleList(convolution(c, CHANNELS, 1, norm) for c in channels)
        self.layer_blocks = nn.ModuleList(convolution(CHANNELS, CHANNELS, 3, norm) for _ in channels)
        self.apply(initialise)
        self.extra_blocks = more

    def forward(self, stages: list[Any]) -> list[Any]:
        lateral = [block(stage) for block, stage in zip(self.inner_blocks, stages)]
        merged = [lateral[-1]]
        for finer in reversed(lateral[:-1]):
            above = F.interpolate(merged[0], tuple(finer.shape[2:]), mode="nearest")
            merged.insert(0, F.add(finer, above))
        return self.extra_blocks([block(m) for block, m in zip(self.layer_blocks, merged)], stages)


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_uniform_(module.weight, a=1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class PyramidBackbone(nn.Module):
    """A body, which gives maps, and the pyramid over them: forward returns the levels, fine ones
    first."""
    channels = CHANNELS

    def __init__(self, body: nn.Module, stages: Sequence[int], more: nn.Module, norm: Norm | None = None) -> None:
        self.body = body
        self.fpn = Pyramid(stages, more, norm)

    def forward(self, input: Any) -> list[Any]:
        return self.fpn(self.body(input))


def prepared(trunk: Any, order: Sequence[str], trainable: int, frozen_norm: bool, norm_eps: float | None) -> Any:
    """A trunk without gradients below its last `trainable` stages, and with frozen norms where asked
    for. order: names of its parts from the last stage to the first."""
    if isinstance(trainable, bool) or not isinstance(trainable, int) or not 0 <= trainable <= len(order):
        raise ValueError(f"trainable_layers must be from 0 to {len(order)}, got {trainable!r}")
    if norm_eps is not None and not frozen_norm:
        raise ValueError("norm_eps goes with frozen_norm=True")
    kept = list(order[:trainable]) + (["bn1"] if trainable == len(order) else [])
    for name, p in trunk.named_parameters():
        p.requires_grad = any(name.startswith(f"{k}.") for k in kept)
    if frozen_norm:
        freeze_norms(trunk, norm_eps)
    return trunk


def resnet_pyramid(trunk: ResNet, returned: Sequence[int] = (1, 2, 3, 4), more: nn.Module | None = None,
                   norm: Norm | None = None, trainable_layers: int = 5, frozen_norm: bool = False,
                   norm_eps: float | None = None) -> PyramidBackbone:
    """Over a ResNet. trainable_layers: stages from the last one that are trained; frozen_norm: batch
    norms keep their statistics and factors; norm_eps: their epsilon (0 of torchvision's first COCO
    weights)."""
    expansion = trunk.layer1[0].expansion
    trunk = prepared(trunk.without_top(), ("layer4", "layer3", "layer2", "layer1", "conv1"), trainable_layers,
                     frozen_norm, norm_eps)
    return PyramidBackbone(ResNetStages(trunk, returned), [expansion * 64 << (n - 1) for n in returned],
                           more or MaxLevel(), norm)


def mobilenet_pyramid(trainable_layers: int = 6, frozen_norm: bool = False) -> PyramidBackbone:
    """Over the last two stages of MobileNetV3 large: its 14th and its last layer. torchvision's
    detector has a batch norm's own constants there, and not the classifier's."""
    trunk = mobilenet_v3_large().without_top()
    for norm in trunk.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps, norm.momentum = 1e-5, 0.1
    parts = [f"features.{i}" for i in range(16, -1, -1)]
    # where strides are: what a stage is
    starts = (16, 13, 7, 4, 2, 0)
    if isinstance(trainable_layers, bool) or trainable_layers not in range(len(starts) + 1):
        raise ValueError(f"trainable_layers must be from 0 to {len(starts)}, got {trainable_layers!r}")
    layers = 17 - starts[trainable_layers - 1] if trainable_layers else 0
    trunk = prepared(trunk, parts, layers, frozen_norm, None)
    return PyramidBackbone(MobileNetStages(trunk, (13, 16)), (160, 960), MaxLevel())
