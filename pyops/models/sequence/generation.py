"""How the next tokens are chosen: drawn or the likeliest, one text or beams."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.random import default_generator
from ...text.sampling import check_sampling, draw, likeliest, penalise
from .packing import row_of, told


@dataclass
class Sampling:
    """temperature 0 takes the likeliest. ValueError for numbers out of range."""
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int | None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        real("repetition_penalty", self.repetition_penalty)
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(f"generate: repetition_penalty must be positive and finite, got {self.repetition_penalty}")
        if self.seed is not None and (not isinstance(self.seed, (int, np.integer)) or self.seed < 0):
            raise ValueError(f"generate: seed must be a whole number from 0, got {self.seed!r}")
        check_sampling(1.0 if self.temperature == 0 else self.temperature, self.top_k, self.top_p)
        self.generator = default_generator() if self.seed is None else np.random.default_rng(self.seed)

    def __call__(self, scores: np.ndarray, seen: list[int]) -> int:
        """A token by its scores; seen: those of the text so far, prompt included."""
        if self.repetition_penalty != 1:
            scores = penalise(scores, np.unique(seen), self.repetition_penalty)
        if not self.temperature:
            likeliest = int(np.argmax(scores))
            if not np.isfinite(scores[likeliest]):
                raise ValueError("generate: a score is not finite")
            return likeliest
        return draw(scores, self.generator, self.temperature, self.top_k, self.top_p)


def real(name: str, value: Any) -> None:
    """ValueError for what is no number."""
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool):
        raise ValueError(f"generate: {name} must be a number, got {value!r}")


def positive(name: str, value: Any) -> int:
    """Of any type of whole numbers. ValueError for others, and below 1."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"generate: {name} must be a positive whole number, got {value!r}")
    return int(value)


def checked_prompts(ids: Any, more: int, vocabulary: int, positions: int | None) -> list[np.ndarray]:
    """The prompts as int64 arrays. ValueError for what is no batch of them."""
    positive("max_new_tokens", more)
    if not hasattr(ids, "__len__") or isinstance(ids, Mapping):
        raise ValueError(f"generate: ids must be a list of prompts, got {type(ids).__name__}")
    if len(ids) and (not hasattr(ids[0], "__len__") or getattr(ids[0], "ndim", 1) == 0):
        ids = [ids]
    prompts = [row_of(f"generate: prompt {i}", prompt) for i, prompt in enumerate(ids)]
    if not prompts:
        raise ValueError("generate: there is no prompt")
    for i, prompt in enumerate(prompts):
        if prompt.ndim != 1 or not len(prompt):
            raise ValueError(f"generate: prompt {i} must be a row of at least one token, got shape {prompt.shape}")
        if prompt.dtype.kind not in "iu" or prompt.min() < 0 or prompt.max() >= vocabulary:
            raise ValueError(f"generate: prompt {i} must be whole numbers from 0 to {vocabulary - 1}, got "
                             f"{told(prompt)}")
        if positions is not None and len(prompt) + more > positions:
            raise ValueError(f"generate: prompt {i} of {len(prompt)} tokens and {more} new ones are more than "
                             f"the model's {positions} positions")
    return [prompt.astype(np.int64) for prompt in prompts]


def stops(stop: int | Sequence[int] | None, vocabulary: int) -> set[int]:
    """The tokens that end a text; those beyond the vocabulary never come."""
    found = np.asarray([] if stop is None else stop).reshape(-1)
    if found.size and found.dtype.kind not in "iu":
        raise ValueError(f"generate: stop must be whole numbers, got {stop!r}")
    return {int(token) for token in found if 0 <= token < vocabulary}


def sample(reading, begun: list[list[int]], most: int, sampling: Sampling, stop,
           stream: Callable[[int, int], Any] | None) -> list[list[int]]:
    """New tokens of each text, until a stop token or `most` of them. begun: what it begins with."""
    rows, vocabulary = reading.scores.shape
    ends = stops(stop, vocabulary)
    if stream is not None and not callable(stream):
        raise ValueError(f"generate: stream must be a function of a row and a token, got {stream!r}")
    written: list[list[int]] = [[] for _ in range(rows)]
    live = [True] * rows
    tokens = np.zeros(rows, np.int64)
    for i in range(most):
        for row in np.flatnonzero(live):
            token = sampling(reading.scores[row], begun[row] + written[row])
            if token in ends:
                live[row] = False
                continue
            tokens[row] = token
            written[row].append(token)
            if stream is not None:
                stream(int(row), token)
        if not any(live) or i == most - 1:
            break
        reading.read(tokens)
    return written


