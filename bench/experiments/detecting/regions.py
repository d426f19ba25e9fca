"""R-CNN (Girshick et al. 2014) and Fast R-CNN (Girshick 2015) in small: proposals by colour and
texture come from outside; the one crops the image for each, the other crops the maps of one
pass."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyops import functional as F, nn
from pyops.detection.coders import BoxCoder
from pyops.detection.matching import balanced_sample, overlaps, threshold_match
from pyops.detection.targets import checked_targets, sizes_of
from pyops.models.detection.detector import Detector

from .boxes import CROP, crops
from .trunk import CHANNELS, STRIDE, CropNet

SCALES, MOST, LEAST = (15, 40, 100), 60, 6     # of segments; proposals of an image; pixels of a proposal's longer side
GRID = 6
BATCH, POSITIVE = 16, 0.5


class Proposals:
    """Boxes of an image's segments, and of two that touch, by Felzenszwalb & Huttenlocher's
    segmentation at several scales; the first step of selective search. An image's are found
    once."""

    def __init__(self) -> None:
        self.known: dict[bytes, np.ndarray] = {}

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """image (3, H, W) in 0 .. 1 -> (k, 4) float32, k up to 60."""
        pixels = np.rint(np.asarray(image) * 255).astype(np.uint8).transpose(1, 2, 0)
        key = pixels.tobytes()
        if key not in self.known:
            self.known[key] = segments(pixels)
        return self.known[key]


def segments(pixels: np.ndarray) -> np.ndarray:
    from skimage.segmentation import felzenszwalb
    height, width = pixels.shape[:2]
    found = []
    for scale in SCALES:
        labels = felzenszwalb(pixels, scale=scale, sigma=0.6, min_size=12)
        own = boxes_of(labels)
        across = [np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()]),
                  np.stack([labels[:-1].ravel(), labels[1:].ravel()])]
        pairs = np.unique(np.sort(np.concatenate(across, 1), 0), axis=1)
        pairs = pairs[:, pairs[0] != pairs[1]]
        low = np.minimum(own[pairs[0], :2], own[pairs[1], :2])
        high = np.maximum(own[pairs[0], 2:], own[pairs[1], 2:])
        found += [own, np.concatenate([low, high], 1)]
    boxes = np.unique(np.concatenate(found), axis=0).astype(np.float32)
    w, h = (boxes[:, 2:] - boxes[:, :2]).T
    boxes = boxes[(np.maximum(w, h) >= LEAST) & (w * h < 0.5 * height * width)]
    return boxes[np.random.default_rng(0).permutation(len(boxes))[:MOST]]


def boxes_of(labels: np.ndarray) -> np.ndarray:
    """(k, 4): the box around each label's pixels."""
    count = int(labels.max()) + 1
    y, x = np.divmod(np.arange(labels.size), labels.shape[1])
    found = np.empty((count, 4))
    for i, (values, start) in enumerate(((x, labels.shape[1]), (y, labels.shape[0]))):
        found[:, i], found[:, 2 + i] = start, 0
        np.minimum.at(found[:, i], labels.ravel(), values)
        np.maximum.at(found[:, 2 + i], labels.ravel(), values + 1)
    return found


class Regions(Detector):
    """Proposals, each classified and its box corrected. shared: one pass over the image, and RoI
    align of its maps (Fast R-CNN); else a pass for each proposal's warped crop (R-CNN)."""

    def __init__(self, net: CropNet, proposals: Proposals, shared: bool, classes: int = 10, size: int = 64) -> None:
        self.set_thresholds(0.05, 0.35, 50)
        self.classes, self.shared, self.image = classes, shared, (3, size, size)
        self.net = net
        self.proposals = proposals
        if shared:
            self.net.hidden = nn.Linear(CHANNELS * GRID * GRID, 128)
        self.deltas = nn.Linear(128, 4)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.deltas.bias)
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))

    def said(self, x: Any, regions: np.ndarray) -> tuple[Any, Any]:
        """Logits (K, classes + 1), the last of background, and deltas (K, 4)."""
        if self.shared:
            pooled = F.roi_align(self.net.trunk(x), regions, GRID, 1 / STRIDE, 2, True)
            hidden = F.relu(self.net.hidden(F.flatten(pooled, 1)))
        else:
            hidden = self.net.features(crops(x, regions, CROP))
        return self.net.out(hidden), self.deltas(hidden)

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        pixels = np.asarray(getattr(x, "data", x))
        own = [self.proposals(one) for one in pixels]
        room = max(1, *(len(boxes) for boxes in own))
        boxes = np.zeros((len(own), room, 4), np.float32)
        for row, found in zip(boxes, own):
            row[:len(found)] = found
        sample = np.repeat(np.arange(len(own), dtype=np.float32), room)[:, None]
        logits, deltas = self.said(x, np.concatenate([sample, boxes.reshape(-1, 4)], 1))
        size = np.array([pixels.shape[3], pixels.shape[2]] * 2, np.float32)
        corrected = F.minimum(F.maximum(self.coder.decode(deltas, boxes.reshape(-1, 4)), np.float32(0)), size)
        scores = F.reshape(F.softmax(logits, 1), (len(own), room, -1))[..., :-1]
        there = np.arange(room)[None] < np.array([[len(found)] for found in own])
        scores = F.mul(scores, there[..., None].astype(np.float32))
        return F.multiclass_nms(F.reshape(corrected, (len(own), room, 4)), scores, self.iou_threshold,
                                self.score_threshold, self.max_detections)

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        x = self.floats(images)
        truth = checked_targets("Regions", targets, sizes_of(x), 0, self.classes)
        regions, labels, wanted = [], [], []
        for i, (pixels, target) in enumerate(zip(np.asarray(getattr(x, "data", x)), truth)):
            boxes = np.concatenate([self.proposals(pixels), target.boxes])
            match = threshold_match(overlaps(target.boxes, boxes), 0.5, 0.4)
            chosen = np.concatenate(balanced_sample(match, BATCH, POSITIVE))
            boxes, match = boxes[chosen], match[chosen]
            regions.append(np.concatenate([np.full((len(boxes), 1), i, np.float32), boxes], 1))
            labels.append(np.where(match >= 0, np.append(target.labels, 0)[match], self.classes))
            wanted.append(self.coder.encode(np.concatenate([target.boxes, [[0, 0, 1, 1]]]).astype(np.float32)[match],
                                            boxes))
        label, every = np.concatenate(labels), np.concatenate(regions).astype(np.float32)
        logits, deltas = self.said(x, every)
        objects = np.flatnonzero(label < self.classes)
        boxes_loss = F.smooth_l1_loss(F.index_select(deltas, 0, objects), np.concatenate(wanted)[objects],
                                      reduction="sum", beta=1.0)
        return {"classes": F.cross_entropy(logits, label), "boxes": F.div(boxes_loss, np.float32(len(label)))}
