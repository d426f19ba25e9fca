"""ONNX operators at their edges: node by node and as a Program, against NumPy in float64, torch, or
what the operator's text says.
"""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402

import pyops.onnx as door  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model(nodes, inputs, constants=(), opset=19, outputs=("y",)):
    typed = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype), np.shape(a))
        for n, a in inputs.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        typed,
        [helper.make_empty_tensor_value_info(o) for o in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in dict(constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def check(op, inputs, want, constants=(), opset=19, program=True, tolerance=2e-6, names=None, **attrs):
    """One node's result by run and, for float32, by load; exactly where the tolerance is 0."""
    names = [*inputs, *dict(constants)] if names is None else names
    file = model([helper.make_node(op, names, ["y"], **attrs)], inputs, constants, opset)
    got = [door.run(file, inputs)["y"]]
    assert got[0].dtype == np.asarray(want).dtype
    if program and all(np.asarray(v).dtype == np.float32 for v in inputs.values()):
        got.append(door.load(file)(*inputs.values()))
    for y in got:
        assert y.shape == np.shape(want)
        np.testing.assert_allclose(
            np.asarray(y, np.float64) if tolerance else y,
            np.asarray(want, np.float64) if tolerance else want,
            rtol=tolerance,
            atol=tolerance * max(np.abs(want[np.isfinite(want)]).max(initial=0), 1e-30) if tolerance else 0,
        )


# ---- Resize


@pytest.mark.parametrize(
    "size, scale, want",
    [
        (10, 0.7, 7),
        (20, 0.35, 7),
        (50, 0.06, 3),
        (26, 64 / 26, 64),
        (10, 1.1, 11),
        (3, 1 / 3, 1),
        (90, 0.3, 27),
    ],
)
def test_resized_length_is_the_product_in_float32(size, scale, want):
    x = normal(1, 1, size, 2)
    file = model(
        [
            helper.make_node(
                "Resize",
                ["x", "", "s"],
                ["y"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        {"x": x},
        {"s": np.array([1, 1, scale, 1], np.float32)},
        13,
    )
    assert door.run(file, {"x": x})["y"].shape == (1, 1, want, 2) == door.load(file)(x).shape


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size, scale", [(10, 0.7), (50, 0.06), (7, 0.5), (9, 1.3)])
def test_resize_by_scales_is_torchs(size, scale, corners):
    torch = pytest.importorskip("torch")
    x = normal(1, 2, size, size)
    want = (
        torch.nn.functional.interpolate(
            torch.tensor(x).double(), scale_factor=scale, mode="bilinear", align_corners=corners
        )
        .numpy()
        .astype(np.float32)
    )
    check(
        "Resize",
        {"x": x},
        want,
        {"s": np.array([1, 1, scale, scale], np.float32)},
        names=["x", "", "s"],
        mode="linear",
        tolerance=2e-5,
        coordinate_transformation_mode="align_corners" if corners else "half_pixel",
    )


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_pixel_reaches_those_that_see_it_only(mode):
    x = normal(1, 1, 3, 40)
    file = model(
        [helper.make_node("Resize", ["x", "", "", "n"], ["y"], mode=mode)],
        {"x": x},
        {"n": np.array([1, 1, 3, 57])},
    )
    spoilt = x.copy()
    spoilt[..., 0] = np.inf
    for y in (door.run(file, {"x": spoilt})["y"], door.load(file)(spoilt)):
        assert np.isfinite(y[..., 5:]).all()


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_many_positions(mode):
    """More than a kernel's table holds: node by node, which load says."""
    x = np.array([[1, 2, 4]], np.float32)
    file = model(
        [
            helper.make_node(
                "Resize", ["x", "", "", "n"], ["y"], mode=mode, coordinate_transformation_mode="align_corners"
            )
        ],
        {"x": x},
        {"n": np.array([1, (1 << 22) + 1])},
    )
    y = door.run(file, {"x": x})["y"]
    middle = 1 << 21
    assert (
        y[0, 0] == 1
        and y[0, middle] == 2
        and y[0, -1] == 4
        and y[0, middle + (middle >> 1)] == (3 if mode == "linear" else 2)
    )
    loaded = door.load(file)
    assert "taps along an axis" in loaded.left_out and np.array_equal(loaded(x), y)


def test_resize_of_whole_numbers_is_exact():
    x = np.array([[2**62 + 1, -(2**53) - 1, 7]], np.int64)
    check(
        "Resize",
        {"x": x},
        x.repeat(2, 1),
        {"s": np.array([1, 2], np.float32)},
        names=["x", "", "s"],
        mode="nearest",
        tolerance=0,
    )


def test_crop_and_resize():
    """Rows 0 to 1 of a region that begins half a map in front: what lies outside is the
    extrapolation value.
    """
    x = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 5, 1)
    region = np.array([0, 0, -0.5, 0, 1, 1, 1, 1], np.float32)
    check(
        "Resize",
        {"x": x},
        np.array([9, 1, 3, 5], np.float32).reshape(1, 1, 4, 1),
        {"r": region, "n": np.array([1, 1, 4, 1])},
        names=["x", "r", "", "n"],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=9.0,
    )


# ---- ConvTranspose


def placed(x, w, bias, stride, first, size):
    """All of the result, from `first` on, zeros where nothing falls, and then the bias."""
    torch = pytest.importorskip("torch")
    whole = torch.nn.functional.conv_transpose2d(
        torch.tensor(x).double(), torch.tensor(w).double(), None, stride
    ).numpy()
    y = np.zeros((*whole.shape[:2], *size))
    for i, j in np.ndindex(*size):
        a, b = i + first[0], j + first[1]
        if a < whole.shape[2] and b < whole.shape[3]:
            y[..., i, j] = whole[..., a, b]
    return (y + (0 if bias is None else bias.reshape(1, -1, 1, 1))).astype(np.float32)


@pytest.mark.parametrize(
    "why, kernel, stride, attrs, first, size",
    [
        (
            "a stride over the kernel, filled behind",
            (1, 2),
            (1, 3),
            dict(auto_pad="SAME_UPPER"),
            (0, 0),
            (3, 9),
        ),
        ("the same from below", (1, 2), (1, 3), dict(auto_pad="SAME_LOWER"), (0, 0), (3, 9)),
        ("longer than all of it", (1, 2), (1, 3), dict(output_shape=[3, 12]), (0, 0), (3, 12)),
        (
            "one axis longer, the other cut: two in front",
            (1, 4),
            (1, 2),
            dict(output_shape=[4, 5]),
            (0, 2),
            (4, 5),
        ),
        ("one less behind", (3, 3), (2, 2), dict(auto_pad="SAME_UPPER"), (0, 0), (6, 6)),
        ("one more in front", (3, 3), (2, 2), dict(auto_pad="SAME_LOWER"), (1, 1), (6, 6)),
        (
            "uneven pads and output_padding",
            (3, 3),
            (2, 2),
            dict(pads=[0, 0, 1, 1], output_padding=[1, 1]),
            (0, 0),
            (7, 7),
        ),
        ("output_padding beyond what is there", (3, 3), (2, 2), dict(output_padding=[1, 1]), (0, 0), (8, 8)),
    ],
)
def test_transposed_convolution(why, kernel, stride, attrs, first, size):
    x, w, b = normal(2, 2, 3, 3), normal(2, 3, *kernel), normal(3)
    for bias in (None, b):
        check(
            "ConvTranspose",
            {"x": x},
            placed(x, w, bias, stride, first, size),
            {"w": w, **({} if bias is None else {"b": bias})},
            strides=list(stride),
            tolerance=1e-5,
            **attrs,
        )


# ---- reductions and half precision

OF_ONE = {
    "ReduceSum": lambda v: v,
    "ReduceMean": lambda v: v,
    "ReduceMax": lambda v: v,
    "ReduceMin": lambda v: v,
    "ReduceProd": lambda v: v,
    "ReduceSumSquare": np.square,
    "ReduceL1": np.abs,
    "ReduceL2": np.abs,
    "ReduceLogSumExp": lambda v: v,
}


@pytest.mark.parametrize("op", OF_ONE)
def test_no_axes_and_noop(op):
    x = normal(2, 3) * 100
    check(op, {"x": x}, OF_ONE[op](x), {"a": np.zeros(0, np.int64)}, 20, noop_with_empty_axes=1)


def test_sums_of_large_exponentials():
    x = normal(2, 3, 4) + 200
    top = x.max((0, 2), keepdims=True).astype(float)
    check(
        "ReduceLogSumExp",
        {"x": x},
        (np.log(np.exp(x - top).sum((0, 2), keepdims=True)) + top).astype(np.float32),
        {"a": np.array([-1, 0])},
    )


HALVES = {  # of float16 whose intermediate results no float16 holds
    "ReduceLogSumExp": (normal(2, 5) + 20, lambda v: np.log(np.exp(v).sum(1, keepdims=True))),
    "ReduceL2": (normal(2, 5) * 100 + 300, lambda v: np.sqrt(np.square(v).sum(1, keepdims=True))),
    "ReduceLogSum": (np.full((2, 5), 30000.0), lambda v: np.log(v.sum(1, keepdims=True))),
    "ReduceMean": (np.full((2, 5), 60000.0), lambda v: v.mean(1, keepdims=True)),
    "Sigmoid": (np.array([-15, -12, 0, 12, 40.0]), lambda v: 1 / (1 + np.exp(-v))),
    "Softplus": (np.array([-15, 0, 11.5, 40.0]), lambda v: np.logaddexp(0, v)),
    "Softmax": (normal(2, 5) * 30, lambda v: np.exp(v) / np.exp(v).sum(-1, keepdims=True)),
    "LogSoftmax": (normal(2, 5) * 30, lambda v: v - np.log(np.exp(v).sum(-1, keepdims=True))),
    "GlobalAveragePool": (np.full((1, 1, 40, 40), 60.0), lambda v: v.mean((2, 3), keepdims=True)),
    "MeanVarianceNormalization": (
        normal(1, 2, 5, 5) * 400,
        lambda v: (v - v.mean((0, 2, 3), keepdims=True)) / v.std((0, 2, 3), keepdims=True),
    ),
}


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", HALVES)
def test_half_precision_rounds_once(op, kind):
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, kind.upper())))
    x = HALVES[op][0].astype(dtype)
    want = HALVES[op][1](x.astype(np.float64)).astype(dtype)
    y = door.run(
        model(
            [helper.make_node(op, ["x", "a"] if op.startswith("Reduce") else ["x"], ["y"])],
            {"x": x},
            {"a": np.array([1])} if op.startswith("Reduce") else {},
        ),
        {"x": x},
    )["y"]
    assert y.dtype == dtype
    np.testing.assert_allclose(
        y.astype(float), want.astype(float), rtol=2 * (2**-11 if kind == "float16" else 2**-8), atol=1e-7
    )


@pytest.mark.parametrize(
    "op, want",
    [
        ("ReduceSum", 0),
        ("ReduceProd", 1),
        ("ReduceMax", -np.inf),
        ("ReduceMin", np.inf),
        ("ReduceLogSum", -np.inf),
        ("ReduceLogSumExp", -np.inf),
        ("ReduceL2", 0),
    ],
)
def test_reductions_of_nothing(op, want):
    check(
        op,
        {"x": np.zeros((0, 3), np.float32)},
        np.full((1, 3), want, np.float32),
        {"a": np.array([0])},
        20,
        program=False,
    )


# ---- values by place


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_with_the_limits_of_the_type(dtype, largest):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = np.array([[low, 5, high, 5, 0]], dtype)
    file = model(
        [helper.make_node("TopK", ["x", "k"], ["y", "i"], largest=largest)],
        {"x": x},
        {"k": np.array([3])},
        24,
        ("y", "i"),
    )
    got = door.run(file, {"x": x})
    order = [2, 1, 3] if largest else [0, 4, 1]
    assert (
        got["i"].tolist() == [order]
        and got["y"].tolist() == [x[0, order].tolist()]
        and got["y"].dtype == dtype
    )


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-(2**62), -1, 0, 2, 2**62])
def test_a_triangle_of_what_is_not_finite(upper, k):
    x = normal(2, 3, 4)
    x[:, 0, 3], x[:, 2, 0] = np.inf, np.nan
    j = int(np.clip(k, -10, 10))
    check("Trilu", {"x": x}, np.triu(x, j) if upper else np.tril(x, j), {"k": np.array(k)}, upper=upper)


