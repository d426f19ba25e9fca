"""Signals: Fourier transforms by the row of dft, windows and weights by NumPy."""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ...ops.dft import DFT
from .row import axis_of, dtype_of, op, rank

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


def signal_of(x):
    """A signal's last axis holds its real part, or that and the imaginary one."""
    if rank(x) < 2 or x.shape[-1] not in (1, 2):
        raise ValueError(
            "a signal's last axis holds its real part, or that and the imaginary one, got shape "
            f"{tuple(x.shape)}"
        )
    return x


@op("DFT")
def dft(call):
    """By F.dft: the length and the axis are known, the signal may be traced."""
    x, length = signal_of(call[0]), None if call[1] is None else call.number(1, "dft_length")
    axis = call.attr("axis", 1) if call.version < 20 else -2 if call[2] is None else call.number(2, "axis")
    axis, inverse, onesided = axis_of(axis, rank(x)), call.attr("inverse", 0), call.attr("onesided", 0)
    if axis == rank(x) - 1:
        raise ValueError("the last axis holds real and imaginary parts")
    whole = inverse and onesided
    length = length if length is not None else 2 * (x.shape[axis] - 1) if whole else x.shape[axis]
    if length < 1:
        raise ValueError(f"dft_length must be positive, got {length}")
    shape = call.room([length if i == axis else s for i, s in enumerate(x.shape)], np.complex128, copies=4)
    call.work(64 * int(np.prod(shape)))
    if whole and x.shape[-1] == 1:
        x = F.pad(x, (0, 1))
    if onesided and not inverse and x.shape[-1] == 2:   # of a complex signal the first half of all
        y = F.dft(x, length, axis)
        return F.getitem(y, (*[slice(None)] * axis, slice(0, length // 2 + 1)))
    return F.dft(x, length, axis, bool(inverse), bool(onesided))


@op("STFT")
def stft(call):
    """(batch, frames, frequencies, 2) of the signal's windows, each `step` behind the one
    before."""
    x, step, weights = call[0], call.number(1, "frame_step"), call[2]
    length = (
        weights.shape[0]
        if call[3] is None and weights is not None and rank(weights) == 1
        else None
        if call[3] is None
        else call.number(3, "frame_length")
    )
    if rank(x) == 2:
        x = F.unsqueeze(x, -1)
    if (
        rank(x) != 3
        or length is None
        or step < 1
        or not 1 <= length <= x.shape[1]
        or weights is not None
        and tuple(weights.shape) != (length,)
    ):
        raise ValueError(
            f"a signal of shape {tuple(x.shape)}, frames of {length}, {step} apart, a window of "
            f"{None if weights is None else tuple(weights.shape)}"
        )
    x, count = signal_of(x), (x.shape[1] - length) // step + 1
    call.room((x.shape[0], count, length, 2), np.complex128, copies=4)
    call.work(64 * x.shape[0] * count * length)
    half = call.attr("onesided", 1) and x.shape[2] == 1
    return DFT(
        x, weights, n=length, taken=length, hop=step, frames=count, m=length // 2 + 1 if half else length,
        parts=2, inverse=False, scale=1.0,
    )


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
