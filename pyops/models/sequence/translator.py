"""The Transformer: Vaswani et al. (2017), "Attention is all you need".

The paper's figure 1: embeddings times sqrt(width) plus sines, an encoder, a decoder that looks at
what it made, and scores by the embeddings' own weights. The layers are nn.Transformer's, so that
weights fit torch's.
"""
from __future__ import annotations

import math

import numpy as np

from ... import functional as F, nn
from ..registry import network
from .encoder_decoder import EncoderDecoder
from .heads import attend_seen, attend_to_past, join_heads, split_heads
from .positions import sinusoidal

__all__ = ["Translator", "transformer_base", "transformer_big"]


class Translator(EncoderDecoder):
    """A source (N, S) and what was written so far (N, T) to scores (N, T, vocabulary).

    vocabulary: tokens of both languages, one table for source, target and output (section 3.4).
    start: the token that every target begins with. norm_first: the norm in front of each block and
    one at the end of both stacks, as later models have it; by default behind each sum, as the paper.
    most_positions: rows of the table of sines.
    """

    def __init__(self, vocabulary: int, d_model: int = 512, nhead: int = 8, num_layers: int = 6,
                 dim_feedforward: int = 2048, dropout: float = 0.1, norm_first: bool = False,
                 most_positions: int = 1024, start: int = 0):
        for name, value in (("vocabulary", vocabulary), ("most_positions", most_positions)):
            if value < 1:
                raise ValueError(f"Translator: {name} must be at least 1, got {value}")
        if not 0 <= start < vocabulary:
            raise ValueError(f"Translator: start {start} is no token of {vocabulary}")
        self.embedding = nn.Embedding(vocabulary, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model ** -0.5)
        self.dropout, self.scale = nn.Dropout(dropout), math.sqrt(d_model)
        self.transformer = nn.Transformer(d_model, nhead, num_layers, num_layers, dim_feedforward, dropout,
                                          batch_first=True, norm_first=norm_first)
        if not norm_first:   # the last sum has its norm already
            self.transformer.encoder.norm = self.transformer.decoder.norm = None
        self.register_buffer("sines", sinusoidal(most_positions, d_model).astype(np.float32), persistent=False)
        self.vocabulary, self.start, self.most_positions = vocabulary, start, most_positions
        self.heads, self.cache_shape = nhead, (num_layers, nhead, d_model // nhead)

    def embed(self, ids, positions):
        return self.dropout(F.add(F.mul(self.embedding(ids), self.scale), F.embedding(positions, self.sines)))

    def encode(self, ids, positions, mask=None):
        x = self.embed(ids, positions)
        for layer in self.transformer.encoder.layers:
            def attend(x, layer=layer):
                attention = layer.self_attn
                q, k, v = self.own(attention, x)
                y = F.scaled_dot_product_attention(q, k, v, mask, attention.dropout if self.training else 0.0)
                return layer.dropout1(attention.out_proj(join_heads(y)))
            x = encoder_layer(layer, x, attend)
        norm = self.transformer.encoder.norm
        return x if norm is None else norm(x)

    def own(self, attention, x):
        """Queries, keys and values of one text."""
        parts = F.chunk(F.linear(x, attention.in_proj_weight, attention.in_proj_bias), 3, -1)
        return [split_heads(part, self.heads) for part in parts]

    def cross(self, memory):
        found = []
        for layer in self.transformer.decoder.layers:
            attention, width = layer.multihead_attn, layer.multihead_attn.embed_dim
            both = F.linear(memory, attention.in_proj_weight[width:], attention.in_proj_bias[width:])
            found.append(tuple(split_heads(part, self.heads) for part in F.chunk(both, 2, -1)))
        return found

    def decode(self, ids, positions, cross, cross_mask, past=None):
        x, kept = self.embed(ids, positions), []
        for i, layer in enumerate(self.transformer.decoder.layers):
            def own(x, layer=layer, i=i):
                attention = layer.self_attn
                q, k, v = self.own(attention, x)
                kept.append((k, v))
                p = attention.dropout if self.training else 0.0
                y = (F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True) if past is None
                     else attend_to_past(q, k, v, past[i]))
                return layer.dropout1(attention.out_proj(join_heads(y)))

            def other(x, layer=layer, i=i):
                attention, width = layer.multihead_attn, layer.multihead_attn.embed_dim
                q = F.linear(x, attention.in_proj_weight[:width], attention.in_proj_bias[:width])
                p = attention.dropout if self.training else 0.0
                y = attend_seen(split_heads(q, self.heads), *cross[i], cross_mask, p)
                return layer.dropout2(attention.out_proj(join_heads(y)))
            x = layer.wired(x, own, other)
        norm = self.transformer.decoder.norm
        return F.linear(x if norm is None else norm(x), self.embedding.weight), kept


def encoder_layer(layer, x, attend):
    """nn.TransformerEncoderLayer around another way to attend."""
    if layer.norm_first:
        x = F.add(x, attend(layer.norm1(x)))
        return F.add(x, layer._feed_forward(layer.norm2(x)))
    x = layer.norm1(F.add(x, attend(x)))
    return layer.norm2(F.add(x, layer._feed_forward(x)))


@network(image=(), published=63_082_496, source="Vaswani et al. (2017)")
def transformer_base(vocabulary: int = 37000, **settings) -> Translator:
    """The paper's base model: 63,082,496 parameters with its 37,000 tokens. settings: Translator's."""
    return Translator(vocabulary, **settings)


@network(image=(), published=214_245_376, source="Vaswani et al. (2017)")
def transformer_big(vocabulary: int = 37000, **settings) -> Translator:
    """The paper's big model: 1024 wide, 16 heads, 4096 in between, dropout 0.3: 214,245,376
    parameters."""
    return Translator(vocabulary, **{"d_model": 1024, "nhead": 16, "dim_feedforward": 4096, "dropout": 0.3} | settings)
