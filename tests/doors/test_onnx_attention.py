"""Attention in ONNX files, its forms with modifiers and with a state: against a query-by-query
reference in float64, as Programs and node by node.
"""

import numpy as np
import pytest

from pyops.graph.program import Program

pytest.importorskip("onnx")
from onnx import helper
from onnx_files import FLOAT, HALF, LONG, exact_attention, file, floats, node

import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
B, HEADS, QUERIES, KEYS, SIZE, WIDE = 2, 4, 3, 5, 8, 6


def rng(seed):
    return np.random.default_rng(seed)


CASES = {  # name: (keyword arguments of `run`)
    "plain": {},
    "causal": dict(causal=True),
    "heads in groups": dict(own=2, causal=True),
    "one head of keys": dict(own=1),
    "a mask of truth values": dict(mask="bool"),
    "a mask of numbers, short": dict(mask="float", short=2),
    "a mask of truth values, short": dict(mask="bool", short=1, causal=True),
    "a past": dict(past=4, causal=True, own=2),
    "a past and a mask": dict(past=2, mask="bool"),
    "lengths": dict(lengths=True),
    "lengths, causal, in groups": dict(lengths=True, causal=True, own=2, mask="float"),
    "capped": dict(cap=0.7, causal=True),
    "a window": dict(left=1, right=1, opset=25),
    "a window to the left behind a past": dict(left=2, causal=True, past=3, opset=25),
    "a window to the right": dict(right=0, mask="bool", opset=25),
    "a scale": dict(scale=0.3, own=2),
}


