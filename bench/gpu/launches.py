"""What a row of the benchmark launches on an H200, found without one: it is run on a device that notes
its launches and does nothing."""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ... import functional
from ...core.backends import use_backend
from ...cuda import channels_last
from ...cuda.backend import DeviceKernels
from ...cuda.forms import NotingDevice
from ...kernels.convolution.channels_last import channels_last as last
from ..gpu_rows import Row
from .timing import using

H200 = ((9, 0), 132)
REALS = {"f32": "f32", "tf32": "f32", "3xtf32": "f32", "bf16": "bf16", "hopper": "bf16"}


@dataclass(frozen=True)
class Launch:
    file: str
    kernel: str
    real: str
    defines: tuple[tuple[str, object], ...]
    blocks: int
    bytes: int      # of its arrays, each once


class Device(NotingDevice):
    def __init__(self, real, found: list[Launch]):
        super().__init__(real, *H200, set())
        self.launches = found

    def launch(self, file, kernel, grid, block, args, shared=0, stream=None, **defines):
        if min(grid):
            arrays = {id(a): a.nbytes for a in args if isinstance(a, np.ndarray)}
            maps = sum(getattr(a, "nbytes_mapped", 0) for a in args)
            self.launches.append(Launch(file, kernel, self.real, tuple(sorted(defines.items())), math.prod(grid),
                                        sum(arrays.values()) + maps))

    def tensor_map(self, array, box):
        return Mapped(array)

    def im2col_map(self, array, *how):
        return Mapped(array)


class Mapped:
    def __init__(self, array):
        self.nbytes_mapped = array.nbytes


class Listing:
    """A backend that lists the launches of what is computed on it, in one type."""
    name, missing, sets = "listing", "", {}

    def __init__(self, real, found, channels_last: bool):
        self.kernels, self.last = DeviceKernels(Device(real, found)), channels_last
        self.direct = self.kernels   # rows that call kernels by their names

    def run(self, op, real, inputs, attrs, out=None):
        got = channels_last.forward(op, self.kernels, [self.put(a) for a in inputs], attrs, np.ascontiguousarray)
        return tuple(map(self.get, got)) if isinstance(got, tuple) else self.get(got)

    def put(self, array):
        if array is None or array.dtype.kind != "f":
            return array
        # only sizes count: memory of zeros that nobody reads is none
        zeros = np.zeros(array.shape, self.kernels.dtype)
        return last(self.kernels.device, zeros) if self.last and zeros.ndim == 4 else zeros

    def get(self, array):
        """In the type that the caller's arrays have, float32."""
        return np.zeros(array.shape, np.float32) if array.dtype == self.kernels.dtype else array


def launches(row: Row, precision: str) -> list[Launch]:
    """Of row.ours, all that comes before it left out."""
    found: list[Launch] = []
    backend = Listing(REALS[precision], found, row.channels_last)
    with using(precision), use_backend(backend), np.errstate(all="ignore"):
        arrays = row.ready_ours(functional, *(np.zeros(shape, np.float32) for shape in row.shapes))
        found.clear()
        row.ours(functional, *arrays)
    return found


def rows_and_precisions(rows: list[Row]) -> Iterator[tuple[Row, str]]:
    for row in rows:
        yield from ((row, precision) for precision in row.precisions)
        if row.hopper:
            yield row, "hopper"
