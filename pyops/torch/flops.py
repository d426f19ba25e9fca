"""What torch's own counter says of calls: the FLOPs of single nodes."""

from __future__ import annotations

import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode, flop_registry


def flops_of(node) -> float:
    """Of one call; 0 of calls that torch does not count. Sizes that are symbols count by their
    hints; of a length that a run decides nobody knows how many there are, and 0 is counted.

    A call that torch's counter knows as the smaller calls it is made of (linear, conv2d, attention)
    is run on tensors without memory, and these are counted.
    """
    packet = getattr(node.target, "overloadpacket", None)
    values = [n.meta.get("val") for n in (node, *node.all_input_nodes)]
    if packet is None or "val" not in node.meta or any(
        v is not None and free_unbacked_symbols(v) for v in pytree.tree_leaves(values)
    ):
        return 0.0
    args, kwargs = torch.fx.map_arg(
        (node.args, node.kwargs), lambda n: pytree.tree_map(numbered, n.meta.get("val"))
    )
    count = flop_registry.get(packet)
    if count is not None:
        return float(count(*args, **kwargs, out_val=pytree.tree_map(numbered, node.meta["val"])))
    if not node.target._can_decompose():
        return 0.0
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            node.target(*args, **kwargs)
    except (RuntimeError, NotImplementedError, TypeError):  # a call that torch cannot run without memory
        return 0.0
    return float(counter.get_total_flops())


def numbered(value):
    if isinstance(value, torch.Tensor):
        return torch.empty([numbered(s) for s in value.shape], dtype=value.dtype, device="meta")
    return value.node.hint if isinstance(value, (torch.SymInt, torch.SymFloat)) else value
