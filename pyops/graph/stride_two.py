"""Which algorithm computes a convolution of 4x4 filters with stride 2, plain or transposed, and why.

By Winograd's F(4x4, 2x2) on the parities of its pixels (kernels/convolution/stride_two.h) 4x4
outputs take 25 multiplications in place of 64; maps are taken apart or put together, and there are
25 / 16 times the weights to read. A transposed one of few pixels reads its weights once by the
kernel of eager calls (transposed_columns.h).
"""
from __future__ import annotations

import numpy as np

from . import costs, estimates, packing
from .estimates import IN_RUN
from .ir import Node, Value

ALGORITHM, COLUMNS_OF_PIXELS = NAMES = "stride_two", "columns"
TRANSFORM = 0.7       # of a tile of F(4x4, 3x3)
COPY = 3              # nanoseconds to lay 16 values of a map elsewhere, one thread
DIRECT = {"conv": 1.7, "conv_transpose": 1.1}   # what strides take beside direct convolutions of stride 1
COLUMNS = 1.5         # and the product of pixels and weights as they lie
FEW_PIXELS = 64       # of a sample: more go elsewhere
ROOM = 1.3            # what it must gain for the room that its weights take
FILL = 4              # tiles that a register tile needs to be busy


def can(node: Node) -> str:
    """Why Winograd's algorithm does not take the layer, or an empty text."""
    if not is_stride_two(node):
        return "not a 4x4 filter with stride 2"
    weight = node.inputs[1]
    channels = weight.shape[0 if node.op == "conv_transpose" else 1]
    if node.op == "conv" and channels % packing.BLOCK:
        return "channels that do not fill blocks"
    if channels < packing.BLOCK:
        return "few channels"
    if (node.epilogue.residual, node.normalised, node.gate) != (None, None, None) or len(node.outputs) != 1:
        return "more than an activation behind it, or something before it"
    if not packing.finite(weight) or not even_filters(node):
        return "a filter of little more than one tap"
    return ""


def is_stride_two(node: Node) -> bool:
    x, weight, attrs = node.inputs[0], node.inputs[1], node.attrs
    return (isinstance(x, Value) and isinstance(weight, np.ndarray) and len(x.shape) == 4
            and weight.shape[2:] == (4, 4) and attrs["stride"] == (2, 2) and attrs["dilation"] == (1, 1)
            and attrs["groups"] == 1 and max(attrs["padding"]) <= 3 and node.output.size > 0)


def even_filters(node: Node) -> bool:
    """Whether Winograd's algorithm may take what it has for filters, (K, C, 2, 2): of a plain convolution all
    taps of one, of a transposed one a quarter."""
    return (packing.even_filters if node.op == "conv" else packing.even_parities)(node.inputs[1])


def choose(node: Node, options, total_weights: float,
           forced: str | None = None) -> tuple[str, str, dict[str, estimates.Time]]:
    """The algorithm, "" for the direct one, why, and the nanoseconds of each, where there is a choice."""
    why = can(node)
    transposed = node.op == "conv_transpose"
    if why and not (transposed and is_stride_two(node)):
        return "", why, {}
    if forced == ALGORITHM and not why or forced == COLUMNS_OF_PIXELS and transposed:
        node.filters_in_run = forced == ALGORITHM and options.memory == "lean"
        return forced, "forced by PYOPS_FORCE_ALGO", {}
    if forced is not None:
        return "", why or f"{forced} is forced", {}
    n = 1 if options.batch_invariant else node.output.shape[0]

    def time(cost, **more) -> estimates.Time:
        return estimates.time(lambda known: cost(node, known, n, total_weights, **more), options.isa)
    estimate = {"": time(direct_cost)}
    if transposed and np.prod(node.inputs[0].shape[2:]) <= FEW_PIXELS and node.inputs[1].shape[1] % 16 == 0:
        estimate[COLUMNS_OF_PIXELS] = time(columns_cost)
    if not why and options.precision != "strict":
        if options.memory != "lean":
            estimate[ALGORITHM] = time(winograd_cost)
        estimate[ALGORITHM + IN_RUN] = time(winograd_cost, kept=False)
    return estimates.quickest(estimate), estimates.listed(estimate), estimate


def kept_bytes(node: Node, way: str) -> int:
    """Bytes of weights that a layer keeps: Winograd's algorithm has the plain ones beside its own."""
    plain = 4 * node.inputs[1].size
    if way == ALGORITHM:
        return plain + plain * 100 // 16
    C, blocks, _, maps = sizes(node)
    return plain if way == COLUMNS_OF_PIXELS else 4 * 4 * C * blocks * 16 * maps


def sizes(node: Node) -> tuple[int, int, tuple[int, int], int]:
    """Channels, blocks of filters, the outputs of one convolution of 2x2 taps, and how many there are;
    channels are those that it sees."""
    C, K = node.inputs[1].shape[:2] if node.op == "conv_transpose" else node.inputs[1].shape[1::-1]
    h, w = node.output.shape[2:]
    if node.op == "conv":
        return 4 * C, -(-K // 16), (h, w), 1
    return C, -(-K // 16), (-(-h // 2), -(-w // 2)), 4


def streaming(nbytes: float, known: costs.Costs, total_weights: float) -> float:
    return nbytes * (known.memory if total_weights > known.kept else known.cache)


def direct_cost(node: Node, known: costs.Costs, n: int, total_weights: float) -> float:
    """Transposed ones read their weights once a row of pixels."""
    C, blocks, (h, w), maps = sizes(node)
    multiply = DIRECT[node.op] * known.direct * n * maps * h * w * 4 * C * blocks / known.threads
    times = n * h if node.op == "conv_transpose" and w < 14 else 1
    return max(multiply, streaming(4. * 4 * C * blocks * 16 * maps * times, known, total_weights))


def columns_cost(node: Node, known: costs.Costs, n: int, total_weights: float) -> float:
    C, blocks, _, _ = sizes(node)
    pixels = np.prod(node.inputs[0].shape[2:])
    multiply = COLUMNS * known.direct * n * pixels * 16 * C * blocks / known.threads
    return max(multiply, streaming(4. * 16 * C * blocks * 16 * n, known, total_weights))


def winograd_cost(node: Node, known: costs.Costs, n: int, total_weights: float, kept: bool = True) -> float:
    """kept: filters are transformed beforehand."""
    C, blocks, (h, w), maps = sizes(node)
    tiles = n * -(-h // 4) * -(-w // 4)
    lines = 25. * C * blocks
    multiply = known.winograd * maps * max(tiles, FILL) * lines / known.threads
    transform = TRANSFORM * known.transform[1] * maps * tiles * (C / 16 + blocks) / 2 / known.threads
    copies = COPY * n * h * w * (C / 16 if node.op == "conv" else 2 * blocks * maps) / known.threads
    if kept:
        return ROOM * (max(multiply, streaming(4 * 16 * lines * maps, known, total_weights * 25 / 16)) + transform
                       + copies)
    filters = known.filter / 36 * lines * maps / known.threads
    return max(multiply + filters, streaming(4 * 16 * 4 * C * blocks * maps, known, total_weights)) + transform + copies
