"""What writes a text while it looks at another: T5 and the Transformer of 2017, beside their
blocks."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...ops.attention import additive
from .caches import Cache
from .causal import Running, stacked, step_off_by
from .generation import Sampling, beam_search, checked_prompts, positive, sample
from .heads import check_ids, visible
from .packing import Spans

__all__: list[str] = []
MOST = 1 << 20   # tokens of a text where positions have no table


class EncoderDecoder(nn.Module):
    """Base. A family defines encode, cross and decode, and says vocabulary, cache_shape (layers,
    heads, features of a head), start, the token that a text begins with, and most_positions."""

    vocabulary: int
    cache_shape: tuple[int, int, int]
    start: int
    most_positions: int = MOST
    # axes of the Programs' inputs that vary
    DYNAMIC = {"prefill": {0: {1: None}, 1: {1: None}},
               "step": {0: {0: None}, 1: {0: None}, 2: {2: None, 4: None}, 3: {0: None}, 4: {2: None, 4: None}}}

    def encode(self, ids, positions, mask=None) -> Any:
        """What the encoder makes of a source (N, S): (N, S, width). mask: as attention takes it."""
        raise NotImplementedError

    def cross(self, memory) -> Any:
        """Keys and values (N, heads, S, E) of the memory, for each of the decoder's layers."""
        raise NotImplementedError

    def decode(self, ids, positions, cross, cross_mask, past=None) -> Any:
        """Scores (N, T, vocabulary) of what follows each token of a target (N, T), and what each
        layer keeps of them. cross_mask: (N, 1, 1, S), added to scores, Spans, or None."""
        raise NotImplementedError

    def forward(self, source, target, source_mask=None):
        """Scores (N, T, vocabulary) of what follows each token of target (N, T), which begins with
        `start`. source: (N, S); source_mask: (N, S), 1 at tokens and 0 at padding. Tokens behind a
        shorter target change nothing before them. ValueError where a text is longer than the
        model's positions, or the mask has another shape."""
        for name, ids in (("source", source), ("target", target)):
            check_ids(type(self).__name__, ids, self.vocabulary, name)
            if ids.shape[1] > self.most_positions:
                raise ValueError(f"{type(self).__name__}: {name} has {ids.shape[1]} tokens, more than the model's "
                                 f"{self.most_positions} positions")
        if source.shape[0] != target.shape[0]:
            raise ValueError(f"{type(self).__name__}: source and target must have as many rows, got {source.shape[0]} "
                             f"and {target.shape[0]}")
        mask = visible(source_mask, source)
        memory = self.encode(source, np.arange(source.shape[1])[None], mask)
        mask = None if mask is None else additive(mask, memory)
        return self.decode(target, np.arange(target.shape[1])[None], self.cross(memory), mask)[0]

    def loss(self, source, target, source_mask=None, ignore_index: int = -100, label_smoothing: float = 0.0):
        """Mean cross-entropy of target (N, T), whole numbers without `start`; ignore_index where
        nothing counts, which is at the end of rows."""
        target = np.asarray(target)
        before = np.where(target == ignore_index, self.start, target)[:, :-1]
        begun = np.concatenate([np.full((len(target), 1), self.start, target.dtype), before], 1)
        scores = self(source, begun, source_mask)
        return F.cross_entropy(F.reshape(scores, (-1, scores.shape[-1])), target.reshape(-1),
                               ignore_index=ignore_index, label_smoothing=label_smoothing)

    # ---- generation

    def prefill(self, source, source_positions, ids, positions):
        """Scores (N, vocabulary) of what follows the first token, what a cache keeps of it, and
        keys and values of the source (layers, 2, N, heads, S, E)."""
        cross = self.cross(self.encode(source, source_positions))
        scores, kept = self.decode(ids, positions, cross, None)
        return scores[:, -1], stacked(kept), stacked(cross)

    def step(self, ids, positions, past, lengths, cross):
        """As CausalLanguageModel.step, beside sources of `lengths` (N, 1) tokens."""
        seen = Spans(None, F.unsqueeze(positions, 1))
        scores, kept = self.decode(ids, positions, [F.unbind(layer) for layer in F.unbind(cross)],
                                   Spans(None, F.unsqueeze(lengths, 1)),
                                   [(layer[0], layer[1], seen) for layer in F.unbind(past)])
        return scores[:, -1], stacked(kept)

    def stored_error(self, ids, weights: str = "float32", cache: str = "float32") -> float:
        """As CausalLanguageModel.stored_error, of the first tokens that are written for a source."""
        source = checked_prompts(ids, 1, self.vocabulary, None)[:1]
        return step_off_by(Writing(self, source, 1, True, weights, cache), Writing(self, source, 1, False))

    def generate(self, ids: Any, max_new_tokens: int = 50, temperature: float = 0.0, top_k: int | None = None,
                 top_p: float | None = None, num_beams: int = 1, stop: int | Sequence[int] | None = None,
                 seed: int | None = None, stream: Callable[[int, int], Any] | None = None, *,
                 length_penalty: float = 0.0, compiled: bool = True, weights: str = "float32",
                 cache: str = "float32", repetition_penalty: float = 1.0, strict: bool = False) -> list[list[int]]:
        """A text for each source. Arguments are those of CausalLanguageModel.generate; ids: the
        sources, of any lengths, which are read without padding."""
        if self.training:
            raise ValueError("generate: the model is in training mode; call .eval() first")
        sampling = Sampling(temperature, top_k, top_p, seed, repetition_penalty)
        sources = checked_prompts(ids, max_new_tokens, self.vocabulary, None)
        longest = max(max_new_tokens, *map(len, sources))
        if longest > self.most_positions:
            raise ValueError(f"generate: {longest} tokens are more than the model's {self.most_positions} positions")
        writing = Writing(self, sources, positive("num_beams", num_beams), compiled, weights, cache, strict)
        if num_beams != 1:
            return beam_search(writing, num_beams, max_new_tokens, stop, length_penalty, sampling, stream)
        return sample(writing, [[self.start]] * len(sources), max_new_tokens, sampling, stop, stream)


class Writing(Running):
    """Texts as far as they were written: scores (rows, vocabulary) of what follows each."""

    def __init__(self, model: EncoderDecoder, sources: list[np.ndarray], copies: int, compiled: bool,
                 weights: str = "float32", cache: str = "float32", strict: bool = False):
        """copies: rows of each source."""
        super().__init__(model, compiled, weights, cache, strict)
        dtype, rows = next(model.parameters()).dtype, len(sources) * copies
        self.cache = Cache(model.cache_shape, rows, 1, model.most_positions, dtype, cache)
        longest = max(map(len, sources))
        self.sources = Cache(model.cache_shape, rows, longest, MOST, dtype, cache)
        first, found = np.array([[model.start]]), []
        for i, source in enumerate(sources):
            scores, own, cross = self.run("prefill", source[None], np.arange(len(source))[None], first,
                                          np.zeros((1, 1), np.int64))
            for row in range(i * copies, (i + 1) * copies):
                self.cache.put(row, own)
                self.sources.put(row, cross)
                found.append(scores[0])
        self.scores = np.stack(found)

    def read(self, tokens: np.ndarray) -> None:
        """One more token (rows,) of each."""
        self.cache.make_room()
        self.scores, entries = self.run("step", tokens[:, None], self.cache.lengths[:, None], self.cache.data,
                                        self.sources.lengths[:, None], self.sources.data)
        self.cache.append(entries)

    def choose(self, rows: np.ndarray) -> None:
        """Row i becomes what row rows[i] was; both are of one source."""
        self.cache.choose(rows)
