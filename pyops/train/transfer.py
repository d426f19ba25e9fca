"""Transfer learning, one call a step:

    # the trunk, trained on much data
    model = pyops.create_model("resnet18", weights="FILE.pth", include_top=False)
    replace_head(model, classes=5)                            # a new classifier, drawn at random
    freeze(model)                                             # all but the head
    Trainer(model, data, "runs/head").fit()
    groups = unfreeze(model, top=4, lr=1e-4, head_lr=1e-3)    # the last layers too, at a small rate
    Trainer(model, data, "runs/tuned", optimizer=AdamW(groups)).fit()
"""
from __future__ import annotations

from .. import nn


def replace_head(model, classes: int, hidden: tuple[int, ...] = (), dropout: float = 0.0,
                 pooling: str = "avg"):
    """Takes the classifier off a network of create_model and puts a new one on: pooling, linear
    layers of `hidden` outputs with ReLU, dropout, and a linear layer to `classes` logits. In place;
    returns the model. The trunk's weights stay.

    ValueError for a model that has no trunk and head, or for bad numbers.
    """
    if not hasattr(model, "with_head"):
        raise ValueError(f"replace_head: {type(model).__name__} is no network of create_model; replace its "
                         "last layer by assignment")
    return model.with_head(classes, hidden, dropout, pooling)


def head_modules(model) -> list[nn.Module]:
    """The modules that make the head: the new one, or those the network names."""
    names = ("head",) if getattr(model, "own_head", False) else getattr(model, "head_names", ())
    found = [getattr(model, name) for name in names if isinstance(getattr(model, name, None), nn.Module)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no head: call replace_head first")
    return found


def freeze(model):
    """Everything but the head keeps its weights and, in a Trainer, its batch statistics. In place;
    returns the model."""
    heads = head_modules(model)
    set_frozen(model, True)
    for head in heads:
        set_frozen(head, False)
    return model


def unfreeze(model, top: int | None = None, lr: float = 1e-4, head_lr: float | None = None) -> list[dict]:
    """Trains the last `top` layers of the trunk too (None: all of it). Returns groups of parameters
    for an optimiser: head, trunk.

    A layer is a module with weights of its own of two axes or more; norms go with the layer before
    them. lr: of the trunk, head_lr: of the head (default: 10 lr). ValueError where top is not 1 ..
    the number of layers.
    """
    heads = head_modules(model)
    of_head = {id(m) for head in heads for m in head.modules()}
    trunk = [m for m in model.modules() if id(m) not in of_head
             and any(True for _ in m.parameters(recurse=False))]
    starts = [i for i, m in enumerate(trunk) if any(p.data.ndim > 1 for p in m.parameters(recurse=False))]
    if top is not None and not 1 <= top <= len(starts):
        raise ValueError(
            f"unfreeze: top must be 1 .. {len(starts)} layers of this trunk, or None for all, got {top}")
    if not lr > 0 or head_lr is not None and not head_lr > 0:
        raise ValueError(f"unfreeze: rates must be positive, got {lr} and {head_lr}")
    chosen = trunk if top is None else trunk[starts[-top]:]
    for module in chosen:
        set_frozen(module, False)
    if top is None:
        set_frozen(model, False)
    return [{"params": [p for head in heads for p in head.parameters()], "lr": head_lr or 10 * lr},
            {"params": [p for module in chosen for p in module.parameters(recurse=False)], "lr": lr}]


def set_frozen(module, frozen: bool) -> None:
    for part in module.modules():
        part.frozen = frozen
    for p in module.parameters():
        p.requires_grad = not frozen
