"""What builds a network of create_model again, as a few words beside its weights in a file: name,
settings, layout, and a head put on later."""
from __future__ import annotations

import json
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

    What was changed since is told as it is now: layout, top, pooling, activation and head. Settings
    that JSON cannot hold leave the model untold, since nothing could build it from the rest.
    """
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        return {}
    settings = dict(recipe.settings)
    if not hasattr(model, "activation"):   # a detector or a segmenter
        return told(recipe, settings | model.current_settings(), model)
    if model.activation is not None:
        settings["classifier_activation"] = model.activation
    if not model.top:
        settings["include_top"] = False
    if not model.top and model.pooling is not None and not model.own_head:
        settings["pooling"] = model.pooling
    found = told(recipe, settings, model)
    if found and model.layout is not None:
        found["layout"] = model.layout
    if found and model.own_head and recipe.head is not None:
        found["head"] = json.dumps(recipe.head)
    return found


def told(recipe: Recipe, settings: dict, model) -> dict[str, str]:
    try:
        return {"model": recipe.name, "settings": json.dumps(settings, default=plain),
                "family": type(model).__name__}
    except TypeError:
        return {}


def plain(value):
    """NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no value of JSON")
