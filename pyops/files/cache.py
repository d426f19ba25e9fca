"""The user's cache folder for what was compiled: PYOPS_CACHE, or pyops in XDG_CACHE_HOME or
~/.cache.

What lies in it is run. So, as with ssh's keys, a folder or file that another user owns or may write
to is refused. A file ends with a digest of its content, and one that was cut short, as by a loss of
power, is made anew. (A loader of shared libraries does not mind what follows the last section.)
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from . import whole

MARK = b"\npyops: sha256 "
SEAL = len(MARK) + 64


class UnsafeCache(PermissionError):
    """The cache holds what others may have put there; the message says how to mend that."""


def folder(kind: str) -> Path:
    """The part of the cache for one kind of files, made where it is not there. UnsafeCache where
    others may write to it.
    """
    root = Path(
        os.environ.get("PYOPS_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyops"
    )
    found = root / kind
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in (root, found):
        check(place, place.stat())
    return found


def check(place: Path, status: os.stat_result) -> None:
    """UnsafeCache unless the file or folder is ours, or root's, and nobody else may write to it."""
    if not hasattr(os, "geteuid"):  # Windows
        return
    why = ""
    if status.st_uid not in (os.geteuid(), 0):
        why = f"belongs to user {status.st_uid}"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why = "may be written to by other users"
    if why:
        raise UnsafeCache(f"{place} {why}, and what is compiled there is run: remove it, take the right to "
                          "write from others (chmod -R go-w), or name another folder by PYOPS_CACHE")


def read(path: Path, plain: bool = False) -> bytes | None:
    """A file's content without its digest, if not `plain`; None where there is none, or not a whole
    one. UnsafeCache where others may have written it.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnsafeCache(f"{path} is no file")
            check(path, status)
            data = file.read()
    except FileNotFoundError:
        return None
    if plain:
        return data
    content, seal = data[:-SEAL], data[-SEAL:]
    return content if seal == sealed(content) else None


def sealed(content: bytes) -> bytes:
    return MARK + hashlib.sha256(content).hexdigest().encode()


def is_whole(path: Path) -> bool:
    return read(path) is not None


def keep(path: Path, content: bytes, plain: bool = False) -> None:
    """Puts a file into the cache, whole or not at all, with its digest behind it, if not
    `plain`.
    """
    with whole.writing(path) as file:
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), 0o644)
        file.write(content)
        if not plain:
            file.write(sealed(content))
