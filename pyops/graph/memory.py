"""The arena: every buffer gets an offset such that no two that live at the same time overlap.

A buffer lives from the first step that touches it to the last. Largest first, each takes the lowest gap it fits into: the greedy order of
Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020).
"""
from __future__ import annotations

from .lowering.context import ARENA, Buffer, Step

ALIGN = 64
# Maps whose planes are a power of two apart would meet in the same sets of the caches; a buffer starts on its own line of a page.
COLOUR = 5 * ALIGN


def plan(steps: list[Step]) -> int:
    """Sets `offset` of every arena buffer; returns the arena's bytes."""
    lives: dict[Buffer, list[int]] = {}
    for i, step in enumerate(steps):
        for ref in step.refs():
            if ref.buffer.space == ARENA:
                lives.setdefault(ref.buffer, [i, i])[1] = i
    placed: list[tuple[int, int, Buffer]] = []
    total = 0
    for n, (buffer, (first, last)) in enumerate(sorted(lives.items(), key=lambda item: (-item[0].bytes, item[1][0]))):
        size = -(-buffer.bytes // ALIGN) * ALIGN + COLOUR
        buffer.offset = lowest_gap(size, sorted(p.offset_range for p in map(Placed, placed) if p.meets(first, last)))
        placed.append((first, last, buffer))
        total = max(total, buffer.offset + size)
    return total


class Placed:
    """A buffer with its place and life."""

    def __init__(self, entry):
        self.first, self.last, self.buffer = entry

    def meets(self, first: int, last: int) -> bool:
        return self.first <= last and first <= self.last

    @property
    def offset_range(self) -> tuple[int, int]:
        size = -(-self.buffer.bytes // ALIGN) * ALIGN + COLOUR
        return self.buffer.offset, self.buffer.offset + size


def lowest_gap(size: int, taken: list[tuple[int, int]]) -> int:
    at = 0
    for begin, end in taken:
        if begin - at >= size:
            return at
        at = max(at, end)
    return at