@pytest.mark.parametrize(
    "exponent",
    [
        np.float32(2),
        np.full(1, 2, np.float32),
        np.full((1, 1, 1), 2, np.float32),
        np.array([2]),
        np.array(2, np.int32),
        np.array([[1], [3]], np.int64),
        np.array([0.5, 1, 2], np.float64),
    ],
)
def test_powers_of_any_shape_and_type(exponent):
    x = np.abs(normal(2, 3)) + 1
    check("Pow", {"x": x}, np.power(x.astype(float), exponent).astype(np.float32), {"e": exponent}, 15)


def test_powers_and_quotients_of_whole_numbers():
    check(
        "Pow",
        {"x": np.array([2, -3, 3], np.int64)},
        np.array([2**40, -(3**21), 3**39], np.int64),
        {"e": np.array([40, 21, 39])},
        15,
        tolerance=0,
    )
    check(
        "Pow",
        {"x": np.array([2, 4, 9], np.int32)},
        np.array([0, 2, 27], np.int32),
        {"e": np.array([-1, 0.5, 1.5], np.float32)},
        15,
        tolerance=0,
    )
    check(
        "Div",
        {"x": np.array([-(2**62) - 1, -7, 7, 9])},
        np.array([-(2**61), -3, -3, -2]),
        {"e": np.array([2, 2, -2, -4])},
        14,
        tolerance=0,
    )


