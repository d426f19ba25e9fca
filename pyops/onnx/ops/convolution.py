"""Convolution, transposed convolution, and the padding that they share with pooling."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ..limits import PER_NODE
from .row import Unsupported, known, op, rank
from .select import sliced

PLACES = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
LARGEST = (1 << 31) - 1


def ints_of(call, name, count, default, least):
    """An attribute of `count` whole numbers from `least` to 2^31 - 1."""
    values = call.attr(name) or [default] * count
    if len(values) != count or min(values) < least or max(values) > LARGEST:
        raise ValueError(
            f"{name} must be {count} numbers from {least} to {LARGEST}, got {name} {list(values)[:8]}"
        )
    return list(values)


def window_of(call, kernel):
    """kernel, stride and dilation of as many axes as an image has."""
    n = rank(call[0]) - 2
    if n not in (1, 2, 3):
        raise Unsupported(f"{n} axes behind batch and channels; one to three are taken")
    given = (
        ints_of(call, "kernel_shape", n, 1, 1)
        if call.attr("kernel_shape") or kernel is None
        else list(kernel)
    )
    if kernel is not None and list(kernel) != given:
        raise ValueError(f"kernel_shape {given} is not that of the weight, {list(kernel)}")
    return n, given, ints_of(call, "strides", n, 1, 1), ints_of(call, "dilations", n, 1, 1)


def auto_pad(call) -> str:
    how = call.attr("auto_pad", "NOTSET")
    if how not in PLACES:
        raise ValueError(f"auto_pad must be one of {', '.join(PLACES)}, got {how!r}")
    return how


def padding_of(call, sizes, kernel, stride, dilation):
    """Padding before and behind each axis, by auto_pad or pads."""
    n, how = len(kernel), auto_pad(call)
    if how == "VALID":
        return [0] * n, [0] * n
    if how in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max((math.ceil(i / s) - 1) * s + d * (k - 1) + 1 - i, 0)
            for i, k, s, d in zip(sizes, kernel, stride, dilation)
        ]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        return (less, more) if how == "SAME_UPPER" else (more, less)
    pads = call.attr("pads") or [0] * 2 * n
    if len(pads) != 2 * n or min(pads) < 0 or max(pads) > LARGEST:
        raise ValueError(f"padding must be {2 * n} numbers that are not negative, got pads {list(pads)[:8]}")
    return list(pads[:n]), list(pads[n:])


def padded(call, x, before, behind, value=0.0):
    """x with constants around its last axes; nothing where there are none to add."""
    flat = [v for b, e in reversed(list(zip(before, behind))) for v in (b, e)]
    if not any(flat):
        return x
    n = len(before)
    call.room(
        (*x.shape[:-n], *(s + b + e for s, b, e in zip(x.shape[-n:], before, behind))), x.dtype, copies=2
    )
    return F.pad(x, tuple(flat), "constant", value)


def check_filters(call, x, weight, bias, channels, filters, group):
    """channels: of the input, as the weight has them; filters: of the result."""
    if group < 1 or x.shape[1] != channels or weight.shape[0] % group:
        raise ValueError(f"x {tuple(x.shape)} and W {tuple(weight.shape)} do not fit with group {group}")
    if bias is not None and tuple(bias.shape) != (filters,):
        raise ValueError(f"B must be of shape ({filters},), got {tuple(bias.shape)}")


@op("Conv")
def conv(call):
    x, weight, bias = call[0], call[1], call[2]
    n, kernel, stride, dilation = window_of(call, weight.shape[2:])
    before, behind = padding_of(call, x.shape[2:], kernel, stride, dilation)
    group = call.attr("group", 1)
    check_filters(call, x, weight, bias, weight.shape[1] * group, weight.shape[0], group)
    size = [
        (i + b + e - d * (k - 1) - 1) // s + 1
        for i, b, e, k, s, d in zip(x.shape[2:], before, behind, kernel, stride, dilation)
    ]
    if any(s < 1 for s in size):
        raise ValueError(
            f"a kernel of {kernel} with dilations {dilation} does not fit into {list(x.shape[2:])} "
            f"padded by {before}, {behind}"
        )
    shape = call.room((x.shape[0], weight.shape[0], *size), x.dtype)
    call.work(math.prod(shape) * math.prod(weight.shape[1:]))
    if before != behind:
        x, before = padded(call, x, before, behind), [0] * n
    return getattr(F, f"conv{n}d")(x, weight, bias, tuple(stride), tuple(before), tuple(dilation), group)


@op("ConvTranspose")
def conv_transpose(call):
    x, weight, bias = call[0], call[1], call[2]
    n, kernel, stride, dilation = window_of(call, weight.shape[2:])
    group = call.attr("group", 1)
    filters = weight.shape[1] * group
    check_filters(call, x, weight, bias, weight.shape[0], filters, group)
    whole = [(i - 1) * s + d * (k - 1) + 1 for i, s, d, k in zip(x.shape[2:], stride, dilation, kernel)]
    before, size = placed(call, x.shape[2:], kernel, stride, dilation, whole)
    shape = call.room((x.shape[0], filters, *size), x.dtype)
    call.work(x.size * math.prod(weight.shape[1:]))
    extra = [s - (w - 2 * b) for s, w, b in zip(size, whole, before)]
    name = f"conv_transpose{n}d"
    if (
        all(b >= 0 for b in before)
        and all(s > 0 for s in size)
        and all(0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation))
    ):
        return getattr(F, name)(
            x, weight, bias, tuple(stride), tuple(before), tuple(extra), group, tuple(dilation)
        )
    # All of the result without padding, cut or filled with zeros to what is wanted. The bias
    # reaches what is filled, too.
    call.room((x.shape[0], filters, *whole), x.dtype, copies=2)
    y = getattr(F, name)(x, weight, None, tuple(stride), 0, 0, group, tuple(dilation))
    y = sliced(
        y, {i + 2: slice(min(b, w), min(b + s, w)) for i, (b, s, w) in enumerate(zip(before, size, whole))}
    )
    y = padded(call, y, [0] * n, [s - have for s, have in zip(size, y.shape[2:])])
    assert tuple(y.shape) == shape
    return y if bias is None else F.add(y, F.reshape(bias, (-1, *[1] * n)))


def placed(call, sizes, kernel, stride, dilation, whole):
    """Where each axis of a transposed convolution's result begins in `whole`, all of it, and its
    length. Every axis by itself.
    """
    n, how = len(kernel), auto_pad(call)
    more = ints_of(call, "output_padding", n, 0, 0)
    wanted = ints_of(call, "output_shape", n, 1, 1) if call.attr("output_shape") else None
    if wanted is None and not how.startswith("SAME"):
        before, behind = padding_of(call, sizes, kernel, stride, dilation)
        size = [w + e - a - b for w, e, a, b in zip(whole, more, before, behind)]
        if any(s < 0 for s in size):
            raise ValueError(
                f"pads {before}, {behind} cut more than there is, {whole} and output_padding {more}"
            )
        return before, size
    size = wanted or [i * s for i, s in zip(sizes, stride)]
    # what is to be added is added behind
    total = [max(w + e - s, 0) for w, e, s in zip(whole, more, size)]
    return [t // 2 if how == "SAME_UPPER" else t - t // 2 for t in total], size


@op("Col2Im")
def col2im(call):
    x, size, block = call[0], call.numbers(1, "image_shape"), call.numbers(2, "block_shape")
    n = len(size)
    pads, dilation, stride = (
        ints_of(call, "pads", 2 * n, 0, 0),
        ints_of(call, "dilations", n, 1, 1),
        ints_of(call, "strides", n, 1, 1),
    )
    if len(block) != n or min([*size, *block], default=0) < 1:
        raise ValueError(f"image_shape {size} and block_shape {block} must be as many positive numbers")
    whole = [s + a + b for s, a, b in zip(size, pads[:n], pads[n:])]
    counts = [(w - d * (k - 1) - 1) // s + 1 for w, k, d, s in zip(whole, block, dilation, stride)]
    if rank(x) != 3 or min(counts) < 1 or x.shape[1] % math.prod(block) or x.shape[2] != math.prod(counts):
        raise ValueError(f"columns of shape {tuple(x.shape)} do not fit {counts} blocks of {block}")
    channels = x.shape[1] // math.prod(block)
    call.room((x.shape[0], channels, *whole), x.dtype, copies=2)
    call.work(math.prod(block) * (PER_NODE // 8) + x.size)
    if n == 2:
        y = F.fold(x, tuple(whole), tuple(block), tuple(dilation), 0, tuple(stride))
    else:
        y = folded(
            known(x, "the columns").reshape(x.shape[0], channels, *block, *counts),
            whole,
            block,
            counts,
            dilation,
            stride,
        )
    return sliced(y, {i + 2: slice(a, w - b) for i, (a, b, w) in enumerate(zip(pads[:n], pads[n:], whole))})


def folded(blocks, whole, block, counts, dilation, stride):
    """Sums of blocks where they overlap, over any number of axes: one addition a position within
    the block.
    """
    y = np.zeros((*blocks.shape[:2], *whole), blocks.dtype)
    for at in np.ndindex(*block):
        place = tuple(
            slice(a * d, a * d + (c - 1) * s + 1, s) for a, d, c, s in zip(at, dilation, counts, stride)
        )
        y[(slice(None), slice(None), *place)] += blocks[(slice(None), slice(None), *at)]
    return y


@op("DeformConv")
def deform_conv(call):
    """Offsets and mask as in F.deform_conv2d; padding that is not the same on both sides is laid
    around the image first."""
    x, weight, offset, bias, mask = (call[i] for i in range(5))
    if rank(x) != 4 or rank(weight) != 4:
        raise Unsupported("DeformConv of other than two spatial axes")
    n, kernel, stride, dilation = window_of(call, weight.shape[2:])
    pads = ints_of(call, "pads", 2 * n, 0, 0)
    before, behind = pads[:n], pads[n:]
    if before != behind:
        x = F.pad(x, (before[1], behind[1], before[0], behind[0]))
        before = [0] * n
    groups, offset_groups = call.attr("group", 1), call.attr("offset_group", 1)
    if weight.shape[1] * groups != x.shape[1] or offset.shape[1] != 2 * offset_groups * math.prod(kernel):
        raise ValueError(
            f"group {groups} and offset_group {offset_groups} do not fit an image of {tuple(x.shape)}, filters of "
            f"{tuple(weight.shape)} and offsets of {tuple(offset.shape)}"
        )
    call.room((x.shape[0], weight.shape[0], *offset.shape[2:]), np.float64, copies=2)
    call.work(math.prod(offset.shape[2:]) * x.shape[0] * math.prod(weight.shape))
    return F.deform_conv2d(x, offset, weight, bias, tuple(stride), tuple(before), tuple(dilation), mask)
