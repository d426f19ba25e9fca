"""The arena: every buffer gets an offset such that no two that live at the same time overlap.

A buffer lives from the first step that touches it to the last. Largest first, each takes the lowest
gap it fits into: the greedy order of Pisarchyk & Lee, "Efficient Memory Management for Deep Neural
Net Inference" (2020). What lives at the same time is found in a segment tree over the steps, so
that a network of n steps takes n log n time. Where very many live at once, which no network does,
the smallest are put above all others instead, each into the block of one that has ended.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict

from .lowering import control
from .lowering.context import ARENA, Buffer, Step

ALIGN = 64
# Maps whose planes are a power of two apart would meet in the same sets of the caches; a buffer
# starts on its own line of a page.
COLOUR = 5 * ALIGN
MEETINGS = 1 << 22  # pairs of buffers that are looked at, some seconds


def plan(steps: list[Step]) -> int:
    """Sets `offset` of every arena buffer; returns the arena's bytes."""
    lives: dict[Buffer, list[int]] = {}
    for i, step in enumerate(steps):
        for ref in step.refs():
            if ref.buffer.space == ARENA:
                lives.setdefault(ref.buffer, [i, i])[1] = i
    control.through(lives, steps)
    order = sorted(lives.items(), key=lambda item: (-item[0].bytes, item[1][0]))
    placed, total, met = Lives(len(steps)), 0, 0
    for n, (buffer, (first, last)) in enumerate(order):
        taken = placed.meeting(first, last)
        met += len(taken)
        if met > MEETINGS:
            return stacked(order[n:], total)
        buffer.offset = lowest_gap(size_of(buffer), sorted(taken))
        end = buffer.offset + size_of(buffer)
        placed.add(first, last, (buffer.offset, end))
        total = max(total, end)
    return total


def size_of(buffer: Buffer) -> int:
    return -(-buffer.bytes // ALIGN) * ALIGN + COLOUR


class Lives:
    """Intervals of steps with what lies there, found by the steps they share. A tree whose node i
    has the children 2i and 2i + 1, the steps as leaves.
    """

    def __init__(self, steps: int):
        self.leaves = 1 << max(steps - 1, 0).bit_length()
        self.covering: dict[int, list] = defaultdict(list)  # lives that span all of a node
        self.beginning: dict[int, list] = defaultdict(list)  # lives whose first step lies in it

    def add(self, first: int, last: int, entry) -> None:
        for node in self.nodes(first, last):
            self.covering[node].append(entry)
        for node in self.above(first):
            self.beginning[node].append(entry)

    def meeting(self, first: int, last: int) -> list:
        """Those that live at `first`, and those that begin after it until `last`."""
        found: list = []
        for node in self.above(first):
            found += self.covering.get(node, ())
        for node in self.nodes(first + 1, last):
            found += self.beginning.get(node, ())
        return found

    def above(self, step: int):
        node = step + self.leaves
        while node:
            yield node
            node >>= 1

    def nodes(self, first: int, last: int):
        """The fewest nodes that make up steps first to last."""
        left, right = first + self.leaves, last + self.leaves + 1
        while left < right:
            if left & 1:
                yield left
                left += 1
            if right & 1:
                right -= 1
                yield right
            left, right = left >> 1, right >> 1


def lowest_gap(size: int, taken: list[tuple[int, int]]) -> int:
    at = 0
    for begin, end in taken:
        if begin - at >= size:
            return at
        at = max(at, end)
    return at


def stacked(order, total: int) -> int:
    """Places buffers above `total` in the order in which they begin, each in the smallest free
    block it fits into.
    """
    free: list[tuple[int, int]] = []  # (size, offset) of blocks whose buffers have ended
    ending: dict[int, list] = defaultdict(list)
    done = 0
    for buffer, (first, last) in sorted(order, key=lambda item: item[1][0]):
        for step in range(done, first):
            for block in ending.pop(step, ()):
                insort(free, block)
        done = max(done, first)
        at = bisect_left(free, (size_of(buffer), 0))
        size, buffer.offset = free.pop(at) if at < len(free) else (size_of(buffer), total)
        total = max(total, buffer.offset + size)
        ending[last].append((size, buffer.offset))
    return total
