"""Weights of other libraries: files of arrays by name, renamed by one table a family, loaded
strictly.

A file's names are torchvision's (.pth or safetensors), timm's (safetensors or .pth) or Keras' (.h5;
keras_names.py). No file runs code: safetensors and .h5 hold arrays only, and a .pth is read by
torch.load(weights_only=True).
"""
from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import numpy as np

from ..files import safetensors
from ..files.bounded import most
from . import keras_names
from .keras_layout import to_keras
from .recipe import describe


def inverted_blocks(places: Mapping[str, str], stages: str):
    """blocks.STAGE.BLOCK.LAYER as features.STAGE + 1.BLOCK.block.PLACE, in the stages that a
    character class names."""
    return (rf"blocks\.({stages})\.(\d+)\.({'|'.join(map(re.escape, places))})\.(.*)",
            lambda m: f"features.{int(m[1]) + 1}.{m[2]}.block.{places[m[3]]}.{m[4]}")


SEPARABLE = {"conv_dw": "0.0", "bn1": "0.1", "se.conv_reduce": "1.fc1", "se.conv_expand": "1.fc2",
             "conv_pw": "2.0", "bn2": "2.1"}
EXPANDED = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "se.conv_reduce": "2.fc1",
            "se.conv_expand": "2.fc2", "conv_pwl": "3.0", "bn3": "3.1"}

