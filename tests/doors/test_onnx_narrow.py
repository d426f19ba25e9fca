"""Types of 8, 4 and 2 bits in ONNX files: casts, quantising, and weights of them in Programs, against
tables of all their values that are made here.
"""

from fractions import Fraction

import numpy as np
import pytest

from pyops.graph.program import Program

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_files import FLOAT, file, floats, node  # noqa: E402

import pyops.onnx as door  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
# name: exponent bits, mantissa bits, bias, greatest, (infinity, has a negative zero, has NaN)
FORMATS = {
    "FLOAT8E4M3FN": (4, 3, 7, 448.0, (None, True, True)),
    "FLOAT8E4M3FNUZ": (4, 3, 8, 240.0, (None, False, True)),
    "FLOAT8E5M2": (5, 2, 15, 57344.0, (np.inf, True, True)),
    "FLOAT8E5M2FNUZ": (5, 2, 16, 57344.0, (None, False, True)),
    "FLOAT4E2M1": (2, 1, 1, 6.0, (None, True, False)),
}
WHOLE = {"INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1), "UINT2": (0, 3)}


def numbers(name):
    """The numbers of a format that are not negative, ascending, as fractions; a place is even where the
    last bit of its code is 0."""
    exponents, mantissas, bias, most, _ = FORMATS[name]
    found = []
    for code in range(1 << (exponents + mantissas)):
        e, m = code >> mantissas, code & ((1 << mantissas) - 1)
        scale = Fraction(2) ** (max(e, 1) - bias - mantissas)
        value = scale * (m + (1 << mantissas) * (e > 0))
        if value <= most:
            found.append(value)
    return found


def nearest(x, name, saturate):
    """What a cast comes to, for one float."""
    exponents, mantissas, bias, most, (infinity, negative_zero, _) = FORMATS[name]
    if np.isnan(x):
        return np.nan
    beyond = most if saturate else np.nan if infinity is None else infinity
    table = numbers(name)
    if np.isinf(x):
        y = beyond
    else:
        size = abs(Fraction(float(x)))
        step = table[-1] - table[-2]
        at = min(range(len(table)), key=lambda i: (abs(table[i] - size), i % 2))
        over = size - table[-1]  # the next number, were there one, would be even or odd as the last is not
        rounds_over = over > step / 2 or over == step / 2 and (len(table) - 1) % 2 == 1
        y = beyond if rounds_over else float(table[at])
    y = -y if np.signbit(x) else y
    return 0.0 if y == 0 and not negative_zero else y


def cast(x, to, opset=25, **attrs):
    code = getattr(TensorProto, to)
    model = file(
        [node("Cast", "x", "y", to=code, **attrs)],
        {"x": (helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)},
        {"y": (code, None)},
        opset=opset,
    )
    return door.run(model, {"x": x})["y"]


def samples(name):
    """All numbers of a format, what lies halfway and beside it, and what lies beyond."""
    table = [float(v) for v in numbers(name)]
    halves = [(a + b) / 2 for a, b in zip(table, [*table[1:], 2 * table[-1] - table[-2]])]
    around = [np.nextafter(np.float32(h), np.float32(to)) for h in halves for to in (0, 1e9)]
    x = np.array([*table, *halves, *around, 2 * table[-1], 1e9, 1e-30, np.inf, np.nan], np.float32)
    return np.concatenate([x, -x])


@pytest.mark.parametrize(
    "name, saturate", [(name, s) for name in FORMATS for s in (1, 0) if s or name != "FLOAT4E2M1"]
)
def test_floats_of_few_bits_are_the_nearest(name, saturate):
    x = samples(name)
    if not FORMATS[name][4][2]:
        x = x[~np.isnan(x)]
    want = np.array([nearest(v, name, saturate) for v in x], np.float32)
    got = cast(x, name, saturate=saturate).astype(np.float32)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want) & ~np.isnan(want) | np.isnan(want)
                                  & np.signbit(got))
    half = x.astype(np.float16)
    want = np.array([nearest(v, name, saturate) for v in half], np.float32)
    np.testing.assert_array_equal(cast(half, name, saturate=saturate).astype(np.float32), want)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_keep_their_lower_bits(name):
    low, high = WHOLE[name]
    x = np.arange(-40, 300, dtype=np.int32)
    want = (x - low) % (high - low + 1) + low
    got = cast(x, name)
    np.testing.assert_array_equal(got.astype(np.int32), want)
    np.testing.assert_array_equal(cast(x.astype(np.float32), name).astype(np.int32), want)
    assert cast(np.array([low + 0.9, high + 0.9], np.float32), name).astype(int).tolist() == [
        int(low + 0.9), high]


