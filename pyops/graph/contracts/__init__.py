"""Contracts: what must hold of a kernel call so that it reads and writes within its arrays, one a
kernel.

In a program that was compiled they hold, because lowering made its calls. In one from a file
nothing holds until it was checked: here, before a pointer is made. A kernel without a contract is
no program's.

A contract's letters say what each argument is: r real array, o one or None, i int64 constant, j one
or None, e int64 array that may be given at run time, E one or None, x array of any type, R, I and X
arrays that are written, m map, p one or None, M a map that is written, d tuple of ints, n int, f
float, b bool, a an activation (name, a, b), w a window (kernel, stride, padding, dilation). Behind a
kernel's name ".f64" stands where its reals are of float64. tests/compiled/test_contracts.py holds
them against the kernels' own signatures.
"""

from __future__ import annotations

from ... import _C
from . import blocked, control, quantised, typed
from .arguments import DOUBLE, FLOAT, INT, Refused, Spaces, array, dims, image, need, number, truth, whole
from .planar import CONTRACTS

__all__ = ["CONTRACTS", "Refused", "Spaces", "blocked", "check", "control", "quantised", "typed"]


def check(kernel: str, arguments: tuple, spaces: Spaces) -> None:
    """Raises Refused where the call would leave its arrays, or names no kernel of programs."""
    if kernel in control.CONTROL:
        control.check(kernel, arguments, spaces)
        return
    name, _, real = kernel.partition(".")
    need(name in CONTRACTS and real in ("", "f64"), "programs have no such kernel")
    kinds, rule = CONTRACTS[name]
    need(not real or not set(kinds) & set("mpM"), "maps are of float32")
    need(len(arguments) == len(kinds), f"it takes {len(kinds)} arguments, got {len(arguments)}")
    rule(*(argument(kind, a, spaces, DOUBLE if real else FLOAT) for kind, a in zip(kinds, arguments)))


def argument(kind: str, given, spaces: Spaces, real):
    if given is None:
        need(kind in "ojpE", "an argument may not be left out")
        return None
    if kind in "xX":
        return array(given, spaces, None, kind == "X")
    if kind in "ijeIE":
        found = array(given, spaces, INT, kind == "I")
        need(kind in "eIE" or found.data is not None, "indices are constants")
        return found
    if kind in "roR":
        return array(given, spaces, real, kind == "R")
    if kind in "mpM":
        return image(given, spaces, kind == "M")
    if kind == "w":
        need(type(given) is tuple and len(given) == 4, "a window is (kernel, stride, padding, dilation)")
        window = tuple(map(dims, given))
        need(len(set(map(len, window))) == 1, "a window has as many numbers of each kind as axes")
        return window
    if kind == "a":
        need(
            type(given) is tuple and len(given) == 3 and type(given[0]) is str,
            "an activation is (name, a, b)",
        )
        need(given[0] in _C.activations, "an activation is one that there is")
        return given[0], number(given[1]), number(given[2])
    return {"d": dims, "n": whole, "f": number, "b": truth}[kind](given)
