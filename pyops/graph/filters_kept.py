"""Which layers keep what Winograd's algorithm makes of their filters, two to seven times the plain ones,
and which make it in each run.

A program may take MARGIN longer than the quickest one, by what one thread is estimated to take, and
more only while it keeps over MOST times its weights and over FEW bytes. That time is spent where it
saves the most bytes: the greedy solution of a knapsack problem, Dantzig, "Discrete-Variable Extremum
Problems" (1957).
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from .ir import Node

MARGIN = 0.02
FEW = 16 << 20   # bytes that any program may keep: a process takes more by itself
MOST = 1.6   # libraries that keep no more than weights as they are need 1.3 times their bytes beside maps and code


def room(weights: int) -> float:
    """Bytes that a program of so many bytes of weights may keep."""
    return max(MOST * weights, FEW)


@dataclass
class Layer:
    """ways: nanoseconds and bytes of weights kept, of each way to compute the node."""
    node: Node
    ways: dict[str, tuple[float, int]]
    way: str

    def step(self, left: float) -> tuple[float, str] | None:
        """The way with fewer bytes that takes the least time for each byte saved, and that time; of
        those that take at most `left` more."""
        took, held = self.ways[self.way]
        found = [(max(0.0, time - took) / (held - kept), way) for way, (time, kept) in self.ways.items()
                 if kept < held and time - took <= left]
        return min(found, default=None)


def bound(layers: list[Layer], rest: float, room: float = math.inf) -> None:
    """Sets the layers' ways. rest: nanoseconds that everything else takes; room: bytes that the layers may
    keep."""
    room -= sum(layer.ways[layer.way][1] for layer in layers)
    left = MARGIN * (rest + sum(layer.ways[layer.way][0] for layer in layers))
    queue = [(step[0], i) for i, layer in enumerate(layers) if (step := layer.step(math.inf))]
    heapify(queue)
    while queue:
        price, i = heappop(queue)
        layer = layers[i]
        limit = math.inf if room < 0 else left
        step = layer.step(limit)
        if step is None:
            continue
        if step[0] > price:   # what it was to take is too much by now
            heappush(queue, (step[0], i))
            continue
        (took, held), (time, kept) = layer.ways[layer.way], layer.ways[step[1]]
        left, room, layer.way = left - max(0.0, time - took), room + held - kept, step[1]
        if (after := layer.step(limit)) is not None:
            heappush(queue, (after[0], i))
