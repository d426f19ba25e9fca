"""safetensors files: a state_dict with a few words about it.

What resuming a training needs beside the weights lies in the same file, under names that begin with
"@": one rename then replaces all of it, and no crash can leave weights of one step beside the
optimiser of another. `load` passes over these.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import whole

RESUMING = "@"


def save(path, state: Mapping[str, np.ndarray], metadata: Mapping[str, object]) -> None:
    """Writes the file so that a crash, kill -9, loss of power or another process that writes it
    leaves one of them whole (files/whole.py)."""
    from safetensors.numpy import save as as_bytes
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = as_bytes({k: np.ascontiguousarray(v).reshape(v.shape) for k, v in state.items()},
                       {k: str(v) for k, v in metadata.items()})
    with whole.writing(path) as file:
        file.write(content)


def load(path, resuming: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays, with those that only resuming needs if `resuming`, and the metadata. bfloat16,
    which NumPy has not, becomes float32.

    FileNotFoundError, or ValueError where the file is no safetensors file, is damaged or holds
    another type that NumPy has not.
    """
    from safetensors import SafetensorError, safe_open
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, "numpy") as file:
            keys = [key for key in file.keys() if resuming or not key.startswith(RESUMING)]
            kinds = {key: file.get_slice(key).get_dtype() for key in keys}
            return read(path, kinds), dict(file.metadata() or {})
    except SafetensorError as why:
        raise ValueError(f"{path}: not a safetensors file, or a damaged one: {why}") from why


# names of types in files -> NumPy's; bfloat16 is widened
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
         "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}


def read(path, kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays of these names and types, of a file whose header was checked: one by one into their
    own memory, beside which a mapped file would lie."""
    found = {}
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        for key, kind in kinds.items():
            if kind not in TYPES:
                raise ValueError(f"{path}: {key} is of type {kind}, which NumPy does not have")
            array = np.empty(header[key]["shape"], TYPES[kind])
            file.seek(8 + size + header[key]["data_offsets"][0])
            if array.size and file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
                raise ValueError(f"{path}: {key} ends before its data does: a damaged file")
            found[key] = widened(array) if kind == "BF16" else array
    return found


def widened(array: np.ndarray) -> np.ndarray:
    """bfloat16's bits as float32; of no axes, too, whose shift would be no array."""
    return np.left_shift(array, 16, dtype=np.uint32, out=np.empty(array.shape, np.uint32)).view(np.float32)
