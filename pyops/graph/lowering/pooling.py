"""Pooling, means over images, resizing and padding, in blocked layout."""
from __future__ import annotations

import math

import numpy as np

from ...ops.interpolate import tables
from ...ops.pad import MODES
from ..ir import Node, Value
from ..passes.fuse_mean import is_global_mean
from .context import BLOCK, Declined, Lowering, Window, four

KEEP_LAYOUT = {"sigmoid", "softmax", "log_softmax", "tanh", "clamp", "resample"}   # of images


def max_pool(low: Lowering, node: Node) -> None:
    x, window = blocked_window(low, node)
    if window.kernel == (0, 0, 0):
        if window.output != (1, 1, 1):
            raise Declined("adaptive windows of a maximum")
        return global_max(low, node, x)
    low.add("max_pool_blocked", low.as_map(x).ref, planar(window),
            low.new_map(node.output).ref, node=node, algorithm="pool")


def avg_pool(low: Lowering, node: Node) -> None:
    x, window = blocked_window(low, node)
    if is_global_mean(node):
        return global_mean(low, node, x)
    if window.kernel == (0, 0, 0):
        low.add("adaptive_avg_pool_blocked", low.as_map(x).ref, low.new_map(node.output).ref, node=node,
                algorithm="pool")
        return
    low.add("avg_pool_blocked", low.as_map(x).ref, planar(window),
            int(node.attrs["divisor"]) or (0 if node.attrs["count_include_pad"] else -1),
            low.new_map(node.output).ref, node=node, algorithm="pool")


def global_mean(low: Lowering, node: Node, x: Value) -> None:
    n, c = x.shape[:2]
    low.add("global_avg_pool", low.as_map(x).ref, low.new_planar(node.output).reshaped((n, c)), node=node,
            algorithm="pool")


def global_max(low: Lowering, node: Node, x: Value) -> None:
    n, c, h, w = four(x.shape)
    found = low.free_map(n, c, 1, 1)
    low.add("max_pool_blocked", low.as_map(x).ref, Window((h, w), (1, 1), (0, 0), (1, 1)), found.ref, node=node,
            algorithm="pool")
    if c % BLOCK == 0:   # single pixels: both layouts are the same numbers
        low.planar[node.output] = found.ref.reshaped(node.output.shape)
    else:
        low.add("from_blocked", found.ref, low.new_planar(node.output).reshaped((n, c, 1, 1)), algorithm="layout")


def amax(low: Lowering, node: Node) -> None:
    x = node.inputs[0]
    if not low.is_map(x) or not over_pixels(node) or 0 in x.shape:
        raise Declined("no maximum over images")
    global_max(low, node, x)


def over_pixels(node: Node) -> bool:
    """Whether a reduction is over all axes of images but samples and channels."""
    axes = node.inputs[0].ndim
    return axes in (3, 4) and tuple(sorted(d % axes for d in node.attrs["dims"])) == tuple(range(2, axes))


def mean(low: Lowering, node: Node) -> None:
    """The row `sum` with a scale, over all pixels of an image: its global mean."""
    x = node.inputs[0]
    if not low.is_map(x) or not over_pixels(node):
        raise Declined("no mean over images")
    if abs(node.attrs.get("scale", 1.0) * math.prod(x.shape[2:]) - 1) > 1e-12:
        raise Declined("a sum")
    global_mean(low, node, x)


def resample(low: Lowering, node: Node) -> None:
    x = node.inputs[0]
    specs = node.attrs["specs"]
    if not low.is_map(x) or len(x.shape) not in (3, 4):
        raise Declined("no image in blocked layout")
    if node.output.size > x.size and leaves(low, node.output):
        raise Declined("a larger image that is wanted as the caller has them: the smaller one moves")
    along = [tables(spec, node.attrs["transpose"], np.dtype(np.float32))
             for spec in ((None, *specs) if len(specs) == 1 else specs)]
    low.add("resample_blocked", low.as_map(x).ref, *along[0], *along[1], low.new_map(node.output).ref,
            node=node, algorithm="resample")


def leaves(low: Lowering, value: Value) -> bool:
    """Whether nothing but the program's caller reads an image, or rows that keep its layout do for them."""
    return all(node.op in KEEP_LAYOUT and leaves(low, node.output) for node in low.consumers.get(value, ()))


def pad(low: Lowering, node: Node) -> None:
    x = node.inputs[0]
    before, after = node.attrs["before"], node.attrs["after"]
    if not low.is_map(x) or len(x.shape) not in (3, 4) or any(before[:2] + after[:2]):
        raise Declined("no image in blocked layout, or channels to pad")
    low.add("pad_blocked", low.as_map(x).ref, (0, *before[2:])[-2:], MODES[node.attrs["mode"]],
            float(node.attrs.get("value", 0.0)), low.new_map(node.output).ref, node=node, algorithm="pad")


def planar(window) -> Window:
    """The window's last two axes."""
    return Window(window.kernel[1:], window.stride[1:], window.padding[1:], window.dilation[1:])


def blocked_window(low: Lowering, node: Node):
    """The input and window of a pooling over one or two axes; worth it only where the
    input already is a map."""
    x, window = node.inputs[0], node.attrs["window"]
    if not low.is_map(x) or window.axes > 2 or len(x.shape) != window.axes + 2:
        raise Declined("no image in blocked layout")
    four(node.output.shape)
    return x, window


RULES = {"max_pool": max_pool, "avg_pool": avg_pool, "sum": mean, "amax": amax, "resample": resample, "pad": pad}
