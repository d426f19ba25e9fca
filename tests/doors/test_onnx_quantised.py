"""Quantised operators, onnx's and ONNX Runtime's: alone and in a small network, by whole numbers that are exact."""

from itertools import product

import numpy as np
import pytest

from pyops.graph.program import Program

pytest.importorskip("onnx")
from onnx import TensorProto
from onnx_files import BYTE, CHAR, CODES, FLOAT, INT, file, floats, node, reference, same

import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")


def whole(dtype, *shape, seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed + sum(shape)).integers(limits.min, limits.max + 1, shape).astype(dtype)


def assert_rounded(got, exact, zero, dtype):
    """round(exact) + zero, cut to the type; where float32 may see a tie, the next number as
    well."""
    limits = np.iinfo(dtype)
    assert got.dtype == dtype and got.shape == exact.shape
    want = np.clip(np.rint(exact) + zero, limits.min, limits.max)
    near = np.abs(np.abs(exact - np.trunc(exact)) - 0.5) < 1e-4 * np.maximum(1, np.abs(exact) / 1e3)
    apart = np.abs(got.astype(np.int64) - want)
    assert np.all(apart[~near] == 0) and np.all(apart[near] <= 1), (apart.max(), near.mean())
    assert near.mean() < 0.05


def quantise(op, x, scale, zero, axis=1, **attrs):
    given = {"x": x, "s": scale, **({} if zero is None else {"z": zero})}
    code = CODES[x.dtype.name]
    out = CODES["uint8" if zero is None else zero.dtype.name] if op == "QuantizeLinear" else FLOAT
    constants = {name: value for name, value in given.items() if name != "x"}
    return file(
        [node(op, " ".join(given), "y", axis=axis, **attrs)],
        {"x": (code, x.shape)},
        {"y": (out, None)},
        constants,
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16"])
def test_quantize_and_dequantize_linear(dtype):
    """Per tensor and along an axis: onnx's numbers, to the bit."""
    codes = {**CODES, "int16": TensorProto.INT16, "uint16": TensorProto.UINT16}
    for per_axis, axis in ((False, 1), (True, 1), (True, -1), (True, 0)):
        x = floats(4, 5, 6) * 40
        n = x.shape[axis]
        scale = (np.abs(floats(n)) + 0.1 if per_axis else np.array(0.37)).astype(np.float32)
        zero = whole(dtype, n) if per_axis else whole(dtype, 1).reshape(())
        for given, op in ((x, "QuantizeLinear"), (whole(dtype, 4, 5, 6), "DequantizeLinear")):
            out = codes[dtype] if op == "QuantizeLinear" else FLOAT
            model = file(
                [node(op, "x s z", "y", axis=axis)],
                {"x": (codes[given.dtype.name], given.shape)},
                {"y": (out, None)},
                {"s": scale, "z": zero},
            )
            program = door.load(model)
            assert isinstance(program, Program)
            same(program(given), reference(model, given))


def test_quantize_linear_at_the_edges():
    """Ties to even, what lies beyond the type, and infinities, of which the reference makes what a
    cast makes.
    """
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9, np.inf, -np.inf], np.float32)
    for zero in (np.int8(0), np.int8(-100), np.uint8(3), None):
        model = quantise("QuantizeLinear", x, np.float32(1), None if zero is None else np.asarray(zero))
        got, limits = door.load(model)(x), np.iinfo(np.uint8 if zero is None else zero.dtype)
        same(got[:-2], reference(model, x)[:-2])
        assert got[-2:].tolist() == [limits.max, limits.min]


def test_dynamic_quantize_linear():
    model = file(
        [node("DynamicQuantizeLinear", "x", "y s z")],
        {"x": (FLOAT, (3, 50))},
        {"y": (BYTE, None), "s": (FLOAT, None), "z": (BYTE, None)},
    )
    program = door.load(model)
    assert isinstance(program, Program)
    for x in (floats(3, 50), np.abs(floats(3, 50)) + 1, -np.abs(floats(3, 50)), floats(3, 50) * 1e4):
        got, want = program(x), reference(model, x)
        same(got[1], want[1])
        same(got[2], want[2])
        apart = np.abs(got[0].astype(int) - want[0].astype(int))
        tie = np.abs(np.abs(x / want[1] - np.trunc(x / want[1])) - 0.5) < 1e-3
        assert np.all(apart[~tie] == 0) and apart.max() <= 1
    y, scale, zero = program(np.zeros((3, 50), np.float32))
    assert not y.any() and scale == 0 and zero == 0


