"""GPT-NeoX: Black et al. (2022), "GPT-NeoX-20B"; the sizes of Pythia: Biderman et al. (2023).

GPT-2 with rotary positions on a quarter of each head's features, and attention and feed-forward
layer side by side: x + attention(norm(x)) + feed_forward(norm'(x)). Names of arrays are those of
transformers' GPTNeoXForCausalLM.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.types import DType
from ..registry import by_size, network
from .causal import CausalLanguageModel
from .configuration import Configuration, divided
from .folder import Names, family
from .heads import activation, attend_to_past, check_ids, join_heads
from .rope import Rope

__all__ = ["PYTHIA", "GPTNeoX", "GPTNeoXConfiguration", "gpt_neox_20b", "pythia"]


@dataclass
class GPTNeoXConfiguration(Configuration):
    """Defaults: GPT-NeoX-20B. rotary_pct: the share of a head's features that are turned. rope_scaling:
    for longer texts, such as {"rope_type": "yarn", "factor": 4.0} (rope.py)."""
    vocab_size: int = 50432
    hidden_size: int = 6144
    num_hidden_layers: int = 44
    num_attention_heads: int = 64
    intermediate_size: int = 24576
    hidden_act: str = "gelu"
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    max_position_embeddings: int = 2048
    layer_norm_eps: float = 1e-5
    use_parallel_residual: bool = True
    rotary_pct: float = 0.25
    rotary_emb_base: float = 10000.0
    attention_bias: bool = True
    tie_word_embeddings: bool = False
    eos_token_id: int | list | None = None
    rope_scaling: dict | None = None

    model_type = "gpt_neox"
    SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
             "max_position_embeddings")

    def __post_init__(self) -> None:
        super().__post_init__()
        divided(self, "hidden_size", "num_attention_heads")
        features = self.hidden_size // self.num_attention_heads
        if not 0 < self.rotary_pct <= 1 or int(features * self.rotary_pct) < 1 or not self.rotary_emb_base > 1:
            raise ValueError(f"gpt_neox: rotary_pct {self.rotary_pct} must be a share of a head's {features} features, "
                             f"one at least, and rotary_emb_base {self.rotary_emb_base} above 1")
        try:
            self.rope = Rope.of(self.rope_scaling or {}, self.max_position_embeddings)
        except ValueError as why:
            raise ValueError(f"gpt_neox: {why}") from why

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> GPTNeoXConfiguration:
        turns = found.get("rope_parameters") or found.get("rope_scaling") or {}
        if not isinstance(turns, Mapping):
            raise ValueError(f"gpt_neox: rope_parameters must be an object, got {turns!r}")
        kind = turns.get("rope_type", turns.get("type", "default"))
        newer = {"rotary_emb_base": turns.get("rope_theta"), "rotary_pct": turns.get("partial_rotary_factor"),
                 "rope_scaling": None if kind == "default" else {
                     k: v for k, v in turns.items() if k not in ("rope_theta", "partial_rotary_factor")}}
        others = {k: v for k, v in found.items() if k != "rope_scaling"}
        return super().from_json({**others, **{k: v for k, v in newer.items() if v is not None}})

    def to_json(self) -> dict[str, Any]:
        found = super().to_json()
        scaling = found.pop("rope_scaling") or {}
        return found | {"rope_parameters": {"rope_type": self.rope.kind, "rope_theta": self.rotary_emb_base,
                                            "partial_rotary_factor": self.rotary_pct} |
                        {k: v for k, v in scaling.items() if k not in ("type", "rope_type")}}


class Attention(nn.Module):
    def __init__(self, c: GPTNeoXConfiguration):
        self.heads, self.p = c.num_attention_heads, c.attention_dropout
        self.query_key_value = nn.Linear(c.hidden_size, 3 * c.hidden_size, c.attention_bias)
        self.dense = nn.Linear(c.hidden_size, c.hidden_size, c.attention_bias)

    def forward(self, x, turns, past=None):
        n, t, width = x.shape
        # a head's query, key and value lie side by side
        both = F.reshape(self.query_key_value(x), (n, t, self.heads, 3 * width // self.heads))
        q, k, v = F.chunk(F.permute(both, (0, 2, 1, 3)), 3, -1)
        q, k = F.rotary_embedding(q, *turns), F.rotary_embedding(k, *turns)
        if past is None:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0,
                                               is_causal=True)
        else:
            y = attend_to_past(q, k, v, past)
        return self.dense(join_heads(y)), (k, v)


class FeedForward(nn.Module):
    def __init__(self, c: GPTNeoXConfiguration):
        self.dense_h_to_4h = nn.Linear(c.hidden_size, c.intermediate_size)
        self.dense_4h_to_h = nn.Linear(c.intermediate_size, c.hidden_size)
        self.activation = activation(c.hidden_act)

    def forward(self, x):
        return self.dense_4h_to_h(self.activation(self.dense_h_to_4h(x)))


class Layer(nn.Module):
    def __init__(self, c: GPTNeoXConfiguration):
        self.parallel = c.use_parallel_residual
        self.input_layernorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.attention, self.mlp = Attention(c), FeedForward(c)
        self.dropout = nn.Dropout(c.hidden_dropout)

    def forward(self, x, turns, past=None):
        y, own = self.attention(self.input_layernorm(x), turns, past)
        between = F.add(x, self.dropout(y))
        z = self.mlp(self.post_attention_layernorm(x if self.parallel else between))
        return F.add(between, self.dropout(z)), own


class Trunk(nn.Module):
    def __init__(self, c: GPTNeoXConfiguration):
        self.embed_in = nn.Embedding(c.vocab_size, c.hidden_size)
        self.emb_dropout = nn.Dropout(c.hidden_dropout)
        self.layers = nn.ModuleList([Layer(c) for _ in range(c.num_hidden_layers)])
        self.final_layer_norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)


class GPTNeoX(CausalLanguageModel):
    """Tokens (N, T) to scores of the next one (N, T, vocab_size)."""

    def __init__(self, config: GPTNeoXConfiguration):
        c = self.config = config
        self.gpt_neox = Trunk(c)
        self.embed_out = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        if c.tie_word_embeddings:
            self.embed_out.weight = self.gpt_neox.embed_in.weight
        # of dynamic scaling a text's own length decides, which grows while one is written
        self.most_positions = c.rope.positions if c.rope.kind == "dynamic" else c.rope.longest
        self.vocabulary, features = c.vocab_size, c.hidden_size // c.num_attention_heads
        self.cache_shape = c.num_hidden_layers, c.num_attention_heads, features
        for name, table in zip(("cos", "sin"), self.tables(self.most_positions)):
            self.register_buffer(name, table, persistent=False)
        self.apply(drawn)

    @property
    def lm_head(self) -> nn.Module:
        return self.embed_out

    def tables(self, count: int, dtype: DType = np.float32):
        """cos and sin of every position in a text of `count` tokens."""
        c = self.config
        turned = int(c.hidden_size // c.num_attention_heads * c.rotary_pct)
        return [table.astype(dtype) for table in c.rope.tables(turned, c.rotary_emb_base, count)]

    def forward(self, ids):
        """As CausalLanguageModel.forward. With dynamic scaling texts may be `factor` times as long as
        those of training, which are all that generate takes."""
        check_ids(type(self).__name__, ids, self.vocabulary)
        most, count = self.config.rope.longest, ids.shape[1]
        if self.config.rope.kind != "dynamic" or not self.most_positions < count <= most:
            return super().forward(ids)
        tables = self.tables(count, next(self.parameters()).dtype)
        return self.lm_head(self.hidden(ids, np.arange(count)[None], tables=tables)[0])

    def hidden(self, ids, positions, past=None, tables=None):
        """As GPT2.hidden. tables: of cos and sin, where they are not the model's own."""
        trunk, kept = self.gpt_neox, []
        turns = [F.unsqueeze(F.embedding(positions, table), 1) for table in tables or (self.cos, self.sin)]
        x = trunk.emb_dropout(trunk.embed_in(ids))
        for i, layer in enumerate(trunk.layers):
            x, own = layer(x, turns, None if past is None else past[i])
            kept.append(own)
        return trunk.final_layer_norm(x), kept


