"""Hugging Face folders of small Transformers, with words and numbers of config.json, of the index of
shards, of safetensors' headers and of tokenizer.json changed, files cut, swapped and left out.

A folder is refused by one sentence that names it, or gives a network that answers.
"""

from __future__ import annotations

import atexit
import io
import json
import random
import shutil
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np

import pyops
from pyops import models, no_grad
from pyops.files import safetensors

from .checkpoints import change_header, changed

REFUSED = (ValueError, FileNotFoundError)
FOLDER = Path(tempfile.mkdtemp(prefix="pyops-fuzz-"))  # of this hunt alone
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
SMALL = {"vocab_size": 17}
WIDE = {**SMALL, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "max_position_embeddings": 24}


def networks():
    pyops.manual_seed(0)
    gpt = {**SMALL, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 24}
    yield models.gpt2(**gpt)
    yield models.gpt3("small", **gpt, band=3)
    yield models.pythia("14m", **WIDE, rope_scaling={"rope_type": "yarn", "factor": 2.0})
    for head in (models.BertForPreTraining, models.BertForSequences):
        yield models.bert_base(head, **WIDE)
    yield models.distilbert(**SMALL, dim=8, n_layers=2, n_heads=2, hidden_dim=12, max_position_embeddings=24)
    yield models.t5_small(**SMALL, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2)


def split(folder: Path) -> None:
    """Two shards and their index in place of one file."""
    arrays, _ = safetensors.load(folder / "model.safetensors")
    names = sorted(arrays)
    places = {}
    for i, part in enumerate((names[::2], names[1::2])):
        shard = f"model-0000{i + 1}-of-00002.safetensors"
        safetensors.save(folder / shard, {k: arrays[k] for k in part}, {"format": "pt"})
        places |= dict.fromkeys(part, shard)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 1},
                                                                     "weight_map": places}))


def tokenizer() -> str | None:
    try:
        from tokenizers import Tokenizer, models as kinds, pre_tokenizers
    except ImportError:
        return None
    found = Tokenizer(kinds.BPE({"a": 0, "b": 1, "ab": 2, " ": 3}, [("a", "b")]))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    return found.to_str()


@lru_cache(1)
def bases() -> list[dict[str, bytes]]:
    """The files of each folder."""
    found, words = [], tokenizer()
    for i, model in enumerate(networks()):
        for shards in (False, True):
            folder = FOLDER / f"base{i}{shards}"
            models.save_transformer(model, folder)
            if shards:
                split(folder)
            if words:
                (folder / "tokenizer.json").write_text(words)
            found.append({p.name: p.read_bytes() for p in sorted(folder.iterdir())})
    return found


def collect() -> None:
    FOLDER.mkdir(exist_ok=True)
    bases()


def mutated(draw: random.Random, name: str, data: bytes) -> bytes:
    kind = draw.random()
    if name.endswith(".json") and kind < 0.85 and data:
        value = json.loads(data)
        for _ in range(draw.choice((1, 1, 2, 4))):
            changed(draw, value)
        return json.dumps(value).encode()
    if not data:
        return b"{}"
    if name.endswith(".safetensors") and kind < 0.6 and len(data) > 8:
        return change_header(draw, data)
    bytes_ = bytearray(data)
    for _ in range(draw.choice((1, 2, 8))):
        bytes_[draw.randrange(min(len(bytes_), draw.choice((64, 2000, 10**9))))] = draw.randrange(256)
    if draw.random() < 0.3:
        del bytes_[draw.randrange(len(bytes_)) :]
    return bytes(bytes_)


def make(seed: int) -> bytes:
    """The folder as a zip archive."""
    draw = random.Random(seed)
    files = dict(draw.choice(bases()))
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice(sorted(files) + ["config.json"] * 2)
        if name not in files:
            continue
        way = draw.random()
        if way < 0.06:
            del files[name]
        elif way < 0.14:
            files[name] = draw.choice(bases()).get(name, b"")
        else:
            files[name] = mutated(draw, name, files[name])
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in sorted(files.items()):
            file.writestr(zipfile.ZipInfo(name), data)
    return archive.getvalue()


def attempt(data: bytes) -> None:
    folder = FOLDER / "x"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        for name in file.namelist():
            (folder / Path(name).name).write_bytes(file.read(name))
    tokens(folder)
    try:
        model = models.load_transformer(folder)
    except REFUSED as why:
        assert str(folder) in str(why), f"the refusal does not name the folder: {why}"
        raise
    answers(model)


def tokens(folder: Path) -> None:
    """A tokenizer that was read takes a text apart, or says why not."""
    try:
        from pyops.text.tokenizer import read_tokenizer
        words = read_tokenizer(folder)
    except (ImportError, *REFUSED):
        return
    if all(isinstance(i, int) for i in words.encode("ab b").ids):
        words.decode([0, 1])


def answers(model) -> None:
    """The network has whole weights and gives scores of every token."""
    ids = np.array([[1, 0, 1]])
    arrays = model.state_dict()
    assert all(isinstance(a, np.ndarray) and a.dtype == np.float32 for a in arrays.values())
    with no_grad(), np.errstate(all="ignore"):
        found = model(ids, ids) if hasattr(model, "encode") else model(ids)
    found = found[0] if isinstance(found, tuple) else found
    assert found.shape[0] == 1 and found.shape[-1] > 0


def one(seed: int) -> None:
    attempt(make(seed))
