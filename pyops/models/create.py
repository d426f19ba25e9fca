"""create_model: a classification network by its name."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import get_type_hints

from ..nn import init
from . import weights as weight_files
from .alexnet import alexnet, alexnet_2012
from .all_cnn import all_cnn_a, all_cnn_b, all_cnn_c
from .classifier import ACTIVATIONS, POOLINGS, Classifier
from .densenet import densenet121, densenet161, densenet169, densenet201
from .efficientnet import (efficientnet_b0, efficientnet_b1, efficientnet_b2, efficientnet_b3,
                           efficientnet_b4, efficientnet_b5, efficientnet_b6, efficientnet_b7)
from .efficientnet_v2 import (efficientnet_v2_b0, efficientnet_v2_b1, efficientnet_v2_b2,
                              efficientnet_v2_b3, efficientnet_v2_l, efficientnet_v2_m, efficientnet_v2_s)
from .googlenet import googlenet
from .inception import inception_v3
from .inception_resnet import inception_resnet_v2
from .keras_layout import to_keras
from .lenet5 import lenet5, lenet5_modern
from .mobilenet_v1 import mobilenet_v1
from .mobilenet_v2 import mobilenet_v2
from .mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from .nasnet import nasnet_large, nasnet_mobile
from .plain import plain18, plain34
from .recipe import Recipe
from .resnet import resnet101, resnet152, resnet18, resnet34, resnet50
from .resnet_v2 import resnet101_v2, resnet152_v2, resnet50_v2
from .shufflenet_v2 import shufflenet_v2_x0_5, shufflenet_v2_x1_0, shufflenet_v2_x1_5, shufflenet_v2_x2_0
from .squeezenet import squeezenet1_0, squeezenet1_1
from .vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from .xception import xception

FAMILIES: dict[str, tuple[Callable[..., Classifier], ...]] = {
    "lenet5": (lenet5, lenet5_modern),
    "alexnet": (alexnet, alexnet_2012),
    "vgg": (vgg11, vgg13, vgg16, vgg19, vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn),
    "all_cnn": (all_cnn_a, all_cnn_b, all_cnn_c),
    "googlenet": (googlenet,),
    "inception": (inception_v3,),
    "inception_resnet": (inception_resnet_v2,),
    "resnet": (resnet18, resnet34, resnet50, resnet101, resnet152),
    "resnet_v2": (resnet50_v2, resnet101_v2, resnet152_v2),
    "plain": (plain18, plain34),
    "densenet": (densenet121, densenet161, densenet169, densenet201),
    "mobilenet_v1": (mobilenet_v1,),
    "mobilenet_v2": (mobilenet_v2,),
    "mobilenet_v3": (mobilenet_v3_small, mobilenet_v3_large),
    "efficientnet": (efficientnet_b0, efficientnet_b1, efficientnet_b2, efficientnet_b3,
                     efficientnet_b4, efficientnet_b5, efficientnet_b6, efficientnet_b7),
    "efficientnet_v2": (efficientnet_v2_b0, efficientnet_v2_b1, efficientnet_v2_b2,
                        efficientnet_v2_b3, efficientnet_v2_s, efficientnet_v2_m,
                        efficientnet_v2_l),
    "xception": (xception,),
    "nasnet": (nasnet_mobile, nasnet_large),
    "squeezenet": (squeezenet1_0, squeezenet1_1),
    "shufflenet_v2": (shufflenet_v2_x0_5, shufflenet_v2_x1_0, shufflenet_v2_x1_5,
                      shufflenet_v2_x2_0),
}
MODELS = {make.__name__: make for makes in FAMILIES.values() for make in makes}
FIXED_CLASSES = {"lenet5": 10}   # its classes are drawn digits
CHANGEABLE = ("width_mult", "depth_mult", "dropout")   # classes without a default for these have functions that give one


def list_models() -> list[str]:
    """The names that create_model knows, family by family."""
    return list(MODELS)


def create_model(name: str, weights=None, include_top: bool = True, pooling: str | None = None, classes: int | None = None,
                 classifier_activation: str | None = None, **settings) -> Classifier:
    """The network called `name`, in training mode, its weights drawn (manual_seed) or read from a file.

    weights: None, or the path of a .safetensors or .pth file with torchvision's or timm's names, or of an .h5 file of the network of that
    name in keras.applications (which then pads and normalises as Keras does; scaling pixels is the caller's part, also where the Keras
    network does it itself). include_top=False leaves out the classifier: the model then returns its last feature maps (N, C, H, W), or
    (N, C) with pooling "avg" or "max". classes: None for the published number (1000; of LeNet-5 and All-CNN 10). classifier_activation:
    None for logits, "softmax", or "sigmoid". settings: of the network's own function, such as dropout.
    Raises ValueError for an unknown name (with the closest), an unknown pooling or activation, numbers out of range, or weights that do not
    fit, with a report; TypeError for a setting that the network does not have; FileNotFoundError.
    """
    if name not in MODELS:
        close = get_close_matches(str(name), MODELS, n=3, cutoff=0.4)
        raise ValueError(f"create_model: no model is called {name!r}; " + (f"did you mean {', '.join(close)}?" if close else
                                                                          f"there are {', '.join(MODELS)}"))
    if pooling not in POOLINGS:
        raise ValueError(f"create_model: pooling must be None, 'avg' or 'max', got {pooling!r}")
    if classifier_activation not in ACTIVATIONS:
        raise ValueError(f"create_model: classifier_activation must be None, 'softmax' or 'sigmoid', got {classifier_activation!r}")
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
        model = MODELS[name](**settings)
    else:
        with init.skip_draws():
            model = MODELS[name](**settings)
    if not include_top:
        model.without_top(pooling)
    model.activation, model.recipe = classifier_activation, recipe
    if weights is not None:
        weight_files.load(model, weights)
    return model


def checked_classes(name: str, classes, settings) -> int:
    if "num_classes" in settings:
        raise ValueError(f"create_model: classes={classes!r} and num_classes={settings['num_classes']!r} are one setting; give one of them")
    if isinstance(classes, bool) or not hasattr(classes, "__index__") or classes < 1:
        raise ValueError(f"create_model: classes must be a positive int or None, got {classes!r}")
    if classes != FIXED_CLASSES.get(name, classes):
        raise ValueError(f"create_model: {name} has {FIXED_CLASSES[name]} classes, not {classes}: they are pictures of digits; "
                         "lenet5_modern takes any number")
    return int(classes)


def check_settings(name: str, settings) -> None:
    """Names: those that the class has a default for, and those that a family's functions set but let be changed."""
    parameters = signature(get_type_hints(MODELS[name])["return"]).parameters
    known = [key for key, p in parameters.items() if p.default is not p.empty or key in CHANGEABLE]
    if unknown := [key for key in settings if key not in known]:
        raise TypeError(f"create_model: {name} has no setting {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    for key in ("width_mult", "depth_mult"):
        if key in settings and not settings[key] > 0:
            raise ValueError(f"create_model: {key} must be positive, got {settings[key]!r}")


def rebuild(metadata: Mapping[str, str]):
    """The network that describe() told of, without numbers in its arrays. ValueError where the metadata names none, or none that can be built."""
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