@pytest.mark.parametrize("mode", ["edge", "wrap", "reflect", "constant"])
@pytest.mark.parametrize(
    "pads",
    [[0, 0, 0, 0, 2, 3], [1, 2, 3, 1, 1, 4], [0, 0, 8, 0, 0, 9], [0, -1, -2, 0, 2, 5], [1, 0, 0, 0, 0, 0]],
)
def test_padding_of_any_axis(mode, pads):
    x = normal(2, 5, 6)
    begin, end = np.minimum(pads[:3], 0), np.minimum(pads[3:], 0)
    cut = x[tuple(slice(-b, s + e) for b, e, s in zip(begin, end, x.shape))]
    check(
        "Pad",
        {"x": x},
        np.pad(cut, [(max(b, 0), max(e, 0)) for b, e in zip(pads[:3], pads[3:])], mode),
        {"p": np.array(pads)},
        mode=mode,
    )


def test_nothing_is_taken():
    x = normal(2, 5, 6)
    check(
        "Slice",
        {"x": x},
        x[:, 0:0],
        {"s": np.array([0]), "e": np.array([4]), "a": np.array([1]), "t": np.array([-1])},
    )
    check("Gather", {"x": x}, x[:, :0], {"i": np.zeros(0, np.int64)}, axis=1)
    check("Gather", {"x": x}, x[:, [[4, 0], [0, 2]]], {"i": np.array([[-1, 0], [-5, 2]])}, axis=1)


