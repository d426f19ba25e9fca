"""The encoder of "Attention Is All You Need", Vaswani et al. (2017)."""
from __future__ import annotations

from ... import nn

__all__ = ["transformer_encoder"]


def transformer_encoder(d_model: int = 512, nhead: int = 8, num_layers: int = 6, dim_feedforward: int = 2048,
                        dropout: float = 0.1,
                        activation: str = "relu", norm_first: bool = False) -> nn.TransformerEncoder:
    """Maps (N, T, d_model) to the same shape. The defaults are the paper's base model. norm_first:
    each half normalises its input, as later models do; the last sum then gets a norm of its own."""
    layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward, dropout, activation, batch_first=True,
                                       norm_first=norm_first)
    return nn.TransformerEncoder(layer, num_layers, nn.LayerNorm(d_model) if norm_first else None)
