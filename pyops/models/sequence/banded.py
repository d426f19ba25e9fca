"""Attention in a band: each query sees its own key and those just before it, `band` in all. Child et
al. (2019), "Generating long sequences with sparse transformers"."""
from __future__ import annotations

import numpy as np

from ... import functional as F


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


def banded_past(mask, positions, band: int):
    """A Cache's mask (N, 1, 1, C), for queries at positions (N, 1) that see `band` keys with their
    own."""
    distance = F.sub(positions, np.arange(int(mask.shape[3]))[None])
    hidden = F.embedding(F.clamp(F.sub(distance, band - 1), 0, 1), np.array([[0], [-np.inf]], np.float32))
    return F.add(mask, F.reshape(hidden, (mask.shape[0], 1, 1, mask.shape[3])))
