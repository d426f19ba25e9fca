"""Where an image may show objects, before anything is learnt: regions of one colour that grow together.
Uijlings, van de Sande, Gevers & Smeulders, "Selective Search for Object Recognition" (2013), with one
colour space.

The first regions are those of Felzenszwalb & Huttenlocher, "Efficient Graph-Based Image Segmentation"
(2004), by scikit-image. Then the two neighbours that are most alike become one, until one is left; the
box of every region that there ever was is a proposal.
"""
from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np

from .images import as_uint8

__all__ = ["selective_search"]

COLOURS, ORIENTATIONS, STRENGTHS = 25, 8, 10   # bins of the histograms, section 3.2


@dataclass
class Region:
    size: int
    box: np.ndarray       # x1, y1, x2, y2
    colour: np.ndarray    # a histogram of each channel, their sum 1
    texture: np.ndarray   # of gradients by channel, orientation and strength

    def merged(self, other: Region) -> Region:
        size = self.size + other.size
        box = np.concatenate([np.minimum(self.box[:2], other.box[:2]), np.maximum(self.box[2:], other.box[2:])])
        return Region(size, box, *((a * self.size + b * other.size) / size for a, b in (
            (self.colour, other.colour), (self.texture, other.texture))))

    def likeness(self, other: Region, pixels: int) -> float:
        """Equations 2 to 6: alike in colour and texture, small ones and those that fill each other
        first."""
        corner, end = np.minimum(self.box[:2], other.box[:2]), np.maximum(self.box[2:], other.box[2:])
        both = self.size + other.size
        return float(np.minimum(self.colour, other.colour).sum() + np.minimum(self.texture, other.texture).sum()
                     + (1 - both / pixels) + (1 - ((end - corner).prod() - both) / pixels))


def selective_search(image: Any, scale: float = 100.0, sigma: float = 0.8, min_size: int = 20) -> np.ndarray:
    """(P, 4) float32 boxes in pixels of an image, those that grew last first, each once.

    image: what detect() takes. scale: the larger, the larger the first regions; sigma: how much the
    image is smoothed for them; min_size: pixels of the smallest. ImportError without scikit-image.
    """
    pixels = as_uint8(image)
    labels = first_regions(pixels, scale, sigma, min_size)
    regions = described(pixels, labels)
    boxes = [region.box for region in grown(regions, neighbours(labels), labels.size)]
    order = np.array(boxes[::-1], np.float32).reshape(-1, 4)
    _, first = np.unique(order, axis=0, return_index=True)
    return order[np.sort(first)]


def first_regions(pixels: np.ndarray, scale: float, sigma: float, min_size: int) -> np.ndarray:
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise ImportError("selective_search needs scikit-image: pip install scikit-image") from error
    return np.asarray(felzenszwalb(pixels, scale=scale, sigma=sigma, min_size=min_size), np.int64)


def described(pixels: np.ndarray, labels: np.ndarray) -> dict[int, Region]:
    """The first regions, each with its histograms, by number."""
    count, flat = int(labels.max()) + 1, labels.reshape(-1)
    sizes = np.bincount(flat, minlength=count)
    levels = pixels.reshape(-1, 3).astype(np.int64) * COLOURS // 256
    colour = histograms(flat, count, list(levels.T), COLOURS)
    texture = histograms(flat, count, list(gradients(pixels)), ORIENTATIONS * STRENGTHS)
    y, x = np.indices(labels.shape)
    low, high = np.full((count, 2), np.iinfo(np.int64).max), np.zeros((count, 2), np.int64)
    for axis, at in enumerate((x.reshape(-1), y.reshape(-1))):
        np.minimum.at(low[:, axis], flat, at)
        np.maximum.at(high[:, axis], flat, at + 1)
    return {i: Region(int(sizes[i]), np.concatenate([low[i], high[i]]), colour[i], texture[i])
            for i in range(count) if sizes[i]}


def histograms(flat: np.ndarray, count: int, bins: list[np.ndarray], most: int) -> np.ndarray:
    """(regions, channels x most), the sum of a region's 1."""
    parts = [np.bincount(flat * most + b, minlength=count * most).reshape(count, most) for b in bins]
    every = np.concatenate(parts, 1).astype(np.float64)
    return every / np.maximum(every.sum(1, keepdims=True), 1)


def gradients(pixels: np.ndarray):
    """Of each channel a bin a pixel: the orientation of its gradient, and how strong it is."""
    for c in range(3):
        down, across = np.gradient(pixels[..., c].astype(np.float64)) if min(pixels.shape[:2]) > 1 else (
            np.zeros(pixels.shape[:2]),) * 2
        angle = (np.arctan2(down, across) / (2 * np.pi) * ORIENTATIONS).astype(np.int64) % ORIENTATIONS
        strength = np.minimum(np.hypot(down, across) * STRENGTHS / 256, STRENGTHS - 1).astype(np.int64)
        yield (angle * STRENGTHS + strength).reshape(-1)


def neighbours(labels: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of regions that touch along an edge."""
    pairs = np.concatenate([np.stack([labels[:, :-1], labels[:, 1:]], -1).reshape(-1, 2),
                            np.stack([labels[:-1], labels[1:]], -1).reshape(-1, 2)])
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], 1)
    return {(int(a), int(b)) for a, b in np.unique(pairs, axis=0)}


def grown(regions: dict[int, Region], touching: set[tuple[int, int]], pixels: int) -> list[Region]:
    """Algorithm 1: all regions, in the order in which they came about."""
    found, beside = list(regions.values()), {number: set() for number in regions}
    for a, b in touching:
        beside[a].add(b)
        beside[b].add(a)
    queue = [(-regions[a].likeness(regions[b], pixels), a, b) for a, b in sorted(touching)]
    heapq.heapify(queue)
    alive, number = dict(regions), max(regions, default=-1) + 1
    while queue:
        _, a, b = heapq.heappop(queue)
        if a not in alive or b not in alive:
            continue
        alive[number] = alive.pop(a).merged(alive.pop(b))
        found.append(alive[number])
        around = (beside.pop(a) | beside.pop(b)) - {a, b}
        beside[number] = {n for n in around if n in alive}
        for n in sorted(beside[number]):
            beside[n].add(number)
            heapq.heappush(queue, (-alive[n].likeness(alive[number], pixels), n, number))
        number += 1
    return found
