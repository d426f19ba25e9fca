"""R-CNN. Girshick, Donahue, Darrell & Malik, "Rich feature hierarchies for accurate object detection and
semantic segmentation" (2014), figure 1.

    image -> selective search -> 2,000 proposals -> each warped to 227 x 227 -> AlexNet -+-> an SVM a class
                                                                                         +-> ridge regression
Three things are trained one after the other: the network on warped proposals (losses), a linear SVM a
class on its features with hard negatives (fit_classes), and the regression of boxes (fit_boxes).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import functional as F
from ...core.tensor import Tensor, no_grad
from ...detection.coders import BoxCoder, centres, corners
from ...detection.matching import balanced_sample, overlaps, threshold_match
from ...detection.targets import Target, checked_targets
from ...graph.describe import evaluating
from ..classification.alexnet import AlexNet
from ..registry import network
from .fast_rcnn import ProposalDetector, checked_proposals, with_area
from .transform import IMAGENET_MEAN, IMAGENET_STD, Transform

__all__ = ["RCNN", "rcnn_alexnet"]

VOC = 20        # classes of the paper
POOLED, FEATURES = 256 * 6 * 6, 4096
HARD = -1.0     # a negative with a greater decision value is hard: it lies within the margin
AT_ONCE = 64    # crops that go through the network together when features are gathered


class RCNN(ProposalDetector):
    """classes: labels are 0 to classes - 1. size: of warped crops, of which `context` pixels on each
    side are what surrounds the proposal (appendix A). A score is an SVM's decision value through a
    sigmoid, so that 0.5 is its boundary.

    batch, positive: proposals of an image that the network is tuned on, and the share of objects;
    low: the overlap below which a proposal is a negative of an SVM; near: that from which one
    teaches the regression; ridge: its lambda; penalty: the SVMs' C.
    """

    def __init__(self, classes: int = VOC, size: int = 227, context: int = 16, score_threshold: float = 0.5,
                 iou_threshold: float = 0.3, max_detections: int = 100, class_names: Sequence[str] | None = None,
                 batch: int = 128, positive: float = 0.25, low: float = 0.3, near: float = 0.6,
                 ridge: float = 1000.0, penalty: float = 1e-3) -> None:
        if not 0 <= 2 * context < size:
            raise ValueError(f"RCNN: context must leave room in crops of {size} pixels, got {context}")
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.classes, self.size, self.context = classes, size, context
        self.batch, self.positive, self.low, self.near = batch, positive, low, near
        self.ridge, self.penalty = ridge, penalty
        self.trunk = AlexNet(classes + 1)
        self.register_buffer("svm_weight", np.zeros((classes, FEATURES), np.float32))
        self.register_buffer("svm_bias", np.full(classes, -1, np.float32))
        self.register_buffer("box_weight", np.zeros((classes, 4, POOLED), np.float32))
        self.register_buffer("box_bias", np.zeros((classes, 4), np.float32))
        self.coder = BoxCoder()
        self.transform = Transform(1, 1, IMAGENET_MEAN, IMAGENET_STD, 1)

    # ---- crops and what the network makes of them

    def crops(self, images: Any, proposals: Any) -> Any:
        """(N P, 3, size, size): each proposal of each image (N, P, 4), warped whatever its shape."""
        n, p = int(proposals.shape[0]), int(proposals.shape[1])
        sample = np.repeat(np.arange(n, dtype=images.dtype), p)[:, None]
        around = centres(F.reshape(proposals, (n * p, 4)))
        wider = self.size / (self.size - 2 * self.context)
        boxes = corners(F.cat([around[:, :2], F.mul(around[:, 2:], wider)], 1))
        x = F.div(F.sub(images, self.transform.mean.astype(images.dtype)), self.transform.std.astype(images.dtype))
        # what lies outside of the image is its mean, which is 0 by now
        return F.roi_align(x, F.cat([sample, boxes], 1), self.size, sampling_ratio=1, aligned=True)

    def features(self, crops: Any) -> tuple[Any, Any]:
        """What the regression sees (K, 9216), and what the SVMs see (K, 4096)."""
        pooled = F.flatten(self.trunk.avgpool(self.trunk.features(crops)), 1)
        x = pooled
        for layer in list(self.trunk.classifier)[:-1]:
            x = layer(x)
        return pooled, x

    def forward(self, images: Any, proposals: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        n, p, height, width = int(x.shape[0]), int(proposals.shape[1]), int(x.shape[2]), int(x.shape[3])
        pooled, features = self.features(self.crops(x, proposals))
        scores = F.sigmoid(F.linear(features, self.svm_weight, self.svm_bias))
        flat = self.box_weight.reshape(self.classes * 4, POOLED)
        deltas = F.reshape(F.linear(pooled, flat, self.box_bias.reshape(-1)), (n, p, self.classes, 4))
        boxes = self.coder.decode(deltas, F.reshape(proposals, (n, p, 1, 4)))
        boxes = F.minimum(F.maximum(boxes, np.zeros((), boxes.dtype)), np.array([width, height] * 2, boxes.dtype))
        real = F.reshape(with_area(proposals), (n, p, 1))
        scores = F.where(real, F.reshape(scores, (n, p, self.classes)), np.array(-1, scores.dtype))
        return F.multiclass_nms(boxes, scores, self.iou_threshold, self.score_threshold, self.max_detections)

    # ---- the three trainings

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]],   # type: ignore[override]
               proposals: Sequence[Any]) -> dict[str, Tensor]:
        """"classification", the cross-entropy of crops drawn from the proposals: those that overlap an
        object by half are of its class, the others background (section 2.3)."""
        parts, labels = [], []
        for image, target, boxes in self.checked(images, targets, proposals):
            every = np.concatenate([boxes, target.boxes])
            match = threshold_match(overlaps(target.boxes, every), 0.5, 0.5)
            drawn = np.concatenate(balanced_sample(match, self.batch, self.positive))
            parts.append(self.crops(image, every[drawn][None]))
            label = np.full(len(drawn), self.classes)   # background is the last one
            label[match[drawn] >= 0] = target.labels[match[drawn][match[drawn] >= 0]]
            labels.append(label)
        return {"classification": F.cross_entropy(self.trunk(F.cat(parts, 0)), np.concatenate(labels))}

    def fit_classes(self, images: Any, targets: Sequence[Mapping[str, Any]], proposals: Sequence[Any],
                    rounds: int = 2) -> None:
        """A linear SVM a class (section 2.3): objects against proposals that overlap none of its class
        by `low`. It is fitted to some of these, and again with those that it had wrong, `rounds` times.
        ImportError without scikit-learn; ValueError where a class has no object."""
        try:
            from sklearn.svm import LinearSVC
        except ImportError as error:
            raise ImportError("RCNN.fit_classes needs scikit-learn: pip install scikit-learn") from error
        seen = list(self.checked(images, targets, proposals))
        of_boxes = [self.gathered(image, boxes)[1] for image, _, boxes in seen]
        of_objects = [self.gathered(image, target.boxes)[1] for image, target, _ in seen]
        for c in range(self.classes):
            objects = np.concatenate([f[t.labels == c] for f, (_, t, _) in zip(of_objects, seen)])
            if not len(objects):
                raise ValueError(f"RCNN.fit_classes: class {c} has no object")
            negatives = np.concatenate([f[overlaps(b, t.boxes[t.labels == c]).max(1, initial=0) < self.low]
                                        for f, (_, t, b) in zip(of_boxes, seen)])
            kept = np.arange(0, len(negatives), max(1, len(negatives) // max(1, 4 * len(objects))))
            for _ in range(rounds + 1):
                machine = LinearSVC(C=self.penalty, class_weight="balanced", random_state=0, dual=False)
                machine.fit(np.concatenate([objects, negatives[kept]]), np.repeat([1, 0], [len(objects), len(kept)]))
                hard = np.flatnonzero(machine.decision_function(negatives) > HARD)
                if np.isin(hard, kept).all():
                    break
                kept = np.union1d(kept, hard)
            self.svm_weight[c], self.svm_bias[c] = machine.coef_[0], machine.intercept_[0]

    def fit_boxes(self, images: Any, targets: Sequence[Mapping[str, Any]], proposals: Sequence[Any]) -> None:
        """Ridge regression a class (appendix C): of proposals that overlap an object by `near`, from the
        last maps to the deltas of its box. A class without such proposals keeps proposals as they are."""
        inputs: list[list[np.ndarray]] = [[] for _ in range(self.classes)]
        wanted: list[list[np.ndarray]] = [[] for _ in range(self.classes)]
        for image, target, boxes in self.checked(images, targets, proposals):
            match = threshold_match(overlaps(target.boxes, boxes), self.near, self.near)
            near = np.flatnonzero(match >= 0)
            pooled = self.gathered(image, boxes[near])[0]
            deltas = self.coder.encode(target.boxes[match[near]], boxes[near])
            for c in range(self.classes):
                own = target.labels[match[near]] == c
                inputs[c].append(pooled[own])
                wanted[c].append(deltas[own])
        for c in range(self.classes):
            x, y = np.concatenate(inputs[c]).astype(float), np.concatenate(wanted[c]).astype(float)
            if len(x):
                self.box_weight[c], self.box_bias[c] = ridge(x, y, self.ridge)

    # ---- parts of these

    def checked(self, images: Any, targets: Any, proposals: Any):
        """(image (1, 3, H, W), target, proposals with area (P, 4)), one after the other."""
        given = [self.floats(np.asarray(image)[None]) for image in images]
        truth: list[Target] = checked_targets("RCNN", targets, [(int(x.shape[2]), int(x.shape[3])) for x in given],
                                              0, self.classes)
        if len(proposals) != len(given):
            raise ValueError(f"RCNN: as many arrays of proposals as images, got {len(proposals)} and {len(given)}")
        for image, target, boxes in zip(given, truth, proposals):
            boxes = checked_proposals("RCNN", boxes)
            yield image, Target(target.boxes.astype(np.float32), target.labels), boxes[with_area(boxes)]

    def gathered(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """features() of boxes (P, 4) of one image, as arrays."""
        pooled, last = [np.zeros((0, POOLED), np.float32)], [np.zeros((0, FEATURES), np.float32)]
        with evaluating(self), no_grad():
            for start in range(0, len(boxes), AT_ONCE):
                found = self.features(self.crops(image, boxes[None, start:start + AT_ONCE]))
                pooled.append(found[0].data)
                last.append(found[1].data)
        return np.concatenate(pooled), np.concatenate(last)


def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """(weights (4, D), bias (4,)) that minimise |x w + b - y|^2 + strength |w|^2. There are fewer examples
    than features, so the system that is solved is of their products."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    dual = np.linalg.solve(centred @ centred.T + strength * np.eye(len(x)), y - mean_y)
    weight = (centred.T @ dual).T
    return weight, mean_y - weight @ mean_x


@network(image=(3, 480, 640))
def rcnn_alexnet(classes: int = VOC, **settings) -> RCNN:
    """The paper's, over the AlexNet of one column. settings: size, context, batch, low, near, ridge, penalty."""
    return RCNN(classes, **settings)
