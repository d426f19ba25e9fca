"""A Plan: everything a Program needs to run, as plain data. It comes from lowering, or from a file.

Arrays of a step's arguments are constants (NumPy arrays) or places: tuples (space, index, byte offset, shape, sample) as csrc/program.cpp
takes them.
"""
from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import memory
from .lowering.context import ARENA, Lowering, Ref, Step

VERSION = 2


@dataclass(slots=True)
class PlannedStep:
    """One kernel call, and what people want to know of it."""
    kernel: str
    args: tuple
    op: str
    module: str
    value: str                # name of the result
    shape: tuple[int, ...]    # of the result
    layout: str
    algorithm: str
    why: str
    flops: float
    bytes: int
    covers: tuple[str, ...] = ()   # modules, where the step does the work of several


@dataclass(slots=True)
class Plan:
    steps: list[PlannedStep]
    inputs: list[tuple[tuple[int, ...], np.dtype]]
    outputs: list[tuple[tuple[int, ...], np.dtype]]
    structure: object         # of the result, with positions of outputs in it (trace.flatten)
    arena: int                # bytes
    precision: str
    constants: list[np.ndarray] = field(default_factory=list)
    states: int = 0           # how many of the last inputs are the state that Program.step keeps

    @classmethod
    def of(cls, low: Lowering, structure, precision: str) -> "Plan":
        arena = memory.plan(low.steps)
        steps = [planned(s) for s in low.steps]
        constants = list({id(a): a for s in steps for a in s.args if isinstance(a, np.ndarray)}.values())
        return cls(steps, [(v.shape, v.dtype) for v in low.graph.inputs], [(v.shape, v.dtype) for v in low.graph.outputs], structure, arena,
                   precision, constants)

    def save(self, file, samples: int = 1) -> None:
        """One .npz: the constants as arrays, the rest as JSON. Nothing in it is code."""
        number = {id(a): i for i, a in enumerate(self.constants)}
        steps = [{**fields_of(s), "args": [{"constant": number[id(a)]} if isinstance(a, np.ndarray) else a for a in s.args]} for s in self.steps]
        text = json.dumps({"pyops program": VERSION, "samples": samples, "states": self.states, "precision": self.precision, "arena": self.arena,
                           "structure": to_json(self.structure),
                           "inputs": [[s, str(d)] for s, d in self.inputs], "outputs": [[s, str(d)] for s, d in self.outputs], "steps": steps})
        with nullcontext(file) if hasattr(file, "write") else open(file, "wb") as out:
            np.savez(out, plan=np.frombuffer(text.encode(), np.uint8), **{f"c{i}": a for i, a in enumerate(self.constants)})

    @classmethod
    def load(cls, file) -> "tuple[Plan, int]":
        """The plan and its number of samples. ValueError for a file that is no program, or one of another version."""
        try:
            with np.load(file if hasattr(file, "read") else Path(file), allow_pickle=False) as data:
                content = json.loads(data["plan"].tobytes())
                constants = [aligned(data[f"c{i}"]) for i in range(len(data.files) - 1)]
            version = content.get("pyops program")
            if version == VERSION:
                return cls.from_content(content, constants)
        except FileNotFoundError:
            raise
        except Exception as why:
            raise ValueError(f"load: {file} is no saved program: {type(why).__name__}: {why}") from why
        raise ValueError(f"load: {file} is of version {version}, this pyops reads {VERSION}; compile and save again")

    @classmethod
    def from_content(cls, content: dict, constants: list[np.ndarray]) -> "tuple[Plan, int]":
        steps = [PlannedStep(**{**s, "shape": tuple(s["shape"]), "covers": tuple(s["covers"]), "args": tuple(from_json_argument(a, constants) for a in s["args"])})
                 for s in content["steps"]]
        arrays = {key: [(tuple(s), np.dtype(d)) for s, d in content[key]] for key in ("inputs", "outputs")}
        plan = cls(steps, arrays["inputs"], arrays["outputs"], from_json(content["structure"]), content["arena"], content["precision"],
                   constants, content.get("states", 0))
        return plan, content["samples"]


def aligned(constant: np.ndarray) -> np.ndarray:
    """The constant at the beginning of a cache line: a vector across two lines costs two loads."""
    whole = np.empty(constant.nbytes + 64, np.uint8)
    first = -whole.__array_interface__["data"][0] % 64
    copy = whole[first:first + constant.nbytes].view(constant.dtype).reshape(constant.shape)
    copy[...] = constant
    return copy


def fields_of(step: PlannedStep) -> dict:
    return {name: getattr(step, name) for name in PlannedStep.__slots__}


def from_json_argument(a, constants):
    if isinstance(a, dict):
        return constants[a["constant"]]
    return tuple(tuple(v) if isinstance(v, list) else v for v in a) if isinstance(a, list) else a


def to_json(structure):
    """Tuples and dicts marked, so that they come back as what they were; named tuples come back as tuples."""
    if isinstance(structure, dict):
        return {"dict": {k: to_json(v) for k, v in structure.items()}}
    if isinstance(structure, tuple) and len(structure) == 2 and structure[0] == "constant":
        json.dumps(structure[1])   # TypeError for what a file cannot hold
        return {"constant": structure[1]}
    if isinstance(structure, tuple):
        return {"tuple": [to_json(v) for v in structure]}
    return [to_json(v) for v in structure] if isinstance(structure, list) else structure


def from_json(structure):
    if isinstance(structure, dict):
        if "dict" in structure:
            return {k: from_json(v) for k, v in structure["dict"].items()}
        return ("constant", structure["constant"]) if "constant" in structure else tuple(from_json(v) for v in structure["tuple"])
    return [from_json(v) for v in structure] if isinstance(structure, list) else structure


def planned(step: Step) -> PlannedStep:
    node, refs = step.node, list(step.refs())
    layout = "nChw16c" if refs and refs[-1].sample and len(refs[-1].shape) == 5 else "planar"
    traffic = sum(nbytes(r.shape, r.dtype) for r in refs) + sum(a.nbytes for a in step.args if isinstance(a, np.ndarray))
    return PlannedStep(step.kernel, tuple(map(native_argument, step.args)), op_of(step), node.module if node else "", node.output.name if node else "",
                       node.output.shape if node else (), layout, step.algorithm, step.why, float(step.flops), traffic, step.covers)


def native_argument(a):
    """A step's argument as _C.Program.add takes it."""
    if isinstance(a, Ref):
        return (a.buffer.space, a.buffer.index, a.offset + (a.buffer.offset if a.buffer.space == ARENA else 0), tuple(map(int, a.shape)), a.sample)
    if isinstance(a, np.generic):
        return a.item()
    return tuple(map(int, a)) if isinstance(a, tuple) else a


def op_of(step: Step) -> str:
    if step.node is None:
        return step.kernel
    fused = step.node.epilogue
    op = "+".join([step.node.op] * max(1, len(step.covers)))
    return op + ("+add" if fused.residual is not None else "") + ("+act" if fused.activation else "") + ("+pool" if fused.pool else "")


def nbytes(shape, dtype) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize
