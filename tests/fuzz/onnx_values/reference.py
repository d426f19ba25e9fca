"""What onnx's reference makes of a node, in float64, and how near results must be."""

from __future__ import annotations

import warnings

import numpy as np
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def file(draw, node, outputs, given):
    """The model of the node, with each operand x as given(x)."""
    typed = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(given(x).dtype), x.shape)
        for n, x in draw.data.items()
    ]
    made = [helper.make_empty_tensor_value_info(o) for o in outputs]
    constants = [numpy_helper.from_array(given(x), n) for n, x in draw.constants.items()]
    graph = helper.make_graph([node], "g", typed, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", draw.opset)], ir_version=10)


def describe(draw, name):
    x = draw.data[name] if name in draw.data else draw.constants[name]
    return f"{x.dtype}{x.shape}" + (f"={x.tolist()}" if name in draw.constants and x.size < 9 else "")


def is_real(dtype) -> bool:
    return dtype.name in ROUNDING


def pooled(draw, op, attrs):
    """Pooling window by window: the reference takes auto_pad, uneven pads and empty windows in ways
    of its own.
    """
    x = draw_of(draw, draw.names[0])
    n, kernel = x.ndim - 2, attrs["kernel_shape"]
    stride, dilation, how = (
        attrs.get("strides", [1] * n),
        attrs.get("dilations", [1] * n),
        attrs.get("auto_pad", "NOTSET"),
    )
    before, behind = np.reshape(attrs.get("pads", [0] * 2 * n), (2, n)).tolist()
    reach = [w * (k - 1) + 1 for k, w in zip(kernel, dilation)]
    if how.startswith("SAME"):
        total = [max((-(-i // s) - 1) * s + r - i, 0) for i, s, r in zip(x.shape[2:], stride, reach)]
        before = [t // 2 if how == "SAME_UPPER" else t - t // 2 for t in total]
        behind = [t - b for t, b in zip(total, before)]
    size = []
    for i, length in enumerate(x.shape[2:]):
        room = length + before[i] + behind[i] - reach[i]
        count = (-(-room // stride[i]) if attrs.get("ceil_mode") else room // stride[i]) + 1
        if attrs.get("ceil_mode") and (count - 1) * stride[i] >= length + before[i]:
            count -= 1
        size.append(count)
    if min(size) < 1:
        return None
    y, where = np.zeros((*x.shape[:2], *size)), np.zeros((*x.shape[:2], *size), np.int64)
    order = x.transpose(0, 1, *range(x.ndim - 1, 1, -1)).shape if attrs.get("storage_order") else x.shape
    for at in np.ndindex(*y.shape):
        found, places, counted = [], [], 0
        for tap in np.ndindex(*kernel):
            place = [a * s + t * w - b for a, s, t, w, b in zip(at[2:], stride, tap, dilation, before)]
            counted += all(-b <= p < i + e for p, b, i, e in zip(place, before, x.shape[2:], behind))
            if all(0 <= p < i for p, i in zip(place, x.shape[2:])):
                found.append(float(x[(*at[:2], *place)]))
                places.append(
                    np.ravel_multi_index(
                        (*at[:2], *(place[::-1] if attrs.get("storage_order") else place)), order
                    )
                )
        if not found and op != "LpPool" and not (op == "AveragePool" and attrs.get("count_include_pad")):
            return None  # nothing to take: 0 / 0, or the least number of a type
        if op == "MaxPool":
            y[at], where[at] = max(found), places[found.index(max(found))]
        elif op == "AveragePool":
            y[at] = sum(found) / (counted if attrs.get("count_include_pad") else len(found))
        else:
            y[at] = sum(abs(v) ** attrs["p"] for v in found) ** (1 / attrs["p"])
    return [y.astype(x.dtype), where][: draw.outputs]


def expected(draw, node, outputs):
    """The reference's results, of real operands in float64 and rounded to the type they have; None
    where it has none.
    """
    wide = lambda x: x.astype(np.float64) if is_real(x.dtype) else x  # noqa: E731
    wanted = next((draw_of(draw, n).dtype for n in draw.names if n and is_real(draw_of(draw, n).dtype)), None)
    keeps = node.op_type in KEEPS or "Quantize" in node.op_type  # results of a type of their own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = (lambda x: x) if keeps else wide
            model = file(draw, node, outputs, given)
            results = ReferenceEvaluator(model).run(None, {n: given(x) for n, x in draw.data.items()})
            if node.op_type == "Pow":
                wanted = draw_of(draw, draw.names[0]).dtype
            if node.op_type == "OneHot":
                wanted = draw_of(draw, draw.names[2]).dtype
            results = [r if isinstance(r, list) else np.asarray(r) for r in results]
            results = [r.astype(object) if isinstance(r, np.ndarray) and r.dtype.kind == "U" else r for r in results]
            typed = lambda r: (  # noqa: E731
                r.astype(wanted) if not keeps and wanted is not None and r.dtype == np.float64 else r)
            if node.op_type.startswith("Reduce"):  # whose sums of int32 are int64
                wanted = draw_of(draw, draw.names[0]).dtype
                results = [r.astype(wanted) for r in results]
            return [
                [typed(v) for v in r] if isinstance(r, list) else typed(r)
                for r in results
            ]
    except Exception:  # whatever it is, it is the reference's own
        return None


def draw_of(draw, name):
    return draw.data[name] if name in draw.data else draw.constants[name]


# Attributes are float32, and so are the reference's own erf and constants.
ROUNDING = {"float64": 2e-6, "float32": 2e-5, "float16": 3e-3, "bfloat16": 2e-2}
KEEPS = ("Cast", "CastLike", "EyeLike", "ConstantOfShape")  # types of results are their own


def compare(said, got, want, slack) -> None:
    assert len(got) == len(want), said
    for i, (a, b) in enumerate(zip(got, want)):
        if isinstance(b, list):
            compare(f"output {i} of {said}", a, b, slack)
            continue
        assert a.shape == b.shape, f"output {i} is of shape {a.shape}, not {b.shape}: {said}"
        assert a.dtype == b.dtype, f"output {i} is {a.dtype}, not {b.dtype}: {said}"
        if "float" in b.dtype.name and not is_real(b.dtype):  # of 8 bits and fewer: exact, NaN or not
            a, b = (v.astype(np.float32).view(np.uint32) for v in (a, b))
        if not is_real(b.dtype):
            assert np.array_equal(a, b), f"output {i} is {short(a)}, not {short(b)}: {said}"
            continue
        tolerance = slack * ROUNDING[b.dtype.name]
        x, y = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(y)
        same = np.array_equal(np.isnan(x), np.isnan(y)) and np.array_equal(
            x[~finite & ~np.isnan(y)], y[~finite & ~np.isnan(y)]
        )
        assert same, f"output {i} is {short(a)}, not {short(b)}: {said}"
        off = np.abs(x - y)[finite].max(initial=0)
        scale = np.abs(y[finite]).max(initial=0)
        assert off <= tolerance * max(scale, 1e-3), (
            f"output {i} is off by {off:.3g} of {scale:.3g}, {short(a)} not {short(b)}: {said}"
        )


def short(array) -> str:
    return f"{np.asarray(array).reshape(-1)[:6].tolist()}"
