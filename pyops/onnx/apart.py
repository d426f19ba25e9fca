"""The larger weights of an ONNX file are left where they are until each is looked at.

The parser would hold the file, its own copy of each weight, and the array at once. So the file's
structure is walked first (protobuf's wire format: a field is a number, a kind and a value), and what
is parsed has these weights as ONNX's external data, which lie in the very same file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from onnx import TensorProto

from ..files.watched import Map

LARGE = 1 << 16  # bytes
GRAPH, INITIALIZER = 7, 5  # of a model, of a graph
DIMS, DATA_TYPE, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 9, 13, 14  # of a tensor
PLAIN = {TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2, TensorProto.INT64: 8,
         TensorProto.INT32: 4, TensorProto.INT8: 1, TensorProto.UINT8: 1}  # bytes of a value
Field = tuple[int, int, int, int, int]  # number, kind, where it begins, its value begins, and ends


class Odd(Exception):
    """The file is not as expected; the parser is to say why."""


class Cut(Exception):
    """The file became shorter while it was read."""


def parseable(path: Path) -> bytes:
    """The file's bytes, or those of the same model with its larger weights as external data. OSError; Cut."""
    size = path.stat().st_size
    if size < 2 * LARGE:
        return path.read_bytes()
    with open(path, "rb") as file, Map(file, mmap.ACCESS_READ) as whole:
        try:
            found = b"".join(model(whole, path.resolve().name))
        except (Odd, IndexError):
            found = whole[:]
        if whole.watch.cut:
            raise Cut
        return found


def model(whole: mmap.mmap, name: str) -> Iterator[bytes]:
    for number, kind, first, value, end in fields(whole, 0, len(whole)):
        if number == GRAPH and kind == 2:
            yield from message(GRAPH, graph(whole, value, end, name))
        else:
            yield whole[first:end]


def graph(whole: mmap.mmap, at: int, stop: int, name: str) -> Iterator[bytes]:
    begin = at
    for number, kind, first, value, end in fields(whole, at, stop):
        if number == INITIALIZER and kind == 2 and end - value >= LARGE:
            yield whole[begin:first]
            yield from message(INITIALIZER, tensor(whole, value, end, name))
            begin = end
    yield whole[begin:stop]


def tensor(whole: mmap.mmap, at: int, stop: int, name: str) -> Iterator[bytes]:
    """The tensor without its values, if these are its one large field and as many as its shape says."""
    found = list(fields(whole, at, stop))
    raw = [f for f in found if f[0] == RAW_DATA and f[1] == 2]
    kinds = [varint(whole, f[3])[0] for f in found if f[0] == DATA_TYPE and f[1] == 0]
    if len(raw) != 1 or len(kinds) != 1 or any(f[0] in (EXTERNAL_DATA, DATA_LOCATION) for f in found):
        yield whole[at:stop]
        return
    _, _, _, value, end = raw[0]
    count = 1
    for number, kind, _, first, last in found:
        if number == DIMS:
            for n in [varint(whole, first)[0]] if kind == 0 else packed(whole, first, last):
                count *= n
    if end - value < LARGE or count * PLAIN.get(kinds[0], 0) != end - value:
        yield whole[at:stop]
        return
    for field in found:
        if field is not raw[0]:
            yield whole[field[2]:field[4]]
    for key, said in (("location", name), ("offset", str(value)), ("length", str(end - value))):
        yield from message(EXTERNAL_DATA, [*message(1, [key.encode()]), *message(2, [said.encode()])])
    yield written(DATA_LOCATION << 3) + written(TensorProto.EXTERNAL)


def fields(whole: mmap.mmap, at: int, stop: int) -> Iterator[Field]:
    while at < stop:
        first = at
        tag, at = (whole[at], at + 1) if whole[at] < 128 else varint(whole, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, end = at, varint(whole, at)[1]
        elif kind in (1, 5):
            value, end = at, at + (8 if kind == 1 else 4)
        elif kind == 2:
            length, value = varint(whole, at)
            end = value + length
        else:
            raise Odd(f"fields of kind {kind}")
        if end > stop:
            raise Odd("a field that is longer than what it is in")
        yield number, kind, first, value, end
        at = end


def packed(whole: mmap.mmap, at: int, stop: int) -> Iterator[int]:
    while at < stop:
        n, at = varint(whole, at)
        yield n


def varint(whole: mmap.mmap, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    found = shift = 0
    while shift < 70:
        byte = whole[at]
        found |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return found, at
        shift += 7
    raise Odd("a number of more than 64 bits")


def written(n: int) -> bytes:
    found = bytearray()
    while n > 127:
        found.append(n & 127 | 128)
        n >>= 7
    found.append(n)
    return bytes(found)


def message(number: int, parts) -> list[bytes]:
    """The parts as one field with a length."""
    parts = list(parts)
    return [written(number << 3 | 2) + written(sum(map(len, parts))), *parts]
