"""Weights that Keras wrote: the layers of a .weights.h5 file, and one table a family that says
which layer each of our modules is.

A table maps the path of a module here to the name of the layer in keras.applications, with ":1"
behind it where the module is the second array of a layer (the pointwise half of a separable
convolution). Layers that Keras numbers rather than names are counted from 0 in the order in which
they were made: conv2d#0, conv2d#1, ...
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from .. import nn
from . import keras_file
from .classification.inverted_residual import SqueezeExcitation

Layers = dict[str, list[np.ndarray]]
NUMBERED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")
# what turns pixels into the network's numbers: the caller's part here
BEFORE = re.compile(r"(rescaling|normalization)(_\d+)?")
OF_THE_TOP = {"predictions", "logits", "conv_2", "conv_preds", "fc1", "fc2"}


# ---- the file

def read(path: Path) -> Layers:
    """The arrays of each layer that has any, in the layer's order. Reads Keras 3's .weights.h5 and
    the .h5 of earlier versions."""
    layers = {name.replace("/", "_"): arrays for name, arrays in keras_file.layers(path)
              if arrays and not BEFORE.fullmatch(name)}
    if not layers:
        raise ValueError(f"weights: {path}: no layer in it has a name and arrays; Keras 3's "
                         "model.save_weights writes both")
    return counted(layers)


def counted(layers: Layers) -> Layers:
    """conv2d_41, conv2d_42 as conv2d#0, conv2d#1: Keras counts on from model to model."""
    numbered = sorted((found[1], int(found[2] or 0), name)
                      for name in layers if (found := NUMBERED.fullmatch(name)))
    of_kind: dict[str, int] = {}
    renamed = {}
    for kind, _, name in numbered:
        renamed[name] = f"{kind}#{of_kind.setdefault(kind, 0)}"
        of_kind[kind] += 1
    return {renamed.get(name, name): arrays for name, arrays in layers.items()}


# ---- which layer a module is

def with_arrays(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((path, m)
            for path, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)))


def by_rules(*rules: tuple[str, str | Callable[[re.Match], str]]):
    """A table of patterns of paths; the first that fits names the layer."""
    def table(model) -> dict[str, str]:
        names = {}
        for path, _ in with_arrays(model):
            for pattern, name in rules:
                if found := re.fullmatch(pattern, path):
                    names[path] = found.expand(name) if isinstance(name, str) else name(found)
                    break
        return names
    return table


def vgg(model) -> dict[str, str]:
    names = {"classifier.0": "fc1", "classifier.3": "fc2", "classifier.6": "predictions"} if model.top else {}
    block, conv = 1, 0
    for place, layer in model.features.named_children():
        if isinstance(layer, nn.MaxPool2d):
            block, conv = block + 1, 0
        elif isinstance(layer, nn.Conv2d):
            conv += 1
            names[f"features.{place}"] = f"block{block}_conv{conv}"
    return names


def inverted(first: Callable[[re.Match], str], parts: Mapping[str, tuple[str, str]], pattern: str, *rest):
    """Networks of inverted residual blocks. A block's last part projects, the one of as many groups
    as channels is depthwise, a part before it expands; `parts` names their two modules, first(match
    of the block's path) is what the names begin with."""
    others = by_rules(*rest)

    def table(model) -> dict[str, str]:
        names = others(model)
        for path, block in model.named_modules():
            if found := re.fullmatch(pattern, path):
                children = list(block.named_children())
                for place, part in children:
                    one, two = parts[kind_of(part, part is children[-1][1])]
                    halves = ("fc1", "fc2") if isinstance(part, SqueezeExcitation) else ("0", "1")
                    names |= {f"{path}.{place}.{half}": first(found) + name
                              for half, name in zip(halves, (one, two))}
        return names
    return table


def kind_of(part, last: bool) -> str:
    if isinstance(part, SqueezeExcitation):
        return "gate"
    return "project" if last else "depthwise" if part[0].groups > 1 else "expand"


def in_order(named: Callable[[nn.Module], Mapping[str, str]], left_out: Iterable[str] = ()):
    """Networks most of whose layers Keras only numbers: those that `named` does not name, in our
    order, which is the one they are made in."""
    def table(model) -> dict[str, str]:
        names = dict(named(model))
        counts = {"conv2d": 0, "batch_normalization": 0}
        for path, module in with_arrays(model):
            if path in names or path.startswith(tuple(left_out)):
                continue
            kind = "batch_normalization" if isinstance(module, nn.BatchNorm2d) else "conv2d"
            names[path] = f"{kind}#{counts[kind]}"
            counts[kind] += 1
        return names
    return table


