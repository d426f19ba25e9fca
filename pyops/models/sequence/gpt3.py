"""The sizes of GPT-3: Brown et al. (2020), "Language models are few-shot learners", table 2.1.

The network is GPT-2's with 2048 positions. The paper says besides that layers attend densely and in
bands by turns; gpt3 computes all of them densely, which the bands are contained in.
"""
from __future__ import annotations

from .gpt2 import GPT2, GPT2Configuration

__all__ = ["GPT3", "gpt3", "gpt3_parameters"]

# name: layers, width, heads. The table's 13B is 5140 wide, which its 40 heads of 128 do not make; theirs are 5120
GPT3 = {"small": (12, 768, 12), "medium": (24, 1024, 16), "large": (24, 1536, 16), "xl": (24, 2048, 16),
        "2.7b": (32, 2560, 32), "6.7b": (32, 4096, 32), "13b": (40, 5120, 40), "175b": (96, 12288, 96)}


def configuration(size: str, **settings) -> GPT2Configuration:
    if size not in GPT3:
        raise ValueError(f"gpt3: size must be one of {', '.join(GPT3)}, got {size!r}")
    layers, width, heads = GPT3[size]
    return GPT2Configuration(**{"n_positions": 2048, "n_embd": width, "n_layer": layers, "n_head": heads} | settings)


def gpt3(size: str, **settings) -> GPT2:
    """A network of GPT-3's sizes, "small" to "175b" (which needs 700 GB). settings: fields of
    GPT2Configuration."""
    return GPT2(configuration(size, **settings))


def gpt3_parameters(size: str) -> int:
    """How many parameters it has, without making it."""
    c = configuration(size)
    width, inner = c.n_embd, 4 * c.n_embd
    attention = width * 3 * width + 3 * width + width * width + width
    block = attention + width * inner + inner + inner * width + width + 4 * width
    return (c.vocab_size + c.n_positions) * width + c.n_layer * block + 2 * width
