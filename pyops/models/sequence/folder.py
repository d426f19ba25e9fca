"""Folders as Hugging Face's transformers writes them: config.json beside model.safetensors, shards
with an index, or pytorch_model.bin (read as plain tensors only).

A family says its names once: what files of the bare trunk leave out, what older files hold besides,
what shares another's array.
"""
from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...files import safetensors, whole
from ...nn import init
from ..weights import read_torch, shortened

__all__ = ["load_transformer", "save_transformer"]

FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
         "pytorch_model.bin.index.json")


class Names(NamedTuple):
    """prefix: of the trunk, absent in files of the trunk alone. skip: patterns of arrays that are no
    weights. tied: our name -> the name of the array that it shares. rename: (pattern, replacement),
    older names. fresh: patterns of the trunk's arrays that files of some heads lack, and that are
    drawn with a fresh head then."""
    prefix: str = ""
    skip: tuple[str, ...] = ()
    tied: Mapping[str, str] = {}
    rename: tuple[tuple[str, str], ...] = ()
    fresh: tuple[str, ...] = ()


@dataclass
class FamilyEntry:
    """configuration: its class. architectures: config.json's names -> what makes the model."""
    configuration: Any
    architectures: dict[str, Callable[..., Any]]
    names: Names = field(default_factory=Names)


FAMILIES: dict[str, FamilyEntry] = {}


def family(configuration: Any, architectures: dict[str, Callable[..., Any]], names: Names) -> None:
    """Makes a family's folders readable, by its model_type."""
    FAMILIES[configuration.model_type] = FamilyEntry(configuration, architectures, names)


def load_transformer(folder, architecture: str | None = None, fresh_head: bool = False) -> Any:
    """The model of a folder, in evaluation mode.

    folder: with config.json and the weights; bfloat16 and float16 become float32. architecture: one
    of the family's names at transformers ("GPT2LMHeadModel"), by default what config.json says.
    fresh_head: only the trunk is read and the head drawn anew, for fine-tuning.
    Arrays must be the model's, one by one: ValueError with a report of those missing, unexpected
    and of another shape, for another family, for settings that we have not and for damaged files;
    FileNotFoundError. Nothing is half-loaded.
    """
    folder = Path(folder)
    found = read_json(folder / "config.json")
    kind = found.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(f"{folder}: config.json is of model_type {kind!r}; families that can be read are "
                         f"{', '.join(sorted(FAMILIES))}")
    entry = FAMILIES[kind]
    given = found.get("architectures")
    name = architecture or (given[0] if isinstance(given, list) and given else next(iter(entry.architectures)))
    if not isinstance(name, str) or name not in entry.architectures:
        raise ValueError(f"{folder}: there is no architecture {name!r} of {kind}; there are "
                         f"{', '.join(entry.architectures)}")
    try:
        config = entry.configuration.from_json(found)
        state = read_arrays(folder)
        config.check_against(sum(a.size for a in state.values()), len(state))
        with contextlib.nullcontext() if fresh_head else init.skip_draws():
            model = entry.architectures[name](config)
    except MemoryError as why:
        raise ValueError(f"{folder}: the sizes of config.json are beyond the memory: {why}") from why
    except (TypeError, ValueError) as why:
        raise ValueError(f"{folder}: {why}") from why
    load_arrays(model, state, entry.names, folder, fresh_head)
    model.architecture = name
    return model.eval()


def save_transformer(model, folder) -> None:
    """Writes config.json and model.safetensors, which transformers' from_pretrained reads."""
    folder = Path(folder)
    entry = FAMILIES.get(getattr(getattr(model, "config", None), "model_type", ""))
    if entry is None:
        raise ValueError(f"save_transformer: {type(model).__name__} is of no family that folders hold; there are "
                         f"{', '.join(sorted(FAMILIES))}")
    architecture = getattr(model, "architecture", None) or next(
        name for name, make in entry.architectures.items() if make is type(model))
    state = model.state_dict()
    arrays = {k: v for k, v in state.items()
              if not (k in entry.names.tied and state[entry.names.tied[k]] is v)}
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.save(folder / "model.safetensors", arrays, {"format": "pt"})
    text = json.dumps(model.config.to_json() | {"architectures": [architecture]}, indent=2, sort_keys=True)
    with whole.writing(folder / "config.json") as file:
        file.write((text + "\n").encode())


