"""Attention in a band: each query sees its own key and those just before it, `band` in all. Child et
al. (2019), "Generating long sequences with sparse transformers"."""
from __future__ import annotations

import numpy as np

from ... import functional as F
from .packing import Spans


def banded_attention(query, key, value, band: int, dropout_p: float = 0.0, scale: float | None = None):
    """(N, heads, T, E): causal attention of distances 0 to band - 1.

    Blocks of keys that no query sees are left out, so that work is of T x band, not T x T. With
    dropout, which keeps weights, a block of `band` queries meets its own keys and those of the block
    before, so that memory is, too. The number of tokens is a constant of a Program.
    """
    n, heads, tokens, width = query.shape
    tokens = int(tokens)
    if not dropout_p and tokens > band:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale,
                                              key_begin=np.arange(tokens) - band + 1)
    if tokens <= band:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout_p, is_causal=True, scale=scale)
    blocks = -(-tokens // band)
    behind = blocks * band - tokens

    def pairs(x):
        """(N, heads, blocks, 2 band, E): each block behind the one before it."""
        x = F.reshape(F.pad(x, (0, 0, band, behind)), (n, heads, blocks + 1, band, x.shape[-1]))
        return F.cat([x[:, :, :-1], x[:, :, 1:]], 3)
    rows = F.reshape(F.pad(query, (0, 0, 0, behind)), (n, heads, blocks, band, width))
    y = F.scaled_dot_product_attention(rows, pairs(key), pairs(value), visible(blocks, band), dropout_p, scale=scale)
    return F.reshape(y, (n, heads, blocks * band, value.shape[-1]))[:, :, :tokens]


def visible(blocks: int, band: int) -> np.ndarray:
    """(blocks, band, 2 band) of bool: query i of a block stands at band + i of its keys."""
    distance = band + np.arange(band)[:, None] - np.arange(2 * band)
    inside = np.repeat(((distance >= 0) & (distance < band))[None], blocks, 0)
    inside[0, :, :band] = False   # nothing stands before the first block
    return inside


def banded_past(seen: Spans, band: int) -> Spans:
    """What a query behind a cache sees of it, where it sees `band` keys with its own."""
    return Spans(F.sub(seen.end, band - 1), seen.end)
