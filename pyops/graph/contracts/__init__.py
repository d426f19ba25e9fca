"""Contracts: what must hold of a kernel call so that it reads and writes within its arrays, one a
kernel.

In a program that was compiled they hold, because lowering made its calls. In one from a file
nothing holds until it was checked: here, before a pointer is made. A kernel without a contract is
no program's.

A contract's letters say what each argument is: r real array, o one or None, i int64 constant, j one
or None, R and I arrays that are written, m map, p one or None, M a map that is written, d tuple of
ints, n int, f float, b bool, a an activation (kind, a, b), w a window (kernel, stride, padding,
dilation). tests/compiled/test_contracts.py holds them against the kernels' own signatures.
"""

from __future__ import annotations

from ... import _C
from . import blocked
from .arguments import FLOAT, INT, Refused, Spaces, array, dims, image, need, number, truth, whole
from .planar import CONTRACTS

try:
    from ..activations import NAMES
except ImportError:
    NAMES = ()

__all__ = ["CONTRACTS", "Refused", "Spaces", "blocked", "check"]
ACTIVATIONS = getattr(_C, "activations", tuple(range(len(NAMES))))


def check(kernel: str, arguments: tuple, spaces: Spaces) -> None:
    """Raises Refused where the call would leave its arrays, or names no kernel of programs."""
    need(kernel in CONTRACTS, "programs have no such kernel")
    kinds, rule = CONTRACTS[kernel]
    arguments = grouped(kernel, kinds, arguments)
    need(len(arguments) == len(kinds), f"it takes {len(kinds)} arguments, got {len(arguments)}")
    rule(*(argument(kind, a, spaces) for kind, a in zip(kinds, arguments)))


def argument(kind: str, given, spaces: Spaces):
    if given is None:
        need(kind in "ojp", "an argument may not be left out")
        return None
    if kind in "ijI":
        found = array(given, spaces, INT, kind == "I")
        need(kind == "I" or found.data is not None, "indices are constants")
        return found
    if kind in "roR":
        return array(given, spaces, FLOAT, kind == "R")
    if kind in "mpM":
        return image(given, spaces, kind == "M")
    if kind == "w":
        need(type(given) is tuple and len(given) == 4, "a window is (kernel, stride, padding, dilation)")
        return tuple(None if part is None and i == 0 else dims(part) for i, part in enumerate(given))
    if kind == "a":
        need(
            type(given) is tuple and len(given) == 3 and type(given[0]) in (int, str),
            "an activation is (kind, a, b)",
        )
        need(given[0] in ACTIVATIONS, "an activation is one that there is")
        return given[0], number(given[1]), number(given[2])
    return {"d": dims, "n": whole, "f": number, "b": truth}[kind](given)


# Kernels take a window and an activation in one piece or number by number.
LOOSE = {
    "max_pool_blocked": "mddddM",
    "avg_pool_blocked": "mdddbnM",
    "scale_channels": "mrnffnffM",
    "transposed_conv": "mnropdddnnffM",
    "winograd_conv": "mrrnopdbnffM",
}


def grouped(kernel: str, kinds: str, given: tuple) -> tuple:
    """The arguments with windows and activations in one piece each."""
    if not set(kinds) & set("aw") or len(given) <= len(kinds):
        return given
    loose = LOOSE.get(kernel) or kinds.replace("w", "ddd").replace("a", "nff")
    need(len(given) == len(loose), f"it takes {len(loose)} arguments, got {len(given)}")
    given = list(given)
    if kernel == "max_pool_blocked":
        return (given[0], tuple(given[1:5]), given[5])
    if kernel == "avg_pool_blocked":
        return (given[0], (*given[1:4], (1, 1)), given[5], given[6])
    if kernel == "scale_channels":
        return (
            (*given[:2], tuple(given[5:8]), given[8])
            if argument("a", tuple(given[2:5]), Spaces(0, [], []))
            else given
        )
    if kernel == "transposed_conv":
        need(given.pop(8) == 1, "a transposed convolution has one group")
    if kernel == "winograd_conv":
        given[7] = 2 if truth(given[7]) else 1
    found, at = [], 0
    for kind in kinds:
        width = 3 if kind in "aw" else 1
        piece = tuple(given[at : at + width])
        found.append((None, *piece) if kind == "w" else piece if kind == "a" else piece[0])
        at += width
    return tuple(found)
