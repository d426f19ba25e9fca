"""Convolutions: which kernel, with which weights."""
from __future__ import annotations

import numpy as np

from .. import activations, packing
from ..ir import Node, Value
from . import inverted, linear
from .context import Declined, Lowering, Window, four

SLACK = 4096                # places beyond the image that are of no account
MOST_PHASE_TAPS = 1 << 20   # of a transposed convolution: its stride times its taps


def conv(low: Lowering, node: Node) -> None:
    if node.before:
        return inverted.lower(low, node)
    x, weight, bias, attrs = image_arguments(node)
    n, channels, _, _ = four(node.inputs[0].shape)
    filters, groups = weight.shape[0], attrs["groups"]
    algorithm = node.algorithm or "direct"
    window = Window(weight.shape[2:], attrs["stride"], attrs["padding"], attrs["dilation"])
    if not is_modest(four(node.inputs[0].shape)[2:], attrs["size"], weight.shape[2:], attrs):
        raise Declined("windows far beyond the image")
    tail = node.epilogue.activation or activations.NONE

    single = x.size == n * channels and not any(attrs["padding"])   # with padding an output may see nothing but the bias
    if groups == 1 and weight.shape[2:] == (1, 1) and single and node.epilogue.residual is None and not changes_input(node):
        return as_linear(low, node, x, weight[:, :, 0, 0], bias)

    def call(kernel, *args, what=algorithm):
        low.add(kernel, *args, node=node, algorithm=what, flops=2 * node.macs, why=node.why)

    if groups == channels == filters and groups > 1:
        arguments = (low.as_map(x).ref, packing.depthwise(weight), packing.bias(bias, filters), residual(low, node), window, tail,
                     low.new_map(node.output).ref)
        if len(node.outputs) == 1:
            call("depthwise_conv", *arguments, what="depthwise")
        else:   # the kernel adds up what it stores
            call("depthwise_conv_mean", *arguments, low.new_planar(node.outputs[1]).reshaped((n, filters)), what="depthwise")
    elif groups == 1 and channels <= 4 and x in low.planar and x not in low.maps and node.epilogue.residual is None:
        source = low.planar[x].reshaped(four(x.shape))
        call("stem_conv", source, packing.stem(weight), packing.bias(bias, filters), window, tail, low.new_map(node.output).ref,
             what="stem")
    elif algorithm.startswith("winograd"):
        tile = int(algorithm[-1])
        u = packing.winograd(low.kernels, weight, tile)
        call("winograd_conv", low.as_map(x).ref, np.ascontiguousarray(weight, np.float32), u, tile, packing.bias(bias, filters), residual(low, node), attrs["padding"],
             2 if node.epilogue.pool else 1, tail, low.new_map(node.output).ref)
    else:
        joined = packing.merged_groups(weight, groups) if groups > 1 else (weight, 1)
        if joined is None or (groups > 1 and filters % packing.BLOCK):
            raise Declined(f"{groups} groups of {weight.shape[1]} channels do not fill blocks")
        scale, shift = (packing.bias(v.astype(np.float32), channels) for v in node.normalised) if node.normalised else (None, None)
        gate = low.as_planar(node.gate).reshaped((n, channels)) if node.gate is not None else None
        call("direct_conv", low.as_map(x).ref, channels, scale, shift, gate, packing.direct(low.kernels, joined[0]), packing.bias(bias, filters),
             residual(low, node), window, joined[1], tail, low.new_map(node.output).ref, what="direct" if groups == 1 else "grouped")


def is_modest(image, result, kernel, attrs) -> bool:
    """Whether the rows that a task reads, padded and split by stride, are of about the image's size: they are laid out before they are read."""
    axes = list(zip((1, *image)[-len(result):], result, kernel[-len(result):], attrs["stride"][-len(result):], attrs["dilation"][-len(result):]))
    return all(stride <= size + SLACK and (out - 1) * stride + (taps - 1) * dilation + 1 <= 4 * size + SLACK for size, out, taps, stride, dilation in axes)


def changes_input(node: Node) -> bool:
    """Whether the convolution does something to its input while it reads it."""
    return node.normalised is not None or node.gate is not None


def as_linear(low: Lowering, node: Node, x: Value, weight: np.ndarray, bias) -> None:
    """A 1x1 convolution of single pixels, as squeeze-and-excitation has two."""
    n, (filters, channels) = x.shape[0], weight.shape
    linear.matrix_product(low, node, low.as_planar(x).reshaped((n, channels)), weight, bias, low.new_planar(node.output).reshaped((n, filters)))


def conv_transpose(low: Lowering, node: Node) -> None:
    x, weight, bias, attrs = image_arguments(node)
    if attrs["groups"] != 1:
        raise Declined("groups of a transposed convolution")
    if np.prod(attrs["stride"], dtype=object) * weight[0, 0].size > MOST_PHASE_TAPS or not is_modest(
            attrs["size"], four(x.shape)[4 - len(attrs["size"]):], weight.shape[2:], attrs):
        raise Declined("windows far beyond the image")
    channels, filters = weight.shape[0], weight.shape[1]
    low.add("transposed_conv", low.as_map(x).ref, channels, packing.direct(low.kernels, weight.swapaxes(0, 1)), packing.bias(bias, filters),
            residual(low, node), Window(weight.shape[2:], attrs["stride"], attrs["padding"], attrs["dilation"]), node.epilogue.activation or activations.NONE,
            low.new_map(node.output).ref, node=node, algorithm="phases", flops=2 * node.macs)


def image_arguments(node: Node):
    """Input, weights, bias and attributes of a convolution over one or two axes, as over two."""
    x, weight, bias = node.inputs
    if not isinstance(x, Value) or not isinstance(weight, np.ndarray) or not (bias is None or isinstance(bias, np.ndarray)):
        raise Declined("weights that are computed")
    if len(x.shape) != weight.ndim or weight.ndim not in (3, 4):
        raise Declined(f"an input of {len(x.shape)} axes")
    attrs = dict(node.attrs)
    if weight.ndim == 3:
        weight = weight[:, :, None]
        for name, neutral in (("stride", 1), ("padding", 0), ("dilation", 1)):
            attrs[name] = (neutral, *attrs[name])
    return x, weight, bias, attrs


def residual(low: Lowering, node: Node):
    return low.as_map(node.epilogue.residual).ref if node.epilogue.residual is not None else None


RULES = {"conv": conv, "conv_transpose": conv_transpose}
