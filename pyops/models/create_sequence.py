"""create_model of Transformers: their settings are fields of config.json, their weights folders."""
from __future__ import annotations

from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any, get_type_hints

from ..nn import init
from .registry import Network
from .sequence.folder import FAMILIES, load_transformer

FREE = ("vocab_size", "num_labels")   # sizes in which a folder may differ from the published network


def create_sequence(entry: Network, weights: Any, classes: int | None, settings: dict[str, Any]) -> Any:
    """create_model's Transformer called entry.name. weights: a folder, of which the settings are read,
    too. classes: of networks with labels."""
    known = settings_of(entry)
    if unknown := [name for name in settings if name not in known]:
        close = get_close_matches(unknown[0], known, n=3)
        raise TypeError(f"create_model: {entry.name} has no setting {', '.join(unknown)}; " + (
            f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(known)}"))
    if classes is not None:
        if "num_labels" not in known:
            raise ValueError(f"create_model: {entry.name} has no classes; it has {', '.join(known)}")
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
            raise ValueError(f"create_model: classes must be a positive int or None, got {classes!r}")
        settings = {"num_labels": classes, **settings}
    if weights is None:
        return entry.make(**settings)
    return of_folder(entry, weights, settings)


def settings_of(entry: Network) -> list[str]:
    """Names of the function's own arguments, and of its configuration's fields or its class's
    arguments."""
    own = [p.name for p in signature(entry.make).parameters.values()
           if p.kind is not Parameter.VAR_KEYWORD and p.name != "size"]
    model = get_type_hints(entry.make)["return"]
    configuration = get_type_hints(model.__init__).get("config")
    others = ([f.name for f in fields(configuration)] if is_dataclass(configuration)
              else list(signature(model).parameters))
    return [*own, *(name for name in others if name not in own)]


def of_folder(entry: Network, folder: Any, settings: dict[str, Any]) -> Any:
    """The folder's network, if it is of this name."""
    with init.skip_draws():
        wanted = getattr(entry.make(), "config", None)
    if wanted is None:
        raise ValueError(f"create_model: {entry.name} has no folders; make it without weights and load a state_dict")
    if settings.keys() - {"head"}:
        raise ValueError(f"create_model: the folder's config.json says the settings; leave out {', '.join(settings)}")
    architecture = None
    if "head" in settings:
        made = FAMILIES[wanted.model_type].architectures
        architecture = next((name for name, make in made.items() if make is settings["head"]), None)
        if architecture is None:
            raise ValueError(f"create_model: head must be one of {', '.join(make.__name__ for make in made.values())}, "
                             f"got {settings['head']!r}")
    model = load_transformer(folder, architecture)
    if type(model.config) is not type(wanted):
        raise ValueError(f"create_model: {folder} is of {model.config.model_type}, not {wanted.model_type}")
    for name in wanted.SIZES:
        if name not in FREE and getattr(model.config, name) != getattr(wanted, name):
            raise ValueError(f"create_model: {folder} is no {entry.name}: its {name} is {getattr(model.config, name)}, "
                             f"not {getattr(wanted, name)}; models.load_transformer reads any size")
    return model.train()
