"""MultiheadAttention."""
from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor
from ..core.types import DType
from ..ops.attention import additive
from . import init
from .linear import Linear
from .module import Module, Parameter


class MultiheadAttention(Module):
    """Attention of several heads, each on its share of projected features, joined by a last linear
    layer. Vaswani et al. (2017).

    embed_dim features are split among num_heads. kdim and vdim: features of key and value,
    embed_dim by default. dropout: of the weights, while training. add_bias_kv appends a learned key
    and value, add_zero_attn one of zeros. batch_first: (N, T, E) instead of torch's default (T, N,
    E); inputs of two axes are one sample. state_dict's names are torch's.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, *, dtype: DType = np.float32) -> None:
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: embed_dim {embed_dim} must be a positive multiple of "
                             f"num_heads {num_heads}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"MultiheadAttention: dropout must be in [0, 1], got {dropout}")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = (embed_dim, num_heads, dropout,
                                                                          batch_first)
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.head_dim, self.add_zero_attn = embed_dim // num_heads, add_zero_attn

        def parameter(*shape: Any) -> Any:
            return Parameter(np.empty(shape, dtype))
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = parameter(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = parameter(embed_dim, embed_dim)
            self.k_proj_weight = parameter(embed_dim, self.kdim)
            self.v_proj_weight = parameter(embed_dim, self.vdim)
            self.in_proj_weight = None
        self.in_proj_bias = parameter(3 * embed_dim) if bias else None
        self.bias_k, self.bias_v = (parameter(1, 1, embed_dim) if add_bias_kv else None for _ in range(2))
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in self._input_weights():
            init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def _input_weights(self) -> Any:
        if self.in_proj_weight is not None:
            return (self.in_proj_weight,)
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def forward(self, query: Any, key: Any, value: Any, key_padding_mask: Any = None,
                need_weights: bool = True, attn_mask: Any = None, average_attn_weights: bool = True,
                is_causal: bool = False) -> Any:
        """Returns (result like query, weights or None). weights: (N, L, S), or (N, heads, L, S)
        without average_attn_weights.

        key_padding_mask: (N, S), attn_mask: (L, S) or (N heads, L, S); bool arrays, True where a
        query may NOT look, or floats that are added to the scores. is_causal says that attn_mask is
        the causal one, which then need not be read. need_weights=False is the fast way: no weights
        are stored. ValueError where shapes do not fit.
        """
        single = len(query.shape) == 2
        if len(query.shape) not in (2, 3) or not len(query.shape) == len(key.shape) == len(value.shape):
            raise ValueError("MultiheadAttention: query, key and value must all have 2 or all have 3 axes, "
                             f"got shapes {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}")
        if is_causal and attn_mask is None:
            raise ValueError(
                "MultiheadAttention: is_causal says that attn_mask is the causal one; give it too")
        batch_axis = 0 if self.batch_first or single else 1
        q, k, v = self._projected(query, key, value)
        if single:
            q, k, v = (F.unsqueeze(x, 0) for x in (q, k, v))
        causal = (is_causal and key_padding_mask is None and not need_weights and self.bias_k is None
                  and not self.add_zero_attn)
        n, length = q.shape[batch_axis], q.shape[1 - batch_axis]
        q, k, v = (self._heads(x, batch_axis) for x in self._longer(q, k, v, batch_axis))
        mask = None if causal else self._mask(attn_mask, key_padding_mask, n, length, k.shape[2], q)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            y, weights = self._with_weights(q, k, v, mask, p, average_attn_weights)
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, p, causal)
        y = F.permute(y, (0, 2, 1, 3) if batch_axis == 0 else (2, 0, 1, 3))
        y = self.out_proj(F.reshape(y, (*y.shape[:2], self.embed_dim)))
        if single:
            y, weights = F.squeeze(y, 0), None if weights is None else F.squeeze(weights, 0)
        return y, weights

    def _projected(self, query: Any, key: Any, value: Any) -> Any:
        """The inputs through their projections, one product for those that are the same array."""
        E, bias = self.embed_dim, self.in_proj_bias
        if self.in_proj_weight is not None and query is key is value:
            return F.split(F.linear(query, self.in_proj_weight, bias), E, -1)
        weights = self._input_weights() if self.in_proj_weight is None else F.split(self.in_proj_weight, E)
        biases = (None, None, None) if bias is None else F.split(bias, E)
        return tuple(F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))

    def _longer(self, q: Any, k: Any, v: Any, batch_axis: Any) -> Any:
        """Keys and values with what the constructor's options append."""
        time, n = 1 - batch_axis, q.shape[batch_axis]
        shape = (n, 1, self.embed_dim) if batch_axis == 0 else (1, n, self.embed_dim)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (F.cat([x, F.broadcast_to(b, shape)], time)
                    for x, b in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            zeros = np.zeros(shape, q.dtype)
            k, v = (F.cat([x, zeros], time) for x in (k, v))
        return q, k, v

    def _heads(self, x: Any, batch_axis: Any) -> Any:
        """(N, T, E) or (T, N, E) as (N, heads, T, features of a head)."""
        x = F.reshape(x, (*x.shape[:2], self.num_heads, self.head_dim))
        return F.permute(x, (0, 2, 1, 3) if batch_axis == 0 else (1, 2, 0, 3))

    def _mask(self, attn_mask: Any, key_padding_mask: Any, n: int, length: Any, keys: Any, like: Any) -> Any:
        """Both masks as numbers to add to scores (N, heads, L, S), or None."""
        appended = (self.bias_k is not None) + self.add_zero_attn
        parts = []
        if attn_mask is not None:
            shapes: Any = ((length, keys - appended), (n * self.num_heads, length, keys - appended))
            mask = hidden("attn_mask", attn_mask, shapes, like)
            parts.append(mask if len(mask.shape) == 2 else F.reshape(mask, (n, self.num_heads, *shapes[0])))
        if key_padding_mask is not None:
            shapes = ((n, keys - appended),) + (((keys - appended,),) if n == 1 else ())
            parts.append(F.reshape(hidden("key_padding_mask", key_padding_mask, shapes, like),
                                   (n, 1, 1, keys - appended)))
        if not parts:
            return None
        mask = parts[0] if len(parts) == 1 else F.add(*parts)
        return F.cat([mask, np.zeros((*mask.shape[:-1], appended), like.dtype)], -1) if appended else mask

    def _with_weights(self, q: Any, k: Any, v: Any, mask: Any, p: Any, average: Any) -> Any:
        scores = F.mul(F.matmul(q, F.transpose(k, -1, -2)), self.head_dim ** -0.5)
        weights = F.softmax(scores if mask is None else F.add(scores, mask), -1)
        weights = F.dropout(weights, p) if p else weights
        return F.matmul(weights, v), F.mean(weights, 1) if average else weights

    def extra_repr(self) -> str:
        return (f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}, "
                f"batch_first={self.batch_first}")


def hidden(name: str, mask: Any, shapes: Any, like: Any) -> Any:
    """A mask whose True hides (the opposite of scaled_dot_product_attention's) as
    numbers to add to scores."""
    if tuple(mask.shape) not in shapes:
        raise ValueError(f"MultiheadAttention: {name} must have shape {' or '.join(map(str, shapes))}, got "
                         f"{tuple(mask.shape)}")
    values = mask.data if type(mask) is Tensor else mask
    return additive(~values, like) if isinstance(values, np.ndarray) and values.dtype == bool else mask
