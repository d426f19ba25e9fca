"""Small ONNX models, what onnx's reference makes of them, and the comparison."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

FLOAT, HALF, BFLOAT, LONG, BYTE, CHAR, INT, BOOL = (
    getattr(TensorProto, name)
    for name in ("FLOAT", "FLOAT16", "BFLOAT16", "INT64", "UINT8", "INT8", "INT32", "BOOL")
)
CODES = {"uint8": BYTE, "int8": CHAR, "int32": INT, "float32": FLOAT, "int64": LONG}


def node(op, inputs, outputs, **attrs):
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


def file(nodes, inputs, outputs, constants=None, opset=21):
    """A model: inputs and outputs by name, a type and a shape each."""
    infos = (
        [helper.make_tensor_value_info(name, *given) for name, given in some.items()]
        for some in (inputs, outputs)
    )
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(
        helper.make_graph(nodes, "g", *infos, held), opset_imports=domains, ir_version=10
    )


def floats(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def reference(model, *arrays):
    found = ReferenceEvaluator(model).run(
        None, dict(zip([i.name for i in model.graph.input], arrays, strict=True))
    )
    return found[0] if len(found) == 1 else tuple(found)


def same(got, want):
    want = np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, got.shape, want.dtype, want.shape)
    np.testing.assert_array_equal(got, want)


def exact_attention(
    q, k, v, *, mask=None, before=0, lengths=None, causal=False, scale=None, cap=0.0, left=-1, right=-1
):
    """Attention query by query in float64: results, and the scores of ONNX's four modes."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    b, h, n, d = q.shape
    own, m = k.shape[1:3]
    scale = d**-0.5 if scale is None else scale
    y, scores = np.zeros((b, h, n, v.shape[3])), np.zeros((4, b, h, n, m))
    full = None if mask is None else np.broadcast_to(mask, (b, h, n, mask.shape[-1]))
    for at in np.ndindex(b, h, n):
        s, i = at[0], at[2]
        serves = at[1] // (h // own)
        place = i + (before if lengths is None else lengths[s] - n)
        products = k[s, serves] @ q[at] * scale
        capped = cap * np.tanh(products / cap) if cap else products
        bias = np.zeros(m)
        for j in range(m):
            if full is not None:
                told = full[at][j] if j < full.shape[-1] else (-np.inf if full.dtype != bool else False)
                bias[j] += told if full.dtype != bool else (0 if told else -np.inf)
            hidden = causal and j > place or lengths is not None and j >= lengths[s]
            hidden |= left >= 0 and place - j > left or right >= 0 and j - place > right
            bias[j] += -np.inf if hidden else 0
        masked, weights = capped + bias, np.zeros(m)
        if np.isfinite(bias).any():
            weights = np.exp(masked - masked.max())
            weights /= weights.sum()
        y[at] = weights @ v[s, serves]
        scores[(slice(None), *at)] = products, capped, masked, weights
    return y, scores