# Others' names of networks whose names here are torchvision's, as (pattern, replacement), tried in
# order until one fits. A replacement may be a function of the match.
RENAMED = {"EfficientNet": ((r"conv_stem\.", "features.0.0."), (r"bn1\.", "features.0.1."),
                         inverted_blocks(SEPARABLE, "0"),
                         inverted_blocks(EXPANDED, "[1-6]"), (r"conv_head\.", "features.8.0."),
                         (r"bn2\.", "features.8.1."), (r"classifier\.", "classifier.1.")),
        "VGG": ((r"pre_logits\.fc1\.", "classifier.0."), (r"pre_logits\.fc2\.", "classifier.3."),
                (r"head\.fc\.", "classifier.6.")),
        # torchvision's files of detectors, which have names of before its second version
        **dict.fromkeys(("FasterRCNN", "RetinaNet"), (
            (r"backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(weight|bias)", r"backbone.fpn.\1_blocks.\2.0.\3"),
            (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
            (r"(head\.\w+)\.conv\.([0246])\.(weight|bias)", lambda m: f"{m[1]}.conv.{int(m[2]) // 2}.0.{m[3]}")))}


def read_for(model, path) -> dict[str, np.ndarray]:
    """The arrays of a file by the model's names, as far as it has them; brings the model into
    Keras' layout where the file is Keras' or of such a model. FileNotFoundError; ValueError where
    the file is damaged or of another kind."""
    path, family, metadata = Path(path), type(model).__name__, {}
    if not path.is_file():
        raise FileNotFoundError(
            f"weights: {path}: no such file; weights takes a file's path, and nothing is downloaded")
    if path.suffix == ".h5":
        return read_keras(model, path)
    if path.suffix == ".safetensors":
        state, metadata = safetensors.load(path)
    elif path.suffix in (".pth", ".pt"):
        state = read_torch(path)
    else:
        raise ValueError(f"weights: {path}: the name must end in .safetensors, .pth, .pt or .h5")
    if metadata.get("layout") == "keras" and metadata.get("family") == family:
        to_keras(model)
    if hasattr(model, "own_name"):   # a family with a rule of its own; None: no weight
        state = {name: value for key, value in state.items() if (name := model.own_name(key)) is not None}
    return renamed(state, family, model.state_dict())


def read_keras(model, path: Path) -> dict[str, np.ndarray]:
    if getattr(model, "AuxLogits", None) is not None:
        raise ValueError(f"weights: {path}: keras.applications has no auxiliary classifier; create "
                         f"{type(model).__name__} with aux_logits=False")
    layers = keras_names.read(path)
    keras_names.check_family(model, path)
    to_keras(model)
    return keras_names.state(model, layers)


def read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as why:
        raise ImportError(f"weights: {path}: reading a {path.suffix} file needs torch; a .safetensors file "
                          "does not") from why
    with open(path, "rb") as file:
        # a zip archive, or a pickle as torch wrote before 1.6
        if not file.read(2).startswith((b"PK", b"\x80")):
            raise ValueError(f"weights: {path}: not a file of torch.save")
    claimed(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as why:   # a whole module, or a file that wants to run code
        raise ValueError(f"weights: {path}: not a file of plain tensors: it holds Python objects, which are "
                         "not read because they may run code; write model.state_dict() instead") from why
    except Exception as why:   # torch raises of many kinds for what is no checkpoint
        first = (str(why).splitlines() or [""])[0].partition(". ")[0]
        raise ValueError(f"weights: {path}: not a file of plain tensors, or a damaged one: "
                         f"{type(why).__name__}: {first}") from why
    state = state_dict_in(found)
    if not isinstance(state, Mapping) or not all(isinstance(k, str) and isinstance(v, torch.Tensor)
                                                 for k, v in state.items()):
        keys = f" among {', '.join(map(str, list(found)[:8]))}" if isinstance(found, Mapping) else ""
        raise ValueError(f"weights: {path}: holds no state_dict, a mapping from names to tensors{keys}")
    return {k: plain_array(v, k, path) for k, v in state.items()}


def plain_array(tensor, name: str, path: Path) -> np.ndarray:
    """A tensor of a file as an array; ValueError for one that is sparse, quantised, of a type that
    NumPy has not, or nowhere."""
    import torch
    what = f"weights: {path}: {name} is "
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        kind = "quantised" if tensor.is_quantized else f"of layout {tensor.layout} on {tensor.device}"
        raise ValueError(f"{what}{kind}; plain tensors on the CPU are read")
    if tensor.numel() * tensor.element_size() > most(path.stat().st_size):
        raise ValueError(f"{what}of shape {tuple(tensor.shape)}, more than a file of {path.stat().st_size} "
                         "bytes is trusted with")
    try:   # NumPy has no bfloat16
        return (tensor.float() if tensor.dtype == torch.bfloat16
                else tensor).detach().resolve_conj().resolve_neg().numpy()
    except TypeError as why:
        raise ValueError(f"{what}of type {tensor.dtype}, which NumPy does not have") from why


def claimed(path: Path) -> None:
    """ValueError where the members of a zip archive claim more than the file can hold."""
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except (zipfile.BadZipFile, NotImplementedError) as why:
            raise ValueError(f"weights: {path}: not a file of torch.save, or a damaged one: {why}") from why
        if size > most(path.stat().st_size):
            raise ValueError(f"weights: {path}: claims {size} bytes, more than a file of "
                             f"{path.stat().st_size} bytes is trusted with")


def state_dict_in(found):
    """What a training script's file holds of the model, as torchvision, timm and Lightning call it,
    without DistributedDataParallel's "module."."""
    if isinstance(found, Mapping):
        found = next((found[key] for key in ("state_dict", "model_state_dict", "model")
                      if isinstance(found.get(key), Mapping)),
                     found)
        if found and all(str(key).startswith("module.") for key in found):
            return {key.removeprefix("module."): value for key, value in found.items()}
    return found


def renamed(state: Mapping[str, np.ndarray], family: str,
            own: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The file's names as the model's, where a rule of the family's table makes one; the others
    stay."""
    return {new_name(key, family, own): value for key, value in state.items()}


def new_name(key: str, family: str, own) -> str:
    if key in own:
        return key
    for pattern, replacement in RENAMED.get(family, ()):
        made, count = re.subn(f"^{pattern}", replacement, key)
        if count and made in own:
            return made
    return key


def load(model, path) -> None:
    """Loads a file into a model of pyops.models. ValueError with everything that does not match:
    then no array was changed. Weights that Keras trained bring the model into Keras' layout
    (keras_layout.py), from which there is no way back.

    The head's arrays in the file are left out where the model has no head; arrays of an
    auxiliary classifier (aux1, aux2, AuxLogits) where it has none. A different number of
    classes is named as such.
    """
    if Path(path).suffix == ".weights" and hasattr(model, "load_weights"):
        model.load_weights(path)   # Darknet's: numbers without names
        return
    state = read_for(model, path)
    own = model.state_dict()
    absent = tuple(f"{name}." for name in model.head_names if getattr(model, name, None) is None)
    state = {k: reshaped(v, own.get(k)) for k, v in state.items() if not (absent and k.startswith(absent))}
    shapes = [(k, state[k].shape, own[k].shape) for k in own if k in state and state[k].shape != own[k].shape]
    heads = tuple(f"{name}." for name in model.head_names)
    of_classes = [(k, theirs, ours)
                  for k, theirs, ours in shapes if k.startswith(heads) and theirs[1:] == ours[1:]]
    if of_classes and len(of_classes) == len(shapes):
        _, theirs, ours = of_classes[-1]
        raise ValueError(f"weights: {path} has {theirs[0]} classes, the model {ours[0]}; create it with "
                         f"classes={theirs[0]}, or with include_top=False and a head of your own")
    try:
        model.load_state_dict(state)
    except ValueError as why:
        matched = sum(k in own and own[k].shape == v.shape for k, v in state.items())
        raise ValueError(
            f"weights: {path} does not fit {type(model).__name__}: {matched} of its {len(state)} arrays "
            f"match the model's {len(own)}{origin(path)}\n{shortened(str(why))}") from why


def origin(path) -> str:
    """What a file of ours says of itself."""
    if Path(path).suffix != ".safetensors":
        return ""
    metadata = safetensors.load(path)[1]
    if "model" not in metadata:
        return ""
    head = " and a head of its own" if "head" in metadata else ""
    return (f"; it is of {metadata['model']} with settings {metadata.get('settings', '{}')}{head}, as "
            "pyops.train.load_model makes it")


def reshaped(array: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    """A convolution over whole maps where the model has the same as a linear layer, or the other
    way round; anything else as it is."""
    kinds = own is not None and {array.ndim, own.ndim} == {2, 4}
    return (array.reshape(own.shape) if kinds and array.size == own.size and array.shape[0] == own.shape[0]
            else array)


def shortened(report: str, most: int = 6) -> str:
    """The first lines of each kind: missing, unexpected, of another shape."""
    head, *lines = report.splitlines()
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kind = line.strip().partition(":")[0]
        kinds.setdefault(kind if kind in ("missing", "unexpected") else "of another shape", []).append(line)
    kept = [[*found[:most], *([f"  ... and {len(found) - most} more {kind}"] if len(found) > most else [])]
            for kind, found in kinds.items()]
    return "\n".join([head, *(line for found in kept for line in found)])


def save(model, path) -> None:
    """Writes a model's parameters and buffers as a safetensors file, under their names here, with
    what builds it again (train.load_model)."""
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"weights: {path}: the name must end in .safetensors")
    layout = {"layout": model.layout} if getattr(model, "layout", None) else {}
    safetensors.save(path, model.state_dict(), {"family": type(model).__name__} | layout | describe(model))
