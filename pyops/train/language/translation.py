"""Translation between words and figures, in English and German, by the Transformer of 2017.

Texts are generated (pyops.text.spelled): a number or a day in three forms, English, German and
figures. A source begins with a token that says which form is wanted. Numbers and days for the test
are never met in training.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import permutations
from typing import Any

import numpy as np

from ...text.spelled import LANGUAGES, spelled_date, spelled_number

FORMS = (*LANGUAGES, "figures")
TOPICS = ("numbers", "dates")
FIRST, DAYS = date(1600, 1, 1), 182_621   # to the last day of 2099
PAD, START, END = 0, 1, 2
SPECIAL = ("<pad>", "<start>", "<end>", *(f"<{form}>" for form in FORMS))


@dataclass(frozen=True)
class Pair:
    """source in the form `of`, to be written in the form `to`."""
    topic: str
    of: str
    to: str
    source: str
    target: str


def forms(topic: str, item: int) -> dict[str, str]:
    """A number, or a day counted from 1600, in every form."""
    if topic == "numbers":
        return {"figures": str(item)} | {language: spelled_number(item, language) for language in LANGUAGES}
    day = FIRST + timedelta(item)
    return {"figures": day.isoformat()} | {language: spelled_date(day, language) for language in LANGUAGES}


def is_for_test(item: int) -> bool:
    """One in ten, by a hash of the number, so that the neighbours of any are met in training."""
    return (item * 2654435761 >> 16) % 10 == 0


def pairs(generator: np.random.Generator, test: bool, topics: Sequence[str] = TOPICS) -> Iterator[Pair]:
    """Pairs without end, of training or of the test. Numbers have as many digits as are drawn
    first."""
    ways = list(permutations(FORMS, 2))
    while True:
        topic = topics[int(generator.integers(len(topics)))]
        limit = 10 ** int(generator.integers(1, 7)) if topic == "numbers" else DAYS
        item = int(generator.integers(limit))
        if is_for_test(item) != test:
            continue
        of, to = ways[int(generator.integers(len(ways)))]
        found = forms(topic, item)
        yield Pair(topic, of, to, found[of], found[to])


def tokenizer(seed: int = 0, vocabulary: int = 320) -> Any:
    """Byte pair encoding of 4,000 texts: spaces begin a word, digits stand alone. Sennrich et al.
    (2016). A tokenizers.Tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d|-| ?\p{L}+| "), "isolated")
    found.decoder = decoders.Fuse()
    generator = np.random.default_rng(seed)
    stream = pairs(generator, False)
    texts = [text for _ in range(2000) for pair in [next(stream)] for text in (pair.source, pair.target)]
    found.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL),
                                                         show_progress=False))
    return found


@dataclass
class Codec:
    """Texts as tokens. words: a tokenizers.Tokenizer with the special tokens."""
    words: Any

    def source(self, pair: Pair) -> list[int]:
        return [self.words.token_to_id(f"<{pair.to}>"), *self.words.encode(pair.source).ids]

    def target(self, pair: Pair) -> list[int]:
        return [*self.words.encode(pair.target).ids, END]

    def text(self, ids: Sequence[int]) -> str:
        return self.words.decode(list(ids))

    def labels(self, ids: Sequence[int]) -> list[str]:
        return [self.words.id_to_token(i) for i in ids]


def padded(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    """(rows, longest) int64."""
    found = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for line, row in zip(found, rows):
        line[:len(row)] = row
    return found


def batches(codec: Codec, generator: np.random.Generator, size: int,
            topics: Sequence[str] = TOPICS) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(source, target, mask of the source), padded; target's end counts as -100. Texts of a batch are
    of about one length: of eight batches drawn, sorted, and handed out in any order."""
    stream = pairs(generator, False, topics)
    while True:
        drawn = [(codec.source(pair), codec.target(pair)) for pair, _ in zip(stream, range(8 * size))]
        drawn.sort(key=lambda both: (len(both[1]), len(both[0])))
        for i in generator.permutation(8):
            sources, targets = zip(*drawn[i * size:(i + 1) * size])
            source = padded(sources, PAD)
            lengths = np.array([len(row) for row in sources])
            yield source, padded(targets, -100), (np.arange(source.shape[1]) < lengths[:, None]).astype(np.int64)


@dataclass(frozen=True)
class Answers:
    """What a model wrote for pairs of the test."""
    pairs: list[Pair]
    written: list[str]

    def right(self, *, topic: str | None = None, to: str | None = None) -> tuple[int, int]:
        """How many are right to the letter, and of how many, of a topic and a form."""
        chosen = [w == p.target for p, w in zip(self.pairs, self.written)
                  if topic in (None, p.topic) and to in (None, p.to)]
        return sum(chosen), len(chosen)

    def bleu(self) -> float:
        """BLEU (Papineni et al., 2002) over characters, since German writes a number as one word, by
        the package sacrebleu. ImportError without it."""
        from sacrebleu import corpus_bleu
        return float(corpus_bleu(self.written, [[p.target for p in self.pairs]], tokenize="char").score)


def answers(model, codec: Codec, asked: list[Pair], num_beams: int = 1, at_once: int = 64) -> Answers:
    """model's translations of the pairs' sources."""
    written: list[str] = []
    longest = max(len(codec.target(pair)) for pair in asked)
    for i in range(0, len(asked), at_once):
        rows = model.generate([codec.source(pair) for pair in asked[i:i + at_once]], longest + 2, stop=END,
                              num_beams=num_beams)
        written += map(codec.text, rows)
    return Answers(asked, written)
