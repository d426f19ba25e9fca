"""What every detector has in common: one call from images to boxes, losses of a training step, and
detect() for images as they come."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import functional as F, nn
from ...core.backends import batch_invariant
from ...core.tensor import Tensor, no_grad
from ...detection.images import as_image
from ...detection.results import Detections
from ...graph.describe import evaluating
from ...ops.typed import as_type

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["Detector"]

AT_ONCE = 8   # images of one size that detect() runs as one batch
SETTINGS = ("score_threshold", "iou_threshold", "max_detections", "class_names")


class Detector(nn.Module):
    """A subclass defines forward(images) and losses(images, targets).

    forward does all of it: images (N, 3, H, W), float in 0..1 or uint8, are resized and normalised,
    and what the network says is decoded and suppressed. It returns exactly (boxes (N, M, 4) in
    pixels of the given images, scores (N, M), labels (N, M) int64, count (N,) int64); M is
    max_detections, the best come first, and what lies behind a sample's count is 0. So that
    pyops.compile(detector, images) is one Program from pixels to boxes.

    losses returns the parts of a training step's loss by name; their sum is what is minimised.
    targets: for each image {"boxes": (k, 4) in its pixels, "labels": (k,) from 0}.

    score_threshold: boxes must score above it. iou_threshold: of two boxes of a class that overlap
    by more, the better stays. max_detections: so many of an image at most. class_names: of the
    labels, or None. All four may be set at any time; a Program keeps those it was made with.
    `image`: a usual input (channels, height, width).
    """
    image: tuple[int, int, int] = (3, 480, 640)
    head_names: tuple[str, ...] = ()
    recipe: Recipe | None = None   # what create_model was asked for, so that a file of weights can say it

    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    max_detections: int = 100
    class_names: tuple[str, ...] | None = None

    def set_thresholds(self, score_threshold: float, iou_threshold: float, max_detections: int,
                       class_names: Sequence[str] | None = None) -> None:
        """The four settings, checked. ValueError for one that is out of range, TypeError for another type."""
        name = type(self).__name__
        if not all(isinstance(v, (int, float, np.number)) for v in (score_threshold, iou_threshold)):
            raise TypeError(f"{name}: score_threshold and iou_threshold must be numbers, got "
                            f"{score_threshold!r} and {iou_threshold!r}")
        one_by_one = isinstance(class_names, Iterable) and not isinstance(class_names, str)
        names = tuple(class_names) if one_by_one else None
        if class_names is not None and (names is None or not all(isinstance(one, str) for one in names)):
            raise TypeError(f"{name}: class_names must be a sequence of strings, one a label, got {class_names!r}")
        if not 0 <= score_threshold <= 1 or not 0 <= iou_threshold <= 1:
            raise ValueError(f"{name}: score_threshold and iou_threshold must be from 0 to 1, got "
                             f"{score_threshold} and {iou_threshold}")
        if isinstance(max_detections, bool) or not isinstance(max_detections, Integral) or max_detections < 1:
            raise ValueError(f"{name}: max_detections must be a positive int, got {max_detections!r}")
        self.score_threshold, self.iou_threshold = float(score_threshold), float(iou_threshold)
        self.max_detections = int(max_detections)
        self.class_names = names

    def current_settings(self) -> dict[str, Any]:
        """The four as they are now, for a file that says how to build the model again. Every
        subclass's constructor takes them."""
        return {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} defines no losses")

    def floats(self, images: Any) -> Any:
        """The images as floats in 0..1. ValueError for another shape, TypeError for another
        type."""
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or shape[2] < 1 or shape[3] < 1:
            raise ValueError(f"{type(self).__name__}: takes images (N, 3, H, W) of at least one pixel, got {shape}")
        if images.dtype == np.uint8:
            return F.mul(as_type(images, np.float32), np.float32(1 / 255))
        if images.dtype.kind != "f":
            raise TypeError(f"{type(self).__name__}: takes images of uint8 or floats, got {images.dtype}")
        return images

    def detect(self, images: Any, score: float | None = None, iou: float | None = None) -> list[Detections]:
        """What is in each of the images, which may differ in size: a list of Detections.

        images: a list of arrays (3, H, W), float in 0..1 or uint8, (H, W, 3) of uint8, PIL.Images or
        paths; or one such image. score, iou: thresholds for this call. Images of one size run as a
        batch, and no bit of an image's answer depends on the others. The model is run in evaluation mode.
        """
        if not isinstance(images, (list, tuple)):
            batch = not isinstance(images, (str, bytes)) and len(getattr(images, "shape", ())) == 4
            images = list(images) if batch else [images]
        names, classes = self.class_names, getattr(self, "classes", 0)
        if names is not None and len(names) < classes:
            raise ValueError(f"{type(self).__name__}: class_names are {len(names)}, and labels 0 to {classes - 1}")
        ready = [as_image(image) for image in images]
        groups: dict[Any, list[int]] = {}
        for i, image in enumerate(ready):
            groups.setdefault((image.shape, image.dtype), []).append(i)
        found: list[Detections | None] = [None] * len(ready)
        with self.thresholds(score, iou), evaluating(self), no_grad(), batch_invariant():
            for places in groups.values():
                for start in range(0, len(places), AT_ONCE):
                    chosen = places[start:start + AT_ONCE]
                    results = self(np.stack([ready[i] for i in chosen]))
                    for i, one in zip(chosen, self.cut(*results)):
                        found[i] = one
        return [one for one in found if one is not None]

    def cut(self, boxes: Any, scores: Any, labels: Any, count: Any) -> list[Detections]:
        """What forward, or a Program of it, returned, as a list of Detections."""
        arrays = [np.asarray(getattr(a, "data", a) if isinstance(a, Tensor) else a)
                  for a in (boxes, scores, labels, count)]
        return [Detections(b[:n], s[:n], c[:n], self.class_names) for b, s, c, n in zip(*arrays)]

    @contextmanager
    def thresholds(self, score: float | None, iou: float | None) -> Iterator[None]:
        """Other thresholds while the block runs; None: as they are."""
        before = self.score_threshold, self.iou_threshold
        try:
            self.set_thresholds(before[0] if score is None else score, before[1] if iou is None else iou,
                                self.max_detections, self.class_names)
            yield
        finally:
            self.score_threshold, self.iou_threshold = before


def counted_labels(labels: Any, count: Any, more: int) -> Any:
    """Labels (N, M) and so many more, zeros behind the count (N,)."""
    if not more:
        return labels
    n, room = map(int, labels.shape)
    return F.where(F.lt(np.arange(room)[None], F.reshape(count, (n, 1))), F.add(labels, more), np.int64(0))