@pytest.mark.parametrize("size", [(7, 7), (8, 9), (6, 12)])
def test_windows_that_end_beyond_the_image_need_no_copy_of_it(size):
    x = -1 - np.abs(normal(2, 20, *size))
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    file = model([node], {"x": x}, opset=12)
    assert [s.kernel for s in door.load(file).steps] == ["max_pool"]
    rows, columns = ([slice(i, i + 3) for i in range(0, n - 1, 2)] for n in size)
    want = np.stack([np.stack([x[..., r, c].max((2, 3)) for c in columns], -1) for r in rows], -2)
    assert np.array_equal(door.run(file, {"x": x})["y"], want)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    "attrs",
    [
        {},
        dict(dilations=[2, 1]),
        dict(strides=[2, 2], ceil_mode=1),
        dict(pads=[1, 0, 0, 2]),
        dict(auto_pad="SAME_LOWER"),
    ],
)
def test_indices_of_a_maximum(order, attrs):
    x = normal(2, 2, 6, 7)
    file = model(
        [helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 3], storage_order=order, **attrs)],
        {"x": x},
        opset=12,
        outputs=("y", "i"),
    )
    got = door.run(file, {"x": x})
    planes = x if not order else x.transpose(0, 1, 3, 2)
    assert np.array_equal(planes.reshape(-1)[got["i"]], got["y"])
    assert np.array_equal(
        got["y"],
        door.run(
            model(
                [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 3], **attrs)], {"x": x}, opset=12
            ),
            {"x": x},
        )["y"],
    )


