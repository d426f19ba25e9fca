"""Relevance back through what networks of tokens have: attention, products of two computed arrays,
and norms over features.

Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation" (2022):
attention's weights and a norm's deviation count as constants, so that attention is a linear
function of its values and a norm one of what it is given; else relevance is made and lost.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import tape
from ..core.tensor import Tensor
from .rules import by_gradient

__all__ = ["ATTENTION", "NORMS", "attended", "multiplied", "normalised"]

ATTENTION = ("attention", "attention_within")
NORMS = ("layer_norm", "group_norm")
HANDS_ON = ("dropout", "reshape", "expand", "permute", "cast", "getitem")


def attended(node: tape.Node, share: np.ndarray) -> Sequence[Any]:
    """share: relevance over result. All of it goes to the values, as their weights have it."""
    value = node.inputs[2]
    if not isinstance(value, Tensor) or not value.requires_grad:
        return [None] * len(node.inputs)
    nothing = [None] * (len(node.outputs) - 1)
    back = by_gradient(node, (share, *nothing), tuple(i == 2 for i in range(len(node.inputs))))[2]
    return [value.data * back if i == 2 else None for i in range(len(node.inputs))]


def multiplied(node: tape.Node, share: np.ndarray, wanted: tuple[bool, ...]) -> Sequence[Any]:
    """A product of two computed arrays: all to the other one where one is a softmax's, else half to each
    (Achtibat et al., "AttnLRP", 2024)."""
    weights = [i for i in (0, 1) if wanted[i] and is_softmax(node.inputs[i])]
    if len(weights) == 1:
        wanted = tuple(want and i != weights[0] for i, want in enumerate(wanted))
    part = 1 / max(1, sum(wanted))
    back = by_gradient(node, (share,), wanted)
    return [v.data * (part * g) if want else None for v, g, want in zip(node.inputs, back, wanted)]


def is_softmax(value: Any) -> bool:
    """Whether it is weights, that only moved since."""
    while value.node is not None and value.node.op.name in HANDS_ON:
        value = value.node.inputs[0]
    return value.node is not None and value.node.op.name == "softmax"


def normalised(node: tape.Node, share: np.ndarray) -> Sequence[Any]:
    """A norm whose deviation is a constant: the mean of what is divided has its part, too."""
    x, weight, *_ = (v.data if isinstance(v, Tensor) else v for v in node.inputs)
    _, _, spread = node.outputs
    if node.op.name == "layer_norm":
        axes = x.ndim - node.attrs["ndim"]
        g = share if weight is None else share * weight
        g = (g.reshape(-1, *x.shape[axes:]) * spread.reshape(-1, *[1] * node.attrs["ndim"])).reshape(x.shape)
        g = g - g.mean(tuple(range(axes, x.ndim)), keepdims=True)
    else:
        g = share if weight is None else share * weight.reshape(-1, *[1] * (x.ndim - 2))
        g = g.reshape(*spread.shape, -1) / np.sqrt(spread + node.attrs["eps"])[..., None]
        g = (g - g.mean(-1, keepdims=True)).reshape(x.shape)
    return [(x * g).astype(x.dtype), *[None] * (len(node.inputs) - 1)]
