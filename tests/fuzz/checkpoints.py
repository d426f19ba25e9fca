"""Checkpoints (safetensors), saved weights and .npz files, with their words, types,
shapes and bytes changed.

A file is refused by a ValueError and changes nothing, or is taken as a whole.
"""

from __future__ import annotations

import atexit
import copy
import json
import random
import shutil
import struct
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

import pyops
from pyops import nn
from pyops.files import bounded
from pyops.train import ArrayDataset, Split, Trainer, load_model

REFUSED = (ValueError,)
# of this hunt alone: a file that another one cuts short while it is mapped here is a death of its own
FOLDER = Path(tempfile.mkdtemp(prefix="pyops-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
WORDS = (0, 1, -1, 3, 2**31, 2**63, 2**64, 10**400, 1e300, -1.5, float("nan"), float("inf"), True, None, "",
         "x", [], {}, [1], "0.5", [[]])
TYPES = ("F32", "F64", "F16", "BF16", "I8", "U8", "I64", "BOOL", "C64", "F8_E4M3", "x")


def trainer() -> Trainer:
    pyops.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((16, 1, 4, 4)).astype(np.float32)
    data = ArrayDataset(images, np.arange(16) % 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    return Trainer(model, Split(data, data, "noise"), FOLDER, epochs=2, batch_size=8, seed=1,
                   draw_curve=False)


@lru_cache(1)
def bases() -> tuple[bytes, bytes, bytes]:
    """A checkpoint, a file of weights, and an .npz."""
    FOLDER.mkdir(exist_ok=True)
    trainer().fit()
    pyops.models.weights.save(pyops.create_model("lenet5_modern"), FOLDER / "w.safetensors")
    np.savez(FOLDER / "a.npz", a=np.arange(6.0), b=np.ones((2, 3), np.int64), c=np.float32(1))
    names = ("checkpoint.safetensors", "w.safetensors", "a.npz")
    return tuple((FOLDER / name).read_bytes() for name in names)


def prepare() -> None:
    bases()


def parts(value, path=()):
    """The path of everything in a JSON value but itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield (*path, key)
        yield from parts(inside, (*path, key))


def changed(draw: random.Random, value) -> None:
    """One part of a JSON value, changed in place."""
    paths = list(parts(value))
    if not paths:
        return
    *before, key = draw.choice(paths)
    for step in before:
        value = value[step]
    if draw.random() < 0.15:
        value.pop(key)
    elif draw.random() < 0.2 and isinstance(value[key], (int, float)) and not isinstance(value[key], bool):
        value[key] = draw.choice((value[key] + 1, -value[key], value[key] * 2))
    else:
        value[key] = copy.deepcopy(draw.choice(WORDS))  # which the next change may go into


def change_header(draw: random.Random, data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    for _ in range(draw.choice((1, 1, 2, 3))):
        words = header.get("__metadata__")
        words = words if isinstance(words, dict) else {}
        name = draw.choice(sorted(words)) if words and draw.random() < 0.7 else None
        if name is not None and str(words[name]).startswith("{"):
            told = json.loads(words[name])
            changed(draw, told)
            words[name] = json.dumps(told)
        elif name is not None:
            words[name] = draw.choice(("", "x", "[" * 5000, "{}", "0", "lenet5_modern", "resnet18", "keras"))
        elif draw.random() < 0.4:
            key = draw.choice(sorted(k for k in header if k != "__metadata__") or ["w"])
            header.setdefault(key, {"shape": [1], "data_offsets": [0, 4]})
            header[key] = ({**header[key], "dtype": draw.choice(TYPES)} if isinstance(header[key], dict)
                           else draw.choice(TYPES))
        else:
            changed(draw, header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def make(seed: int) -> bytes:
    draw = random.Random(seed)
    data = draw.choice(bases()[: 2 if draw.random() < 0.8 else 3])
    if data[:2] != b"PK" and draw.random() < 0.8:
        return change_header(draw, data)
    mutable = bytearray(data)
    for _ in range(draw.choice((1, 2, 8))):
        mutable[draw.randrange(min(len(mutable), draw.choice((64, 2000, 10**9))))] = draw.randrange(256)
    if draw.random() < 0.1:
        del mutable[draw.randrange(len(mutable)) :]
    return bytes(mutable)


def attempt(data: bytes) -> None:
    if data[:1] == b"P":
        path = FOLDER / "x.npz"
        path.write_bytes(data)
        bounded.npz(path)
        return
    path = FOLDER / "x.safetensors"
    path.write_bytes(data)
    training = trainer()
    before = {k: v.copy() for k, v in training.model.state_dict().items()}
    progress, groups = training.progress, [dict(g) for g in training.optimizer.param_groups]
    try:
        training.restore(path)
    except ValueError:
        same = all(np.array_equal(v, before[k], equal_nan=True)
                   for k, v in training.model.state_dict().items())
        assert same and training.progress is progress, "a refused checkpoint changed the training"
        assert ([dict(g) for g in training.optimizer.param_groups]
                == groups), "a refused checkpoint changed the optimiser"
    else:
        training.epochs = training.progress.epochs + 1 if training.progress.epochs < 5 else training.epochs
        training.optimizer.step()
        training.schedule.at(training.schedule.last_epoch)
    load_model(path)


def one(seed: int) -> None:
    attempt(make(seed))
