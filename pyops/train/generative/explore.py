"""What a network that makes images has learnt, as pictures: ways between codes, planes of codes, and
the nearest training images of what it makes."""
from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from .measures import nearest
from .pictures import draw_sheet


def interpolated(a: Any, b: Any, steps: int = 8) -> np.ndarray:
    """Codes (steps, D) from a to b, both (D,), along the great circle: means of normal codes would be
    shorter than any that were trained on. ValueError for fewer than two steps or different shapes."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape or steps < 2:
        raise ValueError(f"interpolated: two codes (D,) and at least 2 steps, got {a.shape}, {b.shape} and {steps}")
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    cosine = np.clip(a @ b / max(lengths[0] * lengths[1], 1e-12), -1, 1)
    angle, share = np.arccos(cosine), np.linspace(0, 1, steps)[:, None]
    if np.sin(angle) < 1e-6:
        return ((1 - share) * a + share * b).astype(np.float32)
    return ((np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)).astype(np.float32)


def draw_interpolations(path, model, rows: int = 8, steps: int = 10, rng: np.random.Generator | None = None) -> None:
    """A row of images for each of `rows` pairs of codes. Of a network with classes each row keeps its
    class."""
    latent = model.image[0] - model.classes
    labels = np.repeat(np.arange(rows) % model.classes, 2) if model.classes else None
    ends = model.codes(2 * rows, labels, rng)
    codes = [np.concatenate([interpolated(a[:latent], b[:latent], steps), np.tile(a[latent:], (steps, 1))], 1)
             for a, b in zip(ends[::2], ends[1::2])]
    draw_sheet(path, model.paint(np.concatenate(codes)), steps)


def draw_nearest(path, images: np.ndarray, training: np.ndarray, most: int = 24) -> np.ndarray:
    """Pairs, each a made image and the nearest training image behind it, six to a row. Their
    distances."""
    images = images[:most]
    at, away = nearest(images, training)
    draw_sheet(path, np.stack([images, training[at]], 1).reshape(-1, *images.shape[1:]), 12)
    return away


def plane(steps: int = 20) -> np.ndarray:
    """Codes (steps^2, 2) of the plane, at equal shares of a normal distribution, the second number
    falling row by row."""
    at = [NormalDist().inv_cdf((i + 0.5) / steps) for i in range(steps)]
    return np.array([(x, y) for y in at[::-1] for x in at], np.float32)


def draw_plane(path, model, images: np.ndarray, labels: np.ndarray, steps: int = 20) -> None:
    """The images of a plane of codes of a VAE with two numbers a code, and where images (N, C, H, W)
    lie in it, by label. ValueError for other networks."""
    from matplotlib.figure import Figure

    from ...core.tensor import Tensor, no_grad
    from ...models.generative.base import evaluating
    from .pictures import as_bytes
    if model.image != (2,):
        raise ValueError(f"draw_plane: codes must have two numbers, got {model.image}")
    _, height, width = model.pictures
    cells = as_bytes(model.paint(plane(steps))).reshape(steps, steps, height, width, 3)
    with evaluating(model), no_grad():
        codes = np.asarray(model.encode(Tensor(images))[0].data)
    figure = Figure(figsize=(15, 7.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(cells.transpose(0, 2, 1, 3, 4).reshape(steps * height, steps * width, 3))
    left.set_axis_off()
    left.set_title("images of the plane, at equal shares of a normal distribution")
    for label in np.unique(labels):
        of = codes[labels == label]
        right.scatter(of[:, 0], of[:, 1], s=14, color=f"C{int(label) % 10}", label=str(label))
    right.legend(fontsize=9, title="digit")
    right.set(xlabel="first number of a code", ylabel="second", title="where test images lie (their codes' means)")
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