def run(name, *, flat=False, mode=None, constant=False, dtype=np.float32):
    case = CASES[name]
    r, own, past = rng(sum(map(ord, name))), case.get("own", HEADS), case.get("past", 0)
    normal = lambda *s: r.standard_normal(s).astype(dtype)  # noqa: E731
    q, k, v = normal(B, HEADS, QUERIES, SIZE), normal(B, own, KEYS, SIZE), normal(B, own, KEYS, WIDE)
    given = {"q": q, "k": k, "v": v}
    total = KEYS + past
    if case.get("mask"):
        shape = (*((HEADS,) if case.get("causal") else (B, 1)), QUERIES, total - case.get("short", 0))
        given["m"] = r.random(shape) < 0.6 if case["mask"] == "bool" else normal(*shape)
        if case["mask"] == "bool":
            given["m"][..., 0, :] = False  # a query that may look nowhere
    if past:
        given |= {"pk": normal(B, own, past, SIZE), "pv": normal(B, own, past, WIDE)}
    if case.get("lengths"):
        given["n"] = np.array([2, 5], np.int64)
    names = [n if n in given else "" for n in ("q", "k", "v", "m", "pk", "pv", "n")]
    keys, values = (np.concatenate([given[p], x], 2) if past else x for p, x in (("pk", k), ("pv", v)))
    want = exact_attention(q, keys, values, mask=given.get("m"), before=past, lengths=given.get("n"), **{
        key: case[key] for key in ("causal", "scale", "cap", "left", "right") if key in case})
    attrs = {"is_causal": int(case.get("causal", 0)), "softcap": float(case.get("cap", 0))}
    attrs |= {"scale": case["scale"]} if "scale" in case else {}
    attrs |= {f"{side}_window_size": case[side] for side in ("left", "right") if side in case}
    if flat:
        attrs |= {"q_num_heads": HEADS, "kv_num_heads": own}
        given |= {n: x.transpose(0, 2, 1, 3).reshape(B, x.shape[2], -1) for n, x in (("q", q), ("k", k), ("v", v))}
    outputs = ["y", *(["pk2", "pv2"] if past else ["", ""] if mode is not None else [])]
    if mode is not None:
        outputs.append("s")
        attrs["qk_matmul_output_mode"] = mode
    made = helper.make_node("Attention", names, outputs, **attrs)
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    kinds = {n: (helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in given.items()}
    held = {n: given.pop(n) for n in ("m", "n") if constant and n in given}
    model = file([made], {n: kinds[n] for n in given}, {o: (code, None) for o in outputs if o}, held,
                 case.get("opset", 24))
    program = door.load(model)
    assert isinstance(program, Program), program
    found = program(*given.values())
    found = dict(zip([o for o in outputs if o], found if isinstance(found, tuple) else (found,)))
    for output, value in door.run(model, given).items():
        np.testing.assert_allclose(found[output], value, atol=2e-3 if dtype == np.float16 else 1e-5)
    if past:
        np.testing.assert_array_equal(found["pk2"], keys)
        np.testing.assert_array_equal(found["pv2"], values)
    y = want[0].transpose(0, 2, 1, 3).reshape(B, QUERIES, -1) if flat else want[0]
    assert found["y"].dtype == dtype
    np.testing.assert_allclose(found["y"], y, atol=3e-3 if dtype == np.float16 else 1e-5)
    if mode is not None:
        np.testing.assert_allclose(found["s"], want[1][mode], atol=1e-5)
    return program


@pytest.mark.parametrize("constant", [False, True], ids=["given", "constant"])
@pytest.mark.parametrize("name", CASES)
def test_attention(name, constant):
    steps = [s.op for s in run(name, constant=constant).steps]
    assert "attention" in steps or CASES[name].get("cap"), steps


@pytest.mark.parametrize("name", CASES)
def test_attention_of_three_axes(name):
    run(name, flat=True)


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("name", ["causal", "capped", "a mask of truth values", "a past and a mask", "lengths"])
def test_scores_are_returned(name, mode):
    run(name, mode=mode)


@pytest.mark.parametrize("name", ["causal", "a mask of truth values", "capped"])
def test_attention_of_halves(name):
    run(name, dtype=np.float16)


@pytest.mark.parametrize(
    "shapes, attrs, match",
    [
        (dict(q=(2, 4, 3, 8), k=(2, 3, 5, 8), v=(2, 3, 5, 8)), {}, "do not fit"),
        (dict(q=(2, 3, 32), k=(2, 5, 32), v=(2, 5, 32)), {}, "has no 0 heads"),
        (dict(q=(2, 3, 32), k=(2, 5, 4, 8), v=(2, 5, 32)), {}, "three or four axes"),
        (dict(q=(2, 4, 3, 8), k=(2, 4, 5, 8), v=(2, 4, 5, 8), m=(7, 5)), {}, "do not broadcast"),
    ],
)
def test_attention_that_is_refused(shapes, attrs, match):
    model = file([helper.make_node("Attention", list(shapes), ["y"], **attrs)],
                 {n: (FLOAT, s) for n, s in shapes.items()}, {"y": (FLOAT, None)}, opset=24)
    with pytest.raises(door.ModelError, match=match):
        door.load(model)


def test_graphs_between_scores_and_weights():
    """A distance taken from scores, and half of every weight."""
    info = helper.make_tensor_value_info
    by_scores = helper.make_graph([node("Sub", "s far", "t")], "scores", [info("s", FLOAT, None)],
                                  [info("t", FLOAT, None)])
    by_weights = helper.make_graph([node("Mul", "w half", "u")], "weights", [info("w", FLOAT, None)],
                                   [info("u", FLOAT, None)])
    made = helper.make_node("FlexAttention", ["q", "k", "v"], ["y"], domain="ai.onnx.preview",
                            score_mod=by_scores, prob_mod=by_weights, scale=0.5)
    q, k, v = floats(2, 4, 3, 8), floats(2, 2, 5, 8, seed=1), floats(2, 2, 5, 6, seed=2)
    far = np.abs(np.arange(3)[:, None] - np.arange(5)).astype(np.float32)
    model = file([made], {"q": (FLOAT, q.shape), "k": (FLOAT, k.shape), "v": (FLOAT, v.shape)},
                 {"y": (FLOAT, None)}, {"far": far, "half": np.float32(0.5)}, opset=26)
    model.opset_import.add(domain="ai.onnx.preview", version=1)
    program = door.load(model)
    assert isinstance(program, Program), program
    want = exact_attention(q, k, v, scale=0.5, mask=-far)[0] / 2
    np.testing.assert_allclose(program(q, k, v), want, atol=1e-5)


RULES = ["linear", "gated", "delta", "gated_delta"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("rule", RULES)
def test_linear_attention(rule, dtype):
    """S <- S exp(decay); S <- S + k (beta (v - S^T k)) or k v; y = scale S^T q."""
    heads, own, steps, size, wide = 4, 2, 5, 3, 6
    r = rng(3)
    make = lambda *s: (r.standard_normal(s) / 2).astype(dtype)  # noqa: E731
    given = {"q": make(B, steps, heads * size), "k": make(B, steps, own * size), "v": make(B, steps, own * wide),
             "s": make(B, own, size, wide)}
    if rule.startswith("gated"):
        given["d"] = -np.abs(make(B, steps, own * (size if rule == "gated" else 1)))
    if rule.endswith("delta"):
        given["e"] = np.abs(make(B, steps, own if rule == "delta" else 1))
    q, k, v, s = (given[n].astype(np.float64) for n in "qkvs")
    y, state = np.zeros((B, steps, heads, wide)), s.copy()
    for b, t, h in np.ndindex(B, steps, own):
        key, value = k[b, t].reshape(own, size)[h], v[b, t].reshape(own, wide)[h]
        if "d" in given:
            state[b, h] *= np.exp(given["d"][b, t].astype(np.float64).reshape(own, -1)[h])[:, None]
        if "e" in given:
            value = given["e"][b, t].astype(np.float64)[h if rule == "delta" else 0] * (value - key @ state[b, h])
        state[b, h] += np.outer(key, value)
        for g in range(heads // own):
            at = h * (heads // own) + g
            y[b, t, at] = q[b, t].reshape(heads, size)[at] @ state[b, h] * 0.25
    code = HALF if dtype == np.float16 else FLOAT
    names = [n if n in given else "" for n in ("q", "k", "v", "s", "d", "e")]
    made = helper.make_node("LinearAttention", names, ["y", "z"], update_rule=rule, q_num_heads=heads,
                            kv_num_heads=own, scale=0.25)
    model = file([made], {n: (code, x.shape) for n, x in given.items()}, dict.fromkeys("yz", (code, None)), opset=27)
    program = door.load(model)
    assert isinstance(program, Program), program
    tolerance = 4e-3 if dtype == np.float16 else 1e-5
    for found in (program(*given.values()), door.run(model, given).values()):
        for got, want in zip(found, (y.reshape(B, steps, -1), state), strict=True):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, atol=tolerance)


@pytest.mark.parametrize("activation", ["none", "silu"])
@pytest.mark.parametrize("past", [False, True])
def test_causal_convolution(past, activation):
    """In two parts, the state of the first given to the second, as in one."""
    x, weight, bias = floats(2, 3, 10), floats(3, 1, 4), floats(3)
    padded = np.concatenate([np.zeros((2, 3, 3)), x], 2)
    want = sum(padded[:, :, i : i + 10] * weight[:, 0, i, None] for i in range(4)) + bias[:, None]
    want = want / (1 + np.exp(-want)) if activation == "silu" else want
    made = helper.make_node("CausalConvWithState", ["x", "w", "b", *(["s"] if past else [])], ["y", "z"],
                            activation=activation)

    def program(length):
        inputs = {"x": (FLOAT, (2, 3, length)), **({"s": (FLOAT, (2, 3, 3))} if past else {})}
        return door.load(file([made], inputs, dict.fromkeys("yz", (FLOAT, None)), {"w": weight, "b": bias}, opset=27))

    if not past:
        y, state = program(10)(x)
    else:
        first, state = program(4)(x[..., :4], np.zeros((2, 3, 3), np.float32))
        rest, state = program(6)(x[..., 4:], state)
        y = np.concatenate([first, rest], 2)
    np.testing.assert_allclose(y, want, atol=1e-5)
    np.testing.assert_array_equal(state, x[..., -3:])


@pytest.mark.parametrize("interleaved", [0, 1])
def test_operators_are_written_out_beside_constants(interleaved):
    """RotaryEmbedding has no row here; its body depends on types, those of its caches among them."""
    angle = rng(0).random((9, 4)) * 6
    x, places = floats(2, 3, 5, 8), rng(1).integers(0, 9, (2, 5))
    model = file([node("RotaryEmbedding", "x c s p", "y", interleaved=interleaved)],
                 {"x": (FLOAT, x.shape), "p": (LONG, places.shape)}, {"y": (FLOAT, None)},
                 {"c": np.cos(angle).astype(np.float32), "s": np.sin(angle).astype(np.float32)}, opset=23)
    program = door.load(model)
    assert isinstance(program, Program), program
    pairs = x[..., ::2] + 1j * x[..., 1::2] if interleaved else x[..., :4] + 1j * x[..., 4:]
    pairs = pairs * np.exp(1j * angle)[places][:, None]
    parts = [pairs.real, pairs.imag]
    want = np.stack(parts, -1).reshape(x.shape) if interleaved else np.concatenate(parts, -1)
    np.testing.assert_allclose(program(x, places), want, atol=1e-5)
