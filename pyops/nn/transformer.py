"""Transformer encoders, decoders, and both together."""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor
from ..core.types import DType
from . import init
from .attention import MultiheadAttention
from .containers import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalisation import LayerNorm

ACTIVATIONS = ("relu", "gelu")   # that go by name


class TransformerEncoderLayer(Module):
    """Self-attention and two linear layers, each added to its input and normalised.
    Vaswani et al. (2017).

    d_model features, nhead heads, dim_feedforward features between the linear layers, activation
    "relu", "gelu" or a function. norm_first normalises what goes into each half instead of the sum
    that comes out. batch_first: (N, T, d_model) instead of (T, N, d_model).
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Callable[..., Any] = "relu",
                 layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
                 bias: bool = True, *, dtype: DType = np.float32) -> None:
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"TransformerEncoderLayer: activation must be {' or '.join(ACTIVATIONS)} or a "
                             f"function, got {activation!r}")
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first,
                                            dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        self.norm1, self.norm2 = (LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
                                  for _ in range(2))
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = activation

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool = False) -> Any:
        """src: (T, N, d_model), (N, T, d_model) or (T, d_model); masks as MultiheadAttention's.
        Returns an array like src."""
        masks = src_mask, src_key_padding_mask, is_causal
        if self.norm_first:
            x = F.add(src, self._attend(self.norm1(src), *masks))
            return F.add(x, self._feed_forward(self.norm2(x)))
        x = self.norm1(F.add(src, self._attend(src, *masks)))
        return self.norm2(F.add(x, self._feed_forward(x)))

    def _attend(self, x: Any, mask: Any, padding: Any, is_causal: Any) -> Any:
        y, _ = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)
        return self.dropout1(y)

    def _feed_forward(self, x: Any) -> Any:
        activation = getattr(F, self.activation) if isinstance(self.activation, str) else self.activation
        return self.dropout2(self.linear2(self.dropout(activation(self.linear1(x)))))


class TransformerEncoder(Module):
    """num_layers copies of encoder_layer, one after another, then `norm` if given.
    Vaswani et al. (2017).

    The copies start with the same numbers, as torch's do. enable_nested_tensor and mask_check are
    torch's and without effect: padded positions are computed like others.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True) -> None:
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: Any = None) -> Any:
        """src and masks as TransformerEncoderLayer's. is_causal None looks whether the mask
        is the causal one."""
        if is_causal is None:
            is_causal = hides_the_future(mask)
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal and mask is not None)
        return x if self.norm is None else self.norm(x)


class TransformerDecoderLayer(Module):
    """Self-attention, attention to what an encoder made, and two linear layers, each added to its
    input and normalised. Vaswani et al. (2017).

    Arguments are TransformerEncoderLayer's.
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Callable[..., Any] = "relu",
                 layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
                 bias: bool = True, *, dtype: DType = np.float32) -> None:
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"TransformerDecoderLayer: activation must be {' or '.join(ACTIVATIONS)} or a "
                             f"function, got {activation!r}")
        self.self_attn, self.multihead_attn = (
            MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype) for _ in range(2))
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        self.norm1, self.norm2, self.norm3 = (LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
                                              for _ in range(3))
        self.dropout1, self.dropout2, self.dropout3 = (Dropout(dropout) for _ in range(3))
        self.activation = activation

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                tgt_is_causal: bool = False, memory_is_causal: bool = False) -> Any:
        """tgt: (T, N, d_model), (N, T, d_model) or (T, d_model); memory the same with S positions;
        masks as MultiheadAttention's, (T, T) and (T, S). Returns an array like tgt."""
        def own(x: Any) -> Any:
            y, _ = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)
            return self.dropout1(y)

        def other(x: Any) -> Any:
            y, _ = self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask,
                                       is_causal=memory_is_causal)
            return self.dropout2(y)
        return self.wired(tgt, own, other)

    def wired(self, x: Any, own: Callable[[Any], Any], other: Callable[[Any], Any]) -> Any:
        """The layer's three sums around two ways to attend: to the target, and to the memory."""
        for attend, norm in ((own, self.norm1), (other, self.norm2), (self._feed_forward, self.norm3)):
            x = F.add(x, attend(norm(x))) if self.norm_first else norm(F.add(x, attend(x)))
        return x

    def _feed_forward(self, x: Any) -> Any:
        activation = getattr(F, self.activation) if isinstance(self.activation, str) else self.activation
        return self.dropout3(self.linear2(self.dropout(activation(self.linear1(x)))))


class TransformerDecoder(Module):
    """num_layers copies of decoder_layer, one after another, then `norm` if given.
    Vaswani et al. (2017). The copies start with the same numbers, as torch's do."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                tgt_is_causal: Any = None, memory_is_causal: bool = False) -> Any:
        """As TransformerDecoderLayer's. tgt_is_causal None looks whether tgt_mask is the causal
        one."""
        if tgt_is_causal is None:
            tgt_is_causal = hides_the_future(tgt_mask)
        x = tgt
        for layer in self.layers:
            x = layer(x, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                      tgt_is_causal and tgt_mask is not None, memory_is_causal and memory_mask is not None)
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder and a decoder that looks at what it made. Vaswani et al. (2017).

    Arguments are those of torch's class and of TransformerEncoderLayer. custom_encoder,
    custom_decoder: modules that take the place of either. Both end with a norm, as torch's do.
    """

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
                 num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Callable[..., Any] = "relu", custom_encoder: Module | None = None,
                 custom_decoder: Module | None = None, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True, *,
                 dtype: DType = np.float32) -> None:
        def layer(kind: Any) -> Any:
            return kind(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
                        norm_first, bias, dtype=dtype)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.encoder = custom_encoder or TransformerEncoder(layer(TransformerEncoderLayer), num_encoder_layers,
                                                            norm())
        self.decoder = custom_decoder or TransformerDecoder(layer(TransformerDecoderLayer), num_decoder_layers,
                                                            norm())
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for p in self.parameters():
            if p.data.ndim > 1:
                init.xavier_uniform_(p)

    def forward(self, src: Any, tgt: Any, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
                src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None,
                memory_key_padding_mask: Any = None, src_is_causal: Any = None, tgt_is_causal: Any = None,
                memory_is_causal: bool = False) -> Any:
        """src: (S, N, d_model) and tgt: (T, N, d_model), with batch_first (N, S, d_model) and (N, T,
        d_model); masks as MultiheadAttention's. Returns an array like tgt. ValueError where batches
        or features differ."""
        axis = 0 if self.batch_first else 1
        if len(src.shape) == 3 and len(tgt.shape) == 3 and src.shape[axis] != tgt.shape[axis]:
            raise ValueError(f"Transformer: src {tuple(src.shape)} and tgt {tuple(tgt.shape)} must have one "
                             "batch size")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ValueError(f"Transformer: src {tuple(src.shape)} and tgt {tuple(tgt.shape)} must have "
                             f"{self.d_model} features")
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                            tgt_is_causal, memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, *, dtype: DType = np.float32) -> np.ndarray:
        """The causal mask (sz, sz): 0 where a query may look and -inf behind it."""
        return np.where(np.tri(sz, dtype=bool), 0, -np.inf).astype(dtype)


def hides_the_future(mask: Any) -> bool:
    """Whether it is a square mask that hides from every query the keys after its own, and nothing
    else."""
    values = mask.data if type(mask) is Tensor else mask
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[0] != values.shape[1]:
        return False
    future = np.tri(*values.shape) == 0
    return bool(np.array_equal(values, future if values.dtype == bool else np.where(future, -np.inf, 0)))
