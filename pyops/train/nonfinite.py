"""Where a NaN or an infinity came from: the first value of a training step that is not finite, and
the layer it belongs to."""
from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from ..core.tape import order
from ..core.tensor import Tensor


@dataclass(frozen=True)
class NonFinite:
    """layer: the dotted name of the innermost module, "input" or "loss". what: "value", "gradient",
    "parameter", "buffer" or "input"."""
    layer: str
    what: str
    name: str
    shape: tuple[int, ...]
    nans: int
    infinities: int
    after: str = ""

    def __str__(self):
        count = " and ".join(f"{n} {kind}"
                             for n, kind in ((self.nans, "NaN"), (self.infinities, "infinite")) if n)
        after = f", after layer {self.after}" if self.after else ""
        of = {"value": f"result of {self.name} in layer {self.layer}{after}", "input": "input",
              "gradient": f"gradient of {self.name} (layer {self.layer})",
              "parameter": f"parameter {self.name} (layer {self.layer})",
              "buffer": f"buffer {self.name} (layer {self.layer})"}[self.what]
        return f"the {of}: {count} of {int(np.prod(self.shape))} elements, shape {self.shape}"


class NonFiniteError(FloatingPointError):
    """Training stopped at a loss, or a gradient, that is no number. `found`: NonFinite or None;
    `epoch`, `step`: from 1."""

    def __init__(self, found: NonFinite | None, epoch: int, step: int, kept: str):
        self.found, self.epoch, self.step = found, epoch, step
        super().__init__(f"epoch {epoch}, batch {step}: the loss or a gradient is not finite. First: "
                         f"{found or 'nothing when the step was run again'}. {kept} Usual causes: a learning "
                         "rate too high, a logarithm or quotient of 0, inputs that are not scaled")


def finite(array: np.ndarray) -> bool:
    """Whether every element is; a sum shows it at the cost of one pass and no temporary array."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


def described(layer: str, what: str, name: str, array: np.ndarray, after: str = "") -> NonFinite:
    nans = int(np.isnan(array).sum())
    return NonFinite(layer, what, name, array.shape, nans, int((~np.isfinite(array)).sum()) - nans, after)


def gradients_finite(model) -> bool:
    return all(p.grad is None or finite(np.asarray(p.grad)) for p in model.parameters())


def state_finite(model) -> bool:
    return all(finite(v) for v in model.state_dict().values())


def first_non_finite(model, loss, inputs: np.ndarray, targets, recorded=None) -> NonFinite | None:
    """Runs the step again, forward and backward, in the order in which values are made; the model's
    weights are not changed. recorded(inputs, targets): the loss of the batch on the tape, where it
    is not loss(model(inputs), targets).

    A parameter, a buffer or an input that is not finite before anything is computed is what is
    named then. Batch norm's running statistics move as in any forward pass in training mode.
    """
    if not finite(inputs):
        return described("input", "input", "", inputs)
    held = [("parameter", n, p.data)
            for n, p in model.named_parameters()] + [("buffer", n, b) for n, b in model.named_buffers()]
    for what, name, array in held:
        if not finite(array):
            return described(name.rpartition(".")[0] or type(model).__name__, what, name, array)
    with owners(model) as owner, np.errstate(all="ignore"):
        value = recorded(inputs, targets) if recorded else loss(model(Tensor(inputs)), targets)
    for node in reversed(order([value])):
        for array in node.outputs:
            if not finite(array):
                layer = owner.get(id(node), "loss")
                return described(layer, "value", node.op.name, array,
                                 upstream(node, owner, type(model).__name__)
                                 if layer in ("loss", type(model).__name__) else "")
    return first_gradient(model, value) if value.requires_grad else None


def first_gradient(model, value: Tensor) -> NonFinite | None:
    """Of the gradients that are not finite, the one nearest to the loss: backward makes it
    first."""
    model.zero_grad()
    with np.errstate(all="ignore"):
        value.backward()
    for name, p in reversed(list(model.named_parameters())):
        if p.grad is not None and not finite(np.asarray(p.grad)):
            return described(name.rpartition(".")[0] or type(model).__name__, "gradient", name,
                             np.asarray(p.grad))
    return None


@contextmanager
def owners(model):
    """Within the block, a dict from id(node) to the name of the innermost module that recorded it.

    A module claims, when it returns, what of its output's tape nobody has claimed yet; its parent
    claims, before the call, what lies behind the inputs.
    """
    owner: dict[int, str] = {}
    keep, stack = [], []   # keep: ids stay unique while the nodes live

    def claim(values, name):
        pending = [v.node for v in flat(values) if v.node is not None]
        while pending:
            node = pending.pop()
            if id(node) not in owner:
                owner[id(node)] = name
                keep.append(node)
                pending += [v.node for v in node.inputs if isinstance(v, Tensor) and v.node is not None]

    def before(name):
        def hook(module, inputs):
            if stack:
                claim(inputs, stack[-1])
            stack.append(name)
        return hook

    def after(module, inputs, output):
        claim(output, stack.pop())
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_pre_hook(before(name or type(model).__name__)))
            hooks.enter_context(module.register_forward_hook(after))
        yield owner


def flat(value) -> list[Tensor]:
    """The Tensors in a value, which may be nested tuples, lists or dicts of them."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [t for part in parts for t in flat(part)]


def upstream(node, owner: dict[int, str], root: str) -> str:
    """The nearest submodule before `node`; "" where there is none."""
    pending = [node]
    while pending:
        node = pending.pop(0)
        if owner.get(id(node), root) != root:
            return owner[id(node)]
        pending += [v.node for v in node.inputs if isinstance(v, Tensor) and v.node is not None]
    return ""
