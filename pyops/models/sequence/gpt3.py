"""The sizes of GPT-3: Brown et al. (2020), "Language models are few-shot learners", table 2.1.

The network is GPT-2's with 2048 positions and "alternating dense and locally banded sparse attention
patterns in the layers, similar to the Sparse Transformer": every second layer sees a band of keys
(banded.py). How wide it is the paper does not say; here it is 256.
"""
from __future__ import annotations

from dataclasses import dataclass

from ... import functional as F
from ..registry import by_size
from .banded import banded_past
from .caches import Alternating, Cache
from .causal import stacked
from .folder import Names, family
from .gpt2 import GPT2, GPT2Configuration
from .packing import Spans

__all__ = ["GPT3", "GPT3Configuration", "gpt3", "gpt3_parameters"]


@dataclass
class GPT3Configuration(GPT2Configuration):
    """Defaults: GPT-3 small. band: keys that a query of the second, fourth, ... layer sees, its own
    with them, two at least; None for all."""
    n_positions: int = 2048
    band: int | None = 256

    model_type = "gpt3"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.band is not None and self.band < 2:
            raise ValueError(f"gpt3: band must be at least 2, or None, got {self.band}")

    def band_of(self, layer: int) -> int | None:
        return self.band if layer % 2 else None


class GPT3(GPT2):
    """Tokens (N, T) to scores of the next one (N, T, vocab_size)."""

    config: GPT3Configuration

    def __init__(self, config: GPT3Configuration):
        super().__init__(config)

    # the last: the ring of the banded layers, whose capacity stays the same
    DYNAMIC = {**GPT2.DYNAMIC, "step": {**GPT2.DYNAMIC["step"], 3: {2: None}}}

    def make_cache(self, rows, capacity, dtype, form, strict):
        """Banded layers keep what the next query sees of them, `band` less its own. In strict mode they
        keep all: sums over a ring begin at another key."""
        band, (layers, *heads) = self.config.band, self.cache_shape
        if band is None or strict or layers < 2:
            return super().make_cache(rows, capacity, dtype, form, strict)
        most = self.most_positions
        return Alternating(Cache(((layers + 1) // 2, *heads), rows, capacity, most, dtype, form),
                           Cache((layers // 2, *heads), rows, capacity, most, dtype, form, min(band - 1, most)))

    def step(self, ids, positions, past, near=None):
        """As CausalLanguageModel.step. past and near: data of the dense and of the banded layers'
        caches, or past of all."""
        if near is None:
            return super().step(ids, positions, past)
        end = F.unsqueeze(positions, 1)
        dense, ring = Spans(None, end), Spans(None, F.clamp(end, 0, int(near.shape[4])))
        both = [(dense, F.unbind(past)), (ring, F.unbind(near))]
        layers = [(both[i % 2][1][i // 2], both[i % 2][0]) for i in range(self.config.n_layer)]
        hidden, kept = super().hidden(ids, positions, [(layer[0], layer[1], seen) for layer, seen in layers])
        return self.lm_head(hidden[:, -1]), stacked(kept)

    def hidden(self, ids, positions, past=None):
        """As GPT2.hidden."""
        if past is not None and self.config.band is not None:
            near = banded_past(past[0][2], self.config.band)
            past = [(keys, values, near if i % 2 else mask) for i, (keys, values, mask) in enumerate(past)]
        return super().hidden(ids, positions, past)


# no class of transformers: a folder's model_type keeps others from computing it densely
family(GPT3Configuration, {"GPT3LMHeadModel": GPT3},
       Names(prefix="transformer.", tied={"lm_head.weight": "transformer.wte.weight"}))

# name: layers, width, heads. The table's 13B is 5140 wide, which its 40 heads of 128 do not make; theirs are 5120
SIZES = {"small": (12, 768, 12), "medium": (24, 1024, 16), "large": (24, 1536, 16), "xl": (24, 2048, 16),
        "2.7b": (32, 2560, 32), "6.7b": (32, 4096, 32), "13b": (40, 5120, 40), "175b": (96, 12288, 96)}


def configuration(size: str, **settings) -> GPT3Configuration:
    if size not in SIZES:
        raise ValueError(f"gpt3: size must be one of {', '.join(SIZES)}, got {size!r}")
    layers, width, heads = SIZES[size]
    return GPT3Configuration(**{"n_embd": width, "n_layer": layers, "n_head": heads} | settings)


def gpt3(size: str, **settings) -> GPT3:
    """A network of GPT-3's sizes, "small" to "175b" (which needs 700 GB). settings: fields of
    GPT3Configuration."""
    return GPT3(configuration(size, **settings))


by_size(gpt3, SIZES, source="Brown et al. (2020)")


def gpt3_parameters(size: str) -> int:
    """How many parameters it has, without making it."""
    c = configuration(size)
    width, inner = c.n_embd, 4 * c.n_embd
    attention = width * 3 * width + 3 * width + width * width + width
    block = attention + width * inner + inner + inner * width + width + 4 * width
    return (c.vocab_size + c.n_positions) * width + c.n_layer * block + 2 * width
