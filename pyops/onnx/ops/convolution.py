"""Convolution, transposed convolution, and the padding that they share with pooling."""
from __future__ import annotations

import math

from ... import functional as F
from .row import Unsupported, known, op, rank


def padding_of(call, sizes, kernel, stride, dilation):
    """Padding before and behind each axis, by auto_pad or pads."""
    n, how = len(kernel), call.attr("auto_pad", "NOTSET")
    if how == "VALID":
        return [0] * n, [0] * n
    if how in ("SAME_UPPER", "SAME_LOWER"):
        total = [max((math.ceil(i / s) - 1) * s + d * (k - 1) + 1 - i, 0) for i, k, s, d in zip(sizes, kernel, stride, dilation)]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        return (less, more) if how == "SAME_UPPER" else (more, less)
    pads = call.attr("pads") or [0] * 2 * n
    if len(pads) != 2 * n or min(pads) < 0:
        raise ValueError(f"padding must be {2 * n} numbers that are not negative, got pads {pads}")
    return list(pads[:n]), list(pads[n:])


def padded(x, before, behind, value=0.0):
    """x with constants around its last axes; nothing where there are none to add."""
    flat = [v for b, e in reversed(list(zip(before, behind))) for v in (b, e)]
    return F.pad(x, tuple(flat), "constant", value) if any(flat) else x


@op("Conv")
def conv(call):
    x, weight, bias = call[0], call[1], call[2]
    n = rank(x) - 2
    if n not in (1, 2, 3):
        raise Unsupported(f"a convolution over {n} axes")
    kernel = call.attr("kernel_shape") or weight.shape[2:]
    stride, dilation = call.attr("strides") or [1] * n, call.attr("dilations") or [1] * n
    before, behind = padding_of(call, x.shape[2:], kernel, stride, dilation)
    if before != behind:
        x, before = padded(x, before, behind), [0] * n
    return getattr(F, f"conv{n}d")(x, weight, bias, tuple(stride), tuple(before), tuple(dilation), call.attr("group", 1))


@op("ConvTranspose")
def conv_transpose(call):
    x, weight, bias = call[0], call[1], call[2]
    n = rank(x) - 2
    if n not in (1, 2, 3):
        raise Unsupported(f"a transposed convolution over {n} axes")
    kernel = call.attr("kernel_shape") or weight.shape[2:]
    stride, dilation = call.attr("strides") or [1] * n, call.attr("dilations") or [1] * n
    extra, group = call.attr("output_padding") or [0] * n, call.attr("group", 1)
    whole = [(i - 1) * s + d * (k - 1) + 1 + e for i, s, d, k, e in zip(x.shape[2:], stride, dilation, kernel, extra)]
    wanted, how = call.attr("output_shape"), call.attr("auto_pad", "NOTSET")
    if wanted or how.startswith("SAME"):
        total = [w - o for w, o in zip(whole, wanted or [i * s for i, s in zip(x.shape[2:], stride)])]
        less, more = [max(t, 0) // 2 for t in total], [t - max(t, 0) // 2 for t in total]   # what is to be added is added behind
        before, behind = (less, more) if how == "SAME_UPPER" or min(total) < 0 else (more, less)
    else:
        before, behind = padding_of(call, x.shape[2:], kernel, stride, dilation)
    if before == behind and min(before) >= 0 and all(e < max(s, d) for e, s, d in zip(extra, stride, dilation)):
        return getattr(F, f"conv_transpose{n}d")(x, weight, bias, tuple(stride), tuple(before), tuple(extra), group, tuple(dilation))
    y = getattr(F, f"conv_transpose{n}d")(x, weight, bias, tuple(stride), 0, 0, group, tuple(dilation))
    # output_padding adds rows behind that only the bias reaches; what is cut is cut from all of it
    if any(extra) and bias is not None:
        raise Unsupported(f"output_padding {extra} with pads {before}, {behind} and a bias")
    y = padded(y, [max(-b, 0) for b in before], [max(-e, 0) + o for e, o in zip(behind, extra)])
    return F.getitem(y, (..., *(slice(max(b, 0), y.shape[2 + i] - max(e, 0)) for i, (b, e) in enumerate(zip(before, behind)))))


@op("Col2Im")
def col2im(call):
    size, block = (call.numbers(i, name) for i, name in ((1, "image_shape"), (2, "block_shape")))
    n = len(size)
    pads, dilation, stride = call.attr("pads") or [0] * 2 * n, call.attr("dilations") or [1] * n, call.attr("strides") or [1] * n
    if n != 2:
        raise Unsupported(f"Col2Im over {n} axes")
    whole = [s + a + b for s, a, b in zip(size, pads[:n], pads[n:])]
    y = F.fold(known(call[0], "the columns"), tuple(whole), tuple(block), tuple(dilation), 0, tuple(stride))
    return F.getitem(y, (..., *(slice(a, w - b) for a, b, w in zip(pads[:n], pads[n:], whole))))
