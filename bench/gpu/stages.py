"""The stages of a run: what each does, how many processes do it side by side, how long it may take.

A stage is a module with cases(small): pairs of a name and a function of no arguments, which returns
what is to be written down (a dict) or raises. Later stages are those that can hang or spoil the
device, so that what is sure is known first.
"""
from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    name: str
    cases: str          # module:function
    seconds: float      # of a run of 250
    each: float         # a case; the first has the imports' and the first kernels' time besides
    parts: int = 1
    torch: bool = True  # whether its processes import torch

    def all_cases(self, small: bool) -> list[tuple[str, Callable[[], dict]]]:
        module, _, function = self.cases.partition(":")
        found: Iterator = getattr(importlib.import_module(f".{module}", __package__), function)(small)
        return list(found)


STAGES = {s.name: s for s in (
    Stage("smoke", "smoke:cases", 40, 20),
    Stage("integers", "integers:products", 25, 10),
    Stage("validate", "checks:cases", 70, 20, parts=4, torch=False),
    Stage("half", "checks:half_cases", 45, 20, parts=4, torch=False),
    Stage("ceilings", "timing:ceilings", 20, 10),
    Stage("rows", "timing:cases", 90, 20),
    Stage("hopper-integers", "integers:hopper", 30, 8),
    Stage("hopper-rows", "timing:hopper_cases", 30, 15),
)}
# a case or two of every stage, such as the emulator takes moments for
FEW = (r"^(device|a launch|null, sizes|bfloat16 of|subnormals|machine code|copy|bf16"
       r"|half bf16 1x33x70x45 nt|relu n7 .*|softmax line7 .*|relu 4x32x5x6 (f32|bf16)|softmax 16x40 backward bf16"
       r"|wgmma bf16 1x128x128x64 nn|linear square 40x56 x 48 hopper)$")
FIRST = 40   # seconds that the first case may take besides: imports, the device's context
