"""T5: Raffel et al. (2020), "Exploring the limits of transfer learning with a unified text-to-text
transformer".

Encoder and decoder with the norm in front of each block, a norm without mean and bias, linear layers
without bias, attention that is not scaled, and positions told by a bias for each bucket of
distances, which the first block learns for all. Version 1.1 gates its feed-forward layer
(Shazeer, 2020) and has output weights of its own. Names of arrays are those of transformers'
T5ForConditionalGeneration.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ... import functional as F, nn
from ...ops.attention import additive
from ..registry import network
from .configuration import Configuration
from .encoder_decoder import EncoderDecoder
from .folder import Names, family
from .heads import activation, attend_seen, attend_to_past, join_heads, split_heads
from .positions import bias_by_distance, distance_buckets, relative_bias

__all__ = ["T5", "T5Configuration", "t5_3b", "t5_base", "t5_large", "t5_small"]


@dataclass
class T5Configuration(Configuration):
    """Defaults: T5 small. num_decoder_layers None: as many as num_layers. feed_forward_proj "relu",
    or "gated-gelu" as version 1.1. tie_word_embeddings: the head shares the embeddings and scales
    its input by d_model^-0.5; version 1.1 does neither."""
    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool = True
    pad_token_id: int = 0
    eos_token_id: int | list | None = 1
    decoder_start_token_id: int | None = None   # the padding token

    model_type = "t5"
    ALIASES = {"hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers",
               "head_dim": "d_kv"}
    SIZES = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads",
             "relative_attention_num_buckets", "relative_attention_max_distance")

    def __post_init__(self) -> None:
        super().__post_init__()
        buckets, most = self.relative_attention_num_buckets, self.relative_attention_max_distance
        if buckets < 4 or most <= buckets // 2:   # a direction has single distances and ranges
            raise ValueError(f"t5: relative_attention_num_buckets must be at least 4 and its half below "
                             f"relative_attention_max_distance, got {buckets} and {most}")

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> T5Configuration:
        # newer files say by a field of its own what being tied stood for
        scaled = found.get("scale_decoder_outputs")
        return super().from_json(found if scaled is None else {**found, "tie_word_embeddings": scaled})

    def to_json(self) -> dict[str, Any]:
        start = self.pad_token_id if self.decoder_start_token_id is None else self.decoder_start_token_id
        return super().to_json() | {"is_encoder_decoder": True, "decoder_start_token_id": start,
                                    "scale_decoder_outputs": self.tie_word_embeddings}

    @property
    def gated(self) -> bool:
        return self.feed_forward_proj.startswith("gated-")

    @property
    def function(self) -> Any:
        name = self.feed_forward_proj.removeprefix("gated-")
        return activation("gelu_new" if self.feed_forward_proj == "gated-gelu" else name)


class ByDistance(NamedTuple):
    """What is added to the scores, (heads, L + S - 1), where keys end, (N, 1, 1) or None, and whether a
    query sees those before it only: all that T5's own attention needs, and no L x S array."""
    added: Any
    end: Any
    causal: bool


class Norm(nn.Module):
    """x / sqrt(mean of x^2 + eps) * weight."""

    def __init__(self, c: T5Configuration):
        self.weight, self.eps = nn.Parameter(np.ones(c.d_model, np.float32)), c.layer_norm_epsilon

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def projection(inputs: int, outputs: int, std: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=std)
    return linear


