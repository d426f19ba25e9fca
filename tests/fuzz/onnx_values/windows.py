"""Convolutions, pooling, and what else takes images."""

from __future__ import annotations

import numpy as np

from .draw import FLOATS, recipe


def window(d, n, kernel=None):
    """A kernel's attributes, and an image that it fits into."""
    kernel = kernel or [d.pick(1, 2, 3, 3) for _ in range(n)]
    attrs = {"kernel_shape": kernel}
    stride, dilation = [d.pick(1, 1, 2, 3) for _ in range(n)], [d.pick(1, 1, 2) for _ in range(n)]
    size = [d.r.randint(w * (k - 1) + 1, w * (k - 1) + 8) for k, w in zip(kernel, dilation)]
    if d.chance(0.7):
        attrs["strides"] = stride
    else:
        stride = [1] * n
    if d.chance(0.5):
        attrs["dilations"] = dilation
    return attrs, size


def pads(d, attrs, n, kernel):
    if d.chance(0.3):
        attrs["auto_pad"] = d.pick("SAME_UPPER", "SAME_LOWER", "VALID")
    elif d.chance(0.6):
        attrs["pads"] = [d.r.randint(0, max(k - 1, 0)) for k in kernel * 2]


@recipe("Conv")
def conv(d, op):
    n, group = d.pick(1, 2, 2, 3), d.pick(1, 1, 2)
    c, k = d.r.randint(1, 3), d.r.randint(1, 3)
    attrs, size = window(d, n)
    pads(d, attrs, n, attrs["kernel_shape"])
    dtype, d.finite = d.pick(*FLOATS[:5]), True
    d.operand((d.r.randint(1, 2), c * group, *size), dtype, 0)
    d.operand((k * group, c, *attrs["kernel_shape"]), dtype, 0.8)
    if d.chance(0.5):
        d.operand((k * group,), dtype, 0.8)
    if d.chance(0.3):
        del attrs["kernel_shape"]
    return {**attrs, "group": group}


@recipe("ConvTranspose")
def conv_transpose(d, op):
    """The reference splits the padding of output_shape in a way of its own: it is left to tests by
    hand.
    """
    n, group = d.pick(1, 2, 2, 3), d.pick(1, 1, 2)
    c, k = d.r.randint(1, 3), d.r.randint(1, 3)
    attrs, _ = window(d, n)
    kernel, stride, dilation = (
        attrs["kernel_shape"],
        attrs.get("strides", [1] * n),
        attrs.get("dilations", [1] * n),
    )
    if d.chance(0.5):
        attrs["pads"] = [d.r.randint(0, w * (m - 1)) // 2 for m, w in list(zip(kernel, dilation)) * 2]
    if d.chance(0.4):
        attrs["output_padding"] = [d.r.randint(0, max(s, w) - 1) for s, w in zip(stride, dilation)]
    dtype, d.finite = d.pick(*FLOATS[:5]), True
    d.operand((d.r.randint(1, 2), c * group, *(d.r.randint(1, 5) for _ in range(n))), dtype, 0)
    d.operand((c * group, k, *kernel), dtype, 0.8)
    if d.chance(0.5) and group == 1:  # the reference gives every group the first one's bias
        d.operand((k * group,), dtype, 0.8)
    return {**attrs, "group": group}


@recipe("MaxPool", "AveragePool", "LpPool")
def pooling(d, op):
    n = d.pick(1, 2, 2, 3)
    attrs, size = window(d, n)
    pads(d, attrs, n, attrs["kernel_shape"])
    if d.chance(0.4):
        attrs["ceil_mode"] = d.pick(0, 1)
    d.opset = 22
    dtype = d.pick(*FLOATS[:5], *([np.dtype("uint8"), np.dtype("int8")] if op == "MaxPool" else []))
    x = d.values((d.r.randint(1, 2), d.r.randint(1, 3), *size), dtype)
    d.given(
        x if dtype.kind in "iu" else np.nan_to_num(x.astype(float), posinf=9, neginf=-9).astype(dtype), False
    )
    if op == "AveragePool" and d.chance(0.5):
        attrs["count_include_pad"] = 1
    if op == "LpPool":
        attrs["p"] = d.pick(1, 2, 3)
    if op == "MaxPool" and d.chance(0.4):
        attrs["storage_order"], d.outputs = d.pick(0, 1), 2
    return attrs


@recipe(
    "GlobalAveragePool",
    "GlobalMaxPool",
    "InstanceNormalization",
    "BatchNormalization",
    "MeanVarianceNormalization",
)
def images(d, op):
    x = d.values((d.r.randint(1, 2), d.r.randint(1, 3), *d.shape(2, 2, empty=0)), d.pick(*FLOATS[:5]))
    x = d.given(np.nan_to_num(x.astype(float), posinf=9, neginf=-9).astype(x.dtype), False)
    if op.startswith("Global") or op == "MeanVarianceNormalization":
        return (
            {"axes": d.r.sample([0, 1, -1, -2], 2)}
            if op == "MeanVarianceNormalization" and d.chance(0.3)
            else {}
        )
    c = x.shape[1]
    for i in range(2 if op == "InstanceNormalization" else 4):
        v = d.n.standard_normal(c)
        d.given((np.abs(v) + 0.1 if i == 3 else v).astype(x.dtype))
    return {"epsilon": d.pick(1e-5, 1e-2)}
