"""Layers on bytes: what their nodes compute with (passes/bytes_products.py makes them,
lowering/on_bytes.py their kernel calls, kernels/quantised/ has the kernels)."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .shared import once
from .whole import whole_numbers

# Products of a uint8 and an int8, or a number of 9 bits, that an int32 can sum, with room for a bias.
MOST_PRODUCTS, MOST_OF_OFFSET = 60_000, 30_000
LEAST_BYTE = 128   # a byte of -128 .. 127 is kept as one of 0 .. 255


class Result(NamedTuple):
    """How a result is kept as bytes: rounded(v / scale) + zero, between least and most."""
    scale: float
    zero: float
    least: float
    most: float


@dataclass
class Layer:
    """A convolution or linear layer: total = start + sum (x - zero) (weight + offset) as int32, then
    total factor (times a number of the run, the node's third input) + shift."""
    weight: np.ndarray      # int8, (filters, channels, r, s)
    offset: np.ndarray | None   # int32, a number a filter, where a weight is no int8
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


class Table(NamedTuple):
    """What each byte becomes: 256 bytes, or real numbers."""
    of: np.ndarray


class Weights(NamedTuple):
    """weight = (whole + offset) scale: whole of int8, an offset of int32 and a float64 scale a
    filter."""
    whole: np.ndarray
    offset: np.ndarray | None
    scale: np.ndarray


class Limits(NamedTuple):
    """Of bytes that real numbers are made."""
    least: float
    most: float


@once
def as_bytes(weight: np.ndarray) -> Weights | None:
    """The whole numbers that a weight is made of; None where there are none.

    A quantised weight that was made floats shows what it was made of: some whole number below 256
    stands for the largest value of a filter, and with the right one all others are whole, too.
    """
    rows = weight.reshape(len(weight), -1)
    if not rows.size or not np.isfinite(rows).all():
        return None
    if np.abs(rows).max() < 256 and whole_numbers(weight):
        scale = np.ones(len(rows))
    else:
        scale = steps_of(rows)
        if scale is None:
            return None
    whole = np.rint(rows / scale[:, None]).astype(np.int32)
    low, high = whole.min(1), whole.max(1)
    offset = np.where((low < -128) | (high > 127), low + 128, 0).astype(np.int32)
    if (high - low > 255).any():
        return None
    whole = (whole - offset[:, None]).astype(np.int8).reshape(weight.shape)
    return Weights(whole, offset if offset.any() else None, scale)


def steps_of(rows: np.ndarray) -> np.ndarray | None:
    """A number for each row that its values are whole multiples of, below 256 in size."""
    greatest = np.maximum(rows.max(1), -rows.min(1)).astype(np.float64)
    scale = np.where(greatest == 0, 1.0, 0.0)   # of zeros alone, any
    for peak in (np.full(len(rows), greatest.max()), greatest):   # one scale for all, or a filter's own
        for most in (127, 128, *range(126, 0, -1), *range(255, 128, -1)):
            left = np.flatnonzero(scale == 0)
            step = peak[left] / most
            fits = are_multiples(rows[left, :32], step)
            left, step = left[fits], step[fits]
            fits = are_multiples(rows[left], step)
            scale[left[fits]] = step[fits]
            if scale.all():
                return scale
    return None


def are_multiples(rows: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Of each row, whether all values are whole numbers below 256 times its step, but for roundings of
    float32."""
    whole = np.rint(rows / step[:, None])
    near = np.abs(whole * step[:, None] - rows) <= np.abs(rows) * 2.0**-22
    fits: np.ndarray = (near & (np.abs(whole) < 256)).all(1)
    return fits