class Attention(nn.Module):
    def __init__(self, c: T5Configuration, biased: bool = False):
        inner = c.num_heads * c.d_kv
        self.heads, self.p = c.num_heads, c.dropout_rate
        # queries are drawn smaller, as scores are not divided by sqrt(d_kv)
        self.q = projection(c.d_model, inner, (c.d_model * c.d_kv) ** -0.5)
        self.k, self.v = (projection(c.d_model, inner, c.d_model ** -0.5) for _ in range(2))
        self.o = projection(inner, c.d_model, inner ** -0.5)
        if biased:
            self.relative_attention_bias = nn.Embedding(c.relative_attention_num_buckets, c.num_heads)
            nn.init.normal_(self.relative_attention_bias.weight, std=c.d_model ** -0.5)

    def keys_and_values(self, x):
        return split_heads(self.k(x), self.heads), split_heads(self.v(x), self.heads)

    def attend(self, x, keys, values, mask):
        q = split_heads(self.q(x), self.heads)
        if isinstance(mask, ByDistance):
            y = F.scaled_dot_product_attention(q, keys, values, is_causal=mask.causal, scale=1.0, key_end=mask.end,
                                               distance_bias=mask.added)
        else:
            y = attend_seen(q, keys, values, mask, self.p if self.training else 0.0, 1.0)
        return self.o(join_heads(y))

    def attend_to_past(self, x, keys, values, past, bias, own_bias):
        y = attend_to_past(split_heads(self.q(x), self.heads), keys, values, past, 1.0, bias, own_bias)
        return self.o(join_heads(y))


class DenseReluDense(nn.Module):
    def __init__(self, c: T5Configuration):
        names = ("wi_0", "wi_1") if c.gated else ("wi",)
        for name in names:
            setattr(self, name, projection(c.d_model, c.d_ff, c.d_model ** -0.5))
        self.wo = projection(c.d_ff, c.d_model, c.d_ff ** -0.5)
        self.gated, self.function, self.dropout = c.gated, c.function, nn.Dropout(c.dropout_rate)

    def forward(self, x):
        y = F.mul(self.function(self.wi_0(x)), self.wi_1(x)) if self.gated else self.function(self.wi(x))
        return self.wo(self.dropout(y))


class Part(nn.Module):
    """x + dropout(f(norm(x))), f under the name that files have."""

    def __init__(self, c: T5Configuration, name: str, f: nn.Module):
        setattr(self, name, f)
        self.name, self.layer_norm, self.dropout = name, Norm(c), nn.Dropout(c.dropout_rate)

    @property
    def function(self) -> Any:
        return getattr(self, self.name)

    def forward(self, x, f):
        return F.add(x, self.dropout(f(self.layer_norm(x))))


class Block(nn.Module):
    def __init__(self, c: T5Configuration, biased: bool, decoder: bool):
        parts = [Part(c, "SelfAttention", Attention(c, biased))]
        if decoder:
            parts.append(Part(c, "EncDecAttention", Attention(c)))
        self.layer = nn.ModuleList([*parts, Part(c, "DenseReluDense", DenseReluDense(c))])

    def forward(self, x, bias, cross=None, cross_mask=None, past=None):
        """bias: of the own scores, masks included, or ByDistance; with past a pair, of the past's and of
        the own key's. cross: keys and values of a source."""
        own, *other, dense = self.layer
        kept: Any = None

        def attend(x):
            nonlocal kept
            kept = own.function.keys_and_values(x)
            return (own.function.attend(x, *kept, bias) if past is None
                    else own.function.attend_to_past(x, *kept, past, *bias))
        x = own(x, attend)
        if cross is not None:
            x = other[0](x, lambda x: other[0].function.attend(x, *cross, cross_mask))
        return dense(x, dense.function), kept


class Stack(nn.Module):
    def __init__(self, c: T5Configuration, shared: nn.Parameter, layers: int, decoder: bool):
        self.embed_tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.embed_tokens.weight = shared
        self.block = nn.ModuleList([Block(c, i == 0, decoder) for i in range(layers)])
        self.final_layer_norm, self.dropout = Norm(c), nn.Dropout(c.dropout_rate)
        self.buckets = distance_buckets(c.relative_attention_num_buckets, c.relative_attention_max_distance,
                                        not decoder)

    @property
    def weight(self):
        return self.block[0].layer[0].function.relative_attention_bias.weight

    def bias(self, queries, keys):
        return relative_bias(queries, keys, self.weight, self.buckets)

    def own_bias(self, x, mask, causal: bool):
        """What attention of x (N, T, width) to itself adds. mask (N, 1, 1, T): True at tokens."""
        count, end = int(x.shape[1]), lengths_of(mask)
        if (mask is None or end is not None) and not (self.training and self.dropout.p):
            return ByDistance(bias_by_distance(count, count, self.weight, self.buckets), end, causal)
        positions = np.arange(count)[None]
        bias = self.bias(positions, positions)
        if causal:
            bias = F.add(bias, additive(np.tri(count, dtype=bool), x))
        return bias if mask is None else F.add(bias, additive(mask, x))