def rows(zero):
    return None if zero is None else zero.astype(np.int64)[..., None] if np.ndim(zero) else int(zero)


@pytest.mark.parametrize("types", list(product(("uint8", "int8"), repeat=2)), ids="-".join)
@pytest.mark.parametrize("depth", [1, 7, 129, 258, 259, 600, 1500])
def test_matmul_integer(types, depth):
    """int32 sums without a rounding, however deep, with weights known and given."""
    one, other = types
    a, b = whole(one, 5, depth), whole(other, depth, 6, seed=1)
    a[0], b[:, 0] = np.iinfo(one).max, np.iinfo(other).max  # the greatest sums
    a[1], b[:, 1] = np.iinfo(one).min, np.iinfo(other).min
    zeros = {
        "none": (None, None),
        "one": (np.asarray(whole(one, 1)[0]), np.asarray(whole(other, 1)[0])),
        "extreme": (np.asarray(np.iinfo(one).min, one), np.asarray(np.iinfo(other).max, other)),
        "each": (whole(one, 5, seed=2), whole(other, 6, seed=3)),
    }
    for name, (za, zb) in zeros.items():
        names = "a b" if za is None else "a b za zb"
        constants = {} if za is None else {"za": za, "zb": zb}
        left = a.astype(np.int64) - (rows(za) or 0 if np.ndim(za) == 0 else rows(za))
        right = b.astype(np.int64) - (0 if zb is None else zb.astype(np.int64))
        want = (left @ right).astype(np.int32)
        for known in (False, True):
            inputs = {"a": (CODES[one], a.shape), **({} if known else {"b": (CODES[other], b.shape)})}
            model = file(
                [node("MatMulInteger", names, "y")],
                inputs,
                {"y": (INT, None)},
                {**constants, **({"b": b} if known else {})},
            )
            program = door.load(model)
            assert isinstance(program, Program), (name, program)
            same(program(a) if known else program(a, b), want)
            if name in ("none", "one"):
                same(want, reference(model, *((a,) if known else (a, b))))


def correlated(x, w, pads, strides, dilations, group):
    """The convolution of whole numbers, by its sum."""
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    n, (m, c, kh, kw) = x.shape[0], w.shape
    high, wide = (
        (x.shape[2 + a] - (w.shape[2 + a] - 1) * dilations[a] - 1) // strides[a] + 1 for a in (0, 1)
    )
    y = np.zeros((n, m, high, wide), np.int64)
    for f, ch, i, j in product(range(m), range(c), range(kh), range(kw)):
        at = f // (m // group) * c + ch
        part = x[:, at, i * dilations[0] :, j * dilations[1] :][:, :: strides[0], :: strides[1]]
        y[:, f] += part[:, :high, :wide] * int(w[f, ch, i, j])
    return y


