"""The two Programs of a language model: one reads prompts, one adds a token over the cache."""
from __future__ import annotations

import numpy as np

SAMPLES = 16   # numbers of a parameter that are looked at


class Programs:
    """prefill(ids, positions) and step(ids, positions, mask, past) of a model as Programs, made
    when first called. They share packed weights; sizes vary (graph/varying.py)."""

    def __init__(self, model):
        from ...graph.shared import Constants
        self.model, self.shared, self.seen = model, Constants(), fingerprint(model)
        self._prefill = self._step = None

    @classmethod
    def of(cls, model) -> Programs:
        """The model's, made anew if its weights are no longer those that were packed."""
        found = getattr(model, "_programs", None)
        if found is None or found.seen != fingerprint(model):
            found = model._programs = cls(model)
        return found

    def prefill(self, ids, positions):
        if self._prefill is None:
            most = self.model.most_positions
            self._prefill = self._compiled(self.model.prefill, (ids, positions),
                                           {0: {1: (1, most)}, 1: {1: (1, most)}})
        return self._prefill(ids, positions)

    def step(self, ids, positions, mask, past):
        if self._step is None:
            self._step = self._compiled(self.model.step, (ids, positions, mask, past),
                                        {0: {0: None}, 1: {0: None}, 2: {0: None, 3: None}, 3: {2: None, 4: None}})
        return self._step(ids, positions, mask, past)

    def _compiled(self, function, inputs, dynamic):
        from ...graph.compile import compile
        return compile(function, inputs, dynamic=dynamic, shared=self.shared)


def fingerprint(model) -> list[bytes]:
    """Some numbers of every parameter: what a step of training or a file changes."""
    return [np.ascontiguousarray(flat[::max(1, flat.size // SAMPLES)]).tobytes()
            for flat in (p.data.reshape(-1) for p in model.parameters())]
