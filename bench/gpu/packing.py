"""What a launch costs its host before the driver has it: arguments packed, the kernel looked up. No time of
the driver or the device is in it, so that stand-ins for CuPy serve (`make gpu-packing`)."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any
from unittest import mock

import numpy as np

from ... import functional as F
from ...cuda import device

LAUNCHES = 200   # of a call's, one after the other, for each time taken


def calls() -> dict[str, Callable[[], Any]]:
    import cupy
    draw = np.random.default_rng(0)

    def array(*shape: int) -> Any:
        return cupy.asarray(draw.standard_normal(shape).astype(np.float32))

    x, w, rows, matrix, heads = (array(4, 32, 14, 14), array(64, 32, 3, 3), array(64, 128), array(32, 128),
                                 array(2, 4, 64, 32))
    return {"relu": lambda: F.relu(x), "conv2d 3x3": lambda: F.conv2d(x, w, padding=1),
            "linear": lambda: F.linear(rows, matrix), "max_pool2d": lambda: F.max_pool2d(x, 3, 2, 1),
            "attention": lambda: F.scaled_dot_product_attention(heads, heads, heads)}


def launches_of(call: Callable[[], Any]) -> list[tuple[tuple, dict]]:
    """The arguments of a call's launches, which are not made."""
    found: list[tuple[tuple, dict]] = []
    with mock.patch.object(device.CupyDevice, "launch", lambda self, *a, **k: found.append((a, k))):
        call()
    return found


def measured(rounds: int) -> Iterator[tuple[str, int, float, float]]:
    """(call, its launches, the least and the median of the processor's microseconds for all of them)."""
    found = {name: launches_of(call) for name, call in calls().items()}
    on = device.CupyDevice("f32")
    with mock.patch.object(device, "function", lambda *which: lambda *passed, **how: None):
        for name, launches in found.items():
            spent = []
            for _ in range(rounds):
                begun = time.process_time()
                for _ in range(LAUNCHES):
                    for positional, named in launches:
                        on.launch(*positional, **named)
                spent.append((time.process_time() - begun) / LAUNCHES * 1e6)
            yield name, len(launches), min(spent), median(spent)


def text(rounds: int = 30) -> str:
    lines = [f"{'call':<12}{'launches':>9}{'least us':>10}{'median us':>11}"]
    lines += [f"{name:<12}{count:9}{least:10.1f}{middle:11.1f}" for name, count, least, middle in measured(rounds)]
    return "\n".join(lines)
