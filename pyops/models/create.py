"""create_model: a network by its name, of images (their classes, objects, pixels) or of texts."""
from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any, get_type_hints

import numpy as np

from ..nn import init
from ..nn.sizes import positive
from . import weights as weight_files
from .classification.classifier import ACTIVATIONS, POOLINGS, Classifier
from .create_sequence import create_sequence
from .keras_layout import to_keras
from .recipe import Recipe
from .registry import NETWORKS, Network

FIXED_CLASSES = {"lenet5": 10}   # its classes are drawn digits
# classes without a default for these have functions that give one
CHANGEABLE = ("width_mult", "depth_mult", "dropout")


def create_model(name: str, weights: Any = None, include_top: bool = True, pooling: str | None = None,
                 classes: int | None = None,
                 classifier_activation: str | None = None, **settings: Any) -> Any:
    """The network called `name`, in training mode, its weights drawn (manual_seed) or read from a
    file.

    weights: None, or the path of a .safetensors or .pth file with torchvision's or timm's names, of
    YOLO v1 to v4 of Darknet's .weights, of v5 and v6 of a file with their published names, or
    of an .h5 file of the network of that name in keras.applications (which then pads and normalises
    as Keras does; scaling pixels is the caller's part, also where the Keras network does it
    itself). include_top=False leaves out the classifier: the model then returns its last feature
    maps (N, C, H, W), or (N, C) with pooling "avg" or "max". classes: None for the published number
    (1000; of LeNet-5 and All-CNN 10; of detectors that of the published weights). The last four
    arguments but classes are for classifiers; a Detector's labels are 0 to classes - 1.
    classifier_activation: None for logits, "softmax", or
    "sigmoid". settings: of the network's own function, such as dropout.
    Raises ValueError for an unknown name (with the closest), an unknown pooling or activation,
    numbers out of range, or weights that do not fit, with a report; TypeError for a setting that
    the network does not have; FileNotFoundError.
    Of Transformers: weights is a Hugging Face folder, whose config.json says the settings and must be
    of this network's size; settings are fields of its configuration; classes are labels.
    """
    entry = known(name)
    if entry.task == "classification":
        return create_classifier(entry, weights, include_top, pooling, classes, classifier_activation, settings)
    if entry.task == "sequence":
        not_of_classifiers(entry, include_top, pooling, classifier_activation)
        return create_sequence(entry, weights, classes, settings)
    return create_other(entry, weights, classes, settings, include_top, pooling, classifier_activation)


