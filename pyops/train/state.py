"""What a training needs beside its weights to go on as if it had never stopped, as arrays and
JSON for a checkpoint."""
from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping

import numpy as np

from ..core import random
from .checkpoint import RESUMING

KEY = "training"   # of the checkpoint's metadata


def pack(optimizer, schedule, progress: Mapping) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata): the optimiser's state, the schedule's, the default generator's, and
    `progress`, which JSON can hold."""
    saved = optimizer.state_dict()
    arrays, counts = {}, {}
    for index, state in saved["state"].items():
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                arrays[f"{RESUMING}optimizer.{index}.{name}"] = value
            else:
                counts[f"{index}.{name}"] = value
    told = {"groups": saved["param_groups"], "counts": counts,
            "schedule": schedule.state_dict() if schedule is not None else None,
            "generator": random.default_generator().bit_generator.state, "progress": progress}
    return arrays, {KEY: json.dumps(told, default=plain)}


def loading(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], optimizer,
            schedule) -> tuple[dict, Callable[[], None]]:
    """What `pack` kept: `progress`, and, once all else is checked, what puts it back in its places.
    ValueError where there is nothing to resume from, or anything is not as `pack` writes it."""
    told = parsed(metadata)
    state: dict[int, dict] = {}
    for key, value in arrays.items():
        if key.startswith(f"{RESUMING}optimizer."):
            place(state, key.removeprefix(f"{RESUMING}optimizer."), value)
    for key, value in told["counts"].items():
        place(state, key, value)
    groups = [{k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in g.items()}
              for g in told["groups"]]
    optimize = optimizer.loading({"state": state, "param_groups": groups})
    if (schedule is None) != (told["schedule"] is None):
        raise ValueError(f"the checkpoint was written {'with' if schedule is None else 'without'} a schedule")
    if schedule is not None:
        check_schedule(schedule, told["schedule"])
    check_generator(told["generator"])

    def load():
        optimize()
        if schedule is not None:
            schedule.load_state_dict(told["schedule"])
        random.default_generator().bit_generator.state = told["generator"]
    return told["progress"], load


def parsed(metadata: Mapping[str, str]) -> dict:
    """The words that `pack` wrote, with their parts of the right types."""
    if KEY not in metadata:
        raise ValueError("the checkpoint holds weights only: there is nothing to resume from")
    try:
        told = json.loads(metadata[KEY])
    except RecursionError as why:
        raise ValueError("its state of the training is nested too deeply") from why
    kinds = {"groups": list, "counts": dict, "generator": dict, "progress": dict}
    if not isinstance(told, dict) or told.keys() != {
            *kinds, "schedule"} or not all(isinstance(told[k], kind) for k, kind in kinds.items()):
        raise ValueError(f"its state of the training must have {', '.join(kinds)} and a schedule")
    if not all(isinstance(g, dict) and isinstance(g.get("params"), list)
               and all(type(i) is int for i in g["params"]) for g in told["groups"]):
        raise ValueError("its groups of parameters are not such")
    return told


def place(state: dict[int, dict], key: str, value) -> None:
    """Puts the value of "index.name" into the state of that parameter."""
    index, _, name = key.partition(".")
    if not index.isdecimal() or not name:
        raise ValueError(f"{key!r} names no parameter of the optimiser")
    state.setdefault(int(index), {})[name] = value


def check_schedule(schedule, saved) -> None:
    """ValueError unless `saved` is like what the schedule would save, and gives rates."""
    if difference := unlike(schedule.state_dict(), saved):
        raise ValueError(f"its schedule is no {type(schedule).__name__}'s: {difference}")
    tried = copy.deepcopy(schedule, {id(schedule.optimizer): schedule.optimizer})
    tried.load_state_dict(saved)
    try:
        rates = tried.at(tried.last_epoch) if hasattr(tried, "at") else []
    except (ArithmeticError, ValueError, TypeError, IndexError) as why:
        raise ValueError(f"its schedule gives no rate: {why}") from why
    if not all(isinstance(rate, (int, float)) and 0 <= rate < math.inf for rate in rates):
        raise ValueError(f"its schedule gives the rates {rates}")


def unlike(own, saved, where: str = "it") -> str:
    """How two values of JSON differ in kind; "" if they do not."""
    if isinstance(own, dict):
        if not isinstance(saved, dict) or own.keys() != saved.keys():
            return f"{where} should have {', '.join(own)}"
        return next(filter(None, (unlike(v, saved[k], k) for k, v in own.items())), "")
    if isinstance(own, (list, tuple)):
        if not isinstance(saved, list) or len(saved) != len(own):
            return f"{where} should have {len(own)} parts"
        return next(filter(None, (unlike(a, b, where) for a, b in zip(own, saved))), "")
    if own is None or isinstance(own, (int, float)) and not isinstance(own, bool):
        right = (saved is None and own is None or type(saved) is int
                 or type(saved) is float and type(own) is not int and not math.isnan(saved))
        return "" if right else f"{where} should be a number"
    return "" if type(saved) is type(own) else f"{where} should be a {type(own).__name__}"


def check_generator(saved: dict) -> None:
    generator = type(random.default_generator().bit_generator)()
    try:
        generator.state = saved
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as why:
        raise ValueError(f"its state of the generator is not such: {why}") from why


def plain(value):
    """NumPy's numbers as Python's, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__} in its metadata")
