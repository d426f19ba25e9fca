"""safetensors files: a state_dict with a few words about it.

What resuming a training needs beside the weights lies in the same file, under names that begin with
"@": one rename then replaces all of it, and no crash can leave weights of one step beside the
optimiser of another. `load` passes over these.
"""
from __future__ import annotations

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
            short = bfloat16(path) if any(file.get_slice(key).get_dtype() == "BF16" for key in keys) else {}
            return ({key: short[key] if key in short else array_of(file, key, path) for key in keys},
                    dict(file.metadata() or {}))
    except SafetensorError as why:
        raise ValueError(f"{path}: not a safetensors file, or a damaged one: {why}") from why


def array_of(file, key: str, path) -> np.ndarray:
    try:
        return file.get_tensor(key)
    except (TypeError, AttributeError) as why:   # NumPy has no type of that name
        raise ValueError(
            f"{path}: {key} is of type {file.get_slice(key).get_dtype()}, which NumPy does not have") from why


def bfloat16(path) -> dict[str, np.ndarray]:
    """The file's arrays of that type: the upper halves of floats, so no value changes."""
    from safetensors import deserialize
    stored = [(key, a) for key, a in deserialize(Path(path).read_bytes()) if a["dtype"] == "BF16"]
    return {
        key: (np.frombuffer(a["data"], "<u2").astype(np.uint32) << 16).view(np.float32).reshape(a["shape"])
        for key, a in stored}
