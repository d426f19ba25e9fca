"""What must hold of the calls that choose and repeat others (csrc/program.cpp): their numbers are there,
and their parts lie within the part around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arguments import ELEMENTS, INT, LARGEST, Spaces, array, is_size, need

BOOL = ELEMENTS["bool"]
CONTROL = ("branch", "loop")
DEEPEST = 64  # of parts within parts


def check(kernel: str, arguments: tuple, spaces: Spaces) -> None:
    """Raises Refused where a number is no number, or of another type."""
    need(len(arguments) == (3 if kernel == "branch" else 5), f"{kernel} has a place for each of its numbers")
    need(all(is_size(n) for n in arguments[-2:]), f"the parts of a {kernel} are counts of calls")
    if kernel == "branch":
        number(arguments[0], BOOL, spaces)
        return
    number(arguments[0], INT, spaces, writes=True)
    for given, dtype in zip(arguments[1:3], (INT, BOOL)):
        if given is not None:
            number(given, dtype, spaces)
    need(arguments[3] < LARGEST, "a loop has a greatest number of rounds")


def number(given: Any, dtype: np.dtype, spaces: Spaces, writes: bool = False) -> None:
    need(array(given, spaces, dtype, writes).size >= 1, "a number that is read is there")


def parts(kernel: str, arguments: tuple) -> tuple[int, ...]:
    """How many calls each part of a call has; () for a kernel."""
    return arguments[1:] if kernel == "branch" else arguments[-1:] if kernel == "loop" else ()


def nested(steps: Sequence[Any], begin: int, end: int, depth: int = 0) -> None:
    """Raises Refused where a part of a call is not wholly within the part that the call is in."""
    while begin < end:
        kernel, arguments = steps[begin].kernel, steps[begin].args
        begin += 1
        for count in parts(kernel, arguments):
            need(depth < DEEPEST, f"branches and loops are at most {DEEPEST} deep")
            need(count <= end - begin, "a part of a branch or loop lies within the part around it")
            nested(steps, begin, begin + count, depth + 1)
            begin += count
