"""Filters and feature maps."""
from __future__ import annotations

import numpy as np

from .. import nn
from ..core.tensor import Tensor, no_grad
from ..graph.describe import evaluating
from ..models.classification.lenet5 import PartialConv2d


def convolutions(model) -> dict[str, nn.Module]:
    return {name: m for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, PartialConv2d))}


def layer_of(model, name: str):
    """The submodule called `name`. ValueError with the convolutions there are where none is."""
    try:
        return model.get_submodule(name)
    except KeyError as why:
        raise ValueError(f"{type(model).__name__} has no layer {name!r}; its convolutions are "
                         f"{', '.join(convolutions(model))}") from why


def filters(model, layer: str | None = None) -> list[np.ndarray]:
    """The kernels of a convolution as images, (3, k, k) where it sees three channels, else (k, k):
    the mean over its inputs' channels; of LeNet-5's C3 the kernel of each connection.

    layer: its dotted name; None for the first. ValueError where it is no convolution.
    """
    found = convolutions(model)
    if layer is None and not found:
        raise ValueError(f"{type(model).__name__} has no convolution")
    layer = next(iter(found)) if layer is None else layer
    if layer not in found:
        raise ValueError(
            f"filters: {layer!r} is no convolution of {type(model).__name__}; there are {', '.join(found)}")
    weight = found[layer].weight.data
    if weight.ndim == 2:   # of a PartialConv2d, a kernel for each connection
        return list(weight.reshape(-1, *found[layer].dense[2:]))
    return list(weight if weight.shape[1] == 3 else weight.mean(1))


def feature_maps(model, inputs: np.ndarray, layers: list[str] | None = None) -> dict[str, np.ndarray]:
    """layer -> its result (N, C, H, W) for inputs (N, C, H, W), in evaluation mode. layers: dotted
    names; None for every convolution."""
    names = list(convolutions(model)) if layers is None else layers
    found: dict[str, np.ndarray] = {}

    def keep(name):
        return lambda module, given, output: found.__setitem__(name, output.data)
    handles = [layer_of(model, name).register_forward_hook(keep(name)) for name in names]
    try:
        with evaluating(model), no_grad():
            model(Tensor(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return found
