"""Files of text or of vectors, gzipped or not, read in pieces of bounded size."""
from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_LINE = 1 << 20


@contextmanager
def opened(path) -> Iterator[io.BufferedReader]:
    """The bytes of `path`, uncompressed where it is gzipped (whatever its name).

    ValueError where it is a zip archive or the gzip stream is damaged; OSError where it cannot be
    read.
    """
    path = Path(path)
    with open(path, "rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic == b"PK\3\4":
            raise ValueError(f"{path}: a zip archive; unpack it and name the file in it")
        try:
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw)) if magic[:2] == b"\x1f\x8b" else raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as why:
            raise ValueError(f"{path}: the gzip stream is damaged or truncated: {why}") from why


def numbered_lines(file, first: int = 1) -> Iterator[tuple[int, bytes | None]]:
    """(number, line) up to the end; the line is None where it is longer than a megabyte, as in a
    file that is no text."""
    number = first
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (more := file.readline(LONGEST_LINE)) and not more.endswith(b"\n"):
                pass
            line = None
        yield number, line
        number += 1
