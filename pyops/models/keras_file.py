"""What an .h5 file that Keras wrote holds, layer by layer, as arrays; never another file's
contents, and no more than it can hold.

HDF5 lets a file name others: by external and symbolic links, by datasets whose bytes lie elsewhere,
by virtual datasets put together from other files. Keras writes none of these, and refuses them
since CVE-2026-1669. A filter that HDF5 does not have itself would be loaded from a folder as
machine code. A compressed or never written dataset may claim any size: what is written is counted
against the file's size, what is not is left as untouched zeros, which take no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..files.bounded import most

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # those that come with h5py
INSIDE = "only arrays in the file itself are read"
CLAIMS = 4 << 30  # bytes that a file may claim without having written them


def layers(path: Path) -> list[tuple[str, list[np.ndarray]]]:
    """(name, arrays) of each layer. Reads Keras 3's .weights.h5 and the .h5 of earlier versions.
    ValueError for a file that is no such thing.
    """
    try:
        import h5py
    except ImportError as why:
        raise ImportError(f"weights: {path}: reading an .h5 file needs h5py") from why
    try:
        with h5py.File(path, "r") as file:
            reader = Reader(h5py, path)
            root = reader.find(file, "model_weights") if "model_weights" in file else file
            return list((reader.by_attribute if "layer_names" in root.attrs else reader.by_variables)(root))
    except (
        OSError,
        KeyError,
        TypeError,
        RuntimeError,
        UnicodeDecodeError,
        AttributeError,
        OverflowError,
    ) as why:  # h5py's of damaged files
        raise ValueError(f"weights: {path}: not an .h5 file of weights, or a damaged one: {why}") from why


class Reader:
    """Reads the arrays of one file, and counts what they take."""

    def __init__(self, h5py, path: Path):
        self.h5py, self.path = h5py, path
        self.left = most(path.stat().st_size)
        self.unwritten = CLAIMS

    def by_attribute(self, root) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Earlier versions: the names are an attribute, each a group, whose attribute has the names
        of the arrays.
        """
        for name in map(text, np.atleast_1d(root.attrs["layer_names"])):
            group = self.find(root, name)
            yield name, [self.array(group, text(n)) for n in np.atleast_1d(group.attrs["weight_names"])]

    def by_variables(self, root) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Keras 3: groups are called by the layer's kind and a number; the arrays are in `vars`, of
        which an attribute has the layer's name.
        """
        for group in self.groups(root):
            if group.name.rsplit("/", 1)[-1] == "vars" and "name" in group.attrs:
                if not all(key.isdecimal() for key in group):
                    held = ", ".join(list(group)[:6])
                    raise self.refusal(group, f"should hold arrays called 0, 1, ..., it holds {held}")
                yield text(group.attrs["name"]), [self.array(group, key) for key in sorted(group, key=int)]

    def groups(self, root) -> list:
        """The groups below `root`, each once, whatever circle links make."""
        seen, found, waiting = set(), [], [root]
        while waiting:
            group = waiting.pop()
            place = self.h5py.h5o.get_info(group.id)
            if (place.fileno, place.addr) in seen:
                continue
            seen.add((place.fileno, place.addr))
            found.append(group)
            inside = [self.find(group, key) for key in group]
            waiting += [item for item in reversed(inside) if isinstance(item, self.h5py.Group)]
        return found

    def find(self, group, name: str):
        """What lies at `name`, a path, below `group`; every part of it must be in this file."""
        for part in filter(None, name.split("/")):
            if not isinstance(group, self.h5py.Group):
                raise KeyError(f"{name!r} leads through an array")
            link = group.get(part, getlink=True)
            if not isinstance(link, self.h5py.HardLink):
                where = getattr(link, "filename", "") or getattr(link, "path", "nowhere")
                raise self.refusal(group, f"has {part!r} as a link to {where!r}; {INSIDE}")
            group = group[part]
        return group

    def array(self, group, name: str) -> np.ndarray:
        data = self.find(group, name)
        if not isinstance(data, self.h5py.Dataset) or data.shape is None:
            raise self.refusal(data, "is no array")
        if data.external or data.is_virtual:
            raise self.refusal(data, f"has its numbers in other files; {INSIDE}")
        if data.dtype.kind not in "fiub":
            raise self.refusal(data, f"is of type {data.dtype}; weights are numbers")
        told = data.id.get_create_plist()
        filters = [told.get_filter(i)[0] for i in range(told.get_nfilters())]
        if unknown := [f for f in filters if f not in FILTERS]:
            known = ", ".join(FILTERS.values())
            raise self.refusal(data, f"is packed by HDF5's filter {unknown[0]}; {known} are read")
        size = math.prod(data.shape) * data.dtype.itemsize
        sparse = data.fillvalue == 0 and written_bytes(data, size) < size / 2
        written = written_bytes(data, size) if sparse else size
        self.unwritten -= size - written
        self.left -= written
        if self.left < 0 or self.unwritten < 0:
            held = self.path.stat().st_size
            raise self.refusal(data, f"claims {size} bytes, more than a file of {held} bytes is trusted with")
        return chunk_by_chunk(data) if sparse else data[()]

    def refusal(self, item, why: str) -> ValueError:
        return ValueError(f"weights: {self.path}: {item.name} {why}")


def written_bytes(data, size: int) -> int:
    """Bytes of the array that were written, compressed or not, not left at the fill value."""
    if data.chunks:
        return min(size, data.id.get_num_chunks() * math.prod(data.chunks) * data.dtype.itemsize)
    return size if data.id.get_storage_size() else 0


def chunk_by_chunk(data) -> np.ndarray:
    """The array, of which only those parts take memory that were written."""
    array = np.zeros(data.shape, data.dtype)
    for i in range(data.id.get_num_chunks() if data.chunks else 0):
        first = data.id.get_chunk_info(i).chunk_offset
        part = tuple(slice(at, at + n) for at, n in zip(first, data.chunks))
        array[part] = data[part]
    return array


def text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
