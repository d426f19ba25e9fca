"""Blocks that YOLOv5 and YOLOv6 are made of."""
from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tape import recording

EPS, MOMENTUM = 1e-3, 0.03   # of batch norms


def width(channels: int, factor: float) -> int:
    """Scaled channels, a multiple of 8."""
    return max(ceil(channels * factor / 8) * 8, 8)


def depth(count: int, factor: float) -> int:
    return max(round(count * factor), 1) if count > 1 else count


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPS, momentum=MOMENTUM)


class ConvBlock(nn.Module):
    """Convolution, batch norm, activation; half of the filter is padding unless that is said."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1, padding: int | None = None,
                 activation: Any = nn.SiLU) -> None:
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2 if padding is None else padding, bias=False)
        self.norm = norm(outputs)
        self.activation = activation()

    def forward(self, x: Any) -> Any:
        return self.activation(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """1x1 and 3x3, and what came in on top."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        self.first, self.second = ConvBlock(channels, channels, 1), ConvBlock(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        y = self.second(self.first(x))
        return x + y if self.shortcut else y


class CrossStage(nn.Module):
    """Half the channels through `blocks`, half past them (Wang et al., "CSPNet", 2020). inner: of
    each half."""

    def __init__(self, inputs: int, outputs: int, inner: int, blocks: nn.Module, activation: Any = nn.SiLU) -> None:
        self.through = ConvBlock(inputs, inner, activation=activation)
        self.past = ConvBlock(inputs, inner, activation=activation)
        self.merge = ConvBlock(2 * inner, outputs, activation=activation)
        self.blocks = blocks

    def forward(self, x: Any) -> Any:
        return self.merge(F.cat([self.blocks(self.through(x)), self.past(x)], 1))


class PyramidPooling(nn.Module):
    """Spatial pyramid pooling: maxima over 5x5, taken once, twice and three times, beside the maps."""

    def __init__(self, inputs: int, outputs: int, activation: Any = nn.SiLU) -> None:
        self.narrow = ConvBlock(inputs, inputs // 2, activation=activation)
        self.merge = ConvBlock(inputs // 2 * 4, outputs, activation=activation)

    def forward(self, x: Any) -> Any:
        return self.merge(pooled(self.narrow(x)))


def pooled(x: Any) -> Any:
    maps = [x]
    for _ in range(3):
        maps.append(F.max_pool2d(maps[-1], 5, 1, 2))
    return F.cat(maps, 1)


class RepVGG(nn.Module):
    """3x3 and 1x1 convolutions and, where input and output have one shape, the input itself, each
    with a batch norm, added. Ding et al., "RepVGG" (2021).

    All three are linear, so that at inference they are one 3x3 convolution: fold() says which, and
    in evaluation mode, where no gradients are recorded, it is what is computed. fused: with that one
    convolution alone from the start.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, fused: bool = False) -> None:
        self.stride = stride
        if fused:
            self.folded: nn.Conv2d | None = nn.Conv2d(inputs, outputs, 3, stride, 1)
            return
        self.dense = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.dense_norm = norm(outputs)
        self.point = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.point_norm = norm(outputs)
        self.identity = norm(inputs) if inputs == outputs and stride == 1 else None
        self.folded = None

    def forward(self, x: Any) -> Any:
        if self.folded is not None:
            return F.relu(self.folded(x))
        if not self.training and not recording():
            return F.relu(F.conv2d(x, *self.fold(), stride=self.stride, padding=1))
        y = self.dense_norm(self.dense(x)) + self.point_norm(self.point(x))
        return F.relu(y if self.identity is None else y + self.identity(x))

    def fold(self) -> tuple[np.ndarray, np.ndarray]:
        """weight (outputs, inputs, 3, 3) and bias (outputs,) of the one convolution."""
        dense = self.dense.weight.data
        outputs, inputs = dense.shape[:2]
        weight, bias = np.zeros(dense.shape), np.zeros(outputs)
        branches = [(dense, self.dense_norm), (centred(self.point.weight.data[:, :, 0, 0]), self.point_norm)]
        if self.identity is not None:
            branches.append((centred(np.eye(inputs)), self.identity))
        for branch, normed in branches:
            scale = normed.weight.data / np.sqrt(normed.running_var.astype(np.float64) + normed.eps)
            weight += branch * scale[:, None, None, None]
            bias += normed.bias.data - normed.running_mean * scale
        return weight.astype(dense.dtype), bias.astype(dense.dtype)

    def fuse(self) -> None:
        """Puts the one convolution in the place of the branches, for good."""
        if self.folded is None:
            weight, bias = self.fold()
            outputs, inputs = weight.shape[:2]
            with nn.init.skip_draws():
                self.folded = nn.Conv2d(inputs, outputs, 3, self.stride, 1)
            self.folded.weight.data, self.folded.bias.data = weight, bias
            del self.dense, self.dense_norm, self.point, self.point_norm, self.identity


def centred(matrix: np.ndarray) -> np.ndarray:
    """A 1x1 filter as a 3x3 one."""
    return np.pad(matrix[:, :, None, None], ((0, 0), (0, 0), (1, 1), (1, 1)))
