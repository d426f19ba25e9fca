"""Convolutions: which kernel, with which weights."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import activations, choose, line, packing, strassen, stride_two
from ..ir import Node, Value
from . import inverted, linear, volume
from .context import BLOCK, Declined, Lowering, Ref, Window, four

SLACK = 4096                # places beyond the image that are of no account
FEW_TILES = 84              # of Winograd's algorithm, which meet filters in the second-level cache
FEW_TRANSPOSED = 4          # filters of a transposed convolution for which a vector is not filled by a block
MOVE = 4                    # multiply-adds that a vector takes from one layout to the other
TRANSFORM = 12              # and one that Winograd's algorithm transforms on its way in or out
WINOGRAD = {"winograd2": 1.8, "winograd4": 2.7, "winograd6": 3.5}   # multiply-adds saved, as a factor
WINOGRAD_5X5 = 2.2
MOST_PHASE_TAPS = 1 << 20   # of a transposed convolution: its stride times its taps


@dataclass(slots=True)
class Layer:
    """A convolution over one or two axes, as over two."""
    node: Node
    x: Value
    weight: np.ndarray
    bias: np.ndarray | None
    groups: int
    window: Window
    tail: activations.Act

    @property
    def samples(self) -> int:
        return self.x.shape[0]

    @property
    def channels(self) -> int:
        return self.x.shape[1]

    @property
    def filters(self) -> int:
        return len(self.weight)

    def packed_bias(self) -> np.ndarray | None:
        return packing.bias(self.bias, self.filters)

    def call(self, low: Lowering, kernel: str, *args, algorithm: str) -> None:
        low.add(kernel, *args, node=self.node, algorithm=algorithm, flops=2 * self.node.macs,
                why=self.node.why)


def conv(low: Lowering, node: Node) -> None:
    """By the first of CANDIDATES that does not decline."""
    if node.before:
        return inverted.lower(low, node)
    if isinstance(node.inputs[0], Value) and len(node.inputs[0].shape) == 5:
        return volume.conv(low, node, conv)
    x, weight, bias, attrs = image_arguments(node)
    spatial = (attrs["stride"], attrs["padding"], attrs["dilation"])
    if not is_modest(four(x.shape)[2:], attrs["size"], weight.shape[2:], attrs):
        raise Declined("windows far beyond the image")
    layer = Layer(node, x, weight, bias, attrs["groups"], Window(weight.shape[2:], *spatial),
                  node.epilogue.activation or activations.NONE)
    if few_filters(low, layer):
        raise Declined("few filters: vectors of pixels have less to spare than blocks of filters")
    for candidate in CANDIDATES[:-1]:
        try:
            return candidate(low, layer)
        except Declined:
            pass
    CANDIDATES[-1](low, layer)


def few_filters(low: Lowering, c: Layer) -> bool:
    """Whether the kernel of eager calls, which has a vector of pixels for each filter, takes less than
    one that has a pixel for a block of filters, in vectors of multiply-adds or moves a pixel."""
    node = c.node
    if (c.groups != 1 or c.filters >= packing.BLOCK or node.normalised is not None or node.gate is not None
            or node.epilogue.pool or len(node.outputs) != 1 or not node.output.size):
        return False
    height, width = node.output.shape[2:] if node.output.ndim == 4 else (1, node.output.shape[2])
    if c.weight[0, 0].size == 1 and c.x.size // c.channels == node.output.size // c.filters:
        width *= height   # one long row
    products, channel_blocks = c.weight[0].size, -(-c.channels // packing.BLOCK)
    blocked = float(products)
    if node.algorithm in WINOGRAD:
        saved = WINOGRAD_5X5 if c.weight.shape[2] == 5 else WINOGRAD[node.algorithm]
        blocked = products / saved + TRANSFORM * (channel_blocks + 1)
    rows = -(-width // packing.BLOCK) * packing.BLOCK / width
    planar = products * c.filters / packing.BLOCK * rows / 0.8
    moves = MOVE * (1 + (channel_blocks if low.is_map(c.x) else 0))
    return planar + moves < 0.9 * blocked


# Candidates decline before they make a step or a place.

def single_pixels(low: Lowering, c: Layer) -> None:
    """A 1x1 convolution of single pixels is a linear layer; squeeze-and-excitation has two."""
    node = c.node
    # with padding an output may see nothing but the bias
    single = c.x.size == c.samples * c.channels and not any(node.attrs["padding"])
    plain = node.epilogue.residual is None and node.normalised is None and node.gate is None
    if c.groups != 1 or c.weight.shape[2:] != (1, 1) or not single or not plain:
        raise Declined("more than a product of matrices")
    linear.matrix_product(low, node, low.as_planar(c.x).reshaped((c.samples, c.channels)),
                          c.weight[:, :, 0, 0], c.bias,
                          low.new_planar(node.output).reshaped((c.samples, c.filters)))


def depthwise(low: Lowering, c: Layer) -> None:
    if not c.groups == c.channels == c.filters > 1:
        raise Declined("not a filter a channel")
    outputs = c.node.outputs
    arguments = (low.as_map(c.x).ref, packing.depthwise(c.weight), c.packed_bias(), residual(low, c.node),
                 c.window, c.tail, low.new_map(outputs[0]).ref)
    if len(outputs) == 1:
        c.call(low, "depthwise_conv", *arguments, algorithm="depthwise")
    else:   # the kernel adds up what it stores
        mean = low.new_planar(outputs[1]).reshaped((c.samples, c.filters))
        c.call(low, "depthwise_conv_mean", *arguments, mean, algorithm="depthwise")


def multiplied(low: Lowering, c: Layer) -> None:
    """Several filters a channel: one a channel of an image that has each so many times."""
    if c.groups != c.channels or c.channels == 1 or c.filters == c.channels or len(c.node.outputs) != 1:
        raise Declined("not several filters a channel")
    n, _, h, w = four(c.x.shape)
    repeated = low.free_map(n, c.filters, h, w)
    low.add("repeat_channels", low.as_map(c.x).ref, c.channels, c.filters // c.channels, repeated.ref, node=c.node,
            algorithm="copy")
    c.call(low, "depthwise_conv", repeated.ref, packing.depthwise(c.weight), c.packed_bias(), residual(low, c.node),
           c.window, c.tail, low.new_map(c.node.output).ref, algorithm="depthwise")


def stem(low: Lowering, c: Layer) -> None:
    """Few channels, read as the caller has them."""
    if (c.groups != 1 or c.channels > 4 or c.x not in low.planar or c.x in low.maps
            or c.node.epilogue.residual is not None):
        raise Declined("not a few planar channels")
    c.call(low, "stem_conv", low.planar[c.x].reshaped(four(c.x.shape)), packing.stem(c.weight),
           c.packed_bias(), c.window, c.tail, low.new_map(c.node.output).ref, algorithm="stem")


def winograd(low: Lowering, c: Layer) -> None:
    if not c.node.algorithm.startswith("winograd"):
        raise Declined("another algorithm is chosen")
    tile = int(c.node.algorithm[-1])
    if c.groups > 1:
        return (narrow_groups if choose.narrow_groups(c.node) else winograd_groups)(low, c, tile)
    x, u = low.as_map(c.x).ref, None
    if not c.node.filters_in_run:
        plain, u = packing.contiguous(c.weight), packing.winograd(low.kernels, c.weight, tile)
    else:
        plain, shape = packing.square(low.kernels, c.weight), packing.winograd_shape(c.weight, tile)
        if made_at_once(low, c, tile, math.prod(shape)):
            u = Ref(low.buffer(math.prod(shape)), 0, shape)
            low.add("winograd_weights", plain, tile, u, node=c.node, algorithm="filters")
    arguments = (x, plain, u, tile, c.packed_bias(), residual(low, c.node), c.node.attrs["padding"])
    if c.node.attrs["dilation"] == (1, 1):
        c.call(low, "winograd_conv", *arguments, 2 if c.node.epilogue.pool else 1, c.tail,
               low.new_map(c.node.output).ref, algorithm=c.node.algorithm)
    else:
        c.call(low, "winograd_dilated", *arguments, c.node.attrs["dilation"], c.tail,
               low.new_map(c.node.output).ref, algorithm=c.node.algorithm)


def made_at_once(low: Lowering, c: Layer, tile: int, filters: int) -> bool:
    """Whether all transformed filters, made in the run, get a place: many pixels meet them, and there is room
    that maps need anyway."""
    y = c.node.output
    tiles = math.prod(-(-n // tile) for n in y.shape[2:]) * c.samples
    maps = sum(v.size for v in {*c.node.values(), y})
    return filters <= (c.x.size + y.size) // max(1, c.samples) or tiles > FEW_TILES and filters + maps <= low.largest


def narrow_groups(low: Lowering, c: Layer, tile: int) -> None:
    c.call(low, "winograd_grouped", low.as_map(c.x).ref, packing.contiguous(c.weight),
           packing.winograd_grouped(low.kernels, c.weight, c.groups, tile), tile, c.packed_bias(),
           residual(low, c.node), c.node.attrs["padding"], 2 if c.node.epilogue.pool else 1, c.groups, c.tail,
           low.new_map(c.node.output).ref, algorithm=c.node.algorithm)


def winograd_groups(low: Lowering, c: Layer, tile: int) -> None:
    """Groups of whole blocks, one after the other: each has its part of the maps."""
    node, each, made = c.node, c.weight.shape[1], c.filters // c.groups
    bias, in_run = c.packed_bias(), node.filters_in_run
    plain = packing.square(low.kernels, c.weight) if in_run else packing.contiguous(c.weight)
    u = None if in_run else packing.winograd(low.kernels, c.weight, tile)
    x, y = low.as_map(c.x), low.new_map(node.output)
    added = None if node.epilogue.residual is None else low.as_map(node.epilogue.residual)
    for group in range(c.groups):
        filters, first = slice(group * made, (group + 1) * made), group * made // BLOCK
        parts = slice(first, first + made // BLOCK)
        low.add("winograd_conv", x.block(group * each // BLOCK, each).ref, plain[parts if in_run else filters],
                None if u is None else u[parts], tile, None if bias is None else bias[filters],
                None if added is None else added.block(first, made).ref, node.attrs["padding"],
                2 if node.epilogue.pool else 1, c.tail, y.block(first, made).ref, node=node,
                algorithm=node.algorithm, flops=2 * node.macs / c.groups, why=node.why)


def along_a_line(low: Lowering, c: Layer) -> None:
    if c.node.algorithm not in line.NAMES:
        raise Declined("another algorithm is chosen")
    tile, planar = int(c.node.algorithm[-1]), line.filters(packing.contiguous(c.weight))
    x = low.as_map(c.x).ref
    if c.node.filters_in_run:
        shape = line.shape_of(planar, tile)
        u = Ref(low.buffer(math.prod(shape)), 0, shape)
        low.add("winograd_line_weights", planar, tile, u, node=c.node, algorithm="filters")
    else:
        u = line.transformed(low.kernels, planar, tile)
    c.call(low, "winograd_line", x, planar, u, tile,
           int(c.weight.shape[3] > 1), c.packed_bias(), residual(low, c.node),
           *(c.node.attrs[name][line.along(c.node)] for name in ("padding", "dilation")), c.tail,
           low.new_map(c.node.output).ref, algorithm=c.node.algorithm)


def by_halves(low: Lowering, c: Layer) -> None:
    if c.node.algorithm != strassen.NAME:
        raise Declined("another algorithm is chosen")
    c.call(low, "strassen_conv", low.as_map(c.x).ref, c.channels, *strassen.filters(low.kernels, c.weight),
           c.packed_bias(), residual(low, c.node), c.tail, low.new_map(c.node.output).ref, algorithm=strassen.NAME)


def by_parities(low: Lowering, c: Layer) -> None:
    if c.node.algorithm != stride_two.ALGORITHM:
        raise Declined("another algorithm is chosen")
    parts, made = packing.parities(c.weight), None
    if c.node.filters_in_run:
        parts = packing.square(low.kernels, parts)
    else:
        made = packing.winograd_parts(low.kernels, parts)
    c.call(low, "winograd_stride_two", low.as_map(c.x).ref, parts, made,
           c.packed_bias(), c.node.attrs["padding"], c.tail, low.new_map(c.node.output).ref,
           algorithm=stride_two.ALGORITHM)


def whole_blocks(c: Layer) -> bool:
    return not (c.weight.shape[1] % packing.BLOCK or c.filters // c.groups % packing.BLOCK)


def grouped(low: Lowering, c: Layer) -> None:
    node = c.node
    if c.groups == 1 or (whole_blocks(c) and c.filters // c.groups > packing.BLOCK):
        raise Declined("groups are blocks of filters that share what they read")
    if node.normalised is not None or node.gate is not None:
        raise Declined("channels that change on their way in")
    c.call(low, "grouped_conv", low.as_map(c.x).ref, c.channels, packing.grouped(c.weight, c.groups),
           c.packed_bias(), residual(low, node), c.window, c.groups, c.filters, c.tail,
           low.new_map(node.output).ref, algorithm="grouped")


def direct(low: Lowering, c: Layer) -> None:
    node = c.node
    if c.groups > 1 and not whole_blocks(c):
        raise Declined(f"{c.groups} groups of {c.weight.shape[1]} channels do not fill blocks")
    scale, shift = (packing.bias(v.astype(np.float32), c.channels)
                    for v in node.normalised) if node.normalised else (None, None)
    gate = low.as_planar(node.gate).reshaped((c.samples, c.channels)) if node.gate is not None else None
    bias = packing.bias_to_half(c.bias, c.filters) if c.groups == 1 else c.packed_bias()
    c.call(low, "direct_conv", low.as_map(c.x).ref, c.channels, scale, shift, gate,
           packing.direct(low.kernels, c.weight), bias, residual(low, node), c.window, c.groups, c.tail,
           low.new_map(node.output).ref, algorithm="direct" if c.groups == 1 else "grouped")


CANDIDATES = (single_pixels, depthwise, multiplied, stem, winograd, along_a_line, by_halves, by_parities, grouped,
              direct)


def is_modest(image, result, kernel, attrs) -> bool:
    """Whether the rows that a task reads, padded and split by stride, are of about the image's
    size: they are laid out before they are read."""
    axes = list(zip((1, *image)[-len(result):], result, kernel[-len(result):], attrs["stride"][-len(result):],
                    attrs["dilation"][-len(result):]))
    return all(stride <= size + SLACK and (out - 1) * stride + (taps - 1) * dilation + 1 <= 4 * size + SLACK
               for size, out, taps, stride, dilation in axes)


def conv_transpose(low: Lowering, node: Node) -> None:
    x, weight, bias, attrs = image_arguments(node)
    if is_product(node, x, weight, attrs):
        return product_of_pixels(low, node, x, weight, bias)
    if attrs["groups"] != 1:
        raise Declined("groups of a transposed convolution")
    if np.prod(attrs["stride"], dtype=object) * weight[0, 0].size > MOST_PHASE_TAPS or not is_modest(
            attrs["size"], four(x.shape)[4 - len(attrs["size"]):], weight.shape[2:], attrs):
        raise Declined("windows far beyond the image")
    channels, filters = weight.shape[0], weight.shape[1]
    if filters <= FEW_TRANSPOSED:
        raise Declined("few filters: vectors of pixels have less to spare than blocks of filters")
    if node.algorithm == stride_two.COLUMNS_OF_PIXELS:
        raise Declined("few pixels: the kernel of eager calls reads weights once")
    if node.algorithm == stride_two.ALGORITHM:
        if node.filters_in_run:
            parts, made = packing.transposed_square(low.kernels, weight, attrs["padding"]), None
        else:
            parts = packing.transposed_parities(weight, attrs["padding"])
            made = packing.winograd_parts(low.kernels, parts)
        low.add("winograd_transposed", low.as_map(x).ref, parts, made, packing.bias(bias, filters),
                attrs["padding"], node.epilogue.activation or activations.NONE, low.new_map(node.output).ref,
                node=node, algorithm=stride_two.ALGORITHM, flops=2 * node.macs, why=node.why)
        return
    low.add("transposed_conv", low.as_map(x).ref, channels,
            packing.direct(low.kernels, weight.swapaxes(0, 1)), packing.bias(bias, filters),
            residual(low, node),
            Window(weight.shape[2:], attrs["stride"], attrs["padding"], attrs["dilation"]),
            node.epilogue.activation or activations.NONE,
            low.new_map(node.output).ref, node=node, algorithm="phases", flops=2 * node.macs)


def is_product(node: Node, x: Value, weight: np.ndarray, attrs: dict) -> bool:
    """Whether images of one pixel become images of the filters' size."""
    return (set(x.shape[2:]) == {1} and attrs["groups"] == 1 and not any(attrs["padding"])
            and node.output.shape[2:] == node.inputs[1].shape[2:] and node.epilogue.residual is None and x.size > 0)


