"""YOLO9000's tree of words: classes below classes, and probabilities of each given the one above.

Redmon & Farhadi, "YOLO9000: Better, Faster, Stronger" (2017), section 4. The words of a group have
one parent and one softmax: what a network gives for a word is its probability given the parent, and
the word's own probability is the product along the way to the root.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ... import functional as F
from .framed import joined


class WordTree:
    """names: of the words. parents: of each the number of the one above, -1 for a root; parents come
    before their children, and the children of one parent lie side by side (a group).

    Raises ValueError where that is not so.
    """

    def __init__(self, names: Sequence[str], parents: Iterable[int]) -> None:
        self.names, self.parents = tuple(names), np.array(list(parents), np.int64)
        if len(self.names) != len(self.parents) or not self.names:
            raise ValueError(f"WordTree: {len(self.names)} names and {len(self.parents)} parents; there must "
                             "be as many, and one at least")
        late = np.flatnonzero((self.parents >= np.arange(len(self.parents))) | (self.parents < -1))
        if len(late):
            word = int(late[0])
            raise ValueError(f"WordTree: the parent of word {word} ({self.names[word]}) is "
                             f"{self.parents[word]}, which is not an earlier word or -1")
        starts = np.flatnonzero(np.diff(self.parents, prepend=-2))
        self.starts, self.sizes = starts, np.diff(starts, append=len(self.parents))
        heads = self.parents[starts]
        if len(set(heads.tolist())) != len(heads):
            twice = next(h for h in heads.tolist() if (heads == h).sum() > 1)
            raise ValueError(f"WordTree: the children of word {twice} do not lie side by side")
        self.group = np.repeat(np.arange(len(starts)), self.sizes)
        self.children = np.full(len(self.parents), -1, np.int64)   # the group below a word
        self.children[heads[heads >= 0]] = np.flatnonzero(heads >= 0)
        self.depth = np.zeros(len(self.parents), np.int64)
        for word, parent in enumerate(self.parents):
            self.depth[word] = 0 if parent < 0 else self.depth[parent] + 1

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def read(cls, path: str | Path) -> WordTree:
        """Of a file with a line a word: its name and its parent's number (Darknet's 9k.tree)."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"tree: {path}: no such file")
        names, parents = [], []
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if not line.strip():
                continue
            parts = line.split()
            if len(parts) != 2 or not parts[1].lstrip("-").isdigit():
                raise ValueError(f"tree: {path.name}, line {number}: must be a name and the parent's number, "
                                 f"got {line[:60]!r}")
            names.append(parts[0])
            parents.append(int(parts[1]))
        return cls(names, parents)

    def path(self, word: int) -> list[int]:
        """The word and those above it, up to its root."""
        way = []
        while word >= 0:
            way.append(int(word))
            word = self.parents[word]
        return way

    def softmax(self, logits: Any, dim: int) -> Any:
        """Each word's probability given its parent: a softmax over every group along `dim`, where
        logits have a value a word."""
        return self._by_group(F.softmax, logits, dim)

    def log_softmax(self, logits: Any, dim: int) -> Any:
        return self._by_group(F.log_softmax, logits, dim)

    def _by_group(self, of_group: Any, logits: Any, dim: int) -> Any:
        """of_group(values, 2) of every group. Groups of about one size are rows of one array, filled
        up with -inf, so that there are few steps and less than twice the values."""
        flat, shape = self._flat(logits, dim), tuple(logits.shape)
        inner = flat.shape[2]
        made = [F.reshape(of_group(self._rows(flat, groups, width), 2), (-1, len(groups) * width, inner))
                for width, groups in self.buckets]
        return F.reshape(F.index_select(joined(made), 1, self.places), shape)

    def _flat(self, values: Any, dim: int) -> Any:
        """(outer, words, inner): the axes before and behind `dim` as one each. Words that are not the
        last axis are moved as whole rows."""
        shape = tuple(values.shape)
        dim %= len(shape)
        return F.reshape(values, (-1, len(self), int(np.prod(shape[dim + 1:], dtype=np.int64))))

    @cached_property
    def buckets(self) -> list[tuple[int, np.ndarray]]:
        """(width, groups of at most that size and of more than half of it)."""
        widths = 2 ** np.ceil(np.log2(self.sizes)).astype(np.int64)
        return [(int(w), np.flatnonzero(widths == w)) for w in np.unique(widths)]

    def _rows(self, flat: Any, groups: np.ndarray, width: int) -> Any:
        """(outer, groups, width, inner): the words of these groups, -inf behind the end of each."""
        sizes = self.sizes[groups][:, None]
        words = self.starts[groups][:, None] + np.minimum(np.arange(width), sizes - 1)
        values = F.reshape(F.index_select(flat, 1, words.reshape(-1)), (-1, len(groups), width, flat.shape[2]))
        there = np.arange(width) < sizes
        return values if there.all() else F.where(there[..., None], values, np.float32(-np.inf))

    @cached_property
    def places(self) -> np.ndarray:
        """Where each word lies in the buckets' arrays one after another."""
        place, start = np.zeros(len(self), np.int64), 0
        for width, groups in self.buckets:
            for row, group in enumerate(groups):
                words = self.starts[group] + np.arange(self.sizes[group])
                place[words] = start + row * width + np.arange(self.sizes[group])
            start += width * len(groups)
        return place

    def probabilities(self, conditional: Any, dim: int = -1) -> Any:
        """Of every word along `dim`, from probabilities given the parent: the product along the way to
        the root. By doubling: after k rounds a word has the product of 2^k steps."""
        flat = self._flat(conditional, dim)
        ones = F.index_select(flat, 1, np.zeros(1, np.int64)) * 0 + 1
        above = np.append(np.where(self.parents < 0, len(self), self.parents), len(self))
        value = F.cat([flat, ones], 1)
        for _ in range(int(self.depth.max()).bit_length()):
            value = value * F.index_select(value, 1, above)
            above = above[above]
        return F.reshape(value[:, :len(self)], tuple(conditional.shape))

    def walk(self, conditional: Any, threshold: float, dim: int = -1) -> Any:
        """int64, without the axis `dim`: the word that is reached from the roots by the most probable
        child each time, while the product of the probabilities on the way stays above `threshold`;
        one of the roots at least."""
        shape = list(conditional.shape)
        del shape[dim]
        value, word = self._best_children(self._flat(conditional, dim))
        group = F.argmax(value, 1, keepdim=True) * 0
        alive, surest = group == 0, F.gather(value, 1, group) * 0 + 1
        reached = group
        for depth in range(int(self.depth.max()) + 1):
            child, product = F.gather(word, 1, group), surest * F.gather(value, 1, group)
            alive = F.logical_and(alive, product > threshold) if depth else alive
            reached, surest = F.where(alive, child, reached), F.where(alive, product, surest)
            below = F.reshape(F.index_select(self.children, 0, F.reshape(child, (-1,))), tuple(child.shape))
            alive = F.logical_and(alive, below >= 0)
            group = F.where(alive, below, np.int64(0))
        return F.reshape(reached, tuple(shape))

    def _best_children(self, flat: Any) -> tuple[Any, Any]:
        """(outer, groups, inner): of every group the largest value and its word."""
        values, words = [], []
        for width, groups in self.buckets:
            rows = self._rows(flat, groups, width)
            values.append(F.amax(rows, 2))
            words.append(F.argmax(rows, 2) + self.starts[groups][:, None])
        order = np.argsort(np.concatenate([groups for _, groups in self.buckets]))
        return F.index_select(joined(values), 1, order), F.index_select(joined(words), 1, order)
