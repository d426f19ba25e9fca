"""Darknet's .weights files, read and written.

Three int32 say the version (major, minor, revision), then comes how many images were seen: 8 bytes
from version 0.2 on, 4 before. What follows is float32 numbers without names, layer by layer in the
order of the cfg: for a convolution its biases, with batch norm scales, means and variances, then
filters; for a linear layer biases, weights, scales, means, variances. Versions above 1000 mark
linear weights that are stored (inputs, outputs), as some early files have them.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...files.whole import writing
from .darknet_layers import Connected, Convolutional


class Header(NamedTuple):
    """version: (major, minor, revision). seen: images of the training so far. size: in bytes."""
    version: tuple[int, int, int]
    seen: int
    size: int

    @property
    def transposed(self) -> bool:
        return self.version[0] > 1000 or self.version[1] > 1000


def read_header(data: bytes | memoryview, source: str) -> Header:
    """ValueError where there is not even a header."""
    if len(data) < 12:
        raise ValueError(f"weights: {source}: {len(data)} bytes are too few for the header of a .weights file")
    major, minor, revision = (int(v) for v in np.frombuffer(data, "<i4", 3))
    wide = major * 10 + minor >= 2 and major < 1000 and minor < 1000
    size = 20 if wide else 16
    if len(data) < size or not (0 <= major <= 2000 and 0 <= minor <= 2000 and 0 <= revision <= 2000):
        raise ValueError(f"weights: {source}: no .weights file of Darknet: its version would be "
                         f"{major}.{minor}.{revision} in {len(data)} bytes")
    seen = int(np.frombuffer(data, "<i8" if wide else "<i4", 1, 12)[0])
    return Header((major, minor, revision), seen, size)


def stored(network: Any) -> list[tuple[str, Any, np.ndarray]]:
    """(name, layer, array) of every array of a network in the file's order."""
    return [(f"layer {number} ({type(layer).__name__.lower()})", layer, array)
            for number, layer in enumerate(network.layers) if hasattr(layer, "stored")
            for array in layer.stored()]


def load_weights(network: Any, path: str | Path, layers: int | None = None) -> Header:
    """Reads a .weights file into a network of darknet.py. layers: only so many of its first ones, as
    from a file that holds a trunk (darknet53.conv.74).

    FileNotFoundError; ValueError, with nothing changed, for a file that is too short or too long for
    the network, or that holds no finite numbers where a variance must be.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights: {path}: no such file")
    data = np.fromfile(path, np.uint8)
    header = read_header(memoryview(data), str(path))
    body = data[header.size:]
    count, rest = divmod(len(body), 4)
    wanted = stored(network)
    if layers is not None:
        kept = list(network.layers)[:layers]
        wanted = [w for w in wanted if any(w[1] is layer for layer in kept)]
    need = sum(array.size for *_, array in wanted)
    if rest or count != need:
        at = where_it_ends(wanted, count)
        raise ValueError(f"weights: {path}: {len(body)} bytes after the header where the network has "
                         f"{need} numbers ({4 * need} bytes): " + (
                             f"the file is too short, it ends in {at}" if count < need else
                             "the file is too long") + "; is it of another cfg?")
    numbers, start, values = body.view("<f4"), 0, []
    for name, layer, array in wanted:
        part = numbers[start:start + array.size]
        start += array.size
        variance = getattr(getattr(layer, "norm", None), "running_var", None)
        if array is variance and not (part >= 0).all():
            raise ValueError(f"weights: {path}: a variance of {name} is negative or no number; the file is "
                             "of another cfg or damaged")
        values.append(turned(part, layer, array, header.transposed))
    for (*_, array), value in zip(wanted, values):
        array[...] = value
    return header


def turned(part: np.ndarray, layer: Any, array: np.ndarray, transposed: bool) -> np.ndarray:
    """The file's numbers in the module's shape; matrices that lie the other way round turned."""
    matrix = (isinstance(layer, Connected) and transposed) or (isinstance(layer, Convolutional)
                                                               and layer.flipped)
    if matrix and array.ndim > 1:
        return part.reshape(-1, array.shape[0]).T.reshape(array.shape)
    return part.reshape(array.shape)


def where_it_ends(wanted: list[tuple[str, Any, np.ndarray]], count: int) -> str:
    for name, _, array in wanted:
        if count < array.size:
            return name
        count -= array.size
    return "nothing"


def save_weights(network: Any, path: str | Path, seen: int = 0, version: tuple[int, int, int] = (0, 2, 5),
                 layers: int | None = None) -> None:
    """Writes a network's numbers as a .weights file, whole or not at all. version: (0, 1, 0) is the
    form with 4 bytes for `seen`. layers: only so many of its first ones."""
    if len(version) != 3 or any(not 0 <= v <= 1000 for v in version):
        raise ValueError(f"save_weights: version must be three numbers of 0 to 1000, got {version}")
    wide = version[0] * 10 + version[1] >= 2
    if not 0 <= seen < 2 ** (63 if wide else 31):
        raise ValueError(f"save_weights: seen={seen} does not fit version {version}")
    kept = list(network.layers)[:layers]
    with writing(Path(path)) as file:
        file.write(np.array(version, "<i4").tobytes() + np.array(seen, "<i8" if wide else "<i4").tobytes())
        for _, layer, array in stored(network):
            if any(layer is k for k in kept):
                flipped = isinstance(layer, Convolutional) and layer.flipped and array.ndim > 1
                array = array.reshape(len(array), -1).T if flipped else array
                file.write(np.ascontiguousarray(array, "<f4").tobytes())