def product_of_pixels(low: Lowering, node: Node, x: Value, weight: np.ndarray, bias) -> None:
    """Filters as they lie are a matrix (channels, filters x taps)."""
    channels, outputs = weight.shape[0], weight[0].size
    each = None if bias is None else np.repeat(bias, outputs // weight.shape[1])
    linear.matrix_product(low, node, low.as_planar(x).reshaped((x.shape[0], channels)),
                          weight.reshape(channels, outputs).T, each,
                          low.new_planar(node.output).reshaped((x.shape[0], outputs)))


def image_arguments(node: Node):
    """Input, weights, bias and attributes of a convolution over one or two axes, as over two."""
    x, weight, bias = node.inputs
    if not isinstance(x, Value) or not isinstance(weight, np.ndarray) or not (
            bias is None or isinstance(bias, np.ndarray)):
        raise Declined("weights that are computed")
    if len(x.shape) != weight.ndim or weight.ndim not in (3, 4):
        raise Declined(f"an input of {len(x.shape)} axes")
    if not weight.size:
        raise Declined("no filters, or filters of no channels")
    # the kernels of maps skip some of the zeros beside them, and multiply others
    if not packing.finite(weight):
        raise Declined("filters that are not finite")
    attrs = dict(node.attrs)
    if weight.ndim == 3:
        weight = weight[:, :, None]
        for name, neutral in (("stride", 1), ("padding", 0), ("dilation", 1)):
            attrs[name] = (neutral, *attrs[name])
    return x, weight, bias, attrs


def residual(low: Lowering, node: Node):
    return low.as_map(node.epilogue.residual).ref if node.epilogue.residual is not None else None


RULES = {"conv": conv, "conv_transpose": conv_transpose}
