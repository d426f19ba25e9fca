"""What ONNX Runtime's optimiser makes of models (com.microsoft): against the operators' texts written
out in NumPy, in float64, as Programs and node by node.
"""

import math

import numpy as np
import pytest

from pyops.graph.program import Program

pytest.importorskip("onnx")
from onnx import TensorProto, helper
from onnx_files import FLOAT, INT, exact_attention, file, floats, node, reference

import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
erf = np.vectorize(math.erf)


def run(op, names, given, wants, constants=(), tolerance=1e-5, domain="com.microsoft", **attrs):
    """One node: a whole Program gives what is wanted, and node by node the same. wants: an array an
    output, None for one that is not asked for."""
    outputs = [f"o{i}" if w is not None else "" for i, w in enumerate(wants)]
    made = helper.make_node(op, [n if n in given else "" for n in names.split()], outputs, domain=domain, **attrs)
    kinds = {n: (helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in given.items()}
    free = {n: x for n, x in given.items() if n not in constants}
    held = {n: given[n] for n in constants if n in given}
    model = file([made], {n: kinds[n] for n in free}, {o: (FLOAT, None) for o in outputs if o}, held)
    program = door.load(model)
    assert isinstance(program, Program) or isinstance(program.program_for(*free.values()), Program), program
    found = program(*free.values())
    found = found if isinstance(found, tuple) else (found,)
    for results in (found, door.run(model, free).values()):
        for got, want in zip(results, [w for w in wants if w is not None], strict=True):
            assert got.shape == want.shape, (got.shape, want.shape)
            np.testing.assert_allclose(got, want, atol=tolerance * max(1, np.abs(want).max()))


def test_activations_with_a_bias():
    x, b = floats(2, 5, 6), floats(6)
    z = x.astype(np.float64)
    run("Gelu", "x", {"x": x}, [z * (1 + erf(z / 2**0.5)) / 2])
    run("QuickGelu", "x", {"x": x}, [z / (1 + np.exp(-1.702 * z))])
    z = z + b
    run("BiasGelu", "x b", {"x": x, "b": b}, [z * (1 + erf(z / 2**0.5)) / 2], ["b"])
    tanh = z / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (z + 0.044715 * z**3)))
    run("FastGelu", "x b", {"x": x, "b": b}, [tanh], ["b"])
    run("BiasAdd", "x b s", {"x": x, "b": b, "s": x}, [z + x])


def normal(x, eps, scale, shift=0.0):
    """Layer normalisation, mean and inverse deviation."""
    mean = x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    return (x - mean) * inverse * scale + shift, mean, inverse


@pytest.mark.parametrize("shape", [(2, 5, 6), (1, 5, 6), (5, 6)])
def test_normalised_sums(shape):
    x, skip, scale, shift, bias = floats(2, 5, 6), floats(*shape, seed=1), *(floats(6, seed=i) for i in (2, 3, 4))
    total = x.astype(np.float64) + skip + bias
    given = {"x": x, "s": skip, "g": scale, "b": shift, "c": bias}
    run("SkipLayerNormalization", "x s g b c", given, [*normal(total, 1e-6, scale, shift), total], "gbc",
        epsilon=1e-6)
    inverse = 1 / np.sqrt((total**2).mean(-1, keepdims=True) + 1e-6)
    del given["b"]
    run("SkipSimplifiedLayerNormalization", "x s g c", given, [total * inverse * scale, None, inverse, total],
        "gc", epsilon=1e-6)
    inverse = 1 / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6)
    run("SimplifiedLayerNormalization", "x g", {"x": x, "g": scale}, [x * inverse * scale, inverse], "g",
        domain="", epsilon=1e-6)


@pytest.mark.parametrize("segments", [True, False])
def test_embedded_words(segments):
    r = np.random.default_rng(0)
    ids, kinds = r.integers(0, 30, (2, 5)).astype(np.int32), r.integers(0, 2, (2, 5)).astype(np.int32)
    mask = np.array([[1, 1, 0, 1, 0], [1] * 5], np.int32)
    words, places, table, scale, shift = floats(30, 8), floats(9, 8), floats(2, 8), floats(8), floats(8, seed=1)
    total = words[ids].astype(np.float64) + places[:5] + (table[kinds] if segments else 0)
    given = {"i": ids, "w": words, "p": places, "g": scale, "b": shift, "m": mask}
    given |= {"s": kinds, "k": table} if segments else {}
    run("EmbedLayerNormalization", "i s w p k g b m", given,
        [normal(total, 1e-12, scale, shift)[0], np.array([3, 5], np.int32), total], "wpkgb")


