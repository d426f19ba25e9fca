"""Arrays in an .npz file, written so that they can be used where they lie in it: stored as they are,
each beginning at a multiple of 64 bytes.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .watched import Map

ALIGNED = 64  # NumPy's own headers are a multiple of it
LOCAL = struct.Struct("<4s5H3I2H")  # of a zip's member, in front of its name
PADDING, NOTHING = 0x7064, struct.calcsize("<HH")  # an extra field that readers pass over
LARGE = 1 << 16  # bytes of a member that is worth mapping


def save(out: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """What np.savez writes, with room in front of each array so that it is aligned. out: a file opened
    for writing; aligned where it says how far it is.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            member.file_size = array.nbytes + 128  # beyond which sizes have 64 bits
            large = member.file_size * 1.05 > zipfile.ZIP64_LIMIT
            try:
                at = out.tell() + LOCAL.size + len(member.filename) + (20 if large else 0)
                member.extra = struct.pack("<HH", PADDING, room := -(at + NOTHING) % ALIGNED) + bytes(room)
            except OSError:  # a pipe
                pass
            with archive.open(member, "w", force_zip64=large) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def members(path: Path, archive: zipfile.ZipFile) -> dict[str, memoryview]:
    """The bytes of the larger members that are stored as they are, by name, in a map of the file: they
    are read when they are looked at. What is odd is left out.
    """
    wanted = [m for m in archive.infolist() if m.compress_type == zipfile.ZIP_STORED and m.file_size >= LARGE
              and m.file_size == m.compress_size and not m.flag_bits & 1]
    if not wanted:
        return {}
    with open(path, "rb") as file:
        whole = memoryview(Map(file, mmap.ACCESS_READ))
    found = {}
    for member in wanted:
        at = member.header_offset
        if 0 <= at and at + LOCAL.size <= len(whole):
            signature, *_, name, extra = LOCAL.unpack_from(whole, at)
            first = at + LOCAL.size + name + extra
            named = bytes(whole[at + LOCAL.size : at + LOCAL.size + name])
            if (signature == b"PK\x03\x04" and named == member.filename.encode()
                    and first + member.file_size <= len(whole)):
                found[member.filename] = whole[first : first + member.file_size]
    return found