def load_arrays(model, state: Mapping[str, np.ndarray], names: Names, where, trunk_only: bool = False) -> None:
    """All of `state` into the model under the model's names, or nothing. ValueError with a
    report."""
    own = model.state_dict()
    given = renamed(state, names, own)
    if trunk_only:
        given = {k: v for k, v in given.items() if k.startswith(names.prefix)}
        given = {k: v for k, v in own.items() if k not in names.tied and (
            not k.startswith(names.prefix) or any(re.fullmatch(pattern, k) for pattern in names.fresh))} | given
    for name, source in names.tied.items():
        if name not in own:
            continue
        found = given.get(name, given.get(source))
        if found is not None:
            given.setdefault(name, found)
            given.setdefault(source, found)
            if own[name] is own[source] and not np.array_equal(given[name], given[source]):
                raise ValueError(f"{where}: {name} differs from {source}, whose array it shares by config.json")
    try:
        adopt(model, given)
    except ValueError as why:
        matched = sum(k in own and own[k].shape == v.shape for k, v in given.items())
        raise ValueError(f"{where} does not fit {type(model).__name__}: {matched} of its {len(given)} arrays "
                         f"match the model's {len(own)}\n{shortened(str(why))}") from why


def adopt(model, given: Mapping[str, np.ndarray]) -> None:
    """load_state_dict, but that parameters take over arrays of their type, so that weights are never
    held twice. Memory that two parameters have in common is one's; the other has a copy."""
    model.loading(given)
    own = model.state_dict()
    parameters = dict(model.named_parameters())
    taken: set[int] = set()
    for name, array in own.items():
        if name not in given:
            continue
        found, parameter = np.asarray(given[name]), parameters.get(name)
        place = found.__array_interface__["data"][0]
        if (parameter is not None and parameter.data is array and found.dtype == array.dtype
                and found.flags.c_contiguous and found.flags.writeable and place not in taken):
            taken.add(place)
            parameter.data = found
        else:
            array[...] = found


def renamed(state: Mapping[str, np.ndarray], names: Names, own: Mapping[str, Any]) -> dict[str, np.ndarray]:
    given = {}
    for key, value in state.items():
        if any(re.fullmatch(pattern, key) for pattern in names.skip):
            continue
        for pattern, replacement in names.rename:
            key = re.sub(pattern, replacement, key)
        if key not in own and names.prefix:
            # a trunk in a model with a head, or the other way round
            other = key.removeprefix(names.prefix) if key.startswith(names.prefix) else names.prefix + key
            key = other if other in own else key
        given[key] = value
    return given


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a folder, from the first of FILES that is there."""
    name = next((name for name in FILES if (folder / name).is_file()), None)
    if name is None:
        raise FileNotFoundError(f"{folder}: no weights; there must be one of {', '.join(FILES)}")
    read = (lambda path: safetensors.load(path)[0]) if "safetensors" in name else read_torch
    if not name.endswith(".index.json"):
        return read(folder / name)
    places = read_json(folder / name).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) and Path(v).name == v for v in places.values()):
        raise ValueError(f"{folder / name}: weight_map must map names of arrays to files beside it")
    state = {}
    for shard in sorted(set(places.values())):
        arrays = read(folder / shard)
        absent = [k for k, v in places.items() if v == shard and k not in arrays]
        if absent:
            raise ValueError(f"{folder / shard}: lacks {', '.join(absent[:4])}, which the index says it has")
        state |= arrays
    return state


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds a JSON object. FileNotFoundError, or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as why:
        raise ValueError(f"{path}: no JSON, or damaged: {why}") from why
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds {type(found).__name__}, not an object")
    return found
