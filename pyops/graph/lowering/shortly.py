"""Calls that run on as many entries as a value has in a run, where a plan has room for more (counted.py): a
call in front that says how many, csrc/program.cpp follows it.

What lies behind the count is then what was in the arena before, in any layout.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..contracts.control import shortened
from ..ir import Node

if TYPE_CHECKING:
    from .context import Lowering, Step

# Rows whose several calls all keep entries apart, whatever their arrays are
SEVERAL = {"conv", "conv_transpose", "linear", "pyramid_roi_align"}
# and what such rows call that touches no entries
BESIDE = {"widen_packed", "winograd_weights"}


def shorten(low: Lowering, node: Node, steps: list[Step]) -> None:
    """Has these calls, the node's or some that convert its result, run on the entries that are wanted of it
    alone, where that can be: one call, or several that each write a part of the result."""
    room = room_of(node)
    steps = [step for step in steps if step.kernel not in BESIDE and not copies(node, step)]
    if room < 2 or not steps or by_depth(low, node):
        return
    places = {id(step): shortened(step.kernel, tuple(map(plain_sizes, step.args)), room) for step in steps}
    several = node.op in SEVERAL or node.op == "cat" and node.attrs["dim"] != 0
    if None not in places.values() and (several or len(places) == 1 and node.op != "cat"):
        low.steps[:] = [call for step in low.steps for call in in_front(low, node, step, places)]
    else:
        assert node.op != "put_blocks", "rows behind the count would be put somewhere"


def by_depth(low: Lowering, node: Node) -> bool:
    """Whether a volume takes part, whose map has all samples for each place along the depth (volume.py)."""
    return node.op != "put_blocks" and any(v in low.volumes for v in (*node.values(), *node.outputs))


def copies(node: Node, step: Step) -> bool:
    """Whether the call takes over all of what rows are put into."""
    return node.op == "put_blocks" and step.kernel == "strided_move"


def room_of(node: Node) -> int:
    """How many entries there are room for: rows that are put somewhere, or those of the result."""
    return node.inputs[1].shape[0] if node.op == "put_blocks" else node.output.shape[0]


def in_front(low: Lowering, node: Node, step: Step, places: dict[int, tuple[int, ...] | None]) -> tuple[Step, ...]:
    """The call, behind the one that shortens it where it is one of `places`."""
    if id(step) not in places:
        return (step,)
    count = low.as_planar(node.short)   # lies there, see lower_node
    count = count.reshape(()) if isinstance(count, np.ndarray) else count.reshaped(())
    return type(step)("shorten", (count, room_of(node), places[id(step)]), node, "shorten"), step


def plain_sizes(argument):
    """A tuple of sizes as plain numbers; everything else as it is."""
    if isinstance(argument, tuple) and all(isinstance(n, (int, np.integer)) for n in argument):
        return tuple(map(int, argument))
    return argument
