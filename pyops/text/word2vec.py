"""word2vec's two formats. Mikolov et al. (2013), https://code.google.com/archive/p/word2vec.

Both begin with a line of two numbers, words and dimension. As text, a line a word follows, as in
GloVe's files. In binary follow, for each word, its bytes, a space, `dimension` little-endian
float32 numbers, and (from the original program, not from others) a line feed.
"""
from __future__ import annotations

import sys
from collections.abc import Collection

from .files import numbered_lines, opened
from .glove import collect_lines
from .word_vectors import Collector, WordVectors, decoded

LONGEST_HEADER, LONGEST_WORD = 64, 1 << 16
LARGEST_DIMENSION = 1 << 16   # a row of what a damaged header asks for must fit into memory


def read_word2vec(path, *, binary: bool = False, words: Collection[str] | None = None,
                  limit: int | None = None, strict: bool = False) -> WordVectors:
    """The vectors in a file that word2vec wrote with -binary 0 or 1, gzipped or not, in the file's
    order.

    words, limit, strict, errors and what is skipped: as read_glove. Numbers in `skipped` count
    lines (the header is line 1) or, in a binary file, words from 1. A file that ends early or goes
    on beyond the words of its header is listed there too; a damaged header is a ValueError. The
    header's number of words is not trusted: memory is taken as vectors come.
    """
    with opened(path) as file:
        count, dimension = read_header(file, path)
        collector = Collector(path, dimension, words, limit, strict)
        if binary:
            collect_binary(collector, file, count)
        else:
            collect_text(collector, file, count)
        return collector.finish()


def read_header(file, path) -> tuple[int, int]:
    line = file.readline(LONGEST_HEADER)
    fields = line.split()
    if len(fields) != 2 or not all(f.isdigit() for f in fields) or not line.endswith(b"\n"):
        raise ValueError(
            f"{path}: not a word2vec file: the first line must be the number of words and the dimension, got "
            f"{line[:40]!r}; read_glove reads GloVe's files, which have no such line")
    count, dimension = map(int, fields)
    if not 1 <= dimension <= LARGEST_DIMENSION:
        raise ValueError(f"{path}: the header's dimension {dimension} is not within 1 .. {LARGEST_DIMENSION}")
    return count, dimension


def collect_text(collector: Collector, file, count: int) -> None:
    last = 1

    def lines():
        nonlocal last
        for last, line in numbered_lines(file, first=2):
            if last > count + 1:
                collector.skip(last, f"the header counts {count} words, there are more")
                return
            yield last, line
    collect_lines(collector, lines())
    if last < count + 1 and not collector.full:
        collector.skip(last + 1, f"the file ends after {last - 1} of {count} words")


def collect_binary(collector: Collector, file, count: int) -> None:
    for number in range(1, count + 1):
        if collector.full:
            return
        word = read_word(file)
        row = collector.row()
        size = file.readinto(memoryview(row).cast("B")) if word is not None else 0
        if size < row.nbytes:
            damaged = word is None and file.peek(1)
            collector.skip(number, f"no word of at most {LONGEST_WORD} bytes, the file is damaged here"
                           if damaged else f"the file ends after {number - 1} of {count} words")
            return   # where the next word begins is unknown
        if number == 1 and looks_like_text(row):
            raise ValueError(
                f"{collector.path}: word2vec's text format, not its binary one: binary=False reads it")
        if sys.byteorder == "big":
            row.byteswap(inplace=True)
        try:
            text = decoded(word)
        except ValueError as why:
            collector.skip(number, str(why))
            continue
        if collector.wants(text):
            collector.keep(number, text)
    if not collector.full and file.read(LONGEST_HEADER).strip():
        collector.skip(count + 1, f"the header counts {count} words, there are more bytes")


def looks_like_text(row) -> bool:
    """No byte of these four or more numbers is anything but printable ASCII or white space."""
    return len(row) >= 4 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in row.tobytes())


def read_word(file) -> bytes | None:
    """The bytes up to the next space, without line feeds before them. None if the file ends first
    or the word would be too long."""
    word = b""
    while ahead := file.peek(1):
        space = ahead.find(b" ")
        if space >= 0:
            return (word + file.read(space + 1)[:-1]).lstrip(b"\n")
        word += file.read(len(ahead))
        if len(word) > LONGEST_WORD:
            return None
    return None
