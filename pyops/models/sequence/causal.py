"""Language models that read from left to right: what GPT-2 and GPT-NeoX share beside their blocks."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.backends import batch_invariant, by_sample
from ...core.tensor import no_grad
from .caches import Cache
from .generation import Sampling, beam_search, checked_prompts, positive, sample
from .heads import check_ids
from .packing import Spans
from .programs import Programs

__all__: list[str] = []


class CausalLanguageModel(nn.Module):
    """Base. A family defines hidden(ids, positions, past) and lm_head, and says most_positions,
    vocabulary and cache_shape (layers, heads, features of a head)."""

    most_positions: int
    vocabulary: int
    cache_shape: tuple[int, int, int]
    lm_head: nn.Module
    # axes of the Programs' inputs that vary
    DYNAMIC = {"prefill": {0: {1: None}, 1: {1: None}},
               "step": {0: {0: None}, 1: {0: None}, 2: {2: None, 4: None}}}

    def hidden(self, ids, positions, past=None) -> Any:
        raise NotImplementedError

    def forward(self, ids):
        """Scores (N, T, vocabulary) of what follows each of ids (N, T), whole numbers. ValueError
        for more tokens than positions and for ids that are none."""
        check_ids(type(self).__name__, ids, self.vocabulary)
        if ids.shape[1] > self.most_positions:
            raise ValueError(f"{type(self).__name__}: {ids.shape[1]} tokens are more than the model's "
                             f"{self.most_positions} positions")
        return self.lm_head(self.hidden(ids, np.arange(ids.shape[1])[None])[0])

    def loss(self, ids, targets=None, ignore_index: int = -100):
        """Mean cross-entropy in nats of each token of ids (N, T) after those before it; targets
        (N, T): the tokens that count, ids by default, ignore_index where none does."""
        scores = self(ids)
        targets = np.asarray(ids if targets is None else targets)[:, 1:]
        return F.cross_entropy(F.reshape(scores[:, :-1], (-1, self.vocabulary)), targets.reshape(-1),
                               ignore_index=ignore_index)

    # ---- generation

    def prefill(self, ids, positions):
        """Scores (N, vocabulary) of what follows ids (N, T), and what a cache keeps of them:
        (layers, 2, N, heads, T, features)."""
        hidden, kept = self.hidden(ids, positions)
        return self.lm_head(hidden[:, -1]), stacked(kept)

    def step(self, ids, positions, past):
        """Scores (N, vocabulary) of what follows ids (N, 1) at positions (N, 1), and what a cache
        keeps of them. past: Cache's data, of whose rows as many entries count as the positions say."""
        seen = Spans(None, F.unsqueeze(positions, 1))
        hidden, kept = self.hidden(ids, positions, [(layer[0], layer[1], seen) for layer in F.unbind(past)])
        return self.lm_head(hidden[:, -1]), stacked(kept)

    def make_cache(self, rows: int, capacity: int, dtype, form: str, strict: bool) -> Any:
        """What keeps keys and values of texts; its arrays are what a step takes behind ids and
        positions."""
        return Cache(self.cache_shape, rows, capacity, self.most_positions, dtype, form)

    def stored_error(self, ids, weights: str = "float32", cache: str = "float32") -> float:
        """By how much scores are off where weights and cache are stored as generate's arguments of
        these names say: the greatest difference over the greatest score, of what follows a prompt, a row
        of tokens, and of what follows its likeliest token."""
        prompt = checked_prompts(ids, 1, self.vocabulary, self.most_positions)[:1]
        return step_off_by(Reading(self, prompt, 1, True, weights, cache), Reading(self, prompt, 1, False))

    def generate(self, ids: Any, max_new_tokens: int = 50, temperature: float = 0.0, top_k: int | None = None,
                 top_p: float | None = None, num_beams: int = 1, stop: int | Sequence[int] | None = None,
                 seed: int | None = None, stream: Callable[[int, int], Any] | None = None, *,
                 length_penalty: float = 0.0, compiled: bool = True, weights: str = "float32",
                 cache: str = "float32", repetition_penalty: float = 1.0, strict: bool = False) -> list[list[int]]:
        """What follows each prompt: a list of new tokens for each.

        ids: prompts, a list of lists of whole numbers of any lengths, an array (N, T), or one list.
        Prompts are read one by one without padding, then all continue at once over a cache.
        temperature: 0 takes the likeliest, else draws by softmax(scores / temperature). top_k: among
        the so many likeliest; top_p: among the fewest likeliest that together have this probability
        (Holtzman et al., 2020). num_beams: keeps the so many likeliest texts instead (no drawing)
        and returns the best by log p / ((5 + length) / 6) ** length_penalty (Wu et al., 2016).
        stop: tokens that end a text, and are left out of it. seed: of the draws. stream(row, token)
        is called with each token as it comes; not with beams. compiled: by two Programs, for
        prompts and for a step, which are made at the first call and again when weights have
        changed; False computes eagerly. The numbers are those of the model without a cache but for
        rounding. weights: "int8" and "bf16" store the Programs' linear layers in fewer bits
        (pyops.compile), so that a step, which takes the time of reading them, takes less.
        cache: "bf16" keeps keys and values so that they take half the memory and time; stored_error tells
        what either costs.
        repetition_penalty: scores of tokens that the text has already, prompt included, are divided by
        it where positive, else multiplied (Keskar et al., 2019); not with beams.
        strict: scores have the bits of the model without a cache, both within pyops.batch_invariant() (or
        compiled with batch_invariant=True), whatever the other prompts; a step then copies the cache.
        True within pyops.batch_invariant().
        ValueError for empty prompts, for ids that are no tokens, where prompt and new tokens exceed
        the positions, for a strict cache of bfloat16, and for other arguments out of range.
        """
        if self.training:
            raise ValueError("generate: the model is in training mode; call .eval() first")
        sampling = Sampling(temperature, top_k, top_p, seed, repetition_penalty)
        prompts = checked_prompts(ids, max_new_tokens, self.vocabulary, self.most_positions)
        reading = Reading(self, prompts, positive("num_beams", num_beams), compiled, weights, cache, strict)
        if num_beams != 1:
            return beam_search(reading, num_beams, max_new_tokens, stop, length_penalty, sampling, stream)
        return sample(reading, [prompt.tolist() for prompt in prompts], max_new_tokens, sampling, stop, stream)


