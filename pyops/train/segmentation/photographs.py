"""Photographs that scikit-image ships, with masks: Greek coins, and tissue under the microscope.

Their masks are made by classical means, not drawn by hand: coins by a watershed between dark ground
and bright relief, tissue by how much of each stain a pixel holds, by Otsu's thresholds. Needs
scikit-image.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .augment import Brightness, Compose, Flip
from .dataset import MaskSample, collated

CLASSES = {"coins": ("ground", "coin"), "tissue": ("ground", "nucleus", "stained")}
PARTS = {"train": (0, 0.7), "test": (0.7, 1)}   # of a photograph's height


@cache
def photograph(name: str) -> MaskSample:
    """The whole photograph and its mask. ImportError without scikit-image."""
    from scipy.ndimage import binary_fill_holes, label
    from skimage import color, data, filters, segmentation
    if name == "coins":
        grey = data.coins()
        seeds = np.where(grey < 30, 1, np.where(grey > 150, 2, 0))
        coins = binary_fill_holes(segmentation.watershed(filters.sobel(grey), seeds) == 2)
        parts = label(coins)[0]
        coins &= (np.bincount(parts.ravel()) > 300)[parts]   # pixels: smaller ones are specks
        return MaskSample(np.repeat(grey[..., None], 3, -1), coins.astype(np.uint8))
    image, mask = data.immunohistochemistry(), None
    for number, stain in ((1, 0), (2, 2)):                   # haematoxylin, then DAB, which covers it
        amount = filters.gaussian(color.rgb2hed(image)[..., stain], 1.5)
        mask = np.where(amount > filters.threshold_otsu(amount), number, 0 if mask is None else mask)
    return MaskSample(image, mask.astype(np.uint8))


class PhotographMasks:
    """`count` crops of `side` pixels of the photograph `name`, "coins" or "tissue", as a dataset of
    masks. part: "train", of its upper 70 %, or "test", of the rest. fresh: in training crops are drawn
    anew, flipped and brightened; else number i is always the same."""

    def __init__(self, name: str, count: int, part: str = "train", side: int = 64, seed: int = 0, fresh: bool = False,
                 augment: Callable | None = None):
        if name not in CLASSES or part not in PARTS:
            raise ValueError(f"PhotographMasks: name must be {' or '.join(CLASSES)}, and part train or test, got "
                             f"{name!r} and {part!r}")
        whole = photograph(name)
        height = len(whole.mask)
        rows = slice(*(int(share * height) for share in PARTS[part]))
        self.whole = MaskSample(whole.image[rows], whole.mask[rows])
        most = min(self.whole.mask.shape)
        for what, value, limit in (("count", count, None), ("side", side, most)):
            if not hasattr(value, "__index__") or value < 1 or (limit is not None and value > limit):
                raise ValueError(f"PhotographMasks: {what} must be a positive int"
                                 + (f" up to {limit}, got {value!r}" if limit else f", got {value!r}"))
        self.name, self.part, self.count, self.side, self.seed, self.fresh = name, part, count, side, seed, fresh
        self.classes = CLASSES[name]
        self.augment = augment or Compose(Flip(vertical=name == "tissue"), Brightness())

    def __len__(self):
        return self.count

    def __repr__(self):
        return (f"PhotographMasks({self.name!r}, {self.count}, {self.part!r}, side={self.side}, seed={self.seed}"
                f"{', fresh' if self.fresh else ''})")

    def sample(self, index: int) -> MaskSample:
        if not 0 <= index < self.count:
            raise IndexError(f"PhotographMasks: there are {self.count}, got number {index}")
        return self._cut(np.random.default_rng([self.seed, self.part == "test", index]))

    def _cut(self, rng: np.random.Generator) -> MaskSample:
        height, width = self.whole.mask.shape
        top, left = int(rng.integers(height - self.side + 1)), int(rng.integers(width - self.side + 1))
        window = slice(top, top + self.side), slice(left, left + self.side)
        return MaskSample(self.whole.image[window], self.whole.mask[window])

    def take(self, indices, rng: np.random.Generator | None = None):
        """(images float32 (n, 3, side, side) in 0 .. 1, masks int64 (n, side, side))."""
        if rng is not None and self.fresh:
            return collated([self.augment(self._cut(rng), rng) for _ in indices])
        return collated([self.sample(int(i)) for i in indices])
