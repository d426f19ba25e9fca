"""A Plan as a file, an .npz: the constants as arrays, the rest as JSON. A file is data, and may be
forged.

So whatever is read is checked before it is used: types, names and numbers here, every kernel call
by its contract (contracts/). What is wrong is a ValueError that says where.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from ..files import bounded, mapped, whole
from . import contracts, streaming
from .contracts.arguments import ELEMENTS, MOST_BYTES, TYPES, is_size
from .plan import READ, VERSION, Plan, PlannedStep

KEYS = {"pyops program", "samples", "states", "precision", "arena", "structure", "inputs", "outputs", "steps"}
SINCE_6 = {"cuts"}
DEEPEST = 64  # of a structure in a structure
STEP = dict.fromkeys(("kernel", "op", "module", "value", "layout", "algorithm", "why"), (str,)) | {
    "flops": (int, float),
    "bytes": (int,),
}


# ---- writing


def write(plan: Plan, file, samples: int) -> None:
    number = {id(a): i for i, a in enumerate(plan.constants)}
    steps = [
        {
            **{name: getattr(s, name) for name in PlannedStep.__slots__},
            "args": [{"constant": number[id(a)]} if isinstance(a, np.ndarray) else a for a in s.args],
        }
        for s in plan.steps
    ]
    arrays = {key: [[s, str(d)] for s, d in getattr(plan, key)] for key in ("inputs", "outputs")}
    text = json.dumps(
        {
            "pyops program": VERSION,
            "samples": samples,
            "states": plan.states,
            "precision": plan.precision,
            "arena": plan.arena,
            "cuts": [list(cut) for cut in plan.cuts],
            "structure": structure_to_json(plan.structure, number),
            "steps": steps,
        }
        | arrays
    )
    content = {
        "plan": np.frombuffer(text.encode(), np.uint8),
        **{f"c{i}": a for i, a in enumerate(plan.constants)},
    }
    if hasattr(file, "write"):
        mapped.save(file, content)
        return
    with whole.writing(Path(file)) as out:   # a program that was loaded from there goes on with what it maps
        mapped.save(out, content)


def structure_to_json(structure, number: dict[int, int]):
    """Tuples and dicts marked, so that they come back as what they were; named tuples come back as
    tuples. number: of the plan's constants, by identity. TypeError for what a file cannot hold.
    """
    if isinstance(structure, dict):
        return {"dict": [[constant(k), structure_to_json(v, number)] for k, v in structure.items()]}
    if (
        isinstance(structure, tuple)
        and len(structure) == 2
        and isinstance(structure[0], str)
        and structure[0] == "constant"
    ):
        held = structure[1]
        if isinstance(held, np.ndarray) and held.dtype.name in ELEMENTS:
            return {"array": number[id(held)]}
        return {"constant": constant(held)}
    if isinstance(structure, tuple):
        return {"tuple": [structure_to_json(v, number) for v in structure]}
    return [structure_to_json(v, number) for v in structure] if isinstance(structure, list) else structure


def constant(value):
    if value is not None and type(value) not in (str, int, float, bool):
        raise TypeError("program: a file holds numbers, strings and None beside arrays, the model's result "
                        f"has a {type(value).__name__}{f' of {value.dtype}' if isinstance(value, np.ndarray) else ''}")
    return value


# ---- reading


class Wrong(ValueError):
    """What is wrong with a file's content."""


def need(condition: bool, rule: str) -> None:
    if not condition:
        raise Wrong(rule)


def read(file, in_place: bool = False) -> tuple[Plan, int]:
    """The plan in a file and its number of samples. in_place: larger constants stay in a map of the
    file, where no checksum is held against them. FileNotFoundError; ValueError for a file that is no
    program, or one of another version.
    """
    version = None
    try:
        arrays = bounded.npz(file, in_place)
        need("plan" in arrays and arrays["plan"].dtype == np.uint8, "it holds no plan")
        content = json.loads(arrays.pop("plan").tobytes())
        need(type(content) is dict and "pyops program" in content, "it holds no plan")
        version = content["pyops program"]
        if type(version) is int and version in READ:
            return plan_of(content if version >= 6 else {"cuts": []} | content, arrays)
    except (ValueError, RecursionError) as why:  # JSON's and Unicode's errors are ValueErrors
        if type(version) is int and version < VERSION:
            raise ValueError(f"load: {file} is of version {version}, of which this pyops does not read everything, "
                             f"or damaged: {why}; compile the model and save it again") from why
        raise ValueError(f"load: {file} is no saved program, or a damaged one: {why}") from why
    raise ValueError(f"load: {file} is of version {str(version)[:20]}, this pyops reads "
                     f"{' and '.join(map(str, READ))}; compile the model and save it again")


def plan_of(content: dict, arrays: dict[str, np.ndarray]) -> tuple[Plan, int]:
    need(content.keys() == KEYS | SINCE_6, f"a plan has {', '.join(sorted(KEYS | SINCE_6))}")
    samples, states, arena = (content[key] for key in ("samples", "states", "arena"))
    need(is_size(samples) and samples >= 1, "samples is a positive number")
    need(is_size(arena, MOST_BYTES), "arena is a number of bytes")
    need(
        type(content["precision"]) is str and content["precision"] in ("strict", "default", "fast"),
        "precision is strict, default or fast",
    )
    inputs, outputs = (arrays_of(content[key], key, samples) for key in ("inputs", "outputs"))
    need(arrays.keys() == {f"c{i}" for i in range(len(arrays))}, "constants are c0, c1, ...")
    constants = [aligned(arrays.pop(f"c{i}")) for i in range(len(arrays))]   # no two copies of all at once
    need(type(content["steps"]) is list, "steps are a list")
    steps = [step_of(given, i, constants) for i, given in enumerate(content["steps"])]
    spaces = contracts.Spaces(arena, inputs, outputs)
    for i, step in enumerate(steps):
        try:
            contracts.check(step.kernel, step.args, spaces)
        except contracts.Refused as why:
            raise Wrong(f"step {i}, {step.kernel[:40]}: {why}") from why
    contracts.control.nested(steps, 0, len(steps))
    structure = structure_of(content["structure"], len(outputs), constants, DEEPEST)
    need(
        is_size(states)
        and states <= len(inputs)
        and (not states or keeps(structure, inputs[len(inputs) - states :], outputs)),
        "states are the last inputs, and the second part of the result is like them",
    )
    cuts = cuts_of(content["cuts"], outputs)
    need(not cuts or samples == 1, "lengths that depend on data are those of one run")
    return Plan(steps, inputs, outputs, structure, arena, content["precision"], constants, states,
                cuts), samples


