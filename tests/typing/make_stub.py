"""Writes pyops/functional.pyi: what a type checker knows of pyops.functional, made from the
annotations of the functions.

    python tests/typing/make_stub.py

In the source an argument is of type Arrays (a Tensor, a NumPy array or another library's), and so
is the result. Which of them the result is depends on the arguments: a Tensor if one of them is,
else what the first is. The stub writes that out as overloads.
"""
from __future__ import annotations

import inspect
import re
from pathlib import Path

import pyops.functional as F

STUB = Path(F.__file__).with_suffix(".pyi")
HEAD = '''# Made by tests/typing/make_stub.py from the functions' annotations.
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from .core.tensor import Tensor
from .core.types import (
    Array,
    Arrays,
    Dims,
    DType,
    Exporter,
    Index,
    Number,
    Operand,
    OutputSizes,
    Reduction,
    Sizes,
)

__all__ = {names}

_E = TypeVar("_E", bound=Exporter)
_T = TypeVar("_T")

class Extreme(NamedTuple, Generic[_T]):
    values: _T
    indices: _T

class Ordered(NamedTuple, Generic[_T]):
    values: _T
    indices: _T
'''
NOT_JOINT = {("where", "condition"), ("embedding", "input"), ("batch_norm", "running_mean"),
             ("batch_norm", "running_var"), ("instance_norm", "running_mean"),
             ("instance_norm", "running_var"), ("rnn", "lengths"), ("gru", "lengths"), ("lstm", "lengths")}
KINDS = ("Tensor", "Array", "_E")


def of(annotation: str, kind: str) -> str:
    """`annotation` where arrays are of one kind."""
    return re.sub(r"\bOperand\b", f"{kind} | Number", re.sub(r"\bArrays\b", kind, annotation))


def written(name: str, parameters: list[tuple[str, str, bool, bool]], result: str) -> str:
    """A signature. A parameter: name, annotation, has a default, by keyword only."""
    parts, star = [], False
    for parameter, annotation, default, keyword in parameters:
        if keyword and not star:
            parts.append("*")
            star = True
        parts.append(f"{parameter}: {annotation}" + (" = ..." if default else ""))
    return f"def {name}({', '.join(parts)}) -> {result}: ..."


def overloads(name: str) -> list[str]:
    signature = inspect.signature(getattr(F, name))
    plain = [(p.name, p.annotation, p.default is not p.empty, p.kind is p.KEYWORD_ONLY)
             for p in signature.parameters.values()]
    joint = [p for p, annotation, _, _ in plain if re.search(r"\b(Arrays|Operand)\b", annotation)
             and p != "out" and (name, p) not in NOT_JOINT]
    results = [(plain, signature.return_annotation)]
    if "return_indices" in signature.parameters:
        one = [(p, "Literal[False]" if p == "return_indices" else a, d, k) for p, a, d, k in plain]
        at = [p for p, *_ in plain].index("return_indices")
        both = [
            (p, "Literal[True]" if p == "return_indices" else a, d and p != "return_indices", k or i >= at)
            for i, (p, a, d, k) in enumerate(plain)]
        results = [(one, "Arrays"), (both, "tuple[Arrays, Arrays]")]
    if signature.return_annotation == "Ordered":
        results = [(plain, "Ordered[Arrays]")]
    if name in ("max", "min"):
        results = extremes(plain)
    return [line for parameters, result in results for line in kinds(name, parameters, result, joint)]


def extremes(plain: list[tuple[str, str, bool, bool]]) -> list[tuple[list[tuple[str, str, bool, bool]], str]]:
    """max and min: of all, of two arrays, or (values, indices) along an axis that has one of two
    names."""
    first, dim, keepdim, axis, keepdims = plain
    return [([first, ("dim", "None", True, False), keepdim, ("axis", "None", True, True), keepdims], "Arrays"),
            ([first, ("dim", "Arrays", False, False)], "Arrays"),
            ([first, ("dim", "int", False, False), keepdim, keepdims], "Extreme[Arrays]"),
            ([first, keepdim, ("axis", "int", False, True), keepdims], "Extreme[Arrays]")]


def kinds(name: str, plain: list[tuple[str, str, bool, bool]], result: str, joint: list[str]) -> list[str]:
    """The signatures for each kind of result."""
    annotation = {p: a for p, a, _, _ in plain}
    first, *rest = present = [p for p in joint if re.search(r"\b(Arrays|Operand)\b", annotation.get(p, ""))]

    def case(types: dict[str, str], kind: str) -> str:
        # a parameter behind which one must be given has no default
        last = max([i for i, (p, *_) in enumerate(plain) if p in required], default=-1)
        made = [(p, types.get(p, of(a, kind) if p == "out" else a),
                 d and (k or i > last) and p not in required, k)
                for i, (p, a, d, k) in enumerate(plain)]
        return written(name, made, of(result, kind))
    required: set[str] = set()
    lines = [case({first: of(annotation[first], "Tensor").replace(" | Number", "")}, "Tensor")]
    numbers = "Operand" in annotation[first]
    lines.append(case({p: of(annotation[p], "Array") for p in present}
                      | ({first: "Array"} if numbers else {}), "Array"))
    if numbers:
        lines.append(case({first: "Number", **dict.fromkeys(rest, "Array")}, "Array"))
    for i, p in enumerate(rest):
        required = {p}
        before = {q: of(annotation[q], "Array") for q in (first, *rest[:i])}
        lines.append(
            case({**before, p: of(annotation[p], "Tensor").replace(" | Number", "").replace(" | None", "")},
                 "Tensor"))
    if "Sequence" in annotation[first]:
        lines[-1] += "  # type: ignore[overload-overlap]"   # the next is for lists of both
        lines.append(case({first: "Sequence[Tensor | Array]"}, "Tensor"))
    required = set()
    lines.append(case({first: of(annotation[first], "_E").replace(" | Number", "")}, "_E"))
    return lines


def wrapped(line: str) -> str:
    """A signature of at most 110 columns a line."""
    if len(line) <= 110 or "# type" in line:
        return line
    head, rest = line.split("(", 1)
    lines, current = [], head + "("
    for part in re.split(r"(?<=,) (?=[\w*]+(?::|,))", rest):
        if len(current) + len(part) > 109 and current.strip():
            lines.append(current.rstrip())
            current = "    "
        current += part + " "
    return "\n".join([*lines, current.rstrip()])


def text() -> str:
    names, line = "[\n", "   "
    for name in F.__all__:
        if len(line) + len(name) > 105:
            names, line = names + line + "\n", "   "
        line += f' "{name}",'
    parts = [HEAD.replace("{names}", names + line + "\n]")]
    for name in F.__all__:
        lines = overloads(name)
        parts.append("\n".join(f"@overload\n{wrapped(line)}" for line in lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    STUB.write_text(text())
