"""The IDX format of MNIST: http://yann.lecun.com/exdb/mnist.

Two zero bytes, a byte for the element type, a byte for the number of axes, each axis as a
big-endian 32-bit count, the elements in C order and big-endian.
"""
from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 20


def read_idx(path) -> np.ndarray:
    """The array in an IDX file, plain or gzipped (whatever its name), in native byte order.

    Raises ValueError naming the file where it is no IDX file, ends early or goes on too long;
    OSError where it cannot be read.
    """
    path = Path(path)
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    with (gzip.open if zipped else open)(path, "rb") as file:
        try:
            return _parse(file, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as why:
            raise ValueError(f"{path}: the gzip stream is damaged or truncated: {why}") from why


def _parse(file, path):
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        raise ValueError(f"{path}: not an IDX file: starts with {magic.hex(' ') or 'nothing'}, expected 00 "
                         f"00, a type ({', '.join(f'{t:02x}' for t in TYPES)}) and a number of axes")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError(
            f"{path}: truncated: the header names {magic[3]} axes and ends after {len(sizes)} bytes")
    shape = tuple(int.from_bytes(sizes[i:i + 4], "big") for i in range(0, len(sizes), 4))
    dtype = np.dtype(TYPES[magic[2]])
    wanted = math.prod(shape) * dtype.itemsize
    data = _read_up_to(file, wanted + 1)   # one more, to see what goes on too long
    if len(data) != wanted:
        found = f"there are {len(data)}" if len(data) < wanted else "there are more"
        raise ValueError(f"{path}: {'truncated' if len(data) < wanted else 'damaged'}: shape {shape} of "
                         f"{dtype.name} needs {wanted} bytes, {found}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_up_to(file, count):
    """At most `count` bytes; in pieces, because a damaged header may ask for more
    than there is memory."""
    data = bytearray()
    while len(data) < count and (piece := file.read(min(CHUNK, count - len(data)))):
        data += piece
    return data
