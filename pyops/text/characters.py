"""Characters: the distinct characters of a text as numbers."""
from __future__ import annotations

import numpy as np


class Characters:
    """Numbers 0, 1, ... for distinct characters in the order of their code points.

    alphabet: the characters as one str, in any order. ValueError if it is empty or
    has a character twice.
    """

    def __init__(self, alphabet: str):
        self.codes = np.sort(code_points(alphabet))
        if not len(self.codes):
            raise ValueError("Characters: there are none")
        if (self.codes[1:] == self.codes[:-1]).any():
            raise ValueError("Characters: a character appears twice")

    def __repr__(self):
        shown = self.alphabet
        return f"Characters({len(self)}: {shown if len(shown) <= 40 else shown[:37] + '...'!r})"

    @classmethod
    def of(cls, text: str) -> Characters:
        """Those that `text` has. ValueError if it is empty."""
        if not text:
            raise ValueError("the text is empty")
        return cls("".join(sorted(set(text))))

    @property
    def alphabet(self) -> str:
        return self.decode(range(len(self)))

    def __len__(self):
        return len(self.codes)

    def __contains__(self, character):
        return len(character) == 1 and ord(character) in self.codes

    def encode(self, text: str) -> np.ndarray:
        """int64 (len(text),). ValueError that names every character which is not known."""
        codes = code_points(text)
        index = np.searchsorted(self.codes, codes).clip(max=len(self) - 1)
        unknown = np.unique(codes[self.codes[index] != codes])
        if unknown.size:
            named = ", ".join(f"{chr(c)!r} (U+{c:04X})"
                              for c in unknown[:10]) + (", ..." if unknown.size > 10 else "")
            these = "these characters are" if unknown.size > 1 else "this character is"
            raise ValueError(f"{these} not among the {len(self)} known: {named}")
        return index.astype(np.int64)

    def decode(self, numbers) -> str:
        """The text of an array or sequence of numbers."""
        return "".join(map(chr, self.codes[np.asarray(numbers, np.int64)]))


def code_points(text: str) -> np.ndarray:
    """uint32 (len(text),), lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
