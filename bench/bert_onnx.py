"""BERT's trunk as an ONNX model, for ONNX Runtime and OpenVINO: tokens, and a mask where there is padding, to a
vector of each token. Either of ONNX's own operators, or of those that ONNX Runtime's optimiser for
Transformers puts in their place: attention, sums with their norm, and bias with GELU as one operator each."""
from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from .gpt2_onnx import Builder

CONTRIBUTED = "com.microsoft"


class Layers(Builder):
    """What BERT's layers are made of. fused: by ONNX Runtime's own operators."""

    def __init__(self, config, fused: bool, mask: str | None):
        super().__init__()
        self.config, self.fused, self.mask = config, fused, mask

    def matmul(self, x: str, *layers) -> str:
        return self.node("MatMul", x, self.constant(np.concatenate([layer.weight.data for layer in layers]).T))

    def dense(self, x: str, *layers) -> str:
        bias = np.concatenate([layer.bias.data for layer in layers])
        return self.node("Add", self.matmul(x, *layers), self.constant(bias))

    def attention(self, x: str, of) -> str:
        c, parts = self.config, (of.query, of.key, of.value)
        heads, features = c.num_attention_heads, c.hidden_size // c.num_attention_heads
        if self.fused:
            weight = np.concatenate([part.weight.data for part in parts]).T
            bias = np.concatenate([part.bias.data for part in parts])
            masked = [] if self.mask is None else [self.mask]
            return self.node("Attention", x, self.constant(weight), self.constant(bias), *masked, domain=CONTRIBUTED,
                             num_heads=heads)
        q, k, v = self.node("Split", self.dense(x, *parts), self.constant(np.full(3, c.hidden_size, np.int64)),
                            outputs=3, axis=-1)
        q, v = (self.node("Transpose", self.shaped(part, 0, 0, heads, features), perm=[0, 2, 1, 3]) for part in (q, v))
        k = self.node("Transpose", self.shaped(k, 0, 0, heads, features), perm=[0, 2, 3, 1])
        scores = self.node("Mul", self.node("MatMul", q, k), self.constant(np.float32(features ** -0.5)))
        scores = scores if self.mask is None else self.node("Add", scores, self.mask)
        y = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        return self.shaped(self.node("Transpose", y, perm=[0, 2, 1, 3]), 0, 0, c.hidden_size)

    def sum(self, x: str, residual: str, of) -> str:
        """norm(residual + linear(x))."""
        if not self.fused:
            return self.norm(self.node("Add", self.dense(x, of.dense), residual), of.LayerNorm)
        values = (of.LayerNorm.weight, of.LayerNorm.bias, of.dense.bias)
        return self.node("SkipLayerNormalization", self.matmul(x, of.dense), residual,
                         *(self.constant(value.data) for value in values), domain=CONTRIBUTED, epsilon=of.LayerNorm.eps)

    def layer(self, x: str, of) -> str:
        x = self.sum(self.attention(x, of.attention.self), x, of.attention.output)
        first = of.intermediate.dense
        y = (self.node("BiasGelu", self.matmul(x, first), self.constant(first.bias.data), domain=CONTRIBUTED)
             if self.fused else self.node("Gelu", self.dense(x, first)))
        return self.sum(y, x, of.output)


def trunk_model(bert, config, fused: bool, masked: bool) -> bytes:
    """Inputs ids (N, T) int64 and, masked, mask (N, T) int32, 1 at tokens; result (N, T, width)."""
    b = Layers(config, fused, None)
    if masked:
        b.mask = "mask" if fused else b.node("Mul", b.node("Unsqueeze", b.node(
            "Sub", b.constant(np.float32(1)), b.node("Cast", "mask", to=TensorProto.FLOAT)),
            b.constant(np.array([1, 2], np.int64))), b.constant(np.float32(-1e9)))
    e = bert.embeddings
    length = b.node("Shape", "ids", start=1, end=2)
    zero, step = (b.constant(np.array([i], np.int64)) for i in (0, 1))
    places = b.node("Slice", b.constant(e.position_embeddings.weight.data), zero, length, zero, step)
    segment = b.constant(e.token_type_embeddings.weight.data[:1])
    words = b.node("Gather", b.constant(e.word_embeddings.weight.data), "ids")
    x = b.norm(b.node("Add", b.node("Add", words, segment), places), e.LayerNorm)
    for layer in bert.encoder.layer:
        x = b.layer(x, layer)
    b.nodes.append(helper.make_node("Identity", [x], ["hidden"]))
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "T"])]
    if masked:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.INT32, ["N", "T"]))
    outputs = [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["N", "T", config.hidden_size])]
    graph = helper.make_graph(b.nodes, "bert", inputs, outputs, b.constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[
        helper.make_opsetid("", 20), helper.make_opsetid(CONTRIBUTED, 1)]).SerializeToString()
