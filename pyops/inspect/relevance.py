"""Layer-wise relevance propagation: a score is divided among the values of the image, layer by
layer, so that (but for what biases keep) nothing is lost or made. Bach et al. (2015)."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core import tape
from ..core.tensor import Tensor
from .attribution import goal
from .objective import Objective
from .rules import by_gradient
from .subject import TorchSubject, checked, subject
from .tokens import ATTENTION, NORMS, attended, multiplied, normalised

RULES = ("epsilon", "alpha-beta", "composite")
LAYERS = ("conv", "conv_transpose", "linear")                   # products with weights, and a bias
MOVES = ("reshape", "permute", "getitem", "cat", "expand", "broadcast_to", "pad", "max_pool", "max_unpool",
         "pixel_shuffle", "pixel_unshuffle")                     # each value of the result is one of the input's
MEANS = ("avg_pool", "sum", "resample", "batch_norm", "div", "lp_pool", "fold", "unfold")   # sums with weights
STAYS = ("local_response_norm", "rms_norm", "clamp", "cast", "dropout", "neg")   # what scales values in place


class NoRule(ValueError):
    """The network has a row that relevance does not know how to go back through."""


class Relevance(NamedTuple):
    """values: (C, H, W), what each value of the image contributes. score: what was divided. The sum of
    values is the score less what biases, and units whose sum is next to nothing, have kept."""
    values: np.ndarray
    score: float

    @property
    def kept(self) -> float:
        return self.score - float(self.values.sum(dtype=np.float64))


def relevance(model: Any, image: Any, target: int | Objective, rule: str = "composite", *, epsilon: float = 1e-6,
              alpha: float = 1.0) -> Relevance:
    """Who the score of class `target`, or an Objective, is owed to.

    A unit z = sum(x w) + b divides its relevance R among its inputs. rule "epsilon": as x w / (z +
    epsilon s sign(z)), s the layer's mean |z|. "alpha-beta": positive parts x w share alpha R and
    negative ones (1 - alpha) R, biases left out; alpha=1 is the z+ rule of deep Taylor
    decomposition (Montavon et al., 2017). "composite": alpha-beta for convolutions, epsilon for
    linear layers. A batch norm behind a layer is taken as part of it; activations hand on what
    they get; of a product of two maps the larger one has it all; attention's weights and the deviations
    of norms over features are constants (tokens.py). Networks of pyops; ValueError for rows without a
    rule, TypeError for torch's.
    """
    image, looked, objective = checked("relevance", image), subject(model), goal(target)
    if isinstance(looked, TorchSubject):
        raise TypeError(f"relevance: takes networks of pyops, got a torch module {looked.name}")
    if rule not in RULES:
        raise ValueError(f"relevance: rule must be {', '.join(RULES)}, got {rule!r}")
    if not (np.isfinite([epsilon, alpha]).all() and epsilon >= 0 and alpha >= 1):
        raise ValueError(f"relevance: epsilon must not be negative and alpha at least 1, got {epsilon} and {alpha}")
    reached, values = looked.walk(image[None], objective, lambda roots: Divided(roots, rule, epsilon, alpha))
    return Relevance(values[0], float(reached[0]))


class Divided:
    """A rule of `walk`. roots: where it begins."""

    def __init__(self, roots: Sequence[Tensor], rule: str, epsilon: float, alpha: float):
        self.rule, self.epsilon, self.alpha = rule, epsilon, alpha
        self.readers = Counter(id(v.node) for node in tape.order(roots) for v in node.inputs
                               if isinstance(v, Tensor) and v.node is not None)
        self.norms: dict[int, tape.Node] = {}   # layer -> the batch norm behind it, which it has taken in

    def __call__(self, node: tape.Node, came: Sequence[Any], wanted: tuple[bool, ...]) -> Sequence[Any]:
        name, r = node.op.name, came[0]
        if name == "batch_norm" and self._joins(node.inputs[0]):
            self.norms[id(node.inputs[0].node)] = node
            return [r, *[None] * (len(node.inputs) - 1)]
        if name in LAYERS:
            return self._layer(node, r)
        if name in MOVES:
            return by_gradient(node, came, wanted)
        if name in MEANS and not any(wanted[1:]):
            return self._proportional(node, r)
        if name in ATTENTION:
            return attended(node, r / self._stable(node.outputs[0]))
        if name in NORMS:
            return normalised(node, r / self._stable(node.outputs[0]))
        if name == "matmul":
            return multiplied(node, r / self._stable(node.outputs[0]), wanted)
        if name == "add":
            return self._added(node, r, wanted)
        if name == "mul":
            return self._product(node, r, wanted)
        if name in STAYS or (node.op.activation and name not in ("softmax", "log_softmax")):
            return [r, *[None] * (len(node.inputs) - 1)]
        raise NoRule(f"relevance: there is no rule for {name}")

    def _joins(self, value: Any) -> bool:
        return value.node is not None and value.node.op.name in LAYERS and self.readers[id(value.node)] == 1

    def _stable(self, z: np.ndarray) -> np.ndarray:
        least = self.epsilon * float(np.abs(z).mean(dtype=np.float64)) + np.finfo(z.dtype).tiny
        return z + np.where(z < 0, -least, least).astype(z.dtype)

    def _layer(self, node: tape.Node, r: np.ndarray) -> Sequence[Any]:
        x, weight, *_ = (v.data if isinstance(v, Tensor) else v for v in node.inputs)
        z, norm = node.outputs[0], self.norms.get(id(node))
        if norm is not None:
            weight, z = scaled(node, weight, norm), norm.outputs[0]
        nothing = [None] * (len(node.inputs) - 1)
        if self.rule == "epsilon" or (self.rule == "composite" and node.op.name == "linear"):
            return [x * back(node, x, weight, r / self._stable(z)), *nothing]
        parts = [(np.maximum(x, 0), np.minimum(x, 0)), (np.maximum(weight, 0), np.minimum(weight, 0))]
        total = self._signed(node, *parts, r) * self.alpha
        if self.alpha != 1:
            total = total - (self.alpha - 1) * self._signed(node, parts[0], parts[1][::-1], r)
        return [total, *nothing]

    def _signed(self, node: tape.Node, x: Sequence[np.ndarray], weight: Sequence[np.ndarray], r: np.ndarray) -> Any:
        """R divided among the products of like signs (or, with weights' parts exchanged, of unlike)."""
        z = sum(node.op(a, w, None, **node.attrs) for a, w in zip(x, weight))
        share = np.where(z != 0, r / np.where(z != 0, z, 1), 0).astype(r.dtype)
        return sum(a * back(node, a, w, share) for a, w in zip(x, weight))

    def _proportional(self, node: tape.Node, r: np.ndarray) -> Sequence[Any]:
        x = node.inputs[0].data
        return [x * by_gradient(node, (r / self._stable(node.outputs[0]),), first(node))[0],
                *[None] * (len(node.inputs) - 1)]

    def _added(self, node: tape.Node, r: np.ndarray, wanted: tuple[bool, ...]) -> Sequence[Any]:
        back_to = by_gradient(node, (r / self._stable(node.outputs[0]),), wanted)
        return [None if g is None else v.data * g for v, g in zip(node.inputs, back_to)]

    def _product(self, node: tape.Node, r: np.ndarray, wanted: tuple[bool, ...]) -> Sequence[Any]:
        sizes = [v.data.size if want else -1 for v, want in zip(node.inputs, wanted)]
        winner = int(np.argmax(sizes))
        if node.inputs[winner].data.shape != r.shape:
            raise NoRule(f"relevance: there is no rule for a product of {node.inputs[0].shape} and "
                             f"{node.inputs[1].shape}")
        return [r if i == winner else None for i in range(len(node.inputs))]


def first(node: tape.Node) -> tuple[bool, ...]:
    return tuple(i == 0 for i in range(len(node.inputs)))


def back(node: tape.Node, x: np.ndarray, weight: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The layer's gradient for its input, with other weights."""
    context = tape.Context((g,), (x, weight, *[None] * (len(node.inputs) - 2)), node.outputs, node.attrs, first(node))
    return node.op.gradient(context)[0]


def scaled(node: tape.Node, weight: np.ndarray, norm: tape.Node) -> np.ndarray:
    """The layer's weights with those of the batch norm behind it."""
    _, _, variance, gamma, _ = (v.data if isinstance(v, Tensor) else v for v in norm.inputs)
    factor = (1 if gamma is None else gamma) / np.sqrt(variance + norm.attrs["eps"])
    if node.op.name == "conv_transpose":
        groups = node.attrs["groups"]
        rows = factor.reshape(groups, 1, -1).repeat(weight.shape[0] // groups, 1).reshape(weight.shape[:2])
        return (weight * rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))).astype(weight.dtype)
    return (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)

