"""Transformer encoders."""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor
from ..core.types import DType
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


def hides_the_future(mask: Any) -> bool:
    """Whether it is a square mask that hides from every query the keys after its own, and nothing
    else."""
    values = mask.data if type(mask) is Tensor else mask
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[0] != values.shape[1]:
        return False
    future = np.tri(*values.shape) == 0
    return bool(np.array_equal(values, future if values.dtype == bool else np.where(future, -np.inf, 0)))
