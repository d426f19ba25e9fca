"""Signals: Fourier transforms and windows, by NumPy."""

from __future__ import annotations

import numpy as np

from .row import axis_of, dtype_of, known, op

WINDOWS = {
    "HannWindow": (0.5, 0.5, 0.0),
    "HammingWindow": (25 / 46, 21 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}


@op(*WINDOWS, keeps=True)
def window(call):
    """a - b cos(2 pi n / N) + c cos(4 pi n / N), n from 0 to size - 1, N the size, or one less
    where it is not periodic.
    """
    size, (a, b, c) = call.number(0, "the size"), WINDOWS[call.node.op]
    dtype = dtype_of(call.attr("output_datatype", 1))
    call.room((size,), np.float64, copies=4)
    angle = 2 * np.pi * np.arange(size) / max(size if call.attr("periodic", 1) else size - 1, 1)
    return (a - b * np.cos(angle) + c * np.cos(2 * angle)).astype(dtype)


def complex_of(x):
    """(..., 1) real or (..., 2) real and imaginary parts, as complex numbers."""
    if x.ndim < 2 or x.shape[-1] not in (1, 2):
        raise ValueError(
            f"a signal's last axis holds its real part, or that and the imaginary one, got shape {x.shape}"
        )
    return x[..., 0] if x.shape[-1] == 1 else x[..., 0] + 1j * x[..., 1]


def parts_of(z, dtype):
    return np.stack([z.real, z.imag], -1).astype(dtype)


@op("DFT")
def dft(call):
    x, length = known(call[0], "the signal"), None if call[1] is None else call.number(1, "dft_length")
    axis = call.attr("axis", 1) if call.version < 20 else -2 if call[2] is None else call.number(2, "axis")
    axis, inverse, onesided = axis_of(axis, x.ndim), call.attr("inverse", 0), call.attr("onesided", 0)
    if axis == x.ndim - 1:
        raise ValueError("the last axis holds real and imaginary parts")
    z = complex_of(x)
    length = (
        length if length is not None else 2 * (x.shape[axis] - 1) if inverse and onesided else x.shape[axis]
    )
    if length < 1:
        raise ValueError(f"dft_length must be positive, got {length}")
    shape = call.room([length if i == axis else s for i, s in enumerate(x.shape)], np.complex128, copies=4)
    call.work(64 * int(np.prod(shape)))
    if inverse and onesided:
        return np.fft.irfft(z, length, axis)[..., None].astype(x.dtype)
    if inverse:
        return parts_of(np.fft.ifft(z, length, axis), x.dtype)
    y = np.fft.fft(z, length, axis)
    return parts_of(np.take(y, range(length // 2 + 1), axis) if onesided else y, x.dtype)


@op("STFT")
def stft(call):
    """(batch, frames, frequencies, 2) of the signal's windows, each `step` behind the one
    before."""
    x, step = known(call[0], "the signal"), call.number(1, "frame_step")
    weights = None if call[2] is None else known(call[2], "the window")
    length = (
        len(weights)
        if call[3] is None and weights is not None and weights.ndim == 1
        else None
        if call[3] is None
        else call.number(3, "frame_length")
    )
    if x.ndim == 2:
        x = x[..., None]
    if (
        x.ndim != 3
        or length is None
        or step < 1
        or not 1 <= length <= x.shape[1]
        or weights is not None
        and weights.shape != (length,)
    ):
        raise ValueError(
            f"a signal of shape {x.shape}, frames of {length}, {step} apart, a window of "
            f"{None if weights is None else weights.shape}"
        )
    count = (x.shape[1] - length) // step + 1
    call.room((x.shape[0], count, length, 2), np.complex128, copies=4)
    call.work(64 * x.shape[0] * count * length)
    z = complex_of(x)
    frames = np.stack([z[:, i * step : i * step + length] for i in range(count)], 1) * (
        1 if weights is None else weights
    )
    y = np.fft.fft(frames, axis=-1)
    return parts_of(y[..., : length // 2 + 1] if call.attr("onesided", 1) and x.shape[2] == 1 else y, x.dtype)


@op("MelWeightMatrix", keeps=True)
def mel_weights(call):
    """(dft_length // 2 + 1, num_mel_bins): triangles between frequencies that are equally apart in
    mel, as onnx's text rounds them.
    """
    bins, length, rate, low, high = (
        call.number(i, n)
        for i, n in enumerate(("num_mel_bins", "dft_length", "sample_rate", "lower", "upper"))
    )
    if not (0 < bins and 0 < length and 0 < rate and 0 <= low < high <= rate / 2 and length < 1 << 31):
        raise ValueError(
            f"num_mel_bins {bins}, dft_length {length}, sample_rate {rate}, edges {low} to {high}"
        )
    shape = call.room((length // 2 + 1, bins), np.float64, copies=6)
    mel_low, mel_high = (2595 * np.log10(1 + f / 700) for f in (low, high))
    mels = mel_low + np.arange(bins + 2) * (mel_high - mel_low) / (bins + 2)
    at = ((length + 1) * 700 * (10 ** (mels / 2595) - 1) // rate).astype(int)
    left, centre, right, row = at[:-2], at[1:-1], at[2:], np.arange(shape[0])[:, None]
    up = np.where(
        centre == left,
        row == centre,
        np.where((row >= left) & (row <= centre), (row - left) / np.maximum(centre - left, 1), 0),
    )
    down = np.where((row >= centre) & (row < right), (right - row) / np.maximum(right - centre, 1), 0)
    weights = np.where((row >= centre) & (row < right), down, up)
    return weights.astype(dtype_of(call.attr("output_datatype", 1)))
