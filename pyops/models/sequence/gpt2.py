"""GPT-2: Radford et al. (2019), "Language models are unsupervised multitask learners".

A stack of blocks, each of causal self-attention and a layer of four times the width, both with the
norm in front of them (x + f(norm(x))), on top of token and position embeddings. The head shares the
token embeddings. Names of arrays are those of transformers' GPT2LMHeadModel.

The sizes of GPT-3 (Brown et al., 2020, table 2.1) are the same network: gpt3.py.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ... import functional as F, nn
from ...core.types import DType
from ..registry import network
from .banded import banded_attention
from .causal import CausalLanguageModel
from .configuration import Configuration, divided
from .folder import Names, family
from .heads import activation, attend_to_past, join_heads, split_heads

__all__ = ["GPT2", "GPT2Configuration", "gpt2", "gpt2_large", "gpt2_medium", "gpt2_xl"]


@dataclass
class GPT2Configuration(Configuration):
    """Defaults: GPT-2 small. n_inner None is four times n_embd."""
    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    resid_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True
    eos_token_id: int | list | None = None

    model_type = "gpt2"
    FIXED = {"add_cross_attention": (False,)}
    ALIASES = {"hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
               "num_hidden_layers": "n_layer"}
    SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner")

    def __post_init__(self) -> None:
        super().__post_init__()
        divided(self, "n_embd", "n_head")

    def band_of(self, layer: int) -> int | None:
        """How many keys each query of a layer sees, None for all before it."""
        return None


class Conv1D(nn.Module):
    """x weight + bias: a linear layer whose weight is (in, out), as GPT-2's files have it."""

    def __init__(self, inputs: int, outputs: int, std: float = 0.02, *, dtype: DType = np.float32):
        self.weight = nn.Parameter(np.empty((inputs, outputs), dtype))
        self.bias = nn.Parameter(np.zeros(outputs, dtype))
        nn.init.normal_(self.weight, std=std)

    def forward(self, x):
        return F.linear(x, F.transpose(self.weight, 0, 1), self.bias)


class Attention(nn.Module):
    def __init__(self, c: GPT2Configuration, layer: int):
        self.heads, self.p, self.band = c.n_head, c.attn_pdrop, c.band_of(layer)
        self.scale = 1 / math.sqrt(c.n_embd // c.n_head) if c.scale_attn_weights else 1.0
        if c.scale_attn_by_inverse_layer_idx:
            self.scale /= layer + 1
        self.c_attn = Conv1D(c.n_embd, 3 * c.n_embd)
        # the sum over the layers keeps its size: there are two summands a block
        self.c_proj = Conv1D(c.n_embd, c.n_embd, 0.02 / math.sqrt(2 * c.n_layer))
        self.resid_dropout = nn.Dropout(c.resid_pdrop)

    def forward(self, x, past=None):
        q, k, v = (split_heads(part, self.heads) for part in F.chunk(self.c_attn(x), 3, -1))
        p = self.p if self.training else 0.0
        if past is not None:
            y = attend_to_past(q, k, v, past, self.scale)
        elif self.band is not None:
            y = banded_attention(q, k, v, self.band, p, self.scale)
        else:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True, scale=self.scale)
        return self.resid_dropout(self.c_proj(join_heads(y))), (k, v)


class FeedForward(nn.Module):
    def __init__(self, c: GPT2Configuration):
        inner = 4 * c.n_embd if c.n_inner is None else c.n_inner
        self.c_fc = Conv1D(c.n_embd, inner)
        self.c_proj = Conv1D(inner, c.n_embd, 0.02 / math.sqrt(2 * c.n_layer))
        self.activation, self.dropout = activation(c.activation_function), nn.Dropout(c.resid_pdrop)

    def forward(self, x):
        return self.dropout(self.c_proj(self.activation(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self, c: GPT2Configuration, layer: int):
        self.ln_1 = nn.LayerNorm(c.n_embd, c.layer_norm_epsilon)
        self.attn = Attention(c, layer)
        self.ln_2 = nn.LayerNorm(c.n_embd, c.layer_norm_epsilon)
        self.mlp = FeedForward(c)

    def forward(self, x, past=None):
        y, own = self.attn(self.ln_1(x), past)
        x = F.add(x, y)
        return F.add(x, self.mlp(self.ln_2(x))), own


class Trunk(nn.Module):
    def __init__(self, c: GPT2Configuration):
        self.wte, self.wpe = nn.Embedding(c.vocab_size, c.n_embd), nn.Embedding(c.n_positions, c.n_embd)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.02)
        self.drop = nn.Dropout(c.embd_pdrop)
        self.h = nn.ModuleList([Block(c, layer) for layer in range(c.n_layer)])
        self.ln_f = nn.LayerNorm(c.n_embd, c.layer_norm_epsilon)


class GPT2(CausalLanguageModel):
    """Tokens (N, T) to scores of the next one (N, T, vocab_size)."""

    def __init__(self, config: GPT2Configuration):
        self.config = config
        self.transformer = Trunk(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight
        self.most_positions, self.vocabulary = config.n_positions, config.vocab_size
        self.cache_shape = config.n_layer, config.n_head, config.n_embd // config.n_head

    def hidden(self, ids, positions, past=None):
        """What the last norm gives for tokens (N, T) at positions (1 or N, T), (N, T, n_embd), and
        each block's keys and values. past: of each block, for one step (heads.attend_to_past)."""
        trunk, kept = self.transformer, []
        x = trunk.drop(F.embedding_sum(ids, trunk.wte.weight, positions, trunk.wpe.weight))
        for i, block in enumerate(trunk.h):
            x, own = block(x, None if past is None else past[i])
            kept.append(own)
        return trunk.ln_f(x), kept


# Files of the bare trunk, as the published ones are, lack its prefix; older ones hold the causal
# mask of every block.
family(GPT2Configuration, {"GPT2LMHeadModel": GPT2, "GPT2Model": GPT2},
       Names(prefix="transformer.", skip=(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",),
             tied={"lm_head.weight": "transformer.wte.weight"}))


@network(image=(), published=124_439_808, source="Radford et al. (2019)")
def gpt2(**settings) -> GPT2:
    """GPT-2 small: 12 layers, 768 wide, 12 heads, 124,439,808 parameters. settings: fields of
    GPT2Configuration."""
    return GPT2(GPT2Configuration(**settings))


@network(image=(), published=354_823_168, source="Radford et al. (2019)")
def gpt2_medium(**settings) -> GPT2:
    """24 layers, 1024 wide, 16 heads: 354,823,168 parameters."""
    return gpt2(**{"n_embd": 1024, "n_layer": 24, "n_head": 16} | settings)


@network(image=(), published=774_030_080, source="Radford et al. (2019)")
def gpt2_large(**settings) -> GPT2:
    """36 layers, 1280 wide, 20 heads: 774,030,080 parameters."""
    return gpt2(**{"n_embd": 1280, "n_layer": 36, "n_head": 20} | settings)


@network(image=(), published=1_557_611_200, source="Radford et al. (2019)")
def gpt2_xl(**settings) -> GPT2:
    """48 layers, 1600 wide, 25 heads: 1,557,611,200 parameters."""
    return gpt2(**{"n_embd": 1600, "n_layer": 48, "n_head": 25} | settings)
