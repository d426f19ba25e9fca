"""The region proposal network. Ren et al., "Faster R-CNN" (2015), section 3.1, with torchvision's parameter
names.

    level -> 3x3 conv, ReLU -+-> 1x1 conv: A objectness logits
                             +-> 1x1 conv: A x 4 deltas        A anchors a place

Each level's best anchors become boxes, and of those that overlap the better ones stay.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor, no_grad
from ...detection.anchors import Anchors
from ...detection.coders import BoxCoder
from ...detection.maps import best, in_rows
from ...detection.matching import balanced_sample, overlaps, threshold_match
from ...detection.targets import Target

__all__ = ["Proposer", "ProposerSettings"]

SMALLEST = 1e-3   # pixels of a side; a proposal with less is none
NONE = -1.0       # the score of what is no proposal, below every other


@dataclass(frozen=True)
class ProposerSettings:
    """before: of each level so many anchors become boxes; after: so many boxes of an image stay; each in
    training and in evaluation. iou: which of them suppress each other. high, low: overlaps from which an
    anchor is an object's, and below which it is background; batch: so many anchors of an image are
    trained on, at most a share `positive` with an object. least: proposals score at least so much."""
    before: tuple[int, int] = (2000, 1000)
    after: tuple[int, int] = (2000, 1000)
    iou: float = 0.7
    high: float = 0.7
    low: float = 0.3
    batch: int = 256
    positive: float = 0.5
    least: float = 0.0


class ProposalHead(nn.Module):
    def __init__(self, channels: int, anchors: int, depth: int = 1) -> None:
        self.conv = nn.Sequential(*(nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
                                    for _ in range(depth)))
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, anchors * 4, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, levels: list[Any]) -> tuple[list[Any], list[Any]]:
        hidden = [self.conv(level) for level in levels]
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


class Proposer(nn.Module):
    """anchors: their sizes and ratios for each level; depth: of the head's 3x3 convolutions."""

    def __init__(self, channels: int, anchors: Anchors, settings: ProposerSettings | None = None,
                 depth: int = 1) -> None:
        self.head = ProposalHead(channels, anchors.each[0], depth)
        self.anchors, self.settings = anchors, settings or ProposerSettings()
        self.coder = BoxCoder()

    def forward(self, levels: list[Any], image: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> tuple[Any, Any]:
        """(boxes (N, M, 4), count (N,)): proposals in pixels of the network's input, best first,
        zeros behind the count. image: that input's size; sizes: of what is image in it, one for all or
        one each."""
        return self.propose(*self.head(levels), self.places(levels, image), sizes)

    def places(self, levels: list[Any], image: tuple[int, int]) -> list[np.ndarray]:
        return self.anchors(image, [(int(level.shape[2]), int(level.shape[3])) for level in levels])

    def propose(self, logits: list[Any], deltas: list[Any], anchors: list[np.ndarray],
                sizes: Sequence[tuple[int, int]]) -> tuple[Any, Any]:
        before, after = (pair[0 if self.training else 1] for pair in (self.settings.before, self.settings.after))
        found = [best(*level, 1, before) for level in zip(logits, deltas, anchors)]
        boxes = F.cat([self.coder.decode(b.deltas, b.references) for b in found], 1)
        limit = np.array([[[w, h, w, h]] for h, w in sizes], boxes.dtype)
        boxes = F.minimum(F.maximum(boxes, np.zeros((), boxes.dtype)), limit)
        value = kept(boxes, F.sigmoid(F.cat([b.logits for b in found], 1)), SMALLEST)
        if self.settings.least > 0:
            value = F.where(F.ge(value, self.settings.least), value, np.array(NONE, value.dtype))
        # a level is a class of its own: boxes of others suppress none of its own
        columns, start = np.full((*map(int, value.shape), len(found)), NONE, value.dtype), 0
        inside = np.zeros(columns.shape[1:], bool)
        for level, b in enumerate(found):
            inside[start:start + int(b.logits.shape[1]), level] = True
            start += int(b.logits.shape[1])
        by_level = F.where(inside, F.reshape(value, (*value.shape, 1)), columns)
        boxes, _, _, count = F.multiclass_nms(boxes, by_level, self.settings.iou, NONE / 2, after)
        return boxes, count

    def losses(self, levels: list[Any], image: tuple[int, int], sizes: Sequence[tuple[int, int]],
               truth: list[Target]) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        """Proposals as forward returns them, arrays without gradient, and "objectness" and
        "proposals", the losses of the anchors that were drawn."""
        logits, deltas = self.head(levels)
        anchors = self.places(levels, image)
        with no_grad():
            boxes, count = self.propose([v.data for v in logits], [d.data for d in deltas], anchors, sizes)
        flat = F.cat([in_rows(v, 1) for v in logits], 1), F.cat([in_rows(d, 4) for d in deltas], 1)
        return boxes, count, self.trained(*flat, np.concatenate(anchors), truth)

    def trained(self, logits: Any, deltas: Any, anchors: np.ndarray, truth: list[Target]) -> dict[str, Tensor]:
        settings, anchors = self.settings, anchors.astype(logits.dtype)
        chosen, objects, wanted = [], [], []
        for i, target in enumerate(truth):
            match = threshold_match(overlaps(target.boxes, anchors), settings.high, settings.low, low_quality=True)
            positive, negative = balanced_sample(match, settings.batch, settings.positive)
            objects.append(i * len(anchors) + positive)
            chosen.append(i * len(anchors) + np.concatenate([positive, negative]))
            boxes = target.boxes[match[positive]].astype(anchors.dtype)
            wanted.append(self.coder.encode(boxes, anchors[positive]))
        every, own = np.concatenate(chosen), np.concatenate(objects)
        is_object = np.isin(every, own).astype(logits.dtype)
        objectness = F.binary_cross_entropy_with_logits(F.index_select(F.reshape(logits, (-1,)), 0, every), is_object)
        boxes = F.smooth_l1_loss(F.index_select(F.reshape(deltas, (-1, 4)), 0, own), np.concatenate(wanted),
                                 reduction="sum", beta=1 / 9)
        return {"objectness": objectness, "proposals": F.div(boxes, len(every))}


def kept(boxes: Any, scores: Any, smallest: float) -> Any:
    """The scores (...), NONE of boxes (..., 4) with a side below `smallest`."""
    width, height = F.sub(boxes[..., 2], boxes[..., 0]), F.sub(boxes[..., 3], boxes[..., 1])
    return F.where(F.ge(F.minimum(width, height), smallest), scores, np.array(NONE, scores.dtype))
