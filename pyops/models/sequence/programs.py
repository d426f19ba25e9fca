"""The two Programs of a language model: one reads prompts, one adds a token over the cache."""
from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backends import by_sample

SAMPLES = 16   # numbers of a parameter that are looked at


class Programs:
    """A model's functions prefill and step as Programs, made when first called. They share packed
    weights, stored as compile's `weights` says; sizes vary (graph/varying.py) where the model's DYNAMIC
    says so."""

    def __init__(self, model, weights: str = "float32"):
        from ...graph.shared import Constants
        self.model, self.weights, self.shared, self.seen = model, weights, Constants(), fingerprint(model)
        self.made: dict[tuple, Any] = {}

    @classmethod
    def of(cls, model, weights: str = "float32") -> Programs:
        """The model's, made anew if its weights are no longer those that were packed, or are to be
        stored otherwise."""
        found = getattr(model, "_programs", None)
        if found is None or found.weights != weights or found.seen != fingerprint(model):
            found = model._programs = cls(model, weights)
        return found

    def prefill(self, *inputs):
        return self.run("prefill", inputs)

    def step(self, *inputs):
        return self.run("step", inputs)

    def run(self, name: str, inputs):
        return self.made_for(name, inputs)(*inputs)

    def made_for(self, name: str, inputs) -> Any:
        """The Programs of a function, of inputs of these types: a cache may be of floats or stored.
        Within pyops.batch_invariant() they are others."""
        key = name, by_sample.get(), *(a.dtype for a in inputs)
        if key not in self.made:
            from ...graph.compile import compile
            dynamic = {i: axes for i, axes in self.model.DYNAMIC[name].items() if i < len(inputs)}
            self.made[key] = compile(getattr(self.model, name), inputs, dynamic=dynamic,
                                     shared=self.shared, weights=self.weights)
        return self.made[key]


def fingerprint(model) -> list[tuple]:
    """What tells whether weights were changed by a step of training or a file: of every parameter the
    exclusive or of all its bits, which goes at the speed of memory, and some numbers, which tell
    where they stand."""
    return [(int(np.bitwise_xor.reduce(flat.view(np.uint32 if flat.nbytes % 8 else np.uint64))),
             flat[::max(1, flat.size // SAMPLES)].tobytes())
            for flat in (np.ascontiguousarray(p.data).reshape(-1) for p in model.parameters())]
