"""An image in a frame of another size: scaled to fit with its proportions kept, the rest grey; or
stretched. And boxes back to the image's pixels."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F

__all__ = ["Placement", "letterbox", "stretch"]


@dataclass(frozen=True)
class Placement:
    """Where images (height, width) lie in the frame: x in the frame is x * scale[0] + left."""
    height: int
    width: int
    scale: tuple[float, float]   # along x and along y
    left: int = 0
    top: int = 0

    def back(self, boxes: Any) -> Any:
        """Boxes (..., 4), corners in the frame, in the image's pixels; not clipped."""
        scale = np.array(self.scale * 2, np.float32)
        offset = np.array((self.left, self.top) * 2, np.float32)
        return boxes * (1 / scale) - offset / scale

    def there(self, boxes: Any) -> Any:
        """Boxes in the image's pixels as they lie in the frame."""
        return boxes * np.array(self.scale * 2, np.float32) + np.array((self.left, self.top) * 2, np.float32)

    def clip(self, boxes: Any) -> Any:
        """Boxes (..., 4) cut at the edges of the image."""
        return F.clamp(boxes, np.zeros(4, np.float32), np.array((self.width, self.height) * 2, np.float32))


def letterbox(images: Any, size: tuple[int, int], fill: float = 0.5,
              align_corners: bool = True) -> tuple[Any, Placement]:
    """Images (N, C, H, W) scaled bilinearly to fit into `size` (height, width), in the middle of
    `fill`; and where they lie.

    align_corners=True is how Darknet scales: corner pixels keep their centres.
    """
    height, width = images.shape[2:]
    by_width = size[1] * height <= size[0] * width
    new = ((max(size[1] * height // width, 1), size[1]) if by_width else
           (size[0], max(size[0] * width // height, 1)))
    top, left = (size[0] - new[0]) // 2, (size[1] - new[1]) // 2
    images = resized(images, new, align_corners)
    if new != tuple(size):
        images = F.pad(images, (left, size[1] - new[1] - left, top, size[0] - new[0] - top), value=fill)
    return images, Placement(height, width, (new[1] / width, new[0] / height), left, top)


def stretch(images: Any, size: tuple[int, int], align_corners: bool = True) -> tuple[Any, Placement]:
    """Images (N, C, H, W) scaled bilinearly to `size` (height, width), each axis by itself."""
    height, width = images.shape[2:]
    return (resized(images, size, align_corners),
            Placement(height, width, (size[1] / width, size[0] / height)))


def resized(images: Any, size: tuple[int, int], align_corners: bool) -> Any:
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=align_corners)
