"""Files that are whole or not there: written beside their place under a name that nobody else has,
synced, and renamed into it.

Several processes may write one file at once, in one container or in several, and one may be killed
at any moment: the file is then what the last of them wrote, or what was there before. A
half-written file is locked by who writes it. What can be locked is a killed process's, and removed;
where the system has no locks (some network file systems), what is a day old.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

DAY = 24 * 3600
SUFFIX = ".part"


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends, and is removed if it
    raises.
    """
    remove_leftovers(path)
    beside, file = begin(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(beside, path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def begin(path: Path) -> tuple[Path, BinaryIO]:
    """A new, locked file beside `path`."""
    while True:
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}{SUFFIX}")
        file = open(beside, "xb")
        if not lock(file.fileno()) or os.fstat(file.fileno()).st_nlink:
            return beside, file
        file.close()  # taken for a killed process's, and removed, before it was locked


def lock(descriptor: int, wait: bool = True) -> bool:
    """Locks an open file until it is closed. False where another has it locked, or the system has
    no locks.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def remove_leftovers(path: Path) -> None:
    """Removes half-written files for `path` that nobody writes any more."""
    for beside in path.parent.glob(f".{glob_escaped(path.name)}.*"):
        if beside.name.endswith(SUFFIX):
            remove_if_abandoned(beside)


def glob_escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def remove_if_abandoned(beside: Path) -> None:
    """Removes a file that nobody has locked, and holds its lock meanwhile: who has just made it and
    waits for the lock then sees that it is gone.
    """
    try:
        descriptor = os.open(beside, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:  # gone, or another user's
        return
    try:
        old = time.time() - os.fstat(descriptor).st_mtime > DAY
        if old if fcntl is None else lock(descriptor, wait=False):
            beside.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes a rename within `folder` survive a loss of power, where the system can open folders
    (Windows cannot, and needs not).
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether this is the only block, of all processes, for `folder`; True where the system cannot
    tell. Leaves no file behind.
    """
    if fcntl is None:
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError:
            yield True
        else:
            yield True
    finally:
        os.close(descriptor)
