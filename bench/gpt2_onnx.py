"""A step of GPT-2 over a cache as an ONNX model, for ONNX Runtime and OpenVINO: a token, its place and the
past of all layers to scores and the past with one more entry, as their users pass it along."""
from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Nodes and constants so far."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, array) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes):
        names = [f"n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names if outputs > 1 else names[0]

    def norm(self, x: str, layer) -> str:
        return self.node("LayerNormalization", x, self.constant(layer.weight.data), self.constant(layer.bias.data),
                         axis=-1, epsilon=layer.eps)

    def linear(self, x: str, layer) -> str:
        """Of a Conv1D, whose weights are (in, out)."""
        product = self.node("MatMul", x, self.constant(layer.weight.data))
        return self.node("Add", product, self.constant(layer.bias.data))

    def shaped(self, x: str, *shape: int) -> str:
        return self.node("Reshape", x, self.constant(np.array(shape, np.int64)))


def step_model(model) -> bytes:
    """Inputs ids and place (1, 1) int64 and past (layers, 2, 1, heads, C, features) float32, C as it comes; results
    scores (1, 1, vocabulary) and present, the past with one more entry."""
    b, c, (layers, heads, features) = Builder(), model.config, model.cache_shape
    tokens = b.constant(model.transformer.wte.weight.data)
    x = b.node("Add", b.node("Gather", tokens, "ids"),
               b.node("Gather", b.constant(model.transformer.wpe.weight.data), "place"))
    kept = []
    for i, block in enumerate(model.transformer.h):
        y = b.linear(b.norm(x, block.ln_1), block.attn.c_attn)
        q, k, v = (b.node("Transpose", b.shaped(part, 1, 1, heads, features), perm=[0, 2, 1, 3])
                   for part in b.node("Split", y, b.constant(np.full(3, c.n_embd, np.int64)), outputs=3, axis=-1))
        past = [b.node("Gather", b.node("Gather", "past", b.constant(np.int64(i)), axis=0), b.constant(np.int64(j)),
                       axis=0) for j in (0, 1)]
        k, v = (b.node("Concat", old, new, axis=2) for old, new in zip(past, (k, v)))
        scores = b.node("Mul", b.node("MatMul", q, b.node("Transpose", k, perm=[0, 1, 3, 2])),
                        b.constant(np.float32(features ** -0.5)))
        y = b.node("MatMul", b.node("Softmax", scores, axis=-1), v)
        x = b.node("Add", x, b.linear(b.shaped(b.node("Transpose", y, perm=[0, 2, 1, 3]), 1, 1, c.n_embd),
                                      block.attn.c_proj))
        y = b.node("Gelu", b.linear(b.norm(x, block.ln_2), block.mlp.c_fc), approximate="tanh")
        x = b.node("Add", x, b.linear(y, block.mlp.c_proj))
        axes = b.constant(np.array([0, 1], np.int64))
        kept.append(b.node("Concat", *(b.node("Unsqueeze", of, axes) for of in (k, v)), axis=1))
    head = b.constant(np.ascontiguousarray(model.lm_head.weight.data.T))
    b.nodes.append(helper.make_node("MatMul", [b.norm(x, model.transformer.ln_f), head], ["scores"]))
    b.nodes.append(helper.make_node("Concat", kept, ["present"], axis=0))
    lead = [layers, 2, 1, heads]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, 1]) for name in ("ids", "place")]
    inputs.append(helper.make_tensor_value_info("past", TensorProto.FLOAT, [*lead, "C", features]))
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, c.vocab_size]),
               helper.make_tensor_value_info("present", TensorProto.FLOAT, [*lead, "D", features])]
    graph = helper.make_graph(b.nodes, "gpt2_step", inputs, outputs, b.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def prefill_model(model) -> bytes:
    """Inputs ids (1, T) int64; results scores (1, vocabulary) of what follows, and present, keys and values."""
    b, c, (layers, heads, features) = Builder(), model.config, model.cache_shape
    length = b.node("Shape", "ids", start=1, end=2)
    zero, one = (b.constant(np.array([i], np.int64)) for i in (0, 1))
    places = b.node("Slice", b.constant(model.transformer.wpe.weight.data), zero, length, zero, one)
    x = b.node("Add", b.node("Gather", b.constant(model.transformer.wte.weight.data), "ids"), places)
    square = b.node("Concat", length, length, axis=0)
    hidden = b.node("Trilu", b.node("Expand", b.constant(np.float32(-1e9)), square), b.constant(np.int64(1)), upper=1)
    kept = []
    for block in model.transformer.h:
        y = b.linear(b.norm(x, block.ln_1), block.attn.c_attn)
        q, k, v = (b.node("Transpose", b.shaped(part, 1, -1, heads, features), perm=[0, 2, 1, 3])
                   for part in b.node("Split", y, b.constant(np.full(3, c.n_embd, np.int64)), outputs=3, axis=-1))
        scores = b.node("Mul", b.node("MatMul", q, b.node("Transpose", k, perm=[0, 1, 3, 2])),
                        b.constant(np.float32(features ** -0.5)))
        y = b.node("MatMul", b.node("Softmax", b.node("Add", scores, hidden), axis=-1), v)
        x = b.node("Add", x, b.linear(b.shaped(b.node("Transpose", y, perm=[0, 2, 1, 3]), 1, -1, c.n_embd),
                                      block.attn.c_proj))
        y = b.node("Gelu", b.linear(b.norm(x, block.ln_2), block.mlp.c_fc), approximate="tanh")
        x = b.node("Add", x, b.linear(y, block.mlp.c_proj))
        axes = b.constant(np.array([0, 1], np.int64))
        kept.append(b.node("Concat", *(b.node("Unsqueeze", of, axes) for of in (k, v)), axis=1))
    last = b.node("Gather", b.norm(x, model.transformer.ln_f), b.constant(np.int64(-1)), axis=1)
    head = b.constant(np.ascontiguousarray(model.lm_head.weight.data.T))
    b.nodes.append(helper.make_node("MatMul", [last, head], ["scores"]))
    b.nodes.append(helper.make_node("Concat", kept, ["present"], axis=0))
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "T"])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, c.vocab_size]),
               helper.make_tensor_value_info("present", TensorProto.FLOAT, [layers, 2, 1, heads, "T", features])]
    graph = helper.make_graph(b.nodes, "gpt2_prefill", inputs, outputs, b.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def of_onnxruntime(file: bytes, threads: int):
    """step(*arrays) -> the model's results."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [of.name for of in session.get_inputs()]
    return lambda *given: session.run(None, dict(zip(names, given)))


def of_openvino(file: bytes, threads: int):
    """The same."""
    import openvino
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(file), "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads})

    def step(*given):
        found = compiled(given)
        return [found[i] for i in range(len(compiled.outputs))]
    return step