def beam_search(reading, beams: int, most: int, stop, length_penalty: float, sampling: Sampling,
                stream) -> list[list[int]]:
    """The best of the texts that `beams` at a time lead to; rows of a prompt lie one after another.
    """
    if sampling.temperature or stream is not None:
        raise ValueError("generate: num_beams keeps the likeliest texts; leave out temperature and stream")
    if sampling.repetition_penalty != 1:
        raise ValueError("generate: repetition_penalty is for one text at a time; leave out num_beams")
    real("length_penalty", length_penalty)
    if not length_penalty >= 0:
        raise ValueError(f"generate: length_penalty must not be negative, got {length_penalty}")
    ends = sorted(stops(stop, reading.scores.shape[1]))
    searches = [BeamSearch(beams, most, ends, length_penalty) for _ in range(len(reading.scores) // beams)]
    for i in range(most):
        rows, tokens = [], []
        for n, search in enumerate(searches):
            kept, chosen = search.advance(reading.scores[n * beams:(n + 1) * beams])
            rows.append(n * beams + kept)
            tokens.append(chosen)
        if i == most - 1 or all(search.done for search in searches):
            break
        order = np.concatenate(rows)
        if not np.array_equal(order, np.arange(len(order))):
            reading.choose(order)
        reading.read(np.concatenate(tokens))
    return [search.best() for search in searches]


class BeamSearch:
    """The texts of one prompt: `live` ones with their log probabilities, and finished ones."""

    def __init__(self, beams: int, most: int, ends: list[int], length_penalty: float):
        self.beams, self.most, self.ends, self.alpha = beams, most, ends, length_penalty
        self.live: list[list[int]] = [[] for _ in range(beams)]
        self.scores = np.full(beams, -np.inf)
        self.scores[0] = 0   # all rows are the same text yet
        self.finished: list[tuple[float, list[int]]] = []
        self.done = False

    def penalty(self, length: int) -> float:
        """Wu et al. (2016): a longer text is not worse for having more factors."""
        return ((5 + length) / 6) ** self.alpha

    def advance(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From scores (beams, vocabulary): which text each of the next ones continues, and its
        token."""
        if self.done:
            return np.arange(self.beams), np.zeros(self.beams, np.int64)
        everyone, top = np.arange(self.beams), scores.max(-1)
        if not np.isfinite(top).all():
            raise ValueError("generate: a score is not finite")
        log_sum = np.log(np.exp(scores - top[:, None]).sum(-1, dtype=np.float64))

        def total(rows, tokens):   # log probabilities of texts with one more token
            return self.scores[rows] + scores[rows, tokens].astype(np.float64) - top[rows] - log_sum[rows]
        for end in self.ends:   # the stop token counts in the length, as it does in the probability
            for text, score in zip(self.live, total(everyone, end)):
                if score > -np.inf:
                    self.finished.append((score / self.penalty(len(text) + 1), text))
        self.finished = sorted(self.finished, key=lambda found: -found[0])[:self.beams]
        # no text goes on in more ways than there are beams
        each = min(self.beams + len(self.ends), scores.shape[1])
        rows, tokens = np.repeat(everyone, each), np.concatenate([np.sort(likeliest(row, each)) for row in scores])
        totals = np.where(np.isin(tokens, self.ends), -np.inf, total(rows, tokens))
        best = likeliest(totals, self.beams)
        rows, tokens = rows[best], tokens[best]
        self.live = [[*self.live[row], int(token)] for row, token in zip(rows, tokens)]
        self.scores = totals[best]
        # no live text can come to more than this: its log probability only falls
        bound = self.scores[0] / self.penalty(self.most)
        self.done = len(self.finished) == self.beams and self.finished[-1][0] >= bound
        return rows, tokens

    def best(self) -> list[int]:
        live = [(score / self.penalty(len(text)), text) for score, text in zip(self.scores, self.live)
                if score > -np.inf]
        return max(self.finished + live, key=lambda found: found[0])[1]