@pytest.mark.parametrize("region", [[3, 3, 1, 1], [2, 2, 2, 2]])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_a_region_of_nothing_is_zero(region, mode):
    x = normal(1, 2, 6, 6)
    check(
        "RoiAlign",
        {"x": x},
        np.zeros((1, 2, 2, 2), np.float32),
        {"r": np.array([region], np.float32), "b": np.zeros(1, np.int64)},
        16,
        program=False,
        output_height=2,
        output_width=2,
        mode=mode,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_response_norms_of_even_sizes(size):
    """A window of floor((size - 1) / 2) channels in front and ceil of it behind."""
    x = normal(1, 5, 2, 3)
    sums = np.stack(
        [
            np.square(x[:, max(c - (size - 1) // 2, 0) : c + size // 2 + 1].astype(float)).sum(1)
            for c in range(5)
        ],
        1,
    )
    check("LRN", {"x": x}, (x / (1 + 0.1 / size * sums) ** 0.75).astype(np.float32), size=size, alpha=0.1)


def test_an_instance_of_one_value_is_its_shift():
    x = normal(2, 3, 1, 1)
    check(
        "InstanceNormalization",
        {"x": x},
        np.broadcast_to(np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1), x.shape),
        {"s": np.ones(3, np.float32), "b": np.array([1, 2, 3], np.float32)},
    )


def test_columns_over_three_axes():
    """Each value is counted as often as blocks reach it."""
    blocks = np.ones((1, 8, 8), np.float32)
    count = np.array([1, 2, 1])
    check(
        "Col2Im",
        {"x": blocks},
        np.einsum("i,j,k->ijk", count, count, count)[None, None].astype(np.float32),
        {"i": np.array([3, 3, 3]), "b": np.array([2, 2, 2])},
        program=False,
    )


# ---- graphs


def test_nodes_in_any_order():
    x = normal(2, 3)
    nodes = [
        helper.make_node("Add", ["a", "b"], ["y"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Exp", ["x"], ["a"]),
    ]
    file = model(nodes, {"x": x})
    assert not door.run(file, {"x": x})["y"].any() and not door.load(file)(x).any()
    circle = model(
        [helper.make_node("Add", ["x", "b"], ["y"]), helper.make_node("Neg", ["y"], ["b"])], {"x": x}
    )
    with pytest.raises(door.ModelError, match="Add 'y': input 'b' .* cycle"):
        door.load(circle)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_condition_that_is_an_input(shape):
    x = normal(2, 3)
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["x"], [f"{name}_y"])],
            name,
            [],
            [helper.make_empty_tensor_value_info(f"{name}_y")],
        )
        for name, op in (("then_branch", "Neg"), ("else_branch", "Exp"))
    }
    file = model([helper.make_node("If", ["c"], ["y"], **branches)], {"c": np.zeros(shape, bool), "x": x})
    for condition in (True, False):
        got = door.run(file, {"c": np.full(shape, condition), "x": x})["y"]
        np.testing.assert_allclose(got, -x if condition else np.exp(x), rtol=1e-6)
