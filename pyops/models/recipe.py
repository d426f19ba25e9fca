"""What builds a network of create_model again, as a few words beside its weights in a file: name, settings, layout, and a head put on later."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass
class Recipe:
    """name and settings: of create_model. head: with_head's arguments, once it was called."""
    name: str
    settings: dict
    head: dict | None = None


def describe(model) -> dict[str, str]:
    """The words for a file's metadata, {} for a model that create_model did not make.

    What was changed since is told as it is now: layout, top, pooling, activation and head. Settings that JSON cannot hold leave the model
    untold, since nothing could build it from the rest.
    """
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        return {}
    settings = dict(recipe.settings)
    if model.activation is not None:
        settings["classifier_activation"] = model.activation
    if not model.top:
        settings["include_top"] = False
    if not model.top and model.pooling is not None and not model.own_head:
        settings["pooling"] = model.pooling
    try:
        told = {"model": recipe.name, "settings": json.dumps(settings, default=plain), "family": type(model).__name__}
    except TypeError:
        return {}
    if model.layout is not None:
        told["layout"] = model.layout
    if model.own_head and recipe.head is not None:
        told["head"] = json.dumps(recipe.head)
    return told


def plain(value):
    """NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def rebuild(metadata: Mapping[str, str]):
    """The network that describe() told of, without numbers in its arrays. ValueError where the metadata names none, or none that can be built."""
    from ..nn import init
    from .create import create_model
    from .keras_layout import to_keras
    if "model" not in metadata:
        raise ValueError(f"names no network of create_model (model) in its metadata, which has {', '.join(metadata) or 'nothing'}; a Trainer and "
                         "models.weights.save write it for models that create_model made")
    name = "lenet5_modern" if metadata["model"] == "lenet5" and metadata.get("form") == "modern" else metadata["model"]   # of `pyops train lenet5`
    settings, head = (json.loads(metadata.get(key, "null")) or {} for key in ("settings", "head"))
    with init.skip_draws():
        try:
            model = create_model(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})
            if head:
                model.with_head(**head | {"hidden": tuple(head.get("hidden", ()))})
        except TypeError as why:
            raise ValueError(f"{name} cannot be built with {metadata.get('settings')} and the head {metadata.get('head')}: {why}") from why
    if metadata.get("layout") == "keras":
        to_keras(model)
    return model
