"""Darknet's .cfg files: sections of key=value lines, read into Sections and written from them.

    [convolutional]
    filters=32
    size=3

A file's first section is [net] (or [network]); every other one is a layer, numbered from 0. The
format is Darknet's own (https://pjreddie.com/darknet); what a key means is said where its layer is
made, in darknet_layers.py.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

LARGEST = 2 ** 24   # of any whole number in a cfg: no size, count or index of a network is larger


@dataclass
class Section:
    """One section: kind, the word between its brackets; options, its lines; where, for errors
    ("yolo.cfg, line 12")."""
    kind: str
    options: dict[str, str] = field(default_factory=dict)
    where: str = "cfg"

    def wrong(self, said: str) -> ValueError:
        return ValueError(f"{self.where}: [{self.kind}] {said}")

    def whole(self, key: str, default: int, least: int = 0) -> int:
        """A whole number of at least `least`."""
        text = self.options.get(key)
        try:
            value = default if text is None else int(text)
        except ValueError:
            raise self.wrong(f"{key} must be a whole number, got {text!r}") from None
        if not least <= value <= LARGEST:
            raise self.wrong(f"{key} must be between {least} and {LARGEST}, got {value}")
        return value

    def number(self, key: str, default: float) -> float:
        text = self.options.get(key)
        try:
            value = default if text is None else float(text)
        except ValueError:
            raise self.wrong(f"{key} must be a number, got {text!r}") from None
        if not isfinite(value):
            raise self.wrong(f"{key} must be finite, got {text!r}")
        return value

    def text(self, key: str, default: str) -> str:
        return self.options.get(key, default)

    def numbers(self, key: str, default: Sequence[float] = ()) -> tuple[float, ...]:
        """A list between commas."""
        text = self.options.get(key)
        if text is None:
            return tuple(default)
        try:
            values = tuple(float(part) for part in text.split(",") if part.strip())
        except ValueError:
            raise self.wrong(f"{key} must be numbers between commas, got {text!r}") from None
        if not all(map(isfinite, values)):
            raise self.wrong(f"{key} must be finite, got {text!r}")
        return values

    def wholes(self, key: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """A list of whole numbers between commas; they may be negative."""
        values = self.numbers(key, default)
        if any(v != int(v) or abs(v) > LARGEST for v in values):
            raise self.wrong(f"{key} must be whole numbers between commas, got {self.options[key]!r}")
        return tuple(int(v) for v in values)


def parse_cfg(text: str, source: str = "cfg") -> list[Section]:
    """The sections of a .cfg file's text, [net] first. source: what to call it in errors.

    Raises ValueError for a line before the first section, a line without "=", a file without
    layers, or one that does not begin with [net].
    """
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].split(";")[0].strip().lstrip("\ufeff")
        where = f"{source}, line {number}"
        if not line:
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise ValueError(f"{where}: a section's name must end with ], got {line[:60]!r}")
            sections.append(Section(line[1:-1].strip(), {}, where))
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{where}: neither a [section] nor key=value: {line[:60]!r}")
        if not sections:
            raise ValueError(f"{where}: {line[:60]!r} comes before the first [section]")
        sections[-1].options[key.strip()] = value.strip()
    if not sections or sections[0].kind not in ("net", "network"):
        raise ValueError(f"{source}: a network's cfg begins with [net], "
                         + (f"this one with [{sections[0].kind}]" if sections else "this one has no section"))
    if len(sections) == 1:
        raise ValueError(f"{source}: there is no layer after [net]")
    return sections


def read_cfg(path: str | Path) -> list[Section]:
    """parse_cfg of a file. FileNotFoundError."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"cfg: {path}: no such file")
    return parse_cfg(path.read_text(encoding="utf-8", errors="replace"), path.name)


def write_cfg(sections: Iterable[Section]) -> str:
    """The text of a .cfg file with these sections."""
    return "\n\n".join("\n".join([f"[{s.kind}]", *(f"{k}={v}" for k, v in s.options.items())])
                       for s in sections) + "\n"
