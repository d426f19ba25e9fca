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