def drawn(module: nn.Module, std: float = 0.02) -> None:
    """Weights of a layer before training: normal with this deviation."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


family(GPTNeoXConfiguration, {"GPTNeoXForCausalLM": GPTNeoX, "GPTNeoXModel": GPTNeoX},
       Names(prefix="gpt_neox.", tied={"embed_out.weight": "gpt_neox.embed_in.weight"},
             skip=(r"(gpt_neox\.)?layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",)))

# name: width, layers, heads, tokens (padded), of Pythia
PYTHIA = {"14m": (128, 6, 4, 50304), "31m": (256, 6, 8, 50304), "70m": (512, 6, 8, 50304),
          "160m": (768, 12, 12, 50304), "410m": (1024, 24, 16, 50304), "1b": (2048, 16, 8, 50304),
          "1.4b": (2048, 24, 16, 50304), "2.8b": (2560, 32, 32, 50304), "6.9b": (4096, 32, 32, 50432),
          "12b": (5120, 36, 40, 50688)}


def pythia(size: str, **settings) -> GPTNeoX:
    """A network of Pythia's: "14m" to "12b". settings: fields of GPTNeoXConfiguration."""
    if size not in PYTHIA:
        raise ValueError(f"pythia: size must be one of {', '.join(PYTHIA)}, got {size!r}")
    width, layers, heads, tokens = PYTHIA[size]
    return GPTNeoX(GPTNeoXConfiguration(**{
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * width, "vocab_size": tokens} | settings))


by_size(pythia, PYTHIA, source="Biderman et al. (2023)")


@network(image=(), published=20_554_567_680, source="Black et al. (2022)")
def gpt_neox_20b(**settings) -> GPTNeoX:
    """44 layers, 6144 wide, 64 heads: 20,554,567,680 parameters, 82 GB."""
    return GPTNeoX(GPTNeoXConfiguration(**settings))