@pytest.mark.parametrize("sides", ["", "A", "B", "AB"])
@pytest.mark.parametrize("batches", ["", "A", "B"])
def test_products_of_transposed_operands(sides, batches):
    a, b = floats(2, 3, 4), floats(2, 4, 5)
    want = 0.5 * a.astype(np.float64) @ b
    attrs = {"alpha": 0.5}
    for side in sides:
        attrs[f"trans{side}"] = 1
    for side in batches:
        attrs[f"transBatch{side}"] = 1

    def stored(x, side):  # undone by what the node does: batch first, then the last axes
        x = x.transpose(0, 2, 1) if side in sides else x
        return np.ascontiguousarray(x.transpose(1, 0, 2) if side in batches else x)

    run("FusedMatMul", "a b", {"a": stored(a, "A"), "b": stored(b, "B")}, [want], **attrs)


ACTIVATIONS = {
    "Relu": ([], lambda x: np.maximum(x, 0)),
    "LeakyRelu": ([0.2], lambda x: np.where(x < 0, 0.2 * x, x)),
    "Clip": ([0.0, 1.0], lambda x: np.clip(x, 0, 1)),
    "HardSigmoid": ([0.3, 0.4], lambda x: np.clip(0.3 * x + 0.4, 0, 1)),
    "Tanh": ([], np.tanh),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_products_with_an_activation(name):
    numbers, function = ACTIVATIONS[name]
    x, w, b, z = floats(1, 3, 6, 6), floats(4, 3, 1, 1), floats(4), floats(1, 4, 6, 6)
    want = np.einsum("nchw,oc->nohw", x.astype(np.float64), w[:, :, 0, 0]) + b[:, None, None] + z
    attrs = {"activation_params": numbers} if numbers else {}
    run("FusedConv", "x w b z", {"x": x, "w": w, "b": b, "z": z}, [function(want)], "wb", activation=name, **attrs)
    a, c = floats(3, 4), floats(4, 5, seed=1)
    attrs = dict(zip(("activation_alpha", "activation_beta"), numbers))
    run("FusedGemm", "a c", {"a": a, "c": c}, [function(a.astype(np.float64) @ c)], "c", activation=name, **attrs)


# ---- attention: 2 samples, 4 heads of 8


def heads(x, count=4):
    return x.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)


def beside(y):
    return y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)


MASKS = {  # name: the mask of 2 samples, 5 queries and 5 keys, and which keys count
    "pairs": lambda r: (m := r.integers(0, 2, (2, 5, 5)).astype(np.int32) | np.eye(5, dtype=np.int32),
                        m[:, None] > 0),
    "keys": lambda r: (m := np.array([[1, 0, 1, 1, 0], [1] * 5], np.int32), m[:, None, None] > 0),
    "ends": lambda r: (np.array([3, 5], np.int32), (np.arange(5) < np.array([[3], [5]]))[:, None, None]),
    "ends and begins": lambda r: (np.array([4, 5, 1, 0], np.int32),
                                  ((np.arange(5) < [[4], [5]]) & (np.arange(5) >= [[1], [0]]))[:, None, None]),
    "longest": lambda r: (np.tril(np.ones((8, 8), np.int32))[None, None].repeat(2, 0),
                          np.tri(5, dtype=bool)[None, None].repeat(2, 0)),
}


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "given"])
@pytest.mark.parametrize("mask", MASKS)
def test_attention_with_masks_of_whole_numbers(mask, constant):
    r = np.random.default_rng(0)
    told, counts = MASKS[mask](r)
    x, w, b = floats(2, 5, 12), floats(12, 96) / 4, floats(96)
    q, k, v = (heads(p) for p in np.split(x.astype(np.float64) @ w + b, 3, -1))
    want, _ = exact_attention(q, k, v, mask=np.where(counts, 0.0, -10000.0))
    run("Attention", "x w b m", {"x": x, "w": w, "b": b, "m": told}, [beside(want)], "wbm" if constant else "wb",
        num_heads=4)
    given = {"q": beside(q).astype(np.float32), "k": beside(k).astype(np.float32),
             "v": beside(v).astype(np.float32), "m": told}
    run("MultiHeadAttention", "q k v b m", given, [beside(want)], "m" if constant else "", num_heads=4)


