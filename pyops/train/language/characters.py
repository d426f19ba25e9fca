"""A text by characters, for a GPT and for an LSTM beside it: batches, and nats a character of a text
that training never saw."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import functional as F
from ...core.tensor import no_grad
from ...models.sequence.recurrent import detached
from ...text import Characters
from ..text_trainer import chunks

SHARE = 0.05   # of the text, at its end, that is kept for the test


def split(numbers: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """What is taught, and what is asked, each of at least two contexts. ValueError where the text is too
    short."""
    cut = len(numbers) - max(int(SHARE * len(numbers)), 2 * context + 1)
    if cut < 2 * context:
        raise ValueError(f"a text of {len(numbers)} characters is too short: it needs {4 * context + 1}")
    return numbers[:cut], numbers[cut:]


def windows(numbers: np.ndarray, batch: int, context: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """(batch, context + 1), begun anywhere."""
    while True:
        begin = generator.integers(0, len(numbers) - context, batch)
        yield numbers[begin[:, None] + np.arange(context + 1)]


class Streamed:
    """Batches for an LSTM whose state goes on from chunk to chunk, and the loss of one."""

    def __init__(self, model, numbers: np.ndarray, batch: int, length: int):
        self.model, self.state = model, None
        self.batches = self.endless(numbers, batch, length)

    @staticmethod
    def endless(numbers, batch, length):
        while True:
            for i, (x, y) in enumerate(chunks(numbers, batch, length)):
                yield x, y, i == 0

    def loss(self, batch) -> Any:
        x, y, fresh = batch
        scores, self.state = self.model(x, None if fresh else detached(self.state))
        return self.model.loss(scores, y)


def gpt_loss(model, batch: np.ndarray) -> Any:
    """Nats a character of windows (N, context + 1)."""
    scores = model(batch[:, :-1])
    return F.cross_entropy(F.reshape(scores, (-1, scores.shape[-1])), batch[:, 1:].reshape(-1))


def gpt_nats(model, numbers: np.ndarray, context: int, at_once: int = 32) -> float:
    """Mean nats of the characters after the first half of a context, each after at least half a
    context and at most a whole one."""
    half = context // 2
    rows = np.arange(0, len(numbers) - context, context - half)[:, None] + np.arange(context + 1)
    total = 0.0
    with no_grad():
        for i in range(0, len(rows), at_once):
            part = numbers[rows[i:i + at_once]]
            scores = model(part[:, :-1]).data[:, half:]
            total += float(F.cross_entropy(scores.reshape(-1, scores.shape[-1]), part[:, 1 + half:].reshape(-1),
                                           reduction="sum"))
    return total / (len(rows) * (context - half))


def lstm_nats(model, numbers: np.ndarray, context: int) -> float:
    """Of the same characters, by a state that has read all before them."""
    half = context // 2
    last = (len(numbers) - context - 1) // (context - half) * (context - half) + context
    with no_grad():
        scores, _ = model(numbers[None, :last])
        return float(F.cross_entropy(scores.data[0, half:], numbers[half + 1:last + 1]))


def tokenizer(characters: Characters) -> Any:
    """A tokenizers.Tokenizer that takes a text apart into these characters, for a folder's
    tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models
    found = Tokenizer(models.BPE({c: i for i, c in enumerate(characters.alphabet)}, []))
    found.decoder = decoders.Fuse()
    return found