def separable(place: str) -> int:
    return {"conv1": 0, "pointwise": 1}[place]


def nasnet(model) -> dict[str, str]:
    from .classification.nasnet import NormalCell
    names = {"conv0": "stem_conv1", "bn0": "stem_bn1"} | ({"fc": "predictions"} if model.top else {})
    names |= nasnet_cell("stem1", "reduction", "stem_1") | nasnet_cell("stem2", "reduction", "stem_2")
    normal = [isinstance(cell, NormalCell) for cell in model.cells]
    a_stage, stage, inside = sum(normal) // 3, 0, 0
    for i, is_normal in enumerate(normal):
        if is_normal:
            number = stage * a_stage + inside + (stage > 0)
            names |= nasnet_cell(f"cells.{i}", "normal", str(number))
            inside += 1
        else:
            stage, inside = stage + 1, 0
            names |= nasnet_cell(f"cells.{i}", "reduction", f"reduce_{stage * a_stage}")
    own = {path for path, _ in with_arrays(model)}
    return {path: name for path, name in names.items() if path in own}


def nasnet_cell(path: str, kind: str, number: str) -> dict[str, str]:
    """All modules that a cell can have; Keras' left4 of a reduction is the paper's fifth sum."""
    names = {"adjust.conv": f"adjust_conv_projection_{number}", "adjust.conv1": f"adjust_conv_1_{number}",
             "adjust.conv2": f"adjust_conv_2_{number}", "adjust.bn": f"adjust_bn_{number}",
             "conv1.conv": f"{kind}_conv_1_{number}", "conv1.bn": f"{kind}_bn_1_{number}"}
    for side in ("left1", "right1", "left2", "right2", "right3", "left5"):
        where = f"{kind}_{'left4' if kind == 'reduction' and side == 'left5' else side}_{number}"
        for i in (1, 2):
            names |= {f"{side}.depthwise{i}": f"separable_conv_{i}_{where}",
                      f"{side}.pointwise{i}": f"separable_conv_{i}_{where}:1",
                      f"{side}.bn{i}": f"separable_conv_{i}_bn_{where}"}
    return {f"{path}.{place}": name for place, name in names.items()}


def block_of(match) -> str:
    """block3b_ of stage 3's second block."""
    return f"block{match[1]}{chr(ord('a') + int(match[2]))}_"


MOBILENET_V1 = (1, 2, 4, 6, 12)   # the number of each stage's first block
EFFICIENT = {"expand": ("expand_conv", "expand_bn"), "depthwise": ("dwconv", "bn"),
             "gate": ("se_reduce", "se_expand"), "project": ("project_conv", "project_bn")}
EFFICIENT_ENDS = ((r"features\.0\.0", "stem_conv"), (r"features\.0\.1", "stem_bn"),
                  (r"features\.\d+\.0", "top_conv"),
                  (r"features\.\d+\.1", "top_bn"), (r"classifier\.1", "predictions"))