def test_attention_behind_a_past():
    x, w, b, past = floats(2, 5, 12), floats(12, 96) / 4, floats(96), floats(2, 2, 4, 3, 8)
    q, k, v = (heads(p) for p in np.split(x.astype(np.float64) @ w + b, 3, -1))
    k, v = (np.concatenate([old, new], 2) for old, new in zip(past, (k, v)))
    want, _ = exact_attention(q, k, v, causal=True, before=3, scale=0.3)
    run("Attention", "x w b m p", {"x": x, "w": w, "b": b, "p": past}, [beside(want), np.stack([k, v])], "wb",
        num_heads=4, unidirectional=1, scale=0.3)


def test_attention_of_sizes_that_differ():
    x, w, bias = floats(2, 5, 12), floats(12, 16 + 16 + 24) / 4, floats(2, 4, 5, 5)
    q, k, v = (heads(p) for p in np.split(x.astype(np.float64) @ w, [16, 32], -1))
    want, _ = exact_attention(q, k, v, mask=bias)
    run("Attention", "x w b m p a", {"x": x, "w": w, "a": bias}, [beside(want)], "w", num_heads=4,
        qkv_hidden_sizes=[16, 16, 24])


@pytest.mark.parametrize("packed", ["", "all", "keys"])
def test_many_heads(packed):
    q, k, v, b = floats(2, 5, 32), floats(2, 5, 32, seed=1), floats(2, 5, 32, seed=2), floats(96)
    pasts = floats(2, 4, 3, 8, seed=3), floats(2, 4, 3, 8, seed=4)
    given = {"q": q, "k": k, "v": v}
    if packed == "all":
        given = {"q": np.stack([x.reshape(2, 5, 4, 8) for x in (q, k, v)], 3)}
    elif packed == "keys":
        given = {"q": q, "k": np.stack([x.reshape(2, 5, 4, 8) for x in (k, v)], 3)}
    given |= {"b": b, "pk": pasts[0], "pv": pasts[1]}
    parts = [heads(x.astype(np.float64) + o) for x, o in zip((q, k, v), np.split(b, 3))]
    keys, values = (np.concatenate([old, new], 2) for old, new in zip(pasts, parts[1:]))
    want, _ = exact_attention(parts[0], keys, values, causal=True, before=3)
    run("MultiHeadAttention", "q k v b m a pk pv", given, [beside(want), keys, values], "b", num_heads=4,
        unidirectional=1)


def turned(x, places, cos, sin, interleaved):
    """Pairs of entries as complex numbers, turned: (batch, heads, length, size)."""
    half = cos.shape[1]
    angle = (cos + 1j * sin)[places][:, None]
    first = x[..., : 2 * half]
    pairs = first[..., ::2] + 1j * first[..., 1::2] if interleaved else first[..., :half] + 1j * first[..., half:]
    pairs = pairs * angle
    parts = [pairs.real, pairs.imag]
    y = np.stack(parts, -1).reshape(first.shape) if interleaved else np.concatenate(parts, -1)
    return np.concatenate([y, x[..., 2 * half :]], -1)


def caches(half):
    angles = np.random.default_rng(1).random((20, half)) * 6
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embeddings(interleaved):
    (cos, sin), x = caches(4), floats(2, 5, 32)
    places = np.random.default_rng(0).integers(0, 20, (2, 5))
    given = {"x": x, "p": places, "c": cos, "s": sin}
    want = beside(turned(heads(x), places, cos, sin, interleaved))
    run("RotaryEmbedding", "x p c s", given, [want], "cs", interleaved=interleaved)
    want = turned(heads(x, 2), places, cos, sin, interleaved)  # heads of 16, 8 of them turned
    run("RotaryEmbedding", "x p c s", given, [beside(want)], "cs", interleaved=interleaved, num_heads=2,
        rotary_embedding_dim=8)
    given |= {"x": np.ascontiguousarray(heads(x)), "p": np.array([3])}
    want = turned(heads(x), np.arange(3, 8)[None], cos, sin, interleaved)
    run("RotaryEmbedding", "x p c s", given, [want], "cs", interleaved=interleaved)


