"""Contracts of the kernels of kernels/*/program.inc, which work on maps in blocked layout and on
packed weights (graph/packing.py).
"""

from __future__ import annotations

from ..packing import seen_channels
from .arguments import BLOCK, Map, need
from .planar import contract, convolved, padded, pooled, spread, taps


def blocks(channels: int) -> int:
    return -(-channels // BLOCK)


def filled(channels: int, x: Map) -> None:
    need(channels >= 1 and blocks(channels) == x.blocks, "channels fill the map's blocks")


def same_maps(*maps: Map | None) -> None:
    need(len({(m.n, m.blocks, m.h, m.w) for m in maps if m is not None}) == 1, "maps have one size")


def numbers(a, count: int) -> None:
    need(a is None or a.size == count, "there is a number for every lane of the blocks")


# ---- layout and values


@contract("to_blocked", "rM")
def to_blocked(x, y) -> None:
    need(len(x.shape) == 4, "an image has four axes")
    n, c, h, w = x.shape
    need((n, blocks(c), h, w) == (y.n, y.blocks, y.h, y.w), "image and map have one size")


@contract("from_blocked", "mR")
def from_blocked(x, y) -> None:
    to_blocked(y, x)


@contract("last_to_blocked", "rM")
def last_to_blocked(x, y) -> None:
    need(len(x.shape) == 3, "an image whose channels come last has three axes")
    n, pixels, c = x.shape
    need((n, blocks(c), pixels) == (y.n, y.blocks, y.h * y.w), "image and map have one size")


@contract("last_from_blocked", "mR")
def last_from_blocked(x, y) -> None:
    last_to_blocked(y, x)


def labels(classes: int, y, x: Map) -> Map:
    """y, (n, h, w), as the map of `classes` channels that it is the likeliest of, in blocks as x has them."""
    need(len(y.shape) == 3 and y.dtype.name in ("uint8", "int64"), "labels are (n, h, w), uint8 or int64")
    need(classes >= 1 and (y.dtype.name == "int64" or classes <= 256), "labels hold the number of a class")
    need(y.shape[0] == x.n, "samples are those of the input")
    return Map(y.shape[0], blocks(classes), *y.shape[1:])


@contract("map_labels", "mnX")
def map_labels(x, classes, y) -> None:
    same_maps(x, labels(classes, y, x))


@contract("activate_flat", "aR")
def activate_flat(act, y) -> None:
    pass


@contract("add_maps", "mmaM")
def add_maps(a, b, act, y) -> None:
    same_maps(a, b, y)


@contract("affine_channels", "mrraM")
def affine_channels(x, scale, shift, act, y) -> None:
    same_maps(x, y)
    numbers(scale, x.blocks * BLOCK)
    numbers(shift, x.blocks * BLOCK)


@contract("slope_channels", "mrM")
def slope_channels(x, slope, y) -> None:
    same_maps(x, y)
    numbers(slope, x.blocks * BLOCK)


@contract("scale_channels", "mraM")
def scale_channels(x, gate, act, y) -> None:
    same_maps(x, y)
    need(len(gate.shape) == 2 and gate.shape[0] == x.n, "gates are (n, channels)")
    filled(gate.shape[1], x)


@contract("shift_channels", "mraM")
def shift_channels(x, shift, act, y) -> None:
    same_maps(x, y)
    need(len(shift.shape) == 2 and shift.shape[0] == x.n, "shifts are (n, channels)")
    filled(shift.shape[1], x)


@contract("copy_channels", "mnnM")
def copy_channels(x, channels, to, y) -> None:
    filled(channels, x)
    need(
        (x.n, x.h, x.w) == (y.n, y.h, y.w) and to >= 0 and to + channels <= y.blocks * BLOCK,
        "channels lie in the result",
    )


@contract("slice_channels", "mnnnM")
def slice_channels(x, channels, first, count, y) -> None:
    filled(channels, x)
    filled(count, y)
    need(
        (x.n, x.h, x.w) == (y.n, y.h, y.w) and first >= 0 and first + count <= channels,
        "channels are some of the input's",
    )


@contract("repeat_channels", "mnnM")
def repeat_channels(x, channels, times, y) -> None:
    filled(channels, x)
    need(times >= 2, "channels are repeated")
    need((x.n, blocks(channels * times), x.h, x.w) == (y.n, y.blocks, y.h, y.w), "repeated channels fill the result")


@contract("pick_channels", "mpiM")
def pick_channels(a, b, channels, y) -> None:
    lanes = sum(x.blocks for x in (a, b) if x is not None) * BLOCK
    need(len({(x.n, x.h, x.w) for x in (a, b, y) if x is not None}) == 1, "maps have as many samples and pixels")
    filled(channels.size, y)
    need(0 <= channels.data.min() and channels.data.max() < lanes, "channels are some of the inputs'")


# ---- convolutions


def over_image(x: Map, kernel, window, y: Map, axis=convolved) -> None:
    """A window of two axes over a map."""
    of_kernel, stride, padding, dilation = window
    need(
        len(stride) == 2 and of_kernel == tuple(kernel),
        "a window of two axes, as the weights have it",
    )
    for at in zip((x.h, x.w), kernel, stride, padding, dilation, (y.h, y.w)):
        axis(*at)
    need(x.n == y.n, "samples are those of the input")


def packed(weight, filters: int, channels: int) -> tuple[int, int]:
    """The two axes of filters that are packed in blocks both ways."""
    need(
        len(weight.shape) == 6
        and weight.shape[:2] == (filters, channels)
        and weight.shape[4:] == (BLOCK, BLOCK),
        "weights are packed as (filter blocks, channel blocks, r, s, 16, 16)",
    )
    return weight.shape[2:4]


def finished(y: Map, bias, residual) -> None:
    numbers(bias, y.blocks * BLOCK)
    if residual is not None:
        same_maps(residual, y)


def ends_in_half(bias, y: Map) -> bool:
    """Whether a bias says that half of the last block has no filters."""
    return bias is not None and bias.size == y.blocks * BLOCK - BLOCK // 2


def group_blocks(x: Map, channels: int, weight, groups: int, y: Map) -> int:
    """Blocks of channels that a group has."""
    if groups == 1:
        return x.blocks
    need(len(weight.shape) == 6 and weight.shape[1] >= 1, "weights have blocks of channels")
    need(
        groups >= 1
        and channels == x.blocks * BLOCK
        and x.blocks == groups * weight.shape[1]
        and y.blocks % groups == 0,
        "groups are whole blocks of channels and filters",
    )
    return weight.shape[1]


@contract("grouped_conv", "mnropwnnaM")
def grouped_conv(x, channels, weight, bias, residual, window, groups, filters, act, y) -> None:
    filled(channels, x)
    need(
        len(weight.shape) == 5 and weight.shape[0] == y.blocks and weight.shape[4] == BLOCK,
        "weights are packed as (filter blocks, r, s, channels of a group, 16)",
    )
    need(
        groups >= 1 and 1 <= filters <= y.blocks * BLOCK and blocks(filters) == y.blocks
        and channels % groups == filters % groups == 0 and weight.shape[3] * groups == channels >= 1,
        "groups have as many channels and filters each",
    )
    over_image(x, weight.shape[1:3], window, y)
    finished(y, bias, residual)


@contract("direct_conv", "mnoooropwnaM")
def direct_conv(x, channels, scale, shift, gate, weight, bias, residual, window, groups, act, y) -> None:
    filled(channels, x)
    over_image(x, packed(weight, y.blocks, group_blocks(x, channels, weight, groups, y)), window, y)
    need((scale is None) == (shift is None), "scale and shift come together")
    numbers(scale, x.blocks * BLOCK)
    numbers(shift, x.blocks * BLOCK)
    need(gate is None or gate.shape == (x.n, channels), "gates are (n, channels)")
    finished(y, None if ends_in_half(bias, y) else bias, residual)


@contract("strassen_conv", "mnroropaM")
def strassen_conv(x, channels, weight, scale, balance, bias, residual, act, y) -> None:
    filled(channels, x)
    need(packed(weight, y.blocks, x.blocks) == (1, 1), "filters have one tap")
    need((x.n, x.h, x.w) == (y.n, y.h, y.w), "samples and pixels are those of the input")
    need(y.blocks >= 2, "halves have a block of filters each")
    numbers(scale, y.blocks * BLOCK)
    need(balance.size == 3 * (channels // (2 * BLOCK)) * BLOCK, "three numbers for each pair of channels")
    finished(y, bias, residual)


@contract("direct_conv_labels", "mnrowanX")
def direct_conv_labels(x, channels, weight, bias, window, act, classes, y) -> None:
    made = labels(classes, y, x)
    filled(channels, x)
    over_image(x, packed(weight, made.blocks, x.blocks), window, made)
    finished(made, None if ends_in_half(bias, made) else bias, None)


@contract("stem_conv", "rrowaM")
def stem_conv(x, weight, bias, window, act, y) -> None:
    need(
        len(x.shape) == 4 and len(weight.shape) == 5 and weight.shape[4] == BLOCK,
        "an image, and filters packed as (blocks, c, r, s, 16)",
    )
    n, c, h, w = x.shape
    need(
        weight.shape[:2] == (y.blocks, c) and c >= 1,
        "filters have the image's channels and the result's blocks",
    )
    over_image(Map(n, 1, h, w), weight.shape[2:4], window, y)
    finished(y, bias, None)


@contract("transposed_conv", "mnropwaM")
def transposed_conv(x, channels, weight, bias, residual, window, act, y) -> None:
    filled(channels, x)
    over_image(x, packed(weight, y.blocks, x.blocks), window, y, spread)
    need(window[1][0] * window[1][1] <= 1 << 16, "strides make a phase each")
    finished(y, bias, residual)


@contract("depthwise_conv", "mropwaM")
def depthwise_conv(x, weight, bias, residual, window, act, y) -> None:
    need(
        len(weight.shape) == 4 and weight.shape[0] == x.blocks == y.blocks and weight.shape[3] == BLOCK,
        "filters are packed as (blocks, r, s, 16)",
    )
    over_image(x, weight.shape[1:3], window, y)
    finished(y, bias, residual)


@contract("depthwise_conv_mean", "mropwaMR")
def depthwise_conv_mean(x, weight, bias, residual, window, act, y, mean) -> None:
    depthwise_conv(x, weight, bias, residual, window, act, y)
    means(mean, y)


def means(mean, y: Map) -> None:
    need(len(mean.shape) == 2 and mean.shape[0] == y.n, "means are (n, channels)")
    filled(mean.shape[1], y)


@contract("inverted_residual", "mnooanrowaoopaM")
def inverted_residual(
    x,
    channels,
    expand,
    expand_bias,
    _act_1,
    wide,
    depth,
    depth_bias,
    window,
    act_2,
    project,
    project_bias,
    residual,
    _act_3,
    y,
) -> None:
    between = Map(y.n, blocks(wide), y.h, y.w)
    expanded(x, channels, expand, expand_bias, wide)
    depthwise_conv(Map(x.n, between.blocks, x.h, x.w), depth, depth_bias, None, window, act_2, between)
    if project is None:
        need(
            y.blocks == between.blocks and residual is None and project_bias is None,
            "without a last layer the wide map is the result",
        )
        return
    need(packed(project, y.blocks, between.blocks) == (1, 1), "the last layer is 1x1")
    finished(y, None if ends_in_half(project_bias, y) else project_bias, residual)


@contract("expand_depthwise_mean", "mnooarowaMR")
def expand_depthwise_mean(
    x, channels, expand, expand_bias, _act_1, depth, depth_bias, window, act_2, y, mean
) -> None:
    means(mean, y)
    expanded(x, channels, expand, expand_bias, mean.shape[1])
    depthwise_conv(Map(x.n, y.blocks, x.h, x.w), depth, depth_bias, None, window, act_2, y)


def expanded(x: Map, channels: int, expand, bias, wide: int) -> None:
    filled(channels, x)
    need(wide >= 1, "the wide map has channels")
    if expand is None:
        need(blocks(wide) == x.blocks and bias is None, "without a first layer the input is the wide map")
        return
    need(packed(expand, blocks(wide), x.blocks) == (1, 1), "the first layer is 1x1")
    numbers(bias, blocks(wide) * BLOCK)


@contract("winograd_conv", "mronopdnaM")
def winograd_conv(x, weight, u, tile, bias, residual, padding, pool, act, y) -> None:
    winograd_filters_fit(x, weight, u, tile, y)
    winograd_result(x, weight.shape[2], residual, padding, pool, y)
    finished(y, bias, residual)


def winograd_result(x, side: int, residual, padding, pool, y) -> None:
    need(
        pool in (1, 2) and len(padding) == 2 and min(padding) >= 0,
        "pools are of 2, paddings two",
    )
    rows, columns = (size + 2 * p - side + 1 for size, p in zip((x.h, x.w), padding))
    need(
        x.n == y.n and (y.h, y.w) == (max(rows, 0) // pool, max(columns, 0) // pool),
        "the result has the size of the convolution",
    )
    need(residual is None or pool == 1, "what is pooled has no residual")


@contract("winograd_dilated", "mronopddaM")
def winograd_dilated(x, weight, u, tile, bias, residual, padding, dilation, act, y) -> None:
    winograd_filters_fit(x, weight, u, tile, y)
    need(weight.shape[2] == 3, "filters are 3x3")
    need(
        len(padding) == len(dilation) == 2 and min(padding) >= 0 and min(dilation) >= 1,
        "paddings and dilations are two",
    )
    result = (size + 2 * p - 2 * d for size, p, d in zip((x.h, x.w), padding, dilation))
    need(
        x.n == y.n and (y.h, y.w) == tuple(max(size, 0) for size in result),
        "the result has the size of the convolution",
    )
    finished(y, bias, residual)


@contract("winograd_grouped", "mrrnopdnnaM")
def winograd_grouped(x, weight, u, tile, bias, residual, padding, pool, groups, act, y) -> None:
    points = winograd_points(weight, tile)
    filters, channels = weight.shape[:2]
    need(weight.shape[2] == 3 and groups >= 1 and channels >= 1 and filters >= 1 and filters % groups == 0,
         "filters are 3x3, as many in each group")
    filled(channels * groups, x)
    filled(filters, y)
    seen = sum(last - first for first, last in seen_channels(channels, filters // groups, groups))
    need(u.shape == (seen * points * BLOCK,),
         "filters are packed as (points, channels of the blocks that its groups lie in, 16) for each block")
    winograd_result(x, 3, residual, padding, pool, y)
    finished(y, bias, residual)


def winograd_filters_fit(x, weight, u, tile, y) -> None:
    points = winograd_points(weight, tile)
    filters_fit(weight.shape, x.blocks, u, points, y)


def filters_fit(weight, in_blocks, u, points, y) -> None:
    """Filters of Winograd's algorithm, planar or packed, and those at its points, which may be left out."""
    need(weight[1] >= 1 and blocks(weight[1]) == in_blocks, "channels fill the map's blocks")
    need(filter_blocks(weight) == y.blocks >= 1, "filters fill the map's blocks")
    need(u is None or u.shape == (y.blocks, points, weight[1], BLOCK),
         "filters are packed as (blocks, points, channels, 16)")


def filter_blocks(weight) -> int:
    """Of filters (k, c, side, side), or of packed ones (blocks, c, side, side, 16)."""
    return weight[0] if len(weight) == 5 else blocks(weight[0])


def are_square(weight, sides) -> None:
    need(len(weight) in (4, 5) and weight[2] == weight[3] and weight[2] in sides
         and weight[4:] in ((), (BLOCK,)), "filters are square, (k, c, side, side) or (blocks, c, side, side, 16)")


def winograd_points(weight, tile) -> int:
    sides = {3: (2, 4, 6), 5: (2,)}
    are_square(weight.shape, sides)
    need(tile in sides[weight.shape[2]], "tiles are of 2, 4 or 6, of 2 for 5x5 filters")
    return (tile + weight.shape[2] - 1) ** 2


@contract("winograd_line", "mrrnnopnnaM")
def winograd_line(x, weight, u, tile, axis, bias, residual, padding, dilation, act, y) -> None:
    winograd_line_weights(weight, tile, u)
    filled(weight.shape[1], x)
    filled(weight.shape[0], y)
    need(axis in (0, 1) and padding >= 0 and dilation >= 1, "there are two axes")
    grows = 2 * padding - dilation * (weight.shape[2] - 1)
    size = (x.h + grows, x.w) if axis == 0 else (x.h, x.w + grows)
    need(x.n == y.n and (y.h, y.w) == tuple(max(n, 0) for n in size), "the result has the size of the convolution")
    need(all(n % dilation == 0 for n in (padding, (x.h, x.w)[axis], (y.h, y.w)[axis])),
         "sizes and padding are multiples of the dilation")
    finished(y, bias, residual)


@contract("winograd_depth", "mrrnnopnaM")
def winograd_depth(x, weight, u, tile, volumes, bias, residual, padding, act, y) -> None:
    winograd_line_weights(weight, tile, u)
    filled(weight.shape[1], x)
    filled(weight.shape[0], y)
    need(volumes >= 1 and padding >= 0 and x.n % volumes == 0, "samples are the images of volumes")
    depth = max(x.n // volumes + 2 * padding - weight.shape[2] + 1, 0)
    need((y.n, y.h, y.w) == (depth * volumes, x.h, x.w), "the result has the size of the convolution")
    finished(y, bias, residual)


@contract("winograd_line_weights", "rnR")
def winograd_line_weights(weight, tile, u) -> None:
    tiles = {3: (4, 6), 5: (4, 6), 7: (2, 4)}
    need(len(weight.shape) == 3 and tile in tiles.get(weight.shape[2], ()),
         "filters are (k, c, 3 or 5) with tiles of 4 or 6, or (k, c, 7) with tiles of 2 or 4")
    filters, channels, count = weight.shape
    need(u.shape == (blocks(filters), tile + count - 1, channels, BLOCK),
         "filters are packed as (blocks, points, channels, 16)")


@contract("winograd_stride_two", "mroodaM")
def winograd_stride_two(x, weight, u, bias, padding, act, y) -> None:
    are_square(weight.shape, (2,))
    need(weight.shape[1] == 4 * x.blocks * BLOCK, "channels are those of four parities of whole blocks")
    filters_fit(weight.shape, 4 * x.blocks, u, 25, y)
    halved(x, padding, y, convolved)
    finished(y, bias, None)


@contract("winograd_transposed", "mroodaM")
def winograd_transposed(x, weight, u, bias, padding, act, y) -> None:
    each = weight.shape[1:]
    need(weight.shape[:1] == (4,), "filters are four times those of 2x2 taps")
    are_square(each, (2,))
    filters_fit(each, x.blocks, None, 25, y)
    need(u is None or u.shape == (4, y.blocks, 25, each[1], BLOCK),
         "filters are packed as (4, blocks, points, channels, 16)")
    halved(x, padding, y, spread)
    need(min(y.h, y.w) >= 1, "the result has pixels")
    finished(y, bias, None)


def halved(x: Map, padding, y: Map, axis) -> None:
    """4x4 filters of stride 2."""
    need(len(padding) == 2 and 0 <= min(padding) and max(padding) <= 3, "paddings are two, of at most 3")
    for size, p, out in zip((x.h, x.w), padding, (y.h, y.w)):
        axis(size, 4, 2, p, 1, out)
    need(x.n == y.n, "samples are those of the input")


@contract("winograd_weights", "rnR")
def winograd_weights(weight, tile, u) -> None:
    points = winograd_points(weight, tile)
    need(u.shape == (filter_blocks(weight.shape), points, weight.shape[1], BLOCK),
         "filters are packed as (blocks, points, channels, 16)")


@contract("linear_packed", "rroaR")
def linear_packed(x, weight, bias, act, y) -> None:
    need(
        len(weight.shape) == 3 and weight.shape[2] == BLOCK and len(x.shape) == len(y.shape) == 2,
        "filters are packed as (blocks, features, 16)",
    )
    need(
        x.shape == (y.shape[0], weight.shape[1]) and blocks(y.shape[1]) == weight.shape[0],
        "rows, features and filters fit",
    )
    numbers(bias, weight.shape[0] * BLOCK)


@contract("linear_rows", "rroaR")
def linear_rows(x, weight, bias, act, y) -> None:
    need(len(weight.shape) == 2 and len(x.shape) == len(y.shape) == 2, "weights are (filters, features)")
    need(
        x.shape == (y.shape[0], weight.shape[1]) and y.shape[1] == weight.shape[0],
        "rows, features and filters fit",
    )
    numbers(bias, weight.shape[0])


def stored(weight, scale) -> None:
    need(
        len(weight.shape) == 3 and weight.shape[2] == BLOCK and weight.dtype.name in ("int8", "uint16"),
        "filters are stored as int8 or uint16 (blocks, features, 16)",
    )
    numbers(scale, weight.shape[0] * BLOCK)


@contract("linear_stored", "rxooaR")
def linear_stored(x, weight, scale, bias, act, y) -> None:
    stored(weight, scale)
    linear_packed(x, weight, bias, act, y)


@contract("widen_packed", "xoR")
def widen_packed(weight, scale, packed) -> None:
    stored(weight, scale)
    need(packed.shape == weight.shape, "filters are stored as they are packed")


@contract("layer_norm_blocked", "mnoofaM")
def layer_norm_blocked(x, channels, weight, bias, eps, act, y) -> None:
    same_maps(x, y)
    filled(channels, x)
    numbers(weight, x.blocks * BLOCK)
    numbers(bias, x.blocks * BLOCK)


@contract("group_norm_blocked", "mnnoofaM")
def group_norm_blocked(x, channels, groups, weight, bias, eps, act, y) -> None:
    layer_norm_blocked(x, channels, weight, bias, eps, act, y)
    need(groups >= 1 and channels % groups == 0, "groups have as many channels each")


# ---- windows


@contract("max_pool_blocked", "mwM")
def max_pool_blocked(x, window, y) -> None:
    kernel = window[0]
    need(
        len(kernel) == 2 and min(kernel) >= 1 and x.blocks == y.blocks,
        "a window of two axes, a result for every channel",
    )
    over_image(x, kernel, window, y, pooled)


@contract("avg_pool_blocked", "mwnM")
def avg_pool_blocked(x, window, divisor, y) -> None:
    max_pool_blocked(x, window, y)


@contract("adaptive_avg_pool_blocked", "mM")
def adaptive_avg_pool_blocked(x, y) -> None:
    need((x.n, x.blocks) == (y.n, y.blocks) and min(x.h, x.w) >= 1, "a result for every channel of an image")


@contract("global_avg_pool", "mR")
def global_avg_pool(x, y) -> None:
    means(y, x)


@contract("resample_blocked", "mjojoM")
def resample_blocked(x, index_h, weight_h, index_w, weight_w, y) -> None:
    need((x.n, x.blocks) == (y.n, y.blocks), "a result for every channel")
    taps(index_h, weight_h, x.h, y.h)
    taps(index_w, weight_w, x.w, y.w)


@contract("resample_labels", "mjojonX")
def resample_labels(x, index_h, weight_h, index_w, weight_w, classes, y) -> None:
    resample_blocked(x, index_h, weight_h, index_w, weight_w, labels(classes, y, x))


@contract("pad_blocked", "mdnfM")
def pad_blocked(x, before, mode, value, y) -> None:
    need(
        (x.n, x.blocks) == (y.n, y.blocks) and len(before) == 2 and 0 <= mode <= 3,
        "a result for every channel; there are four modes",
    )
    for at in zip((x.h, x.w), before, (y.h, y.w)):
        padded(*at, mode)
