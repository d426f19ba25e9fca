"""Augmentation in NumPy: more training images of the same classes, drawn anew in every epoch.

An augmentation is a callable (images, rng) -> images, for ArrayDataset(augment=...): uint8 (N, H,
W) or (N, H, W, C) in 0 .. 255, or float (N, C, H, W) of unit scale, returned in the same type and
shape. Each image draws for itself. MixUp mixes inputs and labels: it is for `mix`.
"""
from __future__ import annotations

import numpy as np

GREY = np.array([0.299, 0.587, 0.114], np.float32)   # ITU-R BT.601 luma


def axes_of(images: np.ndarray) -> tuple[int, int]:
    """The axes of height and width. ValueError for what is no batch of images."""
    if images.dtype == np.uint8 and images.ndim in (3, 4):
        return 1, 2
    if images.dtype.kind == "f" and images.ndim == 4:
        return 2, 3
    raise ValueError("augment: images must be uint8 (N, H, W) or (N, H, W, C), or float (N, C, H, W), got "
                     f"{images.dtype} {images.shape}")


def like(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Float pixels in the images' type, rounded and cut to 0 .. 255 where that is uint8."""
    return (np.clip(np.rint(values), 0, 255).astype(np.uint8) if images.dtype == np.uint8
            else values.astype(images.dtype))


def by_image(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(N,) shaped to multiply a batch."""
    return values.reshape(-1, *[1] * (images.ndim - 1)).astype(np.float32)


def require(name: str, rule: str, holds: bool, value) -> None:
    if not holds:
        raise ValueError(f"{name}: {rule}, got {value}")


class Compose:
    """One augmentation after another."""

    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, images, rng):
        for step in self.steps:
            images = step(images, rng)
        return images


class Flip:
    """Mirrors with probability p, left to right, or top to bottom if vertical."""

    def __init__(self, p: float = 0.5, vertical: bool = False):
        require("Flip", "p must be in [0, 1]", 0 <= p <= 1, p)
        self.p, self.vertical = p, vertical

    def __call__(self, images, rng):
        axis = axes_of(images)[0 if self.vertical else 1]
        chosen = rng.random(len(images)) < self.p
        result = images.copy()
        result[chosen] = np.flip(images[chosen], axis)
        return result


class Crop:
    """Moves each image by up to `padding` pixels along each axis: padded with `fill` (or mode
    "reflect") and cut to its size at random."""

    def __init__(self, padding: int, mode: str = "constant", fill: float = 0):
        require("Crop", "padding must be a non-negative int and mode constant or reflect",
                isinstance(padding, int) and padding >= 0 and mode in ("constant", "reflect"),
                (padding, mode))
        self.padding, self.mode, self.fill = padding, mode, fill

    def __call__(self, images, rng):
        rows, columns = axes_of(images)
        around = [(self.padding, self.padding) if axis in (rows, columns) else (0, 0)
                  for axis in range(images.ndim)]
        wide = np.pad(images, around, self.mode,
                      **({"constant_values": self.fill} if self.mode == "constant" else {}))
        windows = np.lib.stride_tricks.sliding_window_view(wide, (images.shape[rows], images.shape[columns]),
                                                           (rows, columns))
        top, left = rng.integers(0, 2 * self.padding + 1, (2, len(images)))
        # after the batch axis: positions instead of height and width, the window's two axes last
        first = np.moveaxis(windows, (rows, columns), (1, 2))[np.arange(len(images)), top, left]
        return np.ascontiguousarray(np.moveaxis(first, (-2, -1), (rows, columns)))


class Rotate:
    """Turns each image by up to `degrees` about its middle and scales it within `scale`, by
    bilinear interpolation; `fill` comes in."""

    def __init__(self, degrees: float, scale: tuple[float, float] = (1.0, 1.0), fill: float = 0):
        require("Rotate", "degrees must not be negative and scale 0 < low <= high",
                degrees >= 0 and 0 < scale[0] <= scale[1], (degrees, scale))
        self.degrees, self.scale, self.fill = degrees, scale, fill

    def __call__(self, images, rng):
        rows, columns = axes_of(images)
        height, width = images.shape[rows], images.shape[columns]
        angle, size = np.deg2rad(rng.uniform(-self.degrees, self.degrees,
                                             len(images))), rng.uniform(*self.scale, len(images))
        y, x = (g - (n - 1) / 2 for g, n in zip(np.mgrid[:height, :width], (height, width)))
        cos, sin = (v.reshape(-1, 1, 1) for v in (np.cos(angle) / size, np.sin(angle) / size))
        return self.sampled(images, cos * y - sin * x + (height - 1) / 2, sin * y + cos * x + (width - 1) / 2)

    def sampled(self, images, y, x):
        """Pixels at real positions y, x (N, H, W); beyond the edge there is fill."""
        rows, columns = axes_of(images)
        last = np.moveaxis(images, (rows, columns), (1, 2))
        wide = np.pad(last, [(0, 0), (1, 1), (1, 1), *[(0, 0)] * (last.ndim - 3)],
                      constant_values=self.fill).astype(np.float32)
        height, width = last.shape[1:3]
        y, x = np.clip(y + 1, 0, height + 1), np.clip(x + 1, 0, width + 1)
        top, left = np.minimum(y.astype(int), height), np.minimum(x.astype(int), width)
        more = [1] * (last.ndim - 3)
        down, right = ((v - low).astype(np.float32).reshape(*v.shape, *more)
                       for v, low in ((y, top), (x, left)))
        n = np.arange(len(images)).reshape(-1, 1, 1)
        upper = wide[n, top, left] * (1 - right) + wide[n, top, left + 1] * right
        lower = wide[n, top + 1, left] * (1 - right) + wide[n, top + 1, left + 1] * right
        return like(
            np.ascontiguousarray(np.moveaxis(upper * (1 - down) + lower * down, (1, 2), (rows, columns))),
            images)


class Colour:
    """Brightness, contrast and, of three channels, saturation, each times a factor
    within 1 - v .. 1 + v."""

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2):
        self.strengths = brightness, contrast, saturation
        require("Colour", "strengths must be in [0, 1]", all(0 <= v <= 1 for v in self.strengths),
                self.strengths)

    def __call__(self, images, rng):
        axes_of(images)
        channels = 1 if images.dtype.kind == "f" else images.ndim - 1
        light, contrast, saturation = (by_image(rng.uniform(1 - v, 1 + v, len(images)), images)
                                       for v in self.strengths)
        x = images.astype(np.float32) * light
        mean = x.mean(tuple(range(1, x.ndim)), keepdims=True)
        x = mean + (x - mean) * contrast
        if x.ndim == 4 and x.shape[channels] == 3:
            grey = np.expand_dims(np.tensordot(x, GREY, (channels, 0)), channels)
            x = grey + (x - grey) * saturation
        return like(x, images)


class Noise:
    """Adds a normal of deviation `deviation`, in units of the pixels' whole scale (255 for
    uint8, 1 for floats)."""

    def __init__(self, deviation: float = 0.05):
        require("Noise", "deviation must not be negative", deviation >= 0, deviation)
        self.deviation = deviation

    def __call__(self, images, rng):
        axes_of(images)
        scale = self.deviation * (255 if images.dtype == np.uint8 else 1)
        return like(images + rng.standard_normal(images.shape, np.float32) * np.float32(scale), images)


class Cutout:
    """Fills a square of side `size` around a random pixel, cut at the edges. DeVries & Taylor
    (2017)."""

    def __init__(self, size: int, fill: float = 0):
        require("Cutout", "size must be a positive int", isinstance(size, int) and size > 0, size)
        self.size, self.fill = size, fill

    def __call__(self, images, rng):
        rows, columns = axes_of(images)
        inside = []
        for axis in (rows, columns):
            begin = rng.integers(0, images.shape[axis], (len(images), 1)) - self.size // 2
            place = np.arange(images.shape[axis])
            inside.append((place >= begin) & (place < begin + self.size))
        hole = inside[0][:, :, None] & inside[1][:, None, :]
        shape = [n if axis in (0, rows, columns) else 1 for axis, n in enumerate(images.shape)]
        return np.where(hole.reshape(shape), images.dtype.type(self.fill), images)


class MixUp:
    """Each input is mixed with another of the batch, and so are their targets, by a share drawn
    from Beta(alpha, alpha). Zhang et al. (2018).

    (inputs (N, ...), labels (N,), rng) -> (inputs, class probabilities (N, classes)).
    """

    def __init__(self, classes: int, alpha: float = 0.2):
        require("MixUp", "classes must be at least 2 and alpha positive", classes >= 2 and alpha > 0,
                (classes, alpha))
        self.classes, self.alpha = classes, alpha

    def __call__(self, inputs, labels, rng):
        require("MixUp", f"labels must be 0 .. {self.classes - 1}",
                not len(labels) or 0 <= labels.min() <= labels.max() < self.classes, labels.max(initial=0))
        share, other = rng.beta(self.alpha, self.alpha, len(labels)), rng.permutation(len(labels))
        one_hot = np.eye(self.classes, dtype=inputs.dtype)[labels]
        own = share.reshape(-1, 1).astype(inputs.dtype)
        wide = own.reshape(-1, *[1] * (inputs.ndim - 1))
        return wide * inputs + (1 - wide) * inputs[other], own * one_hot + (1 - own) * one_hot[other]
