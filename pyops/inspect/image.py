"""Images as ascent changes them: as Fourier coefficients and in colours that do not correlate, so
that a step moves all frequencies and colours alike. Olah et al., "Feature Visualization" (2017)."""
from __future__ import annotations

import numpy as np

from .. import nn

# The square root of the covariance of red, green and blue over ImageNet, its largest column of length 1,
# as the article's authors published it
COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])


def decorrelated(images: np.ndarray) -> np.ndarray:
    """(C, C): the square root of the covariance of the colours of images (N, C, H, W), its longest
    column of length 1: what `Parametrised` takes as `colours` for other images than photographs."""
    pixels = np.asarray(images, np.float64).transpose(1, 0, 2, 3).reshape(images.shape[1], -1)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(pixels)))
    return scaled(vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 1e-10)))


def scaled(colours: np.ndarray) -> np.ndarray:
    return colours / np.sqrt(np.square(colours).sum(0)).max()


class Parametrised:
    """Images (N, C, H, W) in 0 .. 1, made from `parameter`: by an inverse Fourier transform with
    frequency f weighted by 1 / f^decay (fourier), the mixing of `colours` (C, C), and a sigmoid.

    colours: None for the covariance of photographs where C is 3, else for none; False for none.
    They begin as faint noise of standard deviation `noise`.
    """

    def __init__(self, shape: tuple[int, int, int, int], *, fourier: bool = True, decay: float = 1.0,
                 colours: np.ndarray | bool | None = None, noise: float = 0.01, seed: int = 0):
        if len(shape) != 4 or any(not isinstance(n, (int, np.integer)) or n < 1 for n in shape):
            raise ValueError(f"Parametrised: the shape must be (N, C, H, W), got {shape}")
        self.shape, self.fourier = tuple(int(n) for n in shape), fourier
        count, channels, height, width = self.shape
        rng = np.random.default_rng(seed)
        if fourier:
            self.weight = frequency_weights(height, width, decay)
            drawn = rng.normal(0, noise, (2, count, channels, height, width // 2 + 1))
        else:
            drawn = rng.normal(0, noise, self.shape)
        self.parameter = nn.Parameter(drawn.astype(np.float32))
        self.colours = None
        if colours is None and channels == 3:
            self.colours = scaled(COLOURS)
        elif isinstance(colours, np.ndarray):
            if colours.shape != (channels, channels) or not np.isfinite(colours).all():
                raise ValueError(f"Parametrised: colours must be finite numbers ({channels}, {channels}), got "
                                 f"{colours.shape}")
            self.colours = colours

    def image(self) -> np.ndarray:
        """float32 (N, C, H, W)."""
        values = self.parameter.data
        if self.fourier:
            values = np.fft.irfft2((values[0] + 1j * values[1]) * self.weight, self.shape[2:])
        if self.colours is not None:
            values = np.einsum("dc,nchw->ndhw", self.colours, values)
        self.values = 1 / (1 + np.exp(-values))
        return self.values.astype(np.float32)

    def pull(self, gradient: np.ndarray) -> None:
        """Sets parameter.grad from the gradient for what image() returned last."""
        g = gradient * self.values * (1 - self.values)
        if self.colours is not None:
            g = np.einsum("dc,ndhw->nchw", self.colours, g)
        if self.fourier:
            height, width = self.shape[2:]
            # each coefficient stands for itself and its mirror, but those of the first and, where the
            # width is even, the last column
            twice = np.full(width // 2 + 1, 2.0)
            twice[0] = 1
            if width % 2 == 0:
                twice[-1] = 1
            spectrum = np.fft.rfft2(g) * (self.weight * twice / (height * width))
            g = np.stack([spectrum.real, spectrum.imag])
        self.parameter.grad = g.astype(np.float32)


def frequency_weights(height: int, width: int, decay: float) -> np.ndarray:
    """(H, W // 2 + 1): 1 / frequency^decay, the mean's as the lowest frequency's; in units in which
    white noise becomes an image of its own deviation or so."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    return np.sqrt(height * width) / np.maximum(frequency, 1 / max(height, width)) ** decay / 4
