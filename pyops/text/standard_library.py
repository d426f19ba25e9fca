"""A text that is on every machine with Python: the source of its standard library."""
from __future__ import annotations

import sysconfig
from pathlib import Path


def standard_library(length: int = 1_000_000) -> str:
    """The first `length` characters of the modules at the top of the running interpreter's library,
    joined in the order of their names.

    Files with characters beyond ASCII are left out: a few letters that hardly occur would only
    widen the output. FileNotFoundError where the interpreter came without sources.
    """
    directory = Path(sysconfig.get_path("stdlib"))
    pieces, room = [], length
    for path in sorted(directory.glob("*.py")):
        if room <= 0:
            break
        content = path.read_bytes()
        if content.isascii():
            pieces.append(content.decode().replace("\r\n", "\n")[:room])
            room -= len(pieces[-1])
    text = "".join(pieces)
    if not text:
        raise FileNotFoundError(f"{directory}: has no Python sources")
    return text
