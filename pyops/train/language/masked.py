"""BERT on the documentation that every Python carries: masked words on all of it, then a classifier
of few labelled passages.

A passage is the docstring of a module, class or function; its class is the package of the standard
library that it stands in. Of each package few passages have a label; half of the others are asked for
in the test, and read by nobody before, the other half is text without a label.
"""
from __future__ import annotations

import ast
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import functional as F
from ...core.tensor import no_grad
from ...text import mask_words

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, FIRST, LAST, MASK = range(len(SPECIAL))
SHORTEST = 40   # characters of a passage
LEFT_OUT = ("site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "distutils", "ensurepip")


@dataclass(frozen=True)
class Passage:
    text: str
    package: str


def passages(root: Path | None = None) -> list[Passage]:
    """Every docstring of at least 40 characters in the running interpreter's library (or below
    root), once each, in the order of the files' names. FileNotFoundError where there are none."""
    root = Path(sysconfig.get_path("stdlib")) if root is None else root
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).parts
        if not set(inside) & set(LEFT_OUT):
            for text in docstrings(path):
                found.setdefault(text, inside[0].removesuffix(".py"))
    if not found:
        raise FileNotFoundError(f"{root}: has no Python sources with docstrings")
    return [Passage(text, package) for text, package in found.items()]


def docstrings(path: Path) -> Iterator[str]:
    """Those of a file that is Python of this version, in ASCII."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):   # samples of bad sources are part of the library
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text and len(text) >= SHORTEST and text.isascii():
                yield text


@dataclass(frozen=True)
class Split:
    """unlabelled: what masked words are taken from: passages of all packages, all but those of the test.
    labelled and test: (passages, classes) of the packages `classes`."""
    unlabelled: list[Passage]
    labelled: tuple[list[Passage], np.ndarray]
    test: tuple[list[Passage], np.ndarray]
    classes: list[str]


def split(found: Sequence[Passage], classes: int, labelled: int, generator: np.random.Generator) -> Split:
    """The `classes` packages with most passages, `labelled` of each to learn from, half of the others
    for the test. ValueError where a package has too few."""
    most = Counter(p.package for p in found).most_common(classes)
    names = sorted(name for name, _ in most)
    if len(most) < classes or most[-1][1] < 2 * labelled:
        raise ValueError(f"split: there are not {classes} packages with {2 * labelled} passages each")
    order = [found[i] for i in generator.permutation(len(found))]
    parts: tuple[list[tuple[Passage, int]], ...] = ([], [])
    for c, name in enumerate(names):
        own = [(p, c) for p in order if p.package == name]
        parts[0].extend(own[:labelled])
        parts[1].extend(own[labelled:labelled + (len(own) - labelled + 1) // 2])
    asked = {p.text for p, _ in parts[1]}
    return Split([p for p in order if p.text not in asked],
                 *(([p for p, _ in part], np.array([c for _, c in part])) for part in parts), names)


def tokenizer(texts: Sequence[str], vocabulary: int = 2000) -> Any:
    """WordPiece of these texts in lower case (Schuster and Nakajima, 2012), [CLS] in front and [SEP]
    behind. A tokenizers.Tokenizer."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    found = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer(lowercase=True)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.decoder = decoders.WordPiece()
    found.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL),
                                                               show_progress=False))
    found.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", FIRST),
                                                                                           ("[SEP]", LAST)])
    return found


def encoded(words: Any, texts: Sequence[str], length: int) -> np.ndarray:
    """(texts, length) int64, cut or padded."""
    found = np.full((len(texts), length), PAD, np.int64)
    for row, one in zip(found, words.encode_batch(list(texts))):
        ids = one.ids[:length]
        row[:len(ids)] = ids
    return found


def pieces(words: Any, texts: Sequence[str], length: int) -> np.ndarray:
    """All of the texts, long ones as several rows; (rows, length) int64."""
    rows = []
    for one in words.encode_batch(list(texts), add_special_tokens=False):
        for i in range(0, len(one.ids), length - 2):
            rows.append([FIRST, *one.ids[i:i + length - 2], LAST])
    found = np.full((len(rows), length), PAD, np.int64)
    for line, row in zip(found, rows):
        line[:len(row)] = row
    return found


def masked(rows: np.ndarray, batch: int, vocabulary: int,
           generator: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ids, words, mask) for BertForMaskedWords.loss, words masked anew each time, without the
    columns that are padding in all rows."""
    while True:
        chosen = rows[generator.integers(0, len(rows), batch)]
        chosen = chosen[:, :int((chosen != PAD).sum(1).max())]
        yield (*mask_words(chosen, MASK, vocabulary, generator, special=range(len(SPECIAL))),
               (chosen != PAD).astype(np.int64))


def words_loss(model, batch) -> Any:
    """model.loss, with scores of the masked places only: of the vocabulary, they are half the work."""
    ids, words, mask = batch
    x = model.bert(ids, None, mask)
    places = np.flatnonzero(words.reshape(-1) != -100)
    x = F.reshape(x, (-1, x.shape[-1]))[places]
    return F.cross_entropy(model.cls.predictions(x), words.reshape(-1)[places])


def labelled(rows: np.ndarray, classes: np.ndarray, batch: int, generator: np.random.Generator) -> Iterator[Any]:
    """(ids, classes), epoch after epoch."""
    while True:
        order = generator.permutation(len(rows))
        for i in range(0, len(order), batch):
            chosen = order[i:i + batch]
            yield rows[chosen], classes[chosen]


def class_loss(model, batch) -> Any:
    ids, classes = batch
    return F.cross_entropy(model(ids, None, (ids != PAD).astype(np.int64)), classes)


def accuracy(model, rows: np.ndarray, classes: np.ndarray, at_once: int = 64) -> float:
    """The share that a BertForSequences in evaluation mode gets right."""
    right = 0
    with no_grad():
        for i in range(0, len(rows), at_once):
            ids = rows[i:i + at_once]
            scores = model(ids, None, (ids != PAD).astype(np.int64)).data
            right += int((scores.argmax(-1) == classes[i:i + at_once]).sum())
    return right / len(rows)