TABLES: dict[str, Callable[[nn.Module], dict[str, str]]] = {
    "VGG": vgg,
    "ResNet": by_rules(
        (r"(conv|bn)1", lambda m: f"conv1_{m[1]}"),
        (r"layer(\d)\.(\d+)\.(conv|bn)(\d)", lambda m: f"conv{int(m[1]) + 1}_block{int(m[2]) + 1}_{m[4]}_{m[3]}"),
        (r"layer(\d)\.(\d+)\.downsample\.(\d)", lambda m: f"conv{int(m[1]) + 1}_block{int(m[2]) + 1}_0_{('conv', 'bn')[int(m[3])]}"),
        (r"fc", "predictions")),
    "ResNetV2": by_rules(
        (r"stem\.conv", "conv1_conv"),
        (r"stages\.(\d)\.blocks\.(\d+)\.norm1", lambda m: f"conv{int(m[1]) + 2}_block{int(m[2]) + 1}_preact_bn"),
        (r"stages\.(\d)\.blocks\.(\d+)\.norm(\d)", lambda m: f"conv{int(m[1]) + 2}_block{int(m[2]) + 1}_{int(m[3]) - 1}_bn"),
        (r"stages\.(\d)\.blocks\.(\d+)\.conv(\d)", lambda m: f"conv{int(m[1]) + 2}_block{int(m[2]) + 1}_{m[3]}_conv"),
        (r"stages\.(\d)\.blocks\.(\d+)\.downsample\.conv", lambda m: f"conv{int(m[1]) + 2}_block{int(m[2]) + 1}_0_conv"),
        (r"norm", "post_bn"), (r"head\.fc", "predictions")),
    "DenseNet": by_rules((r"features\.conv0", "conv1_conv"), (r"features\.norm0", "conv1_bn"),
                         (r"features\.denseblock(\d)\.denselayer(\d+)\.conv(\d)",
                          lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_{m[3]}_conv"),
                         (r"features\.denseblock(\d)\.denselayer(\d+)\.norm(\d)",
                          lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_{int(m[3]) - 1}_bn"),
                         (r"features\.transition(\d)\.(conv|norm)",
                          lambda m: f"pool{int(m[1]) + 1}_{'conv' if m[2] == 'conv' else 'bn'}"),
                         (r"features\.norm5", "bn"), (r"classifier", "predictions")),
    "MobileNetV1": by_rules(
        (r"conv_stem", "conv1"), (r"bn1", "conv1_bn"),
        (r"blocks\.(\d)\.(\d)\.conv_(dw|pw)", lambda m: f"conv_{m[3]}_{MOBILENET_V1[int(m[1])] + int(m[2])}"),
        (r"blocks\.(\d)\.(\d)\.bn(\d)",
         lambda m: f"conv_{('dw', 'pw')[int(m[3]) - 1]}_{MOBILENET_V1[int(m[1])] + int(m[2])}_bn"),
        (r"classifier", "conv_preds")),
    "MobileNetV2": by_rules(
        (r"features\.0\.0", "Conv1"), (r"features\.0\.1", "bn_Conv1"),
        (r"features\.1\.conv\.0\.0", "expanded_conv_depthwise"),
        (r"features\.1\.conv\.0\.1", "expanded_conv_depthwise_BN"),
        (r"features\.1\.conv\.1", "expanded_conv_project"),
        (r"features\.1\.conv\.2", "expanded_conv_project_BN"),
        (r"features\.(\d+)\.conv\.([01])\.([01])",
         lambda m: f"block_{int(m[1]) - 1}_{('expand', 'depthwise')[int(m[2])]}{('', '_BN')[int(m[3])]}"),
        (r"features\.(\d+)\.conv\.([23])",
         lambda m: f"block_{int(m[1]) - 1}_project{('', '_BN')[int(m[2]) - 2]}"),
        (r"features\.\d+\.0", "Conv_1"), (r"features\.\d+\.1", "Conv_1_bn"),
        (r"classifier\.1", "predictions")),
    "MobileNetV3": inverted(
        lambda m: "expanded_conv_" if m[1] == "1" else f"expanded_conv_{int(m[1]) - 1}_",
        {"expand": ("expand", "expand_bn"), "depthwise": ("depthwise", "depthwise_bn"),
         "gate": ("squeeze_excite_conv", "squeeze_excite_conv_1"), "project": ("project", "project_bn")},
        r"features\.(\d+)\.block", (r"features\.0\.0", "conv"),
        (r"features\.0\.1", "conv_bn"), (r"features\.\d+\.0", "conv_1"), (r"features\.\d+\.1", "conv_1_bn"),
        (r"classifier\.0", "conv_2"), (r"classifier\.3", "logits")),
    "EfficientNet": inverted(block_of, EFFICIENT, r"features\.(\d)\.(\d+)\.block", *EFFICIENT_ENDS),
    "EfficientNetV2": inverted(block_of, EFFICIENT | {"depthwise": ("dwconv2", "bn")}, r"features\.(\d)\.(\d+)\.block", *EFFICIENT_ENDS),
    "Inception3": in_order(by_rules((r"fc", "predictions")), left_out=["AuxLogits."]),
    "InceptionResNetV2": in_order(by_rules(
        (r"repeat\.(\d+)\.conv2d", lambda m: f"block35_{int(m[1]) + 1}_conv"),
        (r"repeat_1\.(\d+)\.conv2d", lambda m: f"block17_{int(m[1]) + 1}_conv"),
        (r"repeat_2\.(\d+)\.conv2d", lambda m: f"block8_{int(m[1]) + 1}_conv"), (r"block8\.conv2d", "block8_10_conv"),
        (r"conv2d_7b\.conv", "conv_7b"), (r"conv2d_7b\.bn", "conv_7b_bn"), (r"classif", "predictions"))),
    "Xception": in_order(by_rules(
        (r"conv([12])", r"block1_conv\1"), (r"bn([12])", r"block1_conv\1_bn"),
        (r"block(\d+)\.rep\.(\d+)\.(conv1|pointwise)",
         lambda m: f"block{int(m[1]) + 1}_sepconv{int(m[2]) // 3 + 1}:{separable(m[3])}"),
        (r"block(\d+)\.rep\.(\d+)", lambda m: f"block{int(m[1]) + 1}_sepconv{int(m[2]) // 3 + 1}_bn"),
        (r"conv([34])\.(conv1|pointwise)", lambda m: f"block14_sepconv{int(m[1]) - 2}:{separable(m[2])}"),
        (r"bn([34])", lambda m: f"block14_sepconv{int(m[1]) - 2}_bn"), (r"fc", "predictions"))),
    "NASNet": nasnet,
}


# ---- the arrays as ours

def check_family(model, path) -> None:
    """ValueError where Keras has no network of the family."""
    family = type(model).__name__
    if family not in TABLES:
        raise ValueError(f"weights: {path}: keras.applications has no {family}; it has {', '.join(TABLES)}")


def state(model, layers: Layers) -> dict[str, np.ndarray]:
    """The file's arrays under the model's names, in its layout; those of layers that it does not
    have under their own, so that a strict load reports them."""
    names, made, used = TABLES[type(model).__name__](model), {}, set()
    for place, module in with_arrays(model):
        layer, _, at = names.get(place, "").partition(":")
        if layer in layers:
            used.add(layer)
            made |= {f"{place}.{key}": a for key, a in arrays_of(module, layers, layer, int(at or 0)).items()}
    left = {k for k in layers if k not in used and not (k in OF_THE_TOP and not model.top)}
    return made | {f"{layer}/{i}": array for layer in layers if layer in left
                   for i, array in enumerate(layers[layer])}


def arrays_of(module, layers: Layers, name: str, at: int) -> dict[str, np.ndarray]:
    arrays = layers[name]
    if isinstance(module, nn.BatchNorm2d):
        return norm(module, arrays, bias_before(layers, name))
    kernel, bias = (arrays[at:at + 1]
                    or arrays[:1])[0], arrays[1] if len(arrays) == 2 and arrays[1].ndim == 1 else None
    kernel = kernel_of(module, kernel)
    kinds = ({kernel.ndim, module.weight.ndim} == {2, 4}
             and 1 == np.prod(kernel.shape[2:]) == np.prod(module.weight.shape[2:]))
    # a 1x1 convolution is a linear layer
    found = {"weight": kernel.reshape(*kernel.shape[:2], *module.weight.shape[2:]) if kinds else kernel}
    return found if bias is None or module.bias is None else found | {"bias": bias}


def kernel_of(module, kernel: np.ndarray) -> np.ndarray:
    """Rows and columns first in Keras, last here; a linear layer that sees flattened maps sees
    their channels last there, first here."""
    if kernel.ndim == 4:
        depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        return np.ascontiguousarray(kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)))
    if kernel.ndim == 2:
        rows, filters = kernel.shape
        if isinstance(module, nn.Linear) and rows == 7 * 7 * 512:   # VGG's first, the only one of its size
            kernel = kernel.reshape(7, 7, 512, filters).transpose(2, 0, 1, 3).reshape(rows, filters)
        return np.ascontiguousarray(kernel.T)
    return kernel


def bias_before(layers: Layers, name: str) -> np.ndarray | float:
    """Of the convolution that the norm called `name` follows, where our convolutions have none:
    block_1_conv before block_1_bn."""
    before = layers.get(re.sub("_bn$", "_conv", name), [])
    return before[1] if name.endswith("_bn") and len(before) == 2 and before[1].ndim == 1 else 0.0


def norm(module, arrays: list[np.ndarray], bias) -> dict[str, np.ndarray]:
    """Scale, shift, mean, variance; Keras leaves out a scale of one. A bias of the convolution
    before shifts the mean and nothing else."""
    if len(arrays) == 3:
        arrays = [np.ones_like(arrays[0]), *arrays]
    found = dict(zip(("weight", "bias", "running_mean", "running_var"), arrays))
    if "running_mean" in found and np.shape(bias) in ((), found["running_mean"].shape):
        found["running_mean"] = found["running_mean"] - bias
    return found | {"num_batches_tracked": np.zeros((), np.int64)}
