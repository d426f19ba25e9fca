"""pytorch_model.bin of a Hugging Face folder, as torch writes it now and wrote it before 1.6: bytes changed,
files cut, pickles and tensors changed within a sound archive, tensors of every kind, and pickles that
want to run something.

A folder is refused by one sentence that names it, or gives a network that answers; nothing is run.
"""

from __future__ import annotations

import io
import random
import shutil
import struct
import zipfile
from functools import lru_cache

import torch

import pyops
from pyops import models

from .folders import FOLDER as PLACE, SMALL, answers

REFUSED = (ValueError, FileNotFoundError)
FOLDER = PLACE / "torch"
MEMORY = 4 << 30
RAN = FOLDER / "ran"   # a file that no reading may make


class Runs:
    """What runs a command when a pickle is read without care."""

    def __reduce__(self):
        return open, (str(RAN), "w")


def saved(state, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@lru_cache(1)
def bases() -> tuple[bytes, dict[str, torch.Tensor]]:
    """config.json, and the arrays of its network."""
    pyops.manual_seed(0)
    model = models.gpt2(**SMALL, n_embd=8, n_layer=2, n_head=2, n_positions=24)
    folder = FOLDER / "base"
    models.save_transformer(model, folder)
    arrays = {k: torch.from_numpy(v.copy()) for k, v in model.state_dict().items()}
    return (folder / "config.json").read_bytes(), arrays


def collect() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    bases()


def prepare() -> None:
    """A forked child has none of torch's threads, and would wait for them."""
    torch.set_num_threads(1)


def other(draw: random.Random, tensor: torch.Tensor):
    """Something else in a tensor's place."""
    return draw.choice((
        lambda: tensor.double(), lambda: tensor.half(), lambda: tensor.bfloat16(), lambda: tensor.to(torch.complex64),
        lambda: tensor.to_sparse(), lambda: tensor.to("meta"), lambda: tensor.int(), lambda: tensor > 0,
        lambda: tensor[..., :-1], lambda: tensor.new_zeros(1).expand(1 << 12, 1 << 12), lambda: tensor.tolist(),
        lambda: None, lambda: "x", lambda: torch.nn.Parameter(tensor), lambda: tensor.requires_grad_(),
        lambda: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), lambda: Runs(), lambda: {"a": tensor},
        lambda: tensor.mT if tensor.ndim == 2 else tensor, lambda: tensor * float("nan"), lambda: tensor.conj(),
    ))()


def content(draw: random.Random):
    """What is saved: mostly a state_dict with something changed."""
    state = {k: v.clone() for k, v in bases()[1].items()}
    way = draw.random()
    if way < 0.4:
        return state
    if way < 0.5:
        return draw.choice(([state], torch.nn.Linear(2, 2), Runs(), {}, None, {"state_dict": state}, {1: state},
                            {"state_dict": {"model": state}}, list(state.values())))
    for _ in range(draw.choice((1, 1, 3))):
        name = draw.choice(sorted(state))
        found = state.pop(name)
        if draw.random() < 0.8:
            state[name if draw.random() < 0.8 else f"module.{name}"] = other(draw, found) if isinstance(
                found, torch.Tensor) else found
    return state


def rewritten(draw: random.Random, data: bytes) -> bytes:
    """A sound archive of changed files."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = draw.choice([*(n for n in names if n.endswith("data.pkl")) , *names])
        for name in names:
            held = old.read(name)
            if name == chosen:
                way = draw.random()
                if way < 0.1:
                    continue
                held = changed(draw, held) if way < 0.8 else held[:draw.randrange(len(held) + 1)]
                name = name if way < 0.95 else draw.choice(("../x", name.upper(), "archive/data.pkl"))
            new.writestr(zipfile.ZipInfo(name), held)
    return out.getvalue()


def changed(draw: random.Random, data: bytes) -> bytes:
    """Some bytes, or a number of 32 or 64 bits, replaced."""
    held = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8)) if held else 0):
        at = draw.randrange(len(held))
        number = draw.choice((b"", struct.pack("<I", draw.choice((0, 1 << 31, (1 << 32) - 1))), struct.pack("<q", -1),
                              struct.pack("<Q", 1 << draw.randrange(64))))
        held[at:at + max(1, len(number))] = number or bytes([draw.randrange(256)])
    return bytes(held)


def make(seed: int) -> bytes:
    draw = random.Random(seed)
    zipped = draw.random() < 0.7
    data = saved(content(draw), zipped)
    way = draw.random()
    if way < 0.35:
        return data
    if way < 0.7 and zipped:
        return rewritten(draw, data)
    return changed(draw, data) if way < 0.9 else data[:draw.randrange(len(data))]


def attempt(data: bytes) -> None:
    folder = FOLDER / "x"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(bases()[0])
    (folder / "pytorch_model.bin").write_bytes(data)
    try:
        model = models.load_transformer(folder)
    except REFUSED as why:
        assert str(folder) in str(why), f"the refusal does not name the folder: {why}"
        raise
    finally:
        assert not RAN.exists(), "reading a file ran what it holds"
    answers(model)


def one(seed: int) -> None:
    attempt(make(seed))
