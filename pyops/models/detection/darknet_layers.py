"""Darknet's layers as modules: what each section of a .cfg means.

LAYERS maps a section's name to the function that makes its module. Shapes are (C, H, W) of one
sample; sections know their sources as numbers of earlier layers.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F, nn
from .darknet_cfg import Section

Shape = tuple[int, int, int]
EPS = 1e-6   # of batch norms, as Darknet's CPU code and OpenCV have it
MOST = 2 ** 28   # weights of a layer, values of its result: several times what any of these networks has

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "relie": lambda x: F.leaky_relu(x, 0.01),
    "relu": F.relu,
    "relu6": F.relu6,
    "logistic": F.sigmoid,
    "loggy": lambda x: 2 * F.sigmoid(x) - 1,
    "tanh": F.tanh,
    "elu": F.elu,
    "selu": F.selu,
    "mish": F.mish,
    "swish": F.silu,
    "hardtan": F.hardtanh,
    "ramp": lambda x: F.relu(x) + 0.1 * x,
}


class Layer(nn.Module):
    """A layer of a network that may have several sources. sources: numbers of earlier layers whose
    results `forward` takes; -1 is the network's input."""
    sources: tuple[int, ...] = ()


class Activated(Layer):
    """A layer that ends in an activation by Darknet's name."""

    def _activation(self, section: Section, default: str) -> None:
        self.activation = section.text("activation", default)
        if self.activation not in ACTIVATIONS:
            raise section.wrong(f"activation must be one of {', '.join(ACTIVATIONS)}, got "
                                f"{self.activation!r}")

    def activate(self, x: Any) -> Any:
        return ACTIVATIONS[self.activation](x)

    def extra_repr(self) -> str:
        return self.activation