CONVOLUTIONS = {  # channels, filters, kernel, attributes
    "plain": (3, 4, (3, 3), {"pads": [1, 1, 1, 1]}),
    "strided": (5, 3, (3, 2), {"strides": [2, 1], "pads": [0, 1, 1, 0]}),
    "dilated": (2, 3, (2, 2), {"dilations": [2, 3]}),
    "depthwise": (6, 6, (3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    "grouped": (8, 4, (1, 1), {"group": 2}),
    "deep": (67, 2, (3, 3), {"pads": [1, 1, 1, 1]}),
    "deeper": (600, 3, (1, 1), {}),
}


def convolution(name, dtype):
    channels, filters, kernel, attrs = CONVOLUTIONS[name]
    group = attrs.get("group", 1)
    x = whole(dtype, 2, channels, 7, 8)
    x[0] = np.iinfo(dtype).max
    w = whole("int8", filters, channels // group, *kernel, seed=1)
    w[0] = -128
    how = (attrs.get("pads", [0] * 4), attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1]), group)
    return x, w, how, attrs


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv_integer(name, dtype):
    """int32 sums without a rounding; what is padded counts as the zero point."""
    x, w, how, attrs = convolution(name, dtype)
    for zx, zw in ((None, None), (whole(dtype, 1)[0], np.int8(0)), (whole(dtype, 1)[0], np.int8(-7))):
        names = "x w" if zx is None else "x w zx zw"
        constants = {"w": w} if zx is None else {"w": w, "zx": np.asarray(zx), "zw": np.asarray(zw)}
        model = file(
            [node("ConvInteger", names, "y", **attrs)],
            {"x": (CODES[dtype], x.shape)},
            {"y": (INT, None)},
            constants,
        )
        program = door.load(model)
        assert isinstance(program, Program), program
        left, right = x.astype(np.int64) - int(zx or 0), w.astype(np.int64) - int(zw or 0)
        want = correlated(left, right, *how).astype(np.int32)
        same(program(x), want)
        if x.shape[1] < 9:
            same(want, reference(model, x))


@pytest.mark.parametrize("exact", [True, False], ids=["powers_of_two", "any_scale"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_qlinear_conv(name, exact):
    """A scale (and a zero point) for each filter, a bias; by powers of two onnx's numbers, ties and
    all.
    """
    x, w, how, attrs = convolution(name, "uint8")
    filters, rng = len(w), np.random.default_rng(2)
    scale = 2.0 ** rng.integers(-8, -5, filters) if exact else rng.uniform(0.002, 0.02, filters)
    constants = {
        "xs": np.float32(0.125 if exact else 0.11),
        "xz": np.uint8(131),
        "w": w,
        "ws": scale.astype(np.float32),
        "wz": np.zeros(filters, np.int8),
        "ys": np.float32(8 if exact else 7.3),
        "yz": np.uint8(120),
        "b": rng.integers(-3000, 3000, filters).astype(np.int32),
    }
    model = file(
        [node("QLinearConv", "x xs xz w ws wz ys yz b", "y", **attrs)],
        {"x": (BYTE, x.shape)},
        {"y": (BYTE, None)},
        constants,
    )
    program = door.load(model)
    assert isinstance(program, Program), program
    total = correlated(x.astype(np.int64) - 131, w.astype(np.int64), *how)
    total += constants["b"].reshape(-1, 1, 1)
    factor = float(constants["xs"]) * constants["ws"].astype(np.float64) / float(constants["ys"])
    want = total * factor.reshape(-1, 1, 1)
    if exact:
        same(program(x), np.clip(np.rint(want) + 120, 0, 255).astype(np.uint8))
    else:
        assert_rounded(program(x), want, 120, np.dtype(np.uint8))


@pytest.mark.parametrize("exact", [True, False], ids=["powers_of_two", "any_scale"])
@pytest.mark.parametrize("depth", [9, 300, 1100])
def test_qlinear_matmul(depth, exact):
    a, b, rng = whole("uint8", 4, depth), whole("int8", depth, 5, seed=1), np.random.default_rng(3)
    each = 2.0 ** rng.integers(-9, -6, 5) if exact else rng.uniform(0.002, 0.02, 5)
    for scale, zero in ((np.float32(each[0]), np.int8(3)), (each.astype(np.float32), whole("int8", 5))):
        constants = {
            "as": np.float32(0.25 if exact else 0.23),
            "az": np.uint8(99),
            "b": b,
            "bs": scale,
            "bz": zero,
            "ys": np.float32(16 if exact else 15.1),
            "yz": np.int8(-4),
        }
        model = file(
            [node("QLinearMatMul", "a as az b bs bz ys yz", "y")],
            {"a": (BYTE, a.shape)},
            {"y": (CHAR, None)},
            constants,
        )
        program = door.load(model)
        assert isinstance(program, Program), program
        total = (a.astype(np.int64) - 99) @ (b.astype(np.int64) - np.asarray(zero, np.int64))
        want = total * (float(constants["as"]) * np.asarray(scale, np.float64) / float(constants["ys"]))
        if exact:
            same(program(a), np.clip(np.rint(want) - 4, -128, 127).astype(np.int8))
            same(program(a), reference(model, a))
        else:
            assert_rounded(program(a), want, -4, np.dtype(np.int8))


def affine(x, scale, zero):
    return (x.astype(np.float64) - float(zero)) * float(scale)


MICROSOFT = {
    "QLinearAdd": lambda a, b: a + b,
    "QLinearMul": lambda a, b: a * b,
    "QLinearSigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "QLinearLeakyRelu": lambda a: np.where(a < 0, 0.25 * a, a),
    "QLinearGlobalAveragePool": lambda a: a.mean((2, 3), keepdims=True),
    "QLinearSoftmax": lambda a: np.exp(a) / np.exp(a).sum(-1, keepdims=True),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("op", [*MICROSOFT, "QLinearConcat"])
def test_onnx_runtimes_quantised_operators(op, dtype):
    a, b = whole(dtype, 2, 4, 5, 3), whole(dtype, 2, 4, 5, 3, seed=4)
    zeros = [whole(dtype, 1, seed=i)[0] for i in (1, 2, 3)]
    scales = [
        np.float32(v)
        for v in (0.0517, 0.0293, 0.0113 if op in ("QLinearSigmoid", "QLinearSoftmax") else 0.0911)
    ]
    held = {f"s{i}": s for i, s in enumerate(scales)} | {f"z{i}": np.asarray(z) for i, z in enumerate(zeros)}
    count = 2 if op in ("QLinearAdd", "QLinearMul", "QLinearConcat") else 1
    names = ["a s0 z0", "b s1 z1"][:count]
    order = " ".join(["s2 z2", *names] if op == "QLinearConcat" else [*names, "s2 z2"])
    attrs = {
        "QLinearConcat": {"axis": 1},
        "QLinearLeakyRelu": {"alpha": 0.25},
        "QLinearSoftmax": {"axis": -1, "opset": 13},
    }.get(op, {})
    code = CODES[dtype]
    inputs = {"a": (code, a.shape), **({"b": (code, b.shape)} if count == 2 else {})}
    made = node(op, order, "y", domain="com.microsoft", **attrs)
    program = door.load(file([made], inputs, {"y": (code, None)}, held))
    assert isinstance(program, Program), program
    operands = [affine(v, s, z) for v, s, z in zip((a, b), scales, zeros)][:count]
    exact = np.concatenate(operands, 1) if op == "QLinearConcat" else MICROSOFT[op](*operands)
    got = program(*(a, b)[:count])
    assert_rounded(got, exact / float(scales[2]), float(zeros[2]), np.dtype(dtype))


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_few_bits(bits):
    """MatMulNBits: blocks of a row with a scale and a zero point each, the last one short."""
    n, k, block, rng = 6, 40, 16, np.random.default_rng(0)
    blocks = -(-k // block)
    values = rng.integers(0, 1 << bits, (n, blocks, block))
    zero = rng.integers(0, 1 << bits, (n, blocks))
    scales = rng.uniform(0.01, 0.1, (n, blocks)).astype(np.float32)

    def packed(v):
        v = np.concatenate([v, np.zeros((*v.shape[:-1], v.shape[-1] % 2), v.dtype)], -1) if bits == 4 else v
        return (v if bits == 8 else v[..., ::2] | v[..., 1::2] << 4).astype(np.uint8)

    x = floats(3, k)
    for zeros in (None, zero):
        weight = (values - (1 << bits - 1 if zeros is None else zeros[..., None])) * scales[..., None].astype(
            np.float64
        )
        constants = {"b": packed(values), "s": scales.reshape(-1)}
        constants |= {} if zeros is None else {"z": packed(zeros).reshape(-1)}
        made = node(
            "MatMulNBits",
            " ".join(["x", *constants]),
            "y",
            domain="com.microsoft",
            N=n,
            K=k,
            bits=bits,
            block_size=block,
        )
        program = door.load(file([made], {"x": (FLOAT, x.shape)}, {"y": (FLOAT, None)}, constants))
        assert isinstance(program, Program), program
        want = x @ weight.reshape(n, -1)[:, :k].T
        np.testing.assert_allclose(program(x), want, atol=1e-5 * np.abs(want).max())


SCALES = {"x": 2.0**-5, "w": 2.0**-6, "c": 2.0**-3, "m": 2.0**-7, "y": 4.0}  # sums stay exact in float32


def network(form):
    """A convolution with relu (a zero point of 0 cuts it), pooling and a product, quantised to
    bytes.
    """
    w, m = whole("int8", 6, 3, 3, 3), whole("int8", 6 * 4 * 4, 5)
    bias = np.random.default_rng(1).integers(-500, 500, 6).astype(np.int32)
    constants = {f"{name}_s": np.float32(scale) for name, scale in SCALES.items()}
    constants |= {"x_z": np.uint8(128), "w_z": np.int8(0), "c_z": np.uint8(0), "m_z": np.int8(0)}
    constants |= {"y_z": np.int8(5), "w": w, "m": m, "b": bias}
    begin, end = node("QuantizeLinear", "x x_s x_z", "xq"), node("DequantizeLinear", "yq y_s y_z", "y")
    if form == "operators":
        nodes = [
            begin,
            node("QLinearConv", "xq x_s x_z w w_s w_z c_s c_z b", "cq", pads=[1, 1, 1, 1]),
            node("MaxPool", "cq", "pq", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", "pq", "f"),
            node("QLinearMatMul", "f c_s c_z m m_s m_z y_s y_z", "yq"),
            end,
        ]
    else:
        constants |= {"b_s": np.float32(SCALES["x"] * SCALES["w"]), "b_z": np.int32(0)}
        nodes = [
            begin,
            *(
                node("DequantizeLinear", f"{a} {b}_s {b}_z", f"{b}_f")
                for a, b in (("xq", "x"), ("w", "w"), ("b", "b"), ("m", "m"))
            ),
            node("Conv", "x_f w_f b_f", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r"),
            node("QuantizeLinear", "r c_s c_z", "cq"),
            node("DequantizeLinear", "cq c_s c_z", "c_f"),
            node("MaxPool", "c_f", "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", "p", "f"),
            node("MatMul", "f m_f", "g"),
            node("QuantizeLinear", "g y_s y_z", "yq"),
            end,
        ]
    return file(nodes, {"x": (FLOAT, ("n", 3, 8, 8))}, {"y": (FLOAT, None)}, constants)


def test_a_quantised_network_in_both_forms():
    """The same numbers, which are onnx's."""
    found = []
    for form in ("operators", "pairs"):
        model = network(form)
        program = door.load(model, shapes={"x": (2, 3, 8, 8)}, precision="strict")
        assert isinstance(program, Program), program
        x = np.clip(floats(2, 3, 8, 8) * 2, -4, 3.9)
        got = program(x)
        same(got, reference(model, x))
        assert len(np.unique(got)) > 5
        found.append(got)
    same(*found)


def test_a_quantised_network_takes_any_batch():
    model = network("pairs")
    program = door.load(model, precision="strict")
    for n in (1, 3):
        x = np.clip(floats(n, 3, 8, 8) * 2, -4, 3.9)
        same(program(x), reference(model, x))
    assert isinstance(program, Program)


@pytest.mark.parametrize("size, parts", [(20, 1), (127, 4)])
def test_sums_that_float_holds_are_made_at_once(size, parts):
    """The weight's own sums say how many products float32 sums exactly, not its type's limits; whole
    numbers that are at once made floats stay floats."""
    r = np.random.default_rng(0)
    a, b = whole("uint8", 5, 3000), (r.integers(0, 2, (3000, 7)) * 2 * size - size).astype(np.int8)
    model = file(
        [node("MatMulInteger", "a b z", "y"), node("Cast", "y", "f", to=FLOAT)],
        {"a": (BYTE, a.shape)}, {"f": (FLOAT, None)}, {"b": b, "z": np.array(3, np.uint8)})
    program = door.load(model)
    steps = [s.op for s in program.steps]
    assert steps.count("linear") == parts and (parts > 1 or steps == ["dequantise", "linear"]), steps
    want = (a.astype(np.int64) - 3) @ b.astype(np.int64)
    same(program(a), want.astype(np.int32).astype(np.float32))


def test_a_convolution_of_bytes_is_exact_whatever_the_precision():
    """Winograd's sums of whole numbers would not be, so it declines."""
    x, w = whole("uint8", 2, 32, 20, 20), whole("int8", 32, 32, 3, 3) // 16
    model = file([node("ConvInteger", "x w z", "y", pads=[1, 1, 1, 1])], {"x": (BYTE, x.shape)}, {"y": (INT, None)},
                 {"w": w, "z": np.array(9, np.uint8)})
    wide = np.pad(x.astype(np.int64) - 9, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    want = np.einsum("nchwij,ocij->nohw", patches, w.astype(np.int64))
    same(door.load(model)(x), want.astype(np.int32))


def test_sums_behind_a_scale_of_the_run_are_floats():
    """A dynamically quantised convolution takes the algorithm of a float one, and is as near."""
    x, w, scale = floats(1, 64, 24, 24), whole("int8", 64, 64, 3, 3), np.float32(0.02)
    model = file(
        [node("DynamicQuantizeLinear", "x", "q s z"), node("ConvInteger", "q w z", "c", pads=[1, 1, 1, 1]),
         node("Cast", "c", "f", to=FLOAT), node("Mul", "s ws", "t"), node("Mul", "f t", "y")],
        {"x": (FLOAT, x.shape)}, {"y": (FLOAT, None)}, {"w": w, "ws": scale})
    program = door.load(model)
    q, s, z = door.run(file([node("DynamicQuantizeLinear", "x", "q s z")], {"x": (FLOAT, x.shape)},
                            {"q": (BYTE, None), "s": (FLOAT, None), "z": (BYTE, None)}), {"x": x}).values()
    wide = np.pad(q.astype(np.int64) - int(z), ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    want = np.einsum("nchwij,ocij->nohw", patches, w.astype(np.int64)) * (float(s) * 0.02)
    np.testing.assert_allclose(program(x), want, atol=2e-5 * np.abs(want).max())