GROUPS = {  # name: samples, new, past's length, keys of each sample, of the batch, and attributes
    "the first": (2, 5, 0, [5, 5], 5, {}),
    "one more": (1, 1, 6, [7], 7, {}),
    "one more, turned": (1, 1, 6, [7], 7, dict(do_rotary=1)),
    "lengths that differ": (2, 1, 6, [4, 7], 7, {}),
    "lengths that differ, turned": (2, 1, 6, [4, 7], 7, dict(do_rotary=1, rotary_interleaved=1)),
    "a cache with room": (2, 1, 12, [4, 7], 7, dict(do_rotary=1)),
    "a cache with room for one": (1, 2, 12, [8], 8, {}),
    "a window": (1, 4, 6, [10], 10, dict(local_window_size=3)),
    "capped": (2, 5, 0, [5, 5], 5, dict(softcap=2.0, scale=0.2)),
    "a score of no key": (2, 5, 0, [5, 5], 5, dict(smooth_softmax=1)),
}


@pytest.mark.parametrize("lengths", ["constant", "given"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", GROUPS)
def test_heads_in_groups_with_a_cache(name, packed, lengths):
    b, n, old, counts, total, attrs = GROUPS[name]
    q, k, v = floats(b, n, 64), floats(b, n, 32, seed=1), floats(b, n, 32, seed=2)
    pasts = floats(b, 2, old, 16, seed=3), floats(b, 2, old, 16, seed=4)
    cos, sin = caches(8)
    given = {"q": np.concatenate([q, k, v], 2)} if packed else {"q": q, "k": k, "v": v}
    given |= {"pk": pasts[0], "pv": pasts[1], "l": np.array(counts, np.int32) - 1, "t": np.array(total, np.int32)}
    given |= {"c": cos, "s": sin} if attrs.get("do_rotary") else {}
    want = np.zeros((b, 4, n, 16))
    present = [np.zeros((b, 2, max(total, old), 16)) for _ in pasts]
    for i, count in enumerate(counts):
        before = count - n
        parts = [heads(x[i : i + 1].astype(np.float64), c) for x, c in ((q, 4), (k, 2), (v, 2))]
        if attrs.get("do_rotary"):
            places = np.arange(before, count)[None]
            parts[:2] = [turned(x, places, cos, sin, attrs.get("rotary_interleaved", 0)) for x in parts[:2]]
        for whole, past, new in zip(present, pasts, parts[1:]):
            whole[i, :, :before], whole[i, :, before:count] = past[i, :, :before], new[0]
        keys, values = (p[i : i + 1, :, :count] for p in present)
        y, scores = exact_attention(
            parts[0], keys, values, causal=True, before=before, scale=attrs.get("scale"),
            cap=attrs.get("softcap", 0.0), left=attrs.get("local_window_size", -1))
        if attrs.get("smooth_softmax"):
            e = np.exp(scores[2])
            y = (e / (1 + e.sum(-1, keepdims=True))) @ np.repeat(values, 2, 1)
        want[i] = y[0]
    run("GroupQueryAttention", "q k v pk pv l t c s", given, [beside(want), *present],
        "tcs" + ("l" if lengths == "constant" else ""), num_heads=4, kv_num_heads=2, **attrs)


# ---- quantised


def whole(dtype, *shape, seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("types", [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")])
def test_products_of_bytes_as_floats(types, columns):
    a, b = whole(types[0], 4, 300), whole(types[1], 300, 6, seed=1)
    a_zero, b_zero = np.array(7, types[0]), np.full(6 if columns else (), 3, types[1])
    scale = np.random.default_rng(2).uniform(0.01, 0.1, 6 if columns else ()).astype(np.float32)
    sums = (a.astype(np.int64) - 7) @ (b.astype(np.int64) - 3)
    bias = floats(6)
    given = {"a": a, "b": b, "s": np.float32(0.1) * np.ones(()), "t": scale, "y": a_zero, "z": b_zero, "c": bias}
    given["s"] = given["s"].astype(np.float32)
    run("MatMulIntegerToFloat", "a b s t y z c", given, [sums * (0.1 * scale.astype(np.float64)) + bias], "bstyzc")
    if not columns:
        c = np.random.default_rng(3).integers(-900, 900, 6).astype(np.int32)
        given |= {"b": np.ascontiguousarray(b.T), "c": c}
        want = 0.5 * 0.1 * float(scale) * (sums + c)
        run("QGemm", "a s y b t z c", given, [want], "bstyzc", transB=1, alpha=0.5)


def test_floats_times_bytes():
    x, b = floats(4, 16), whole("int8", 16, 6)
    low, high = min(x.min(), 0), max(x.max(), 0)
    scale = np.float32(high - low) / np.float32(255)
    zero = np.rint(-low / scale)
    a = np.clip(np.rint(x / scale) + zero, 0, 255)
    want = (a - zero) @ (b.astype(np.float64) - 5) * scale * 0.02
    given = {"a": x, "b": b, "s": np.array(0.02, np.float32), "z": np.array(5, np.int8)}
    run("DynamicQuantizeMatMul", "a b s z", given, [want], "bsz")


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "packed", "bytes"])
@pytest.mark.parametrize("zeros", [False, True])
def test_tables_of_few_bits(kind, zeros):
    low, high = (-8, 7) if kind == "INT4" else (0, 255 if kind == "bytes" else 15)
    r = np.random.default_rng(0)
    values, zero = r.integers(low, high + 1, (30, 40)), r.integers(low, high + 1, (30, 3))
    scale, indices = r.uniform(0.5, 2, (30, 3)).astype(np.float32), r.integers(0, 30, (2, 3))
    if not zeros:
        zero = np.full((30, 3), {"packed": 8, "bytes": 128}.get(kind, 0))
    table = (values - np.repeat(zero, 16, 1)[:, :40]) * np.repeat(scale, 16, 1)[:, :40]

    def stored(x):
        if kind == "packed":
            x = np.pad(x, ((0, 0), (0, x.shape[1] % 2)))
            return (x[:, ::2] | x[:, 1::2] << 4).astype(np.uint8)
        return x.astype(np.uint8 if kind == "bytes" else helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind)))

    given = {"d": stored(values), "i": indices, "s": scale, **({"z": stored(zero)} if zeros else {})}
    run("GatherBlockQuantized", "d i s z", given, [table[indices]], "dsz", block_size=16,
        bits=8 if kind == "bytes" else 4)


def test_an_lstm_of_bytes():
    """That of the weights that the bytes stand for, by onnx's reference."""
    x, w, r, b = floats(7, 2, 10), whole("uint8", 2, 10, 24), whole("uint8", 2, 6, 24, seed=1), floats(2, 48) / 3
    scale, zero = np.full((2, 24), 0.004, np.float32), np.full((2, 24), 120, np.uint8)
    dense = [((v.astype(np.float32) - 120) * np.float32(0.004)).transpose(0, 2, 1) for v in (w, r)]
    model = file([node("LSTM", "x w r b", "y h c", direction="bidirectional", hidden_size=6)],
                 {"x": (FLOAT, x.shape)}, dict.fromkeys("yhc", (FLOAT, None)),
                 {"w": np.ascontiguousarray(dense[0]), "r": np.ascontiguousarray(dense[1]), "b": b})
    given = {"x": x, "w": w, "r": r, "b": b, "ws": scale, "wz": zero, "rs": scale, "rz": zero}
    run("DynamicQuantizeLSTM", "x w r b l h c p ws wz rs rz", given, list(reference(model, x)),
        ["w", "r", "b", "ws", "wz", "rs", "rz"], direction="bidirectional", hidden_size=6)


def test_attention_of_bytes():
    x, w, b = whole("uint8", 2, 5, 12), whole("int8", 12, 96), floats(96)
    mask = np.array([[1, 1, 0, 1, 0], [1] * 5], np.int32)
    projected = (x.astype(np.int64) - 128) @ w.astype(np.int64) * (0.02 * 0.004) + b
    q, k, v = (heads(p) for p in np.split(projected, 3, -1))
    want, _ = exact_attention(q, k, v, mask=np.where(mask[:, None, None] > 0, 0.0, -10000.0))
    given = {"x": x, "w": w, "b": b, "s": np.array(0.02, np.float32), "t": np.array(0.004, np.float32), "m": mask,
             "y": np.array(128, np.uint8), "z": np.array(0, np.int8)}
    run("QAttention", "x w b s t m y z", given, [beside(want)], "wbstyz", num_heads=4)


@pytest.mark.parametrize("op", ["QLinearAveragePool", "QLinearReduceMean", "QLinearWhere"])
def test_other_operators_of_bytes(op):
    """Computed on what the bytes stand for; the last digit may differ where float32 sees a tie."""
    x, given = whole("uint8", 2, 3, 8, 8), {}
    real = (x.astype(np.float64) - 20) * 0.1
    one = lambda v, t=np.float32: np.array(v, t)  # noqa: E731
    tail = {"u": one(0.15), "v": one(10, np.uint8)}
    if op == "QLinearWhere":
        other, chosen = whole("uint8", 8, seed=1), np.random.default_rng(0).random((2, 3, 8, 8)) < 0.5
        given = {"c": chosen, "x": x, "s": one(0.1), "z": one(20, np.uint8), "o": other, "t": one(0.2),
                 "w": one(3, np.uint8), **tail}
        want, names, attrs = np.where(chosen, real, (other.astype(np.float64) - 3) * 0.2), "c x s z o t w u v", {}
    else:
        given, names = {"x": x, "s": one(0.1), "z": one(20, np.uint8), **tail}, "x s z u v"
        pooled = op == "QLinearAveragePool"
        want = real.reshape(2, 3, 4, 2, 4, 2).mean((3, 5)) if pooled else real.mean((2, 3))
        attrs = dict(kernel_shape=[2, 2], strides=[2, 2]) if pooled else dict(axes=[2, 3], keepdims=0)
    codes = np.clip(np.rint(want / 0.15) + 10, 0, 255)
    run(op, names, given, [codes], [n for n in given if n not in "cxo"], tolerance=1.01 / codes.max(), **attrs)


@pytest.mark.parametrize(
    "op, names, given, attrs, match",
    [
        ("Attention", "x w", dict(x=(2, 5, 12), w=(11, 96)), {}, "and weights of"),
        ("Attention", "x w b m", dict(x=(2, 5, 12), w=(12, 96), m=(3, 7)), dict(num_heads=4), "a mask of shape"),
        ("MultiHeadAttention", "q", dict(q=(2, 5, 12)), {}, "a query, keys and values"),
        ("GroupQueryAttention", "q k v", dict(q=(2, 5, 12), k=(2, 5, 12), v=(2, 5, 12)), {}, "no seqlens_k"),
        ("FusedConv", "x w", dict(x=(1, 2, 3, 3), w=(2, 2, 1, 1)), dict(activation="Gelu"), "activation 'Gelu'"),
        ("SkipLayerNormalization", "x s g", dict(x=(2, 5), s=(3, 2, 5), g=(5,)), {}, "a skip of shape"),
        ("BiasGelu", "", {}, {}, "input 0 is left out"),
    ],
)
def test_what_is_refused(op, names, given, attrs, match):
    given = {n: floats(*shape) for n, shape in given.items()}
    inputs = [n if n in given else "" for n in names.split()]
    made = helper.make_node(op, inputs, ["y"], domain="com.microsoft", **attrs)
    model = file([made], {n: (FLOAT, x.shape) for n, x in given.items()}, {"y": (FLOAT, None)})
    with pytest.raises(door.ModelError, match=match):
        door.run(model, given)


def test_tokens_one_after_the_other_are_those_of_the_whole():
    """A cache that grows, in one loaded model of open axes: a Program for each length."""
    cos, sin = caches(8)
    made = helper.make_node("GroupQueryAttention", ["q", "k", "v", "pk", "pv", "l", "t", "c", "s"], ["y", "k2", "v2"],
                            domain="com.microsoft", num_heads=4, kv_num_heads=2, do_rotary=1)
    cache = (FLOAT, (1, 2, "past", 16))
    model = file(
        [made],
        {"q": (FLOAT, (1, "n", 64)), "k": (FLOAT, (1, "n", 32)), "v": (FLOAT, (1, "n", 32)), "pk": cache,
         "pv": cache, "l": (INT, (1,)), "t": (INT, ())},
        dict.fromkeys(("y", "k2", "v2"), (FLOAT, None)), {"c": cos, "s": sin})
    loaded = door.load(model)
    tokens = floats(1, 6, 64), floats(1, 6, 32), floats(1, 6, 32, seed=1)
    none = np.zeros((1, 2, 0, 16), np.float32)
    whole, *caches_whole = loaded(*tokens, none, none, np.array([5], np.int32), np.array(6, np.int32))
    past = none, none
    for i in range(6):
        given = *(t[:, i : i + 1] for t in tokens), *past, np.array([i], np.int32), np.array(i + 1, np.int32)
        y, *past = loaded(*given)
        assert isinstance(loaded.program_for(*given), Program)
        np.testing.assert_allclose(y, whole[:, i : i + 1], atol=1e-5)
    for a, b in zip(past, caches_whole, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