class Convolutional(Activated):
    """conv, norm (with batch_normalize) and an activation, "logistic" where none is named."""

    def __init__(self, section: Section, shape: Shape) -> None:
        filters, size = section.whole("filters", 1, 1), section.whole("size", 1, 1)
        groups, dilation = section.whole("groups", 1, 1), section.whole("dilation", 1, 1)
        stride = (section.whole("stride_y", section.whole("stride", 1, 1), 1),
                  section.whole("stride_x", section.whole("stride", 1, 1), 1))
        padding = size // 2 if section.whole("pad", 0) else section.whole("padding", 0)
        for refused in ("binary", "xnor", "antialiasing", "deform", "assisted_excitation", "share_index"):
            if section.whole(refused, 0):
                raise section.wrong(f"{refused} is not supported")
        if shape[0] % groups or filters % groups:
            raise section.wrong(f"{shape[0]} channels and filters={filters} must divide into "
                                f"groups={groups}")
        affordable(section, filters * (shape[0] // groups) * size ** 2)
        normalised = bool(section.whole("batch_normalize", 0))
        self.conv = nn.Conv2d(shape[0], filters, size, stride, padding * dilation, dilation, groups,
                              bias=not normalised)
        self.norm = nn.BatchNorm2d(filters, eps=EPS, momentum=0.01) if normalised else None
        self._activation(section, "logistic")
        # some files keep a layer's weights the other way round
        self.flipped = bool(section.whole("flipped", 0))
        reach = dilation * (size - 1) + 1
        self.shape = (filters, *((n + 2 * padding * dilation - reach) // s + 1
                                 for n, s in zip(shape[1:], stride)))
        room(section, self.shape, shape)

    def forward(self, x: Any) -> Any:
        x = self.conv(x)
        return self.activate(x if self.norm is None else self.norm(x))

    def stored(self) -> list[np.ndarray]:
        if self.norm is None:
            return [self.conv.bias.data, self.conv.weight.data]
        return [self.norm.bias.data, self.norm.weight.data, self.norm.running_mean, self.norm.running_var,
                self.conv.weight.data]


class Local(Activated):
    """A convolution with filters of its own at every place. weight (places, filters, C size size),
    bias (filters, places)."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.filters, self.size = section.whole("filters", 1, 1), section.whole("size", 1, 1)
        self.stride, self.pad = section.whole("stride", 1, 1), min(section.whole("pad", 0), 1)
        out = tuple((n - (1 if self.pad else self.size)) // self.stride + 1 for n in shape[1:])
        self.shape = (self.filters, *out)
        room(section, self.shape, shape)
        taken = tuple((n + 2 * self.pad - self.size) // self.stride + 1 for n in shape[1:])
        if taken != out:
            raise section.wrong(f"size={self.size} with pad=1 gives {taken} places where Darknet writes "
                                f"{out}; only size=3 is padded")
        depth = shape[0] * self.size ** 2
        affordable(section, out[0] * out[1] * self.filters * depth)
        self.weight = nn.Parameter(np.empty((out[0] * out[1], self.filters, depth), np.float32))
        self.bias = nn.Parameter(np.zeros((self.filters, out[0] * out[1]), np.float32))
        nn.init.normal_(self.weight, 0.0, (2 / depth) ** 0.5)
        self._activation(section, "logistic")

    def forward(self, x: Any) -> Any:
        columns = F.permute(F.unfold(x, self.size, padding=self.pad, stride=self.stride), (2, 1, 0))
        made = F.permute(F.matmul(self.weight, columns), (2, 1, 0)) + self.bias
        return self.activate(F.reshape(made, (-1, *self.shape)))

    def stored(self) -> list[np.ndarray]:
        return [self.bias.data, self.weight.data]


class Connected(Activated):
    """A linear layer on all of its input, (N, output, 1, 1)."""

    def __init__(self, section: Section, shape: Shape) -> None:
        outputs = section.whole("output", 1, 1)
        affordable(section, shape[0] * shape[1] * shape[2] * outputs)
        self.linear = nn.Linear(shape[0] * shape[1] * shape[2], outputs)
        self.norm = (nn.BatchNorm1d(outputs, eps=EPS, momentum=0.01)
                     if section.whole("batch_normalize", 0) else None)
        self._activation(section, "logistic")
        self.shape = (outputs, 1, 1)

    def forward(self, x: Any) -> Any:
        x = self.linear(F.flatten(x, 1))
        x = self.activate(x if self.norm is None else self.norm(x))
        return F.reshape(x, (-1, *self.shape))

    def stored(self) -> list[np.ndarray]:
        # with batch norm the bias of the file is the norm's; the linear layer's own stays zero
        bias = self.linear.bias if self.norm is None else self.norm.bias
        return [bias.data, self.linear.weight.data] + ([] if self.norm is None else [
            self.norm.weight.data, self.norm.running_mean, self.norm.running_var])


class BatchNorm(Layer):
    """A batch norm by itself: the file holds no bias for it."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.norm = nn.BatchNorm2d(shape[0], eps=EPS, momentum=0.01)
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return self.norm(x)

    def stored(self) -> list[np.ndarray]:
        return [self.norm.weight.data, self.norm.running_mean, self.norm.running_var]


class MaxPool(Layer):
    """The largest of size x size values. padding is the sum of both sides, size - 1 unless given,
    the smaller half of it before the first value: a window may hang over the right and lower edge."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.stride = section.whole("stride", 1, 1)
        self.size = section.whole("size", self.stride, 1)
        padding = section.whole("padding", self.size - 1)
        if padding >= 2 * self.size:
            raise section.wrong(f"padding={padding} makes windows of padding alone; size is {self.size}")
        self.before, self.after = padding // 2, padding - padding // 2
        self.shape = (shape[0], *((n + padding - self.size) // self.stride + 1 for n in shape[1:]))
        room(section, self.shape, shape)

    def forward(self, x: Any) -> Any:
        before, after = self.before, self.after
        # what hangs over by less than a stride is never begun
        over = [(n + before + after - self.size) // self.stride * self.stride + self.size - n - before
                for n in x.shape[2:]]
        if all(b == before or (b < before and before == 0) for b in over) and 2 * before <= self.size:
            return F.max_pool2d(x, self.size, self.stride, before)
        right, below = max(over[1], 0), max(over[0], 0)
        x = F.pad(x, (before, right, before, below), value=-np.inf)
        return F.max_pool2d(x, self.size, self.stride)

    def extra_repr(self) -> str:
        return f"{self.size}, stride={self.stride}, padding=({self.before}, {self.after})"


class AvgPool(Layer):
    """The mean of every map, (N, C, 1, 1)."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.shape = (shape[0], 1, 1)

    def forward(self, x: Any) -> Any:
        return F.mean(x, (2, 3), keepdim=True)


class Route(Layer):
    """The maps of several layers one after another. groups, group_id: of each only one of so many
    equal parts of its channels (YOLOv4-tiny)."""

    def __init__(self, section: Section, shapes: list[Shape]) -> None:
        self.sources = places(section, "layers", len(shapes))
        self.groups, self.group = section.whole("groups", 1, 1), section.whole("group_id", 0)
        taken = [shapes[i] for i in self.sources]
        if any(s[1:] != taken[0][1:] for s in taken):
            raise section.wrong(f"layers={section.options['layers']} have maps of different sizes: "
                                f"{', '.join(f'{s[1]}x{s[2]}' for s in taken)}")
        if self.group >= self.groups or any(s[0] % self.groups for s in taken):
            raise section.wrong(f"group_id={self.group} of groups={self.groups} does not exist in "
                                f"{', '.join(str(s[0]) for s in taken)} channels")
        self.shape = (sum(s[0] for s in taken) // self.groups, *taken[0][1:])

    def forward(self, *maps: Any) -> Any:
        if self.groups > 1:
            wide = [m.shape[1] // self.groups for m in maps]
            maps = tuple(m[:, self.group * w:(self.group + 1) * w] for m, w in zip(maps, wide))
        return maps[0] if len(maps) == 1 else F.cat(maps, 1)

    def extra_repr(self) -> str:
        return f"{self.sources}" + (f", part {self.group} of {self.groups}" if self.groups > 1 else "")


class Shortcut(Activated):
    """The layer before plus earlier ones (`from`), then an activation. An earlier layer may have
    other channels, of which those that both have are added, and larger maps, of which every
    stride-th value is."""

    def __init__(self, section: Section, shapes: list[Shape]) -> None:
        self.sources = (len(shapes) - 1, *places(section, "from", len(shapes)))
        if section.text("weights_type", "none") != "none":
            raise section.wrong("weights_type is not supported")
        self._activation(section, "linear")
        self.shape = here = shapes[-1]
        for source in self.sources[1:]:
            there = shapes[source]
            stride = max(there[1] // here[1], 1)
            if tuple(-(-n // stride) for n in there[1:]) != here[1:]:
                raise section.wrong(f"from={section.options['from']}: maps of {there[1]}x{there[2]} cannot "
                                    f"be added to {here[1]}x{here[2]}")

    def forward(self, x: Any, *others: Any) -> Any:
        for other in others:
            stride = max(other.shape[2] // x.shape[2], 1)
            if stride > 1:
                other = other[:, :, ::stride, ::stride]
            missing = x.shape[1] - other.shape[1]
            if missing > 0:
                other = F.pad(other, (0, 0, 0, 0, 0, missing))
            elif missing < 0:
                other = other[:, :x.shape[1]]
            x = x + other
        return self.activate(x)

    def extra_repr(self) -> str:
        return f"{self.sources}, {self.activation}"


class Upsample(Layer):
    """Every value stride x stride times, multiplied by `scale`."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.stride, self.scale = section.whole("stride", 2, 1), section.number("scale", 1.0)
        self.shape = (shape[0], shape[1] * self.stride, shape[2] * self.stride)

    def forward(self, x: Any) -> Any:
        x = F.interpolate(x, scale_factor=self.stride, mode="nearest")
        return x if self.scale == 1 else x * self.scale


class Reorg(Layer):
    """Space to depth in Darknet's order: the memory of x (C, H, W) is read as (C / s^2, H s, W s),
    whose pixels (y s + i, x s + j) of channel k become channel (i s + j) C / s^2 + k; what comes
    out, (C, H, W), is called (C s^2, H / s, W / s). reverse: the way back."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.stride = s = section.whole("stride", 1, 1)
        self.reverse = bool(section.whole("reverse", 0))
        for refused in ("flatten", "extra"):
            if section.whole(refused, 0):
                raise section.wrong(f"{refused} is not supported")
        c, h, w = shape
        if self.reverse and c % s ** 2 or not self.reverse and (c % s ** 2 or h % s or w % s):
            raise section.wrong(f"stride={s} does not divide {h}x{w} maps of {c} channels (by its square)")
        self.shape = (c // s ** 2, h * s, w * s) if self.reverse else (c * s ** 2, h // s, w // s)

    def forward(self, x: Any) -> Any:
        n, c, h, w = x.shape
        s = self.stride
        if self.reverse:
            x = F.reshape(x, (n, s, s, c // s ** 2, h, w))
            return F.reshape(F.permute(x, (0, 3, 4, 1, 5, 2)), (n, c // s ** 2, h * s, w * s))
        x = F.reshape(x, (n, c // s ** 2, h, s, w, s))
        return F.reshape(F.permute(x, (0, 3, 5, 1, 2, 4)), (n, c * s ** 2, h // s, w // s))


class Crop(Layer):
    """The middle crop_height x crop_width pixels, and 2 x - 1 of them unless noadjust."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.size = section.whole("crop_height", 1, 1), section.whole("crop_width", 1, 1)
        self.adjust = not section.whole("noadjust", 0)
        if self.size[0] > shape[1] or self.size[1] > shape[2]:
            raise section.wrong(f"{self.size[0]}x{self.size[1]} is larger than maps of {shape[1]}x{shape[2]}")
        self.shape = (shape[0], *self.size)

    def forward(self, x: Any) -> Any:
        top, left = ((n - size) // 2 for n, size in zip(x.shape[2:], self.size))
        x = x[:, :, top:top + self.size[0], left:left + self.size[1]]
        return 2 * x - 1 if self.adjust else x


class Softmax(Layer):
    """Probabilities of all values of a sample, of each of `groups` parts, of the channels at every
    place (spatial), or of the groups of a tree of words (tree; word_tree.py)."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.groups, self.spatial = section.whole("groups", 1, 1), bool(section.whole("spatial", 0))
        self.temperature = section.number("temperature", 1.0)
        if self.temperature <= 0:
            raise section.wrong(f"temperature must be positive, got {self.temperature}")
        if (shape[0] * shape[1] * shape[2]) % self.groups:
            raise section.wrong(f"{shape[0]}x{shape[1]}x{shape[2]} values do not divide into "
                                f"groups={self.groups}")
        self.tree = tree_of(section)
        if self.tree is not None and len(self.tree) != shape[0]:
            raise section.wrong(f"the tree has {len(self.tree)} words, its input {shape[0]} channels")
        self.shape = shape

    def forward(self, x: Any) -> Any:
        x = x if self.temperature == 1 else x / self.temperature
        if self.tree is not None:
            return self.tree.softmax(x, 1)
        if self.spatial:
            return F.softmax(x, 1)
        return F.reshape(F.softmax(F.reshape(x, (-1, self.groups, self.shape[0] * self.shape[1]
                                                 * self.shape[2] // self.groups)), -1), (-1, *self.shape))


class ActivationOnly(Activated):
    def __init__(self, section: Section, shape: Shape) -> None:
        self._activation(section, "logistic" if section.kind == "logistic" else "linear")
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return self.activate(x)


class Scale(Activated):
    """An earlier layer times the one before: an attention of one number a channel
    (scale_channels, squeeze and excitation) or of one a value (sam)."""

    def __init__(self, section: Section, shapes: list[Shape]) -> None:
        (source,) = places(section, "from", len(shapes))
        self.sources, self.shape = (len(shapes) - 1, source), shapes[source]
        self._activation(section, "linear")
        here = shapes[-1]
        if here[0] != self.shape[0] or here[1:] != ((1, 1) if section.kind == "scale_channels"
                                                    else self.shape[1:]):
            raise section.wrong(f"weights of {here} do not fit maps of {self.shape}")

    def forward(self, weights: Any, x: Any) -> Any:
        return self.activate(x * weights)


class Dropout(Layer):
    def __init__(self, section: Section, shape: Shape) -> None:
        probability = section.number("probability", 0.5)
        if not 0 <= probability < 1:
            raise section.wrong(f"probability must be at least 0 and below 1, got {probability}")
        self.drop, self.shape = nn.Dropout(probability), shape

    def forward(self, x: Any) -> Any:
        return self.drop(x)


class Same(Layer):
    """Of a section that changes no value at inference: cost, and the heads, whose numbers are read
    elsewhere."""

    def __init__(self, section: Section, shape: Shape) -> None:
        self.shape, self.kind = shape, section.kind

    def forward(self, x: Any) -> Any:
        return x

    def extra_repr(self) -> str:
        return self.kind


class Head(Same):
    """The end of a branch: yolo, region or detection. section: its settings."""

    def __init__(self, section: Section, shape: Shape) -> None:
        super().__init__(section, shape)
        self.section = section


def room(section: Section, shape: tuple[int, ...], given: Shape) -> None:
    if min(shape) < 1:
        raise section.wrong(f"leaves nothing of maps of {given[1]}x{given[2]}")
    if shape[0] * shape[1] * shape[2] > MOST:
        raise section.wrong(f"makes {' x '.join(map(str, shape))} values, more than {MOST}")


def affordable(section: Section, weights: int) -> None:
    if weights > MOST:
        raise section.wrong(f"needs {weights} weights, more than {MOST}")


def places(section: Section, key: str, count: int) -> tuple[int, ...]:
    """Numbers of earlier layers; negative ones count back from this layer, the one before is -1."""
    given = section.wholes(key)
    if not given:
        raise section.wrong(f"needs {key}=")
    found = tuple(n if n >= 0 else count + n for n in given)
    for n, place in zip(given, found):
        if not 0 <= place < count:
            raise section.wrong(f"{key}={n} is no earlier layer; this is layer {count}")
    return found


def tree_of(section: Section) -> Any:
    """The WordTree that a section names by a file's path, or None."""
    if "tree" not in section.options:
        return None
    from .word_tree import WordTree
    return WordTree.read(section.options["tree"])


# sections with one source, the layer before: made from its shape; with several: from all shapes
LAYERS: dict[str, Callable[[Section, Shape], Layer]] = {
    "convolutional": Convolutional, "conv": Convolutional, "local": Local, "connected": Connected,
    "conn": Connected, "batchnorm": BatchNorm, "maxpool": MaxPool, "max": MaxPool, "avgpool": AvgPool,
    "avg": AvgPool, "upsample": Upsample, "reorg": Reorg, "reorg3d": Reorg, "crop": Crop, "softmax": Softmax,
    "soft": Softmax, "dropout": Dropout, "activation": ActivationOnly, "logistic": ActivationOnly,
    "cost": Same, "yolo": Head, "region": Head, "detection": Head,
}
JOINTS: dict[str, Callable[[Section, list[Shape]], Layer]] = {
    "route": Route, "shortcut": Shortcut, "scale_channels": Scale, "sam": Scale,
}
