"""Recurrent layers: one call each, with the weights packed when the program is made."""
from __future__ import annotations

import numpy as np

from ...ops.recurrent_layer import flops, plan, shapes_of
from ...ops.recurrent_workspace import aligned
from ..ir import Node, Value
from .context import Declined, Lowering


def recurrent(low: Lowering, node: Node) -> None:
    x, h0, c0, lengths, *weights = node.inputs
    if any(isinstance(v, Value) for v in (lengths, *weights)):
        raise Declined("weights or lengths that are computed")
    cell, batch_first = node.attrs["cell"], node.attrs["batch_first"]
    p = plan(node.op, cell, x.shape, *shapes_of((h0, c0, lengths)), shapes_of(weights), batch_first)
    packed = aligned(Allocator, p.packed)
    for d in range(p.packed[0]):
        own = (None if w is None else np.require(w, None, "CA") for w in weights[6 * d:6 * d + 6])
        low.kernels.recurrent_pack(*own, p.sizes, packed[d])
    # A buffer for every output, though none may read it: the kernel writes all
    outputs = [low.new_planar(v) for v in node.outputs]
    none = np.empty(0, np.float32)
    if cell != "lstm":
        outputs.append(none)
    low.add("recurrent", *(low.as_planar(v) for v in (x, h0, c0)), lengths, packed, p.sizes,
            batch_first, weights[5] is not None, *outputs, none, none, node=node, algorithm="packed",
            flops=flops(x, h0, c0, lengths, *weights, cell=cell, batch_first=batch_first))


class Allocator:
    @staticmethod
    def empty(shape):
        return np.empty(shape, np.float32)


RULES = dict.fromkeys(("rnn", "lstm", "gru"), recurrent)
