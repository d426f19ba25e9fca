"""Checkpoints: a state_dict as a safetensors file with a few words about it."""
from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def save(path, state: Mapping[str, np.ndarray], metadata: Mapping[str, object]) -> None:
    """Writes beside `path`, then renames: a crash or Ctrl-C leaves the old file or the new one, never half of one."""
    from safetensors.numpy import save as as_bytes
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(as_bytes({k: np.ascontiguousarray(v).reshape(v.shape) for k, v in state.items()},
                                {k: str(v) for k, v in metadata.items()}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata. FileNotFoundError, or ValueError where the file is no safetensors file or is damaged."""
    from safetensors import SafetensorError, safe_open
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, "numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})
    except SafetensorError as why:
        raise ValueError(f"{path}: not a safetensors file, or a damaged one: {why}") from why