def known(name: str) -> Network:
    if name not in NETWORKS:
        close = get_close_matches(str(name), NETWORKS, n=3, cutoff=0.4)
        raise ValueError(f"create_model: no model is called {name!r}; " + (
            f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(NETWORKS)}"))
    return NETWORKS[name]


def create_classifier(entry: Network, weights: Any, include_top: bool, pooling: str | None, classes: int | None,
                      classifier_activation: str | None, settings: dict[str, Any]) -> Classifier:
    name = entry.name
    if pooling not in POOLINGS:
        raise ValueError(f"create_model: pooling must be None, 'avg' or 'max', got {pooling!r}")
    if classifier_activation not in ACTIVATIONS:
        raise ValueError("create_model: classifier_activation must be None, 'softmax' or 'sigmoid', got "
                         f"{classifier_activation!r}")
    if include_top and pooling is not None:
        raise ValueError(f"create_model: pooling={pooling!r} has a meaning only with include_top=False")
    if not isinstance(include_top, bool):
        raise ValueError(f"create_model: include_top must be True or False, got {include_top!r}")
    check_settings(name, settings)
    if classes is not None:
        classes = checked_classes(name, classes, settings)
    recipe = Recipe(name, settings if classes is None else {"classes": classes, **settings})
    if classes is not None:
        settings = settings if name in FIXED_CLASSES else {**settings, "num_classes": classes}
    if weights is None:
        model: Classifier = NETWORKS[name].make(**settings)
    else:
        with init.skip_draws():
            model = NETWORKS[name].make(**settings)
    if not include_top:
        model.without_top(pooling)
    model.activation, model.recipe = classifier_activation, recipe
    if weights is not None:
        weight_files.load(model, weights)
    return model


def create_other(entry: Network, weights: Any, classes: int | None, settings: dict[str, Any],
                 *of_classifiers: Any) -> Any:
    """A detector or a segmenter: its own settings, and classes; the rest of create_model's have a
    meaning for classifiers only."""
    not_of_classifiers(entry, *of_classifiers)
    check_settings(entry.name, settings)
    if entry.task == "segmentation" and "num_classes" in settings:
        positive("create_model", num_classes=settings["num_classes"])
    recipe = Recipe(entry.name, settings)
    if classes is not None:
        classes = checked_classes(entry.name, classes, settings)
        recipe.settings = {"classes": classes, **settings}
        settings = {("classes" if entry.task == "detection" else "num_classes"): classes, **settings}
    if weights is None:
        model = entry.make(**settings)
    else:
        with init.skip_draws():
            model = entry.make(**settings)
    model.recipe = recipe
    if weights is not None:
        weight_files.load(model, weights)
    return model


def not_of_classifiers(entry: Network, *given: Any) -> None:
    if given != (True, None, None):
        raise ValueError(f"create_model: {entry.name} is of {entry.task}; include_top, pooling and "
                         "classifier_activation are settings of classifiers")


def checked_classes(name: str, classes: Any, settings: Any) -> int:
    if "num_classes" in settings:
        raise ValueError(f"create_model: classes={classes!r} and num_classes={settings['num_classes']!r} are "
                         "one setting; give one of them")
    if isinstance(classes, bool) or not hasattr(classes, "__index__") or classes < 1:
        raise ValueError(f"create_model: classes must be a positive int or None, got {classes!r}")
    if classes != FIXED_CLASSES.get(name, classes):
        raise ValueError(f"create_model: {name} has {FIXED_CLASSES[name]} classes, not {classes}: they are "
                         "pictures of digits; lenet5_modern takes any number")
    return int(classes)


def check_settings(name: str, settings: Any) -> None:
    """Names: those that the function has a default for, and, where it passes others on, those that
    the class has one for and those that a family's functions set but let be changed."""
    make = NETWORKS[name].make
    parameters = dict(signature(make).parameters)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        parameters |= signature(get_type_hints(make)["return"]).parameters
    known = [key for key, p in parameters.items() if p.default is not p.empty or key in CHANGEABLE]
    if unknown := [key for key in settings if key not in known]:
        raise TypeError(
            f"create_model: {name} has no setting {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    for key, value in settings.items():
        check_kind(f"create_model: {key}", str(parameters[key].annotation), value)
    for key in ("width_mult", "depth_mult"):
        if key in settings and not settings[key] > 0:
            raise ValueError(f"create_model: {key} must be positive, got {settings[key]!r}")


def check_kind(what: str, annotation: str, value: Any) -> None:
    """ValueError for a value of another kind than the parameter's; only the plain ones are
    looked at."""
    if annotation == "bool" and not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{what} must be True or False, got {value!r} ({type(value).__name__})")
    if annotation in ("int", "float") and (isinstance(value, (bool, np.bool_)) or not isinstance(
            value, numbers.Integral if annotation == "int" else numbers.Real)):
        kind = "an int" if annotation == "int" else "a number"
        raise ValueError(f"{what} must be {kind}, got {value!r} ({type(value).__name__})")
    if annotation == "float" and not math.isfinite(value):
        raise ValueError(f"{what} must be finite, got {value!r}")
    if annotation == "Sequence[int]":
        if isinstance(value, str) or not isinstance(value, Sequence) or not value:
            raise ValueError(f"{what} must be a sequence of ints, got {value!r} ({type(value).__name__})")
        for one in value:
            check_kind(what, "int", one)


def rebuild(metadata: Mapping[str, str], most: int | None = None) -> Any:
    """The network that describe() told of, without numbers in its arrays. ValueError where the
    metadata names none, or none that can be built.

    most: how many numbers there are for its arrays. No setting of such a network is larger.
    """
    if "model" not in metadata:
        raise ValueError("names no network of create_model (model) in its metadata, which has "
                         f"{', '.join(metadata) or 'nothing'}; a Trainer and models.weights.save write it "
                         "for models that create_model made")
    # of `pyops train lenet5`
    name = ("lenet5_modern" if metadata["model"] == "lenet5" and metadata.get("form") == "modern"
            else metadata["model"])
    settings, head = (told(metadata, key, most) for key in ("settings", "head"))
    with init.skip_draws():
        try:
            model = create_model(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})   # type: ignore[arg-type]
            if head:
                model.with_head(**head | {"hidden": tuple(head.get("hidden", ()))})
        except (TypeError, AttributeError, ArithmeticError, MemoryError, IndexError, KeyError) as why:
            # of settings that fit no network
            raise ValueError(f"{name} cannot be built with {shown(settings)} and the head {shown(head)}: "
                             f"{type(why).__name__}: {why}") from why
    if metadata.get("layout") == "keras":
        to_keras(model)
    return model


def told(metadata: Mapping[str, str], key: str, most: int | None) -> dict[str, Any]:
    """Settings from a file's metadata."""
    try:
        found = json.loads(metadata.get(key, "null")) or {}
    except (ValueError, RecursionError) as why:
        raise ValueError(f"the {key} in its metadata are no JSON: {type(why).__name__}") from why
    if not isinstance(found, dict) or "weights" in found:   # which would read another file
        raise ValueError(f"the {key} in its metadata are no settings of a network: {shown(found)}")
    values = [v for value in found.values() for v in (value if isinstance(value, list) else [value])]
    if not all(v is None or isinstance(v, (str, int, float, list)) for v in values):
        raise ValueError(f"the {key} in its metadata are no settings of a network: {shown(found)}")
    if most is not None and any(isinstance(v, (int, float)) and not abs(v) <= max(most, 1000)
                                for v in values):
        raise ValueError(
            f"the {key} in its metadata ask for more than the {most} numbers that it holds: {shown(found)}")
    return found


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}..."
