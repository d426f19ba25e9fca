"""Layers on bytes: what their nodes compute with (passes/bytes_products.py makes them,
lowering/on_bytes.py their kernel calls, kernels/quantised/ has the kernels)."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .shared import once
from .whole import whole_numbers

# Products of a uint8 and an int8 that an int32 can sum, with room for a bias.
MOST_PRODUCTS = 60_000
LEAST_BYTE = 128   # a byte of -128 .. 127 is kept as one of 0 .. 255


class Result(NamedTuple):
    """How a result is kept as bytes: rounded(v / scale) + zero, between least and most."""
    scale: float
    zero: float
    least: float
    most: float


@dataclass
class Layer:
    """A convolution or linear layer: total = start + sum (x - zero) weight as int32, then
    total factor (times a number of the run, the node's third input) + shift."""
    weight: np.ndarray      # int8, (filters, channels, r, s)
    start: np.ndarray       # int32, a number a filter, as are
    factor: np.ndarray      # float64
    shift: np.ndarray | None
    macs: int
    result: Result | None = None   # None: real numbers

    def times(self, numbers: np.ndarray) -> None:
        self.factor = self.factor * numbers
        self.shift = None if self.shift is None else self.shift * numbers

    def plus(self, numbers: np.ndarray) -> None:
        self.shift = numbers if self.shift is None else self.shift + numbers

    def kept_as(self, result: Result) -> Layer:
        """The same with its result as bytes: numbers are those of bytes."""
        return replace(self, factor=self.factor / result.scale,
                       shift=None if self.shift is None else self.shift / result.scale, result=result)


class Sum(NamedTuple):
    """(a - zero_a) scale_a + (b - zero_b) scale_b."""
    scale_a: float
    zero_a: float
    scale_b: float
    zero_b: float
    result: Result


class Limits(NamedTuple):
    """Of bytes that real numbers are made."""
    least: float
    most: float


@once
def as_bytes(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(whole, scale) with weight = whole scale, whole of int8 and a float64 scale a filter; None
    where there are none.

    A quantised weight that was made floats shows what it was made of: some whole number up to 128
    stands for the largest value of a filter, and with the right one all others are whole, too.
    """
    rows = weight.reshape(len(weight), -1)
    if not rows.size or not np.isfinite(rows).all():
        return None
    low, high = rows.min(), rows.max()
    if -128 <= low and high <= 127 and whole_numbers(weight):
        return weight.astype(np.int8), np.ones(len(weight))
    scale = np.zeros(len(rows))
    for peak in (np.full(len(rows), max(-low, high)), np.maximum(rows.max(1), -rows.min(1)).astype(np.float64)):
        scale[peak == 0] = 1   # of zeros alone
        for most in (127, 128, *range(126, 0, -1)):
            left = np.flatnonzero(scale == 0)
            if not left.size:
                break
            step = peak[left].astype(np.float64) / most
            fits = are_multiples(rows[left, :32], step)
            left, step = left[fits], step[fits]
            fits = are_multiples(rows[left], step)
            scale[left[fits]] = step[fits]
            if not fits.size and peak[0] == peak[-1] == peak.max() and most < 120:
                break   # one scale for all is that of the largest value
    if not scale.all():
        return None
    whole = np.rint(rows / scale[:, None])
    return whole.astype(np.int8).reshape(weight.shape), scale


def are_multiples(rows: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Of each row, whether all values are whole numbers of int8 times its step, but for roundings of
    float32."""
    whole = np.rint(rows / step[:, None])
    near = np.abs(whole * step[:, None] - rows) <= np.abs(rows) * 2.0**-22
    fits: np.ndarray = (near & (whole <= 127) & (whole >= -128)).all(1)
    return fits
