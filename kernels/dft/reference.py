"""Discrete Fourier transforms of frames in NumPy: the definition. Complex numbers are pairs along the
last axis."""
import numpy as np


def frames_of(x, taken, hop, frames):
    """(batch, frames, taken, parts): pieces of x (batch, values, parts), `hop` apart."""
    at = np.arange(frames)[:, None] * hop + np.arange(taken)
    return x[:, at]


def overlap_add(frames, window, *, hop):
    """(batch, frames, n) times the window, `hop` apart, added where they lie."""
    batch, count, n = frames.shape
    y = np.zeros((batch, n + hop * (count - 1)), frames.dtype)
    for f in range(count):
        y[:, f * hop:f * hop + n] += frames[:, f] * (1 if window is None else window)
    return y


def dft(x, window, *, n, taken, hop, frames, m, parts, inverse, scale):
    """y[k] = scale sum over j of window[j] x[j] e^(-+ 2 pi i j k / n) for k < m; parts 1: its real part."""
    z = frames_of(x, taken, hop, frames)
    z = z[..., 0] + (1j * z[..., 1] if x.shape[2] == 2 else 0)
    if window is not None:
        z = z * window
    y = (np.fft.ifft(z, n, -1) * n if inverse else np.fft.fft(z, n, -1))[..., :m] * scale
    return np.stack([y.real, y.imag][:parts], -1).astype(x.dtype)
