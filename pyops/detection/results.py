"""What a detector found in one image: boxes, scores and labels, to be cut, drawn and written as
COCO's rows."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Detections"]

# Colours of classes in turn, far apart in hue and dark enough for white letters.
PALETTE = ((214, 39, 40), (31, 119, 180), (44, 130, 44), (148, 103, 189), (190, 90, 10), (23, 140, 150),
           (200, 60, 150), (110, 110, 20), (90, 60, 50), (70, 70, 70))


@dataclass
class Detections:
    """boxes (n, 4) float32, corners (x1, y1, x2, y2) in pixels of the image; scores (n,) float32,
    the best first as detectors return them; labels (n,) int64, from 0; class_names: of the labels,
    or None.

    ValueError where lengths differ, or a label has no name.
    """
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        self.scores = np.asarray(self.scores, np.float32).reshape(-1)
        self.labels = np.asarray(self.labels, np.int64).reshape(-1)
        if not len(self.boxes) == len(self.scores) == len(self.labels):
            raise ValueError(f"Detections: as many scores and labels as boxes, got {len(self.boxes)} boxes, "
                             f"{len(self.scores)} scores and {len(self.labels)} labels")
        if self.class_names is not None:
            self.class_names = tuple(self.class_names)
            if len(self) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
                raise ValueError(f"Detections: labels must be 0 to {len(self.class_names) - 1}, as there are names, "
                                 f"got {self.labels.min()} to {self.labels.max()}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Detections:
        """Those that a mask, a slice, an index or several indices choose."""
        index = np.asarray([index]) if isinstance(index, (int, np.integer)) else index
        return Detections(self.boxes[index], self.scores[index], self.labels[index], self.class_names)

    def name(self, label: int) -> str:
        """What a class is called: its name, or its number where there are no names."""
        return str(label) if self.class_names is None else self.class_names[label]

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of COCO's results file: image_id, category_id, bbox (x, y, width, height), score.

        category_ids: those of the labels; None: the labels themselves.
        """
        rows = []
        for box, score, label in zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist()):
            x1, y1, x2, y2 = box
            rows.append({"image_id": image_id, "category_id": label if category_ids is None else category_ids[label],
                         "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score})
        return rows

    def draw(self, image: Any, width: int | None = None) -> Any:
        """The image, a PIL.Image, with a frame for each box and its name and score above it.

        image: what detect() takes: a path, a PIL.Image, or an array (3, H, W) or (H, W, 3). width:
        of the frames in pixels; None: by the image's size. ImportError without Pillow.
        """
        from PIL import Image, ImageDraw, ImageFont

        from .images import as_uint8
        canvas = Image.fromarray(as_uint8(image))
        pen = ImageDraw.Draw(canvas)
        width = width or max(1, round(min(canvas.size) / 200))
        font = ImageFont.load_default(max(10, min(canvas.size) / 30))
        for i in range(len(self) - 1, -1, -1):   # the best on top
            colour = PALETTE[int(self.labels[i]) % len(PALETTE)]
            x1, y1, x2, y2 = self.boxes[i].tolist()
            pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=colour, width=width)
            text = f"{self.name(int(self.labels[i]))} {self.scores[i]:.2f}"
            left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
            y = y1 - (bottom - top) - 4 if y1 >= bottom - top + 4 else y1
            pen.rectangle((x1, y, x1 + right - left + 4, y + bottom - top + 4), fill=colour)
            pen.text((x1 + 2 - left, y + 2 - top), text, fill="white", font=font)
        return canvas
