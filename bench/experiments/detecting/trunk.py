"""What all steps begin with: a small trunk that has learnt single digits, as the papers' trunks had
learnt ImageNet."""
from __future__ import annotations

from typing import Any

import numpy as np

from pyops import functional as F, nn
from pyops.core.tensor import Tensor
from pyops.detection.matching import overlaps
from pyops.optim import AdamW, OneCycleLR
from pyops.train.detection.scenes import Scenes

from .boxes import CROP, crops

CHANNELS, STRIDE = 96, 4
NEAR = 0.5        # overlap from which a crop shows a digit; below 0.3 it shows none


def layer(channels: int, filters: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False), nn.BatchNorm2d(filters),
                         nn.ReLU())


class Trunk(nn.Sequential):
    """images (N, 3, H, W) in 0 .. 1 -> maps (N, 96, H / 4, W / 4)."""

    def __init__(self) -> None:
        super().__init__(layer(3, 16), layer(16, 32, 2), layer(32, 32), layer(32, 64, 2), layer(64, 64),
                         layer(64, CHANNELS), layer(CHANNELS, CHANNELS))


class Level(nn.Module):
    """The trunk as those detectors take it that read several levels: a list of one."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk

    def forward(self, input: Any) -> list[Any]:
        return [self.trunk(input)]


class CropNet(nn.Module):
    """Crops (N, 3, 32, 32) -> logits of the classes and, last, of none of them; and the hidden
    layer (N, 128)."""

    def __init__(self, classes: int = 10) -> None:
        self.trunk = Trunk()
        self.hidden = nn.Linear(CHANNELS * 16, 128)
        self.out = nn.Linear(128, classes + 1)

    def features(self, crops: Any) -> Any:
        maps = F.avg_pool2d(self.trunk(crops), CROP // STRIDE // 4)
        return F.relu(self.hidden(F.flatten(maps, 1)))

    def forward(self, crops: Any) -> Any:
        return self.out(self.features(crops))


def examples(images: np.ndarray, targets, rng: np.random.Generator, each: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Crops around digits, and of places without one, with their labels; the last label is none."""
    regions, labels = [], []
    size = images.shape[2:]
    for i, target in enumerate(targets):
        boxes = target["boxes"]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        near = np.repeat(boxes, 2, 0) + rng.normal(0, 0.08, (2 * len(boxes), 4)) * np.repeat(sides, 2, 0)
        h = rng.uniform(10, 36, each)
        w = h / rng.uniform(1.2, 2.2, each)
        corner = np.stack([rng.uniform(0, size[1] - w), rng.uniform(0, size[0] - h)], 1)
        every = np.concatenate([near, np.concatenate([corner, corner + np.stack([w, h], 1)], 1)]).astype(np.float32)
        hits = overlaps(every, boxes) if len(boxes) else np.zeros((len(every), 1), np.float32)
        best = hits.max(1)
        label = np.where(best >= NEAR, target["labels"][hits.argmax(1)] if len(boxes) else 0, 10)
        clear = (best >= NEAR) | (best < 0.3)
        regions.append(np.concatenate([np.full((clear.sum(), 1), i), every[clear]], 1))
        labels.append(label[clear])
    return crops(images, np.concatenate(regions)), np.concatenate(labels)


def pretrained(scenes: Scenes, steps: int, seed: int, batch: int = 8) -> CropNet:
    """A CropNet that tells digits, and what is none, after so many batches of crops."""
    net, rng = CropNet(), np.random.default_rng([seed, 7])
    optimizer = AdamW(net.parameters(), 2e-3)
    schedule = OneCycleLR(optimizer, 4e-3, steps, cycle_momentum=False)
    for _ in range(steps):
        images, targets = scenes.take(rng.integers(len(scenes), size=batch))
        inputs, labels = examples(images, targets, rng)
        optimizer.zero_grad()
        F.cross_entropy(net(Tensor(inputs)), labels).backward()
        optimizer.step()
        schedule.step()
    return net.eval()
