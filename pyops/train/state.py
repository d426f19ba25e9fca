"""What a training needs beside its weights to go on as if it had never stopped, as arrays and JSON for a checkpoint."""
from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from ..core import random
from .checkpoint import RESUMING

KEY = "training"   # of the checkpoint's metadata


def pack(optimizer, schedule, progress: Mapping) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata): the optimiser's state, the schedule's, the default generator's, and `progress`, which JSON can hold."""
    saved = optimizer.state_dict()
    arrays, counts = {}, {}
    for index, state in saved["state"].items():
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                arrays[f"{RESUMING}optimizer.{index}.{name}"] = value
            else:
                counts[f"{index}.{name}"] = value
    told = {"groups": saved["param_groups"], "counts": counts, "schedule": schedule.state_dict() if schedule is not None else None,
            "generator": random.default_generator().bit_generator.state, "progress": progress}
    return arrays, {KEY: json.dumps(told, default=plain)}


def unpack(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], optimizer, schedule) -> dict:
    """Puts what `pack` kept back in its places and returns `progress`. ValueError where there is nothing to resume from."""
    if KEY not in metadata:
        raise ValueError("the checkpoint holds weights only: there is nothing to resume from")
    told = json.loads(metadata[KEY])
    state: dict[int, dict] = {}
    for key, value in arrays.items():
        if key.startswith(f"{RESUMING}optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    for key, value in told["counts"].items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = [{k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in g.items()} for g in told["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    if (schedule is None) != (told["schedule"] is None):
        raise ValueError(f"the checkpoint was written {'with' if schedule is None else 'without'} a schedule")
    if schedule is not None:
        schedule.load_state_dict(told["schedule"])
    random.default_generator().bit_generator.state = told["generator"]
    return told["progress"]


def plain(value):
    """NumPy's numbers as Python's, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__} in its metadata")
