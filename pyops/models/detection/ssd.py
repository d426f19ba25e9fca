"""SSD. Liu et al., "SSD: Single Shot MultiBox Detector" (2016), figure 2, over VGG-16, and SSDlite over
MobileNetV3 (Sandler et al., 2018; Howard et al., 2019), with torchvision's parameter names.

    image -> VGG-16 to conv4_3 -> fc6, fc7 as convolutions -> conv8 -> conv9 -> conv10 -> conv11
                   38 x 38              19 x 19               10 x 10   5 x 5    3 x 3    1 x 1
    each map: a 3x3 convolution to (K + 1) classes and one to 4 deltas for each of its default boxes

There are no proposals: every default box of every map is classified once, large ones on coarse maps.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor
from ...detection.anchors import DefaultBoxes
from ...detection.coders import BoxCoder, clip, ssd_coder
from ...detection.maps import in_rows
from ...detection.matching import bipartite_match, hard_negatives, overlaps
from ..classification.inverted_residual import conv_norm
from ..classification.mobilenet_v3 import mobilenet_v3_large
from ..classification.vgg import features
from ..registry import network
from .detector import counted_labels
from .transform import Transform, TransformingDetector, scale_boxes

__all__ = ["SSD", "ssd300_vgg16", "ssd512_vgg16", "ssdlite320_mobilenet_v3_large"]

COCO = 91   # outputs of torchvision's weights: background, and COCO's categories by their numbers


class VGGMaps(nn.Module):
    """Six maps of VGG-16 and what goes on behind it, seven for images of 512 pixels. conv4_3's values
    are larger than others': each pixel is scaled to a length that is learnt (section 3.1)."""

    def __init__(self, seven: bool = False, trainable_layers: int = 5) -> None:
        layers = list(features(16, False))
        _, _, third, fourth, _ = pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        starts = [0, *pools[:-1]]
        if isinstance(trainable_layers, bool) or trainable_layers not in range(len(starts) + 1):
            raise ValueError(f"trainable_layers must be from 0 to {len(starts)}, got {trainable_layers!r}")
        for layer in layers[:starts[len(starts) - trainable_layers] if trainable_layers else len(layers)]:
            layer.requires_grad_(False)
        layers[third] = nn.MaxPool2d(2, 2, ceil_mode=True)   # 75 pixels become 38
        self.scale_weight = nn.Parameter(np.full(512, 20, np.float32))
        self.features = nn.Sequential(*layers[:fourth])
        dilated = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
                                nn.ReLU(), nn.Conv2d(1024, 1024, 1), nn.ReLU())
        more = [behind(1024, 512, stride=2, padding=1), behind(512, 256, stride=2, padding=1), behind(256, 256),
                behind(256, 256), *([behind(256, 256, kernel=4)] if seven else [])]
        xavier(dilated), [xavier(block) for block in more]
        self.extra = nn.ModuleList([nn.Sequential(*layers[fourth:-1], dilated), *more])
        self.channels = (512, 1024, 512, *[256] * (4 if seven else 3))

    def forward(self, input: Any) -> list[Any]:
        x = self.features(input)
        found = [F.mul(F.reshape(self.scale_weight, (1, -1, 1, 1)), F.normalize(x))]
        for block in self.extra:
            x = block(x)
            found.append(x)
        return found