def cuts_of(given, outputs) -> list[tuple[int, int, int]]:
    need(type(given) is list and all(type(cut) is list and len(cut) == 3 and all(map(is_size, cut))
                                     for cut in given),
         "cuts are an output, an axis and the output that has the count")
    for output, axis, count in given:
        need(output < len(outputs) and count < len(outputs) and axis < len(outputs[output][0]),
             "cuts are of outputs and axes that there are")
        need(outputs[count] == ((), np.dtype(np.int64)), "a count is one number of int64")
    return [tuple(cut) for cut in given]


def arrays_of(given, key: str, samples: int) -> list[tuple[tuple[int, ...], np.dtype]]:
    need(
        type(given) is list and all(type(a) is list and len(a) == 2 for a in given),
        f"{key} are pairs of a shape and a type",
    )
    found = []
    for shape, dtype in given:
        need(type(dtype) is str and dtype in ELEMENTS, f"{key} are of numbers or truth values")
        need(type(shape) is list and len(shape) <= 32 and all(map(is_size, shape)), f"{key} have shapes")
        need(math.prod(shape) * 8 <= MOST_BYTES, f"{key} fit into memory")
        need(samples == 1 or shape[:1] == [1], f"{key} of a plan that is run for each sample are of one")
        found.append((tuple(shape), ELEMENTS[dtype]))
    return found


def step_of(given, i: int, constants: list[np.ndarray]) -> PlannedStep:
    need(
        type(given) is dict and given.keys() == set(PlannedStep.__slots__),
        f"step {i} has {', '.join(PlannedStep.__slots__)}",
    )
    for name, types in STEP.items():
        need(type(given[name]) in types, f"step {i}: {name} is of type {types[0].__name__}")
    for name, kind in (("shape", int), ("covers", str), ("args", object)):
        need(
            type(given[name]) is list and all(kind is object or type(v) is kind for v in given[name]),
            f"step {i}: {name} is a list",
        )
    args = tuple(argument(a, i, constants) for a in given["args"])
    return PlannedStep(
        **{**given, "shape": tuple(given["shape"]), "covers": tuple(given["covers"]), "args": args}
    )


def argument(given, i: int, constants):
    if type(given) is dict:
        need(
            given.keys() == {"constant"}
            and is_size(given["constant"])
            and given["constant"] < len(constants),
            f"step {i} names a constant that there is",
        )
        return constants[given["constant"]]
    if type(given) is list:
        return tuple(tuple(v) if type(v) is list else v for v in given)
    return given


def aligned(constant: np.ndarray) -> np.ndarray:
    """The constant at the beginning of a cache line: a vector across two lines costs two loads."""
    if constant.dtype not in TYPES:
        raise Wrong(f"constants are of numbers or truth values, not of {constant.dtype}")
    if not constant.size:
        return np.empty(constant.shape, constant.dtype)   # a kernel may be given it to write nothing to
    if constant.flags.c_contiguous and constant.__array_interface__["data"][0] % 64 == 0:
        return constant
    room = np.empty(constant.nbytes + 64, np.uint8)
    first = -room.__array_interface__["data"][0] % 64
    copy = room[first : first + constant.nbytes].view(constant.dtype).reshape(constant.shape)
    copy[...] = constant
    return copy


def structure_of(given, outputs: int, constants: list[np.ndarray], deep: int):
    need(deep > 0, "the result's structure is not that deep")
    if type(given) is dict:
        need(len(given) == 1, "the result's structure is made of dict, tuple, list, constants and outputs")
        ((kind, held),) = given.items()
        if kind == "constant":
            need(
                held is None or type(held) in (str, int, float, bool),
                "a constant is a number, a string or null",
            )
            return "constant", held
        if kind == "array":
            need(is_size(held) and held < len(constants), "the result's structure names a constant that there is")
            return "constant", constants[held]
        need(type(held) is list, "a tuple or dict has parts")
        if kind == "dict":
            need(
                all(
                    type(pair) is list
                    and len(pair) == 2
                    and type(pair[0]) in (str, int, float, bool, type(None))
                    for pair in held
                ),
                "a dict has keys",
            )
            return {k: structure_of(v, outputs, constants, deep - 1) for k, v in held}
        need(kind == "tuple", "the result's structure is made of dict, tuple, list, constants and outputs")
        return tuple(structure_of(v, outputs, constants, deep - 1) for v in held)
    if type(given) is list:
        return [structure_of(v, outputs, constants, deep - 1) for v in given]
    need(is_size(given) and given < outputs, "the result's structure names outputs that there are")
    return given


def keeps(structure, wanted, outputs) -> bool:
    """Whether the result is (results, a state like the one that is taken)."""
    if not isinstance(structure, (tuple, list)) or len(structure) != 2 or structure[0] == "constant":
        return False
    return streaming.leaves(structure[1], outputs) == list(wanted)