def lengths_of(mask) -> np.ndarray | None:
    """How many keys (N, 1, 1) a mask (N, 1, 1, T) stands for; None where it is no array, or has tokens
    behind padding."""
    if not isinstance(mask, np.ndarray):
        return None
    end = mask.sum(-1)
    return end if np.array_equal(mask, np.arange(mask.shape[-1]) < end[..., None]) else None


class T5(EncoderDecoder):
    """A source (N, S) and what was written so far (N, T) to scores (N, T, vocab_size)."""

    def __init__(self, config: T5Configuration):
        c = self.config = config
        self.shared = nn.Embedding(c.vocab_size, c.d_model)
        decoders = c.num_layers if c.num_decoder_layers is None else c.num_decoder_layers
        self.encoder = Stack(c, self.shared.weight, c.num_layers, False)
        self.decoder = Stack(c, self.shared.weight, decoders, True)
        self.lm_head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        if c.tie_word_embeddings:
            self.lm_head.weight = self.shared.weight
        self.vocabulary, self.cache_shape = c.vocab_size, (decoders, c.num_heads, c.d_kv)
        self.start = c.pad_token_id if c.decoder_start_token_id is None else c.decoder_start_token_id

    def encode(self, ids, positions, mask=None):
        stack = self.encoder
        x = stack.dropout(stack.embed_tokens(ids))
        bias = stack.own_bias(x, mask, False)
        for block in stack.block:
            x, _ = block(x, bias)
        return stack.dropout(stack.final_layer_norm(x))

    def cross(self, memory):
        return [block.layer[1].function.keys_and_values(memory) for block in self.decoder.block]

    def decode(self, ids, positions, cross, cross_mask, past=None):
        stack, kept = self.decoder, []
        x: Any = stack.dropout(stack.embed_tokens(ids))
        bias: Any
        if past is None:
            bias = stack.own_bias(x, None, True)
        else:
            before = stack.bias(positions, np.arange(int(past[0][0].shape[2]))[None])
            bias = before[:, :, 0], F.unsqueeze(bias_by_distance(1, 1, stack.weight, stack.buckets), -1)
        for i, block in enumerate(stack.block):
            x, own = block(x, bias, cross[i], cross_mask, None if past is None else past[i])
            kept.append(own)
        x = stack.dropout(stack.final_layer_norm(x))
        if self.config.tie_word_embeddings:
            x = F.mul(x, self.config.d_model ** -0.5)
        return self.lm_head(x), kept


SHARED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
family(T5Configuration, {"T5ForConditionalGeneration": T5, "T5WithLMHeadModel": T5},
       Names(tied=dict.fromkeys(SHARED, "shared.weight"),
             skip=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)))


@network(image=(), published=60_506_624, source="Raffel et al. (2020)")
def t5_small(**settings) -> T5:
    """6 + 6 layers, 512 wide: 60,506,624 parameters. settings: fields of T5Configuration."""
    return T5(T5Configuration(**settings))


@network(image=(), published=222_903_552, source="Raffel et al. (2020)")
def t5_base(**settings) -> T5:
    """12 + 12 layers, 768 wide, 12 heads: 222,903,552 parameters."""
    return t5_small(**{"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12} | settings)


@network(image=(), published=737_668_096, source="Raffel et al. (2020)")
def t5_large(**settings) -> T5:
    """24 + 24 layers, 1024 wide, 16 heads: 737,668,096 parameters."""
    return t5_small(**{"d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16} | settings)


@network(image=(), published=2_851_598_336, source="Raffel et al. (2020)")
def t5_3b(**settings) -> T5:
    """24 + 24 layers, 1024 wide, 32 heads of 128, 16384 in the feed-forward layers: 2,851,598,336
    parameters."""
    return t5_small(**{"d_model": 1024, "d_kv": 128, "d_ff": 16384, "num_layers": 24, "num_heads": 32} | settings)
