"""Files of arrays, whose sizes are held against the file's before memory is taken for them: a
header may claim anything.
"""

from __future__ import annotations

import errno
import io
import math
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from . import mapped

MOST_HEADER = 1 << 17  # bytes of an .npy file's header and more; its length has 16 bits
RATIO, FREE = 100, 64 << 20  # what is compressed may grow a hundredfold, and to this much in any case


# The header that NumPy writes, as a version, its length and a dict, which NumPy parses as Python: a
# tenth of a millisecond an array.
USUAL = re.compile(rb"\x93NUMPY\x01\x00(..)\{'descr': '([<|][fiub][1248])', 'fortran_order': (True|False), "
                   rb"'shape': \(((?:|\d{1,18},|\d{1,18}(?:, \d{1,18}){1,63}))\), \} *\n", re.DOTALL)
TYPES = {code.encode(): np.dtype(code)   # by these names, as C has two of 64 bits and kernels take one at once
         for code in "|b1 |i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8 <f2 <f4 <f8".split()}


def most(held: int) -> int:
    """Bytes that a compressed file of `held` bytes is trusted with."""
    return RATIO * held + FREE


def npz(file, in_place: bool = False) -> dict[str, np.ndarray]:
    """The arrays of an .npz, by name. file: a path, or a file opened for reading bytes. in_place: the
    larger ones lie in a map of the file (mapped.py) that its path names, where it can be mapped; they
    are not read, so that no checksum is held against them.

    ValueError for what is no such file, holds anything but plain numbers, or claims more than
    `most` bytes; OSError where it cannot be read.
    """
    path = None if hasattr(file, "read") else Path(file)
    try:
        with zipfile.ZipFile(file if path is None else path) as archive:
            members = archive.infolist()
            held, claimed = sum(m.compress_size for m in members), sum(m.file_size for m in members)
            if claimed > most(held):
                raise ValueError(
                    f"its members claim {claimed} bytes, more than a file of {held} bytes is trusted with"
                )
            there = mapped.members(path, archive) if in_place and path is not None else {}
            return {m.filename.removesuffix(".npy"): npy(
                there[m.filename] if m.filename in there else archive.read(m), m.filename) for m in members}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OverflowError,
    ) as why:  # damaged, encrypted
        raise ValueError(f"not an .npz file, or a damaged one: {why}") from why
    except OSError as why:
        if why.errno != errno.EINVAL:  # a member that begins before the file does
            raise
        raise ValueError(f"not an .npz file, or a damaged one: {why}") from why


def npy(content: bytes | memoryview, name: str) -> np.ndarray:
    """The array of an .npy file's bytes. ValueError where the header does not fit what follows."""
    usual = USUAL.match(content)
    if usual and usual[2] in TYPES and int.from_bytes(usual[1], "little") == usual.end() - 10:
        shape = tuple(int(n) for n in usual[4].split(b",") if n.strip())
        return body_of(content, usual.end(), name, shape, usual[3] == b"True", TYPES[usual[2]])
    stream = io.BytesIO(content[:MOST_HEADER])
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"{name} is of version {version} of NumPy's format")
    shape, fortran, dtype = read_header(stream)
    if dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {dtype}; numbers are read")
    return body_of(content, stream.tell(), name, shape, fortran, dtype)


def body_of(content: bytes | memoryview, first: int, name: str, shape: tuple[int, ...], fortran: bool,
            dtype: np.dtype) -> np.ndarray:
    body = memoryview(content)[first:]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{name} of shape {shape} and {dtype} needs {math.prod(shape) * dtype.itemsize} "
                         f"bytes, it has {len(body)}")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")