def stacked(kept):
    """Pairs (N, heads, T, E) of each layer as (layers, 2, N, heads, T, E)."""
    flat = F.stack([part for pair in kept for part in pair])
    return F.reshape(flat, (len(kept), 2, *flat.shape[1:]))


def off_by(found: np.ndarray, wanted: np.ndarray) -> float:
    """The greatest difference over the greatest value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def step_off_by(found, wanted) -> float:
    """off_by of two readings' scores, and of those behind the likeliest token."""
    first = off_by(found.scores, wanted.scores)
    token = wanted.scores.argmax(-1)
    for reading in (found, wanted):
        reading.read(token)
    return max(first, off_by(found.scores, wanted.scores))


class Running:
    """A model's functions, compiled or not, from arrays to arrays."""

    def __init__(self, model: nn.Module, compiled: bool, weights: str = "float32", cache: str = "float32",
                 strict: bool = False):
        """ValueError for weights that are stored otherwise and not compiled, and for a cache that is
        while numbers must be those without one."""
        self.strict = strict or by_sample.get()
        if self.strict and cache != "float32":
            raise ValueError(f"generate: a cache of {cache!r} rounds what a strict one keeps; leave out either")
        if not compiled and weights != "float32":
            raise ValueError(f"generate: weights {weights!r} are stored by Programs; leave out compiled=False")
        self.functions = Programs.of(model, weights) if compiled else model

    def run(self, name: str, *arrays) -> list[np.ndarray]:
        with no_grad(), batch_invariant() if self.strict else nullcontext():
            found = getattr(self.functions, name)(*arrays)
        return [np.asarray(getattr(a, "data", a)) for a in found]


class Reading(Running):
    """Texts as far as they were read: scores (rows, vocabulary) of what follows each."""

    def __init__(self, model: CausalLanguageModel, prompts: list[np.ndarray], copies: int, compiled: bool,
                 weights: str = "float32", cache: str = "float32", strict: bool = False):
        """copies: rows of each prompt."""
        super().__init__(model, compiled, weights, cache, strict)
        dtype = next(model.parameters()).dtype
        self.cache = model.make_cache(len(prompts) * copies, max(map(len, prompts)) + 1, dtype, cache, self.strict)
        found = []
        for i, prompt in enumerate(prompts):
            scores, entries = self.run("prefill", prompt[None], np.arange(len(prompt))[None])
            for row in range(i * copies, (i + 1) * copies):
                self.cache.put(row, entries)
                found.append(scores[0])
        self.scores = np.stack(found)

    def read(self, tokens: np.ndarray) -> None:
        """One more token (rows,) of each."""
        self.cache.make_room()
        self.scores, entries = self.run("step", tokens[:, None], self.cache.lengths[:, None], *self.cache.arrays)
        self.cache.append(entries)

    def choose(self, rows: np.ndarray) -> None:
        """Row i becomes what row rows[i] was."""
        self.cache.choose(rows)