def behind(channels: int, filters: int, kernel: int = 3, **how: int) -> nn.Sequential:
    """The next coarser map: a 1x1 convolution that narrows, and one that shrinks."""
    return nn.Sequential(nn.Conv2d(channels, filters // 2, 1), nn.ReLU(),
                         nn.Conv2d(filters // 2, filters, kernel, **how), nn.ReLU())


def xavier(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return module


norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
lite = partial(conv_norm, norm=norm, activation=nn.ReLU6)


class MobileMaps(nn.Module):
    """Six maps: MobileNetV3's expansion at stride 16 and its end, and four that follow."""

    def __init__(self, trainable_layers: int = 6) -> None:
        trunk = mobilenet_v3_large(reduced_tail=True).without_top()
        for layer in trunk.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 0.03
        layers, starts = list(trunk.features), trunk.strided()
        if isinstance(trainable_layers, bool) or trainable_layers not in range(len(starts) + 1):
            raise ValueError(f"trainable_layers must be from 0 to {len(starts)}, got {trainable_layers!r}")
        for layer in layers[:starts[len(starts) - trainable_layers] if trainable_layers else len(layers)]:
            layer.requires_grad_(False)
        fourth = starts[-2]
        (_, expansion), *rest = layers[fourth].block.named_children()   # which keep their names
        self.features = nn.Sequential(nn.Sequential(*layers[:fourth], expansion),
                                      nn.Sequential(nn.Sequential(dict(rest)), *layers[fourth + 1:]))
        widths = (480, 512, 256, 256, 128)
        self.extra = nn.ModuleList(
            nn.Sequential(lite(a, b // 2, 1), lite(b // 2, b // 2, 3, 2, groups=b // 2), lite(b // 2, b, 1))
            for a, b in zip(widths, widths[1:]))
        normal(self)
        self.channels = (672, *widths)

    def forward(self, input: Any) -> list[Any]:
        found = []
        for block in (*self.features, *self.extra):
            input = block(input)
            found.append(input)
        return found


def normal(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


class MapHeads(nn.Module):
    """A head for each map, whose results are rows (N, boxes, columns), map by map."""

    def __init__(self, heads: list[nn.Module], columns: int) -> None:
        self.module_list = nn.ModuleList(heads)
        self.columns = columns

    def forward(self, maps: list[Any]) -> Any:
        return F.cat([in_rows(head(m), self.columns) for head, m in zip(self.module_list, maps)], 1)


class Heads(nn.Module):
    def __init__(self, channels: Sequence[int], each: Sequence[int], outputs: int, separable: bool) -> None:
        def heads(columns: int) -> MapHeads:
            if separable:
                made = [normal(nn.Sequential(lite(c, c, 3, groups=c), nn.Conv2d(c, columns * n, 1)))
                        for c, n in zip(channels, each)]
            else:
                made = [xavier(nn.Conv2d(c, columns * n, 3, padding=1)) for c, n in zip(channels, each)]
            return MapHeads(made, columns)
        self.classification_head, self.regression_head = heads(outputs), heads(4)


class SSD(TransformingDetector):
    """images (N, 3, H, W) float in 0..1 or uint8, of any size: they are resized to `size` (height,
    width) whatever their shape.

    classes: labels are 0 to classes - 1, and the head has one output more; None: torchvision's head
    of 91 outputs, whose labels 1 to 90 are COCO's. candidates: so many boxes of each class go on to
    suppression. match: the overlap from which a default box is an object's; negatives: boxes of
    background that are trained on for each with an object.
    """

    def __init__(self, backbone: nn.Module, boxes: DefaultBoxes, size: tuple[int, int], classes: int | None = None,
                 separable: bool = False, mean: Sequence[float] = (0.5, 0.5, 0.5),
                 std: Sequence[float] = (0.5, 0.5, 0.5), score_threshold: float = 0.01, iou_threshold: float = 0.45,
                 max_detections: int = 200, class_names: Sequence[str] | None = None, candidates: int = 400,
                 match: float = 0.5, negatives: float = 3.0) -> None:
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.backbone = backbone
        self.outputs, self.shift = (COCO, 0) if classes is None else (classes + 1, 1)
        self.head = Heads(backbone.channels, boxes.each, self.outputs, separable)
        self.boxes, self.candidates, self.match, self.negatives = boxes, candidates, match, negatives
        self.coder: BoxCoder = ssd_coder()
        self.image = (3, *size)
        self.transform = Transform(min(size), max(size), mean, std, 1, size)

    def heads(self, x: Any) -> tuple[Any, Any, np.ndarray]:
        """Logits (N, boxes, K + 1), deltas (N, boxes, 4), and the default boxes."""
        maps = self.backbone(x)
        places = self.boxes((int(x.shape[2]), int(x.shape[3])), [(int(m.shape[2]), int(m.shape[3])) for m in maps])
        logits, deltas = self.head.classification_head(maps), self.head.regression_head(maps)
        return logits, deltas, places.astype(deltas.dtype, copy=False)

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        given = (int(x.shape[2]), int(x.shape[3]))
        x, size = self.transform(x)
        logits, deltas, places = self.heads(x)
        boxes = clip(self.coder.decode(deltas, places), size)
        boxes, scores, labels, count = F.multiclass_nms(
            boxes, F.softmax(logits, 2)[..., 1:], self.iou_threshold, self.score_threshold, self.max_detections,
            self.candidates)
        return scale_boxes(boxes, size, given), scores, counted_labels(labels, count, 1 - self.shift), count

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """"classification" over default boxes with an object and the hardest of the others, and
        "boxes", each over the number of boxes with an object. Equations 1 to 3."""
        x, _, truth = self.training_batch(images, targets, 1 - self.shift, self.outputs - 1)
        logits, deltas, places = self.heads(x)
        matches = np.stack([bipartite_match(overlaps(t.boxes, places), self.match) for t in truth])
        label, parts = np.zeros(matches.shape, np.int64), []
        for i, (target, match) in enumerate(zip(truth, matches)):
            objects = np.flatnonzero(match >= 0)
            label[i, objects] = target.labels[match[objects]] + self.shift
            wanted = self.coder.encode(target.boxes[match[objects]].astype(places.dtype), places[objects])
            parts.append(F.smooth_l1_loss(F.index_select(deltas[i], 0, objects), wanted, reduction="sum"))
        each = F.reshape(F.cross_entropy(F.reshape(logits, (-1, self.outputs)), label.reshape(-1), reduction="none"),
                         label.shape)
        chosen = (matches >= 0) | hard_negatives(each.data, matches, self.negatives)
        some = max(1, int((matches >= 0).sum()))
        return {"classification": F.div(F.sum(F.mul(each, chosen.astype(each.dtype))), some),
                "boxes": F.div(F.sum(F.stack(parts)), some)}


# Of the paper's authors' models: pixels of 0..255 less their means
CAFFE = {"mean": (0.48235, 0.45882, 0.40784), "std": (1 / 255, 1 / 255, 1 / 255)}


@network(published=35_641_826, source="torchvision", image=(3, 300, 300))
def ssd300_vgg16(classes: int | None = None, trainable_layers: int = 5, **settings) -> SSD:
    """8,732 default boxes on images of 300 x 300."""
    boxes = DefaultBoxes([[2], [2, 3], [2, 3], [2, 3], [2], [2]], scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
                         steps=[8, 16, 32, 64, 100, 300])
    return SSD(VGGMaps(False, trainable_layers), boxes, (300, 300), classes, **CAFFE | settings)


@network(image=(3, 512, 512))
def ssd512_vgg16(classes: int | None = None, trainable_layers: int = 5, **settings) -> SSD:
    """24,564 default boxes on images of 512 x 512."""
    boxes = DefaultBoxes([[2], [2, 3], [2, 3], [2, 3], [2, 3], [2], [2]],
                         scales=[0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06], steps=[8, 16, 32, 64, 128, 256, 512])
    return SSD(VGGMaps(True, trainable_layers), boxes, (512, 512), classes, **CAFFE | settings)


@network(published=3_440_060, source="torchvision", image=(3, 320, 320))
def ssdlite320_mobilenet_v3_large(classes: int | None = None, trainable_layers: int = 6, **settings) -> SSD:
    """Separable convolutions throughout, for phones."""
    boxes = DefaultBoxes([[2, 3]] * 6, 0.2, 0.95)
    return SSD(MobileMaps(trainable_layers), boxes, (320, 320), classes, **{
        "separable": True, "score_threshold": 0.001, "iou_threshold": 0.55, "max_detections": 300, "candidates": 300,
        **settings})
