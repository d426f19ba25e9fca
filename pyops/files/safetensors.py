"""safetensors files: a state_dict with a few words about it.

What resuming a training needs beside the weights lies in the same file, under names that begin with "@": one rename then
replaces all of it, and no crash can leave weights of one step beside the optimiser of another. `load` passes over these.
"""
from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np


RESUMING = "@"


def save(path, state: Mapping[str, np.ndarray], metadata: Mapping[str, object]) -> None:
    """Writes beside `path`, syncs, renames, syncs the folder: a crash, kill -9 or loss of power leaves the old file or the new one whole.

    What a killed process left beside `path` is removed.
    """
    from safetensors.numpy import save as as_bytes
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(as_bytes({k: np.ascontiguousarray(v).reshape(v.shape) for k, v in state.items()},
                                {k: str(v) for k, v in metadata.items()}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes a rename within `folder` survive a loss of power, where the system can open folders (Windows cannot, and needs not)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Removes half-written files for `path` whose process no longer runs."""
    for beside in path.parent.glob(f".{path.name}.*"):
        pid = beside.name.rpartition(".")[2]
        if pid.isdigit() and not running(int(pid)):
            beside.unlink(missing_ok=True)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass   # there, but another user's
    return True


def load(path, resuming: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays, with those that only resuming needs if `resuming`, and the metadata. bfloat16, which NumPy has not, becomes float32.

    FileNotFoundError, or ValueError where the file is no safetensors file, is damaged or holds another type that NumPy has not.
    """
    from safetensors import SafetensorError, safe_open
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, "numpy") as file:
            keys = [key for key in file.keys() if resuming or not key.startswith(RESUMING)]
            short = bfloat16(path) if any(file.get_slice(key).get_dtype() == "BF16" for key in keys) else {}
            return {key: short[key] if key in short else array_of(file, key, path) for key in keys}, dict(file.metadata() or {})
    except SafetensorError as why:
        raise ValueError(f"{path}: not a safetensors file, or a damaged one: {why}") from why


def array_of(file, key: str, path) -> np.ndarray:
    try:
        return file.get_tensor(key)
    except (TypeError, AttributeError) as why:   # NumPy has no type of that name
        raise ValueError(f"{path}: {key} is of type {file.get_slice(key).get_dtype()}, which NumPy does not have") from why


def bfloat16(path) -> dict[str, np.ndarray]:
    """The file's arrays of that type: the upper halves of floats, so no value changes."""
    from safetensors import deserialize
    stored = [(key, a) for key, a in deserialize(Path(path).read_bytes()) if a["dtype"] == "BF16"]
    return {key: (np.frombuffer(a["data"], "<u2").astype(np.uint32) << 16).view(np.float32).reshape(a["shape"]) for key, a in stored}