@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_powers_of_two(mode):
    x = np.array([1, 1.25, 1.5, 1.75, 2, 3, 4.1, 1e-3, 1e30], np.float32)
    exponent = np.floor(np.log2(x.astype(np.float64)))
    below, above = 2.0**exponent, 2.0 ** np.ceil(np.log2(x.astype(np.float64)))
    want = {"up": above, "down": below, "nearest": np.where(x - below >= 2 * below - x, 2 * below, below)}
    got = cast(x, "FLOAT8E8M0", round_mode=mode).astype(np.float64)
    np.testing.assert_array_equal(got, want[mode])


@pytest.mark.parametrize("name", FORMATS)
def test_quantised_to_floats_of_few_bits(name):
    """x / scale in float32, rounded and saturated; the zero point may only be 0."""
    code = getattr(TensorProto, name)
    x, scale = floats(4, 30) * 300, np.array([0.5, 0.75, 2.0, 1.0], np.float32)
    model = file(
        [node("QuantizeLinear", "x s z", "q", axis=0), node("DequantizeLinear", "q s", "y", axis=0)],
        {"x": (FLOAT, x.shape)},
        {"y": (FLOAT, None)},
        {"s": scale, "z": np.zeros(4, helper.tensor_dtype_to_np_dtype(code))},
        opset=23,
    )
    want = [[nearest(v / s, name, True) * s for v in row] for row, s in zip(x, scale)]
    np.testing.assert_array_equal(door.run(model, {"x": x})["y"], np.array(want, np.float32))
    one = np.ones(4, np.float32).astype(helper.tensor_dtype_to_np_dtype(code))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(one, "z"))
    with pytest.raises(door.ModelError, match="the zero point of .* must be 0"):
        door.run(model, {"x": x})


@pytest.mark.parametrize("name", [*FORMATS, "INT4", "UINT4"])
@pytest.mark.parametrize("block", [0, 8])
def test_weights_of_few_bits_are_dequantised_once(name, block):
    """Whole Programs: a product with the weight that the file's numbers come to."""
    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name))
    rng = np.random.default_rng(0)
    weight = rng.integers(*((0, 7) if name in WHOLE else (-5, 6)), (32, 6)).astype(np.float32).astype(dtype)
    scale = rng.uniform(0.5, 2, (4, 6) if block else (6,)).astype(np.float32)
    attrs = dict(axis=0, block_size=block) if block else dict(axis=1)
    model = file(
        [node("DequantizeLinear", "w s", "f", **attrs), node("MatMul", "x f", "y")],
        {"x": (FLOAT, (5, 32))},
        {"y": (FLOAT, None)},
        {"w": weight, "s": scale},
        opset=23,
    )
    program = door.load(model)
    assert isinstance(program, Program) and [s.op for s in program.steps] == ["linear"]
    x = floats(5, 32)
    want = x.astype(np.float64) @ (weight.astype(np.float64) * (np.repeat(scale, 8, 0) if block else scale))
    np.testing.assert_allclose(program(x), want, rtol=1e-5, atol=1e-5)


def test_strings_and_numbers_are_cast():
    model = file([node("Cast", "x", "s", to=TensorProto.STRING), node("Cast", "s", "y", to=FLOAT)],
                 {"x": (FLOAT, (5,))}, {"s": (TensorProto.STRING, None), "y": (FLOAT, None)})
    x = np.array([1.5, -np.inf, np.nan, 3e-9, 7], np.float32)
    found = door.run(model, {"x": x})
    assert found["s"].tolist() == ["1.5", "-inf", "nan", "3e-09", "7.0"]
    np.testing.assert_array_equal(found["y"], x)
    model = file([node("Cast", "s", "y", to=FLOAT)], {"s": (TensorProto.STRING, (1,))}, {"y": (FLOAT, None)})
    with pytest.raises(door.ModelError, match="a string that is no number"):
        door.run(model, {"s": np.array(["one"], object)})
