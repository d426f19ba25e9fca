"""Files of Keras' weights: such as Keras writes with a few things changed in the file's structure,
or with bytes of it changed.
"""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np

from pyops.models import keras_names

REFUSED = (ValueError,)
MEMORY = 6 << 30  # files may claim 4 GiB, which take no memory as long as nobody touches them
MOST_RESIDENT = 1 << 30
SECRET = b"not of this file"
FOLDER = Path(tempfile.mkdtemp(prefix="pyops-fuzz-"))  # of this hunt alone
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
OUTSIDE = FOLDER / "outside.h5"


def prepare() -> None:
    FOLDER.mkdir(exist_ok=True)
    with h5py.File(OUTSIDE, "w") as file:
        file["w"] = np.frombuffer(SECRET, np.uint8)
        file["g/vars/0"] = np.frombuffer(SECRET, np.uint8)
        file["g/vars"].attrs["name"] = "conv2d"


def plain(file, draw) -> None:
    if draw.random() < 0.5:
        for i in range(draw.randrange(1, 4)):
            group = file.create_group(f"layers/conv2d_{i}/vars")
            group.attrs["name"] = draw.choice(("conv2d", f"conv2d_{i}", "dense"))
            for k in range(draw.randrange(1, 3)):
                group[str(k)] = np.full((3, i + 1), k, "f4")
        return
    names = [f"l{i}" for i in range(draw.randrange(1, 4))]
    file.attrs["layer_names"] = [n.encode() for n in names]
    for name in names:
        group = file.create_group(name)
        group[f"{name}/kernel:0"] = np.ones((2, 3), "f4")
        group.attrs["weight_names"] = [f"{name}/kernel:0".encode()]


def links(file, draw, group, key) -> None:
    group[key] = draw.choice(
        (
            h5py.ExternalLink(str(OUTSIDE), draw.choice(("/w", "/g/vars/0", "/"))),
            h5py.SoftLink(draw.choice(("/w", "/", "/layers", "nowhere"))),
            file["/"],
        )
    )


def external(file, draw, group, key) -> None:
    group.create_dataset(
        key, (len(SECRET),), "u1", external=[(str(OUTSIDE), draw.choice((0, 800)), len(SECRET))]
    )


def virtual(file, draw, group, key) -> None:
    layout = h5py.VirtualLayout((len(SECRET),), "u1")
    layout[:] = h5py.VirtualSource(str(OUTSIDE), "w", (len(SECRET),))
    group.create_virtual_dataset(key, layout)


def claims(file, draw, group, key) -> None:
    shape = draw.choice(
        ((1 << 40,), (1 << 20, 1 << 12), (1 << 15, 1 << 14), (1 << 62, 4), (0, 5), (1 << 19, 1 << 10))
    )
    how = draw.choice(
        (
            {},
            {"compression": "gzip"},
            {"compression": "lzf", "shuffle": True},
            {"fletcher32": True},
            {"fillvalue": 3.0},
            {"scaleoffset": 2},
        )
    )
    data = group.create_dataset(key, shape, "f4", chunks=tuple(min(n, 1 << 10) or 1 for n in shape), **how)
    if draw.random() < 0.5 and data.size:
        data[(0,) * len(shape)] = 1


def types(file, draw, group, key) -> None:
    group.create_dataset(
        key,
        data=draw.choice(
            (
                ["a", "b"],
                np.zeros(3, "c16"),
                np.zeros(2, [("a", "f4")]),
                np.array([True]),
                np.float32(1),
                h5py.Empty("f4"),
                np.zeros((2, 2), "i1"),
                np.zeros(4, "f2"),
            )
        ),
    )


def attributes(file, draw, group, key) -> None:
    place = draw.choice((file, group))
    place.attrs[draw.choice(("layer_names", "weight_names", "name"))] = draw.choice(
        (3, np.ones(3), "abc", [b"a", b"/"], ["..", "."], h5py.Empty("S1"), b"\xff")
    )


def groups(file, draw, group, key) -> None:
    group.create_group(f"{key}/vars").attrs["name"] = "x"


def groups_in(file) -> list:
    found = [file]
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Group) else None)
    return found


CHANGES = (links, external, virtual, claims, types, attributes, groups)


def make(seed: int) -> bytes:
    draw = random.Random(seed)
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        plain(file, draw)
        for _ in range(draw.randrange(3)):
            group = draw.choice(groups_in(file))
            key = draw.choice((*group, "0", "1", "7", "vars", "kernel:0", "é"))
            try:
                if key in group:
                    del group[key]
                draw.choice(CHANGES)(file, draw, group, key)
            except (ValueError, OSError, TypeError, RuntimeError, KeyError, OverflowError):
                pass  # h5py does not write everything that HDF5 can hold
        file.flush()
        data = bytearray(file.id.get_file_image())
    if draw.random() < 0.4:
        heap = data.find(
            b"GCOL"
        )  # strings of no fixed length; HDF5 1.14 itself can be made to search a damaged heap for ever
        for _ in range(draw.choice((1, 2, 8))):
            at = draw.randrange(len(data))
            if not 0 <= heap <= at < heap + 4096:
                data[at] = draw.choice((0, 1, 255, 128, draw.randrange(256)))
    if draw.random() < 0.1:
        del data[draw.randrange(len(data)) :]
    return bytes(data)


def attempt(data: bytes) -> None:
    path = FOLDER / "a.weights.h5"
    path.write_bytes(data)
    before = resident()
    layers = keras_names.read(path)
    assert resident() - before < MOST_RESIDENT, (
        f"a file of {len(data)} bytes took {resident() - before} bytes"
    )
    for arrays in layers.values():
        for array in arrays:
            assert isinstance(array, (np.ndarray, np.generic)) and array.dtype.kind in "fiub", (
                f"{type(array)} of {getattr(array, 'dtype', None)}"
            )
            assert array.nbytes > 1000 or SECRET not in array.tobytes(), "another file was read"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def one(seed: int) -> None:
    attempt(make(seed))
