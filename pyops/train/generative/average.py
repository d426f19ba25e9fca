"""The running mean of weights over a training's steps (Polyak & Juditsky, 1992), which makes images
with less of the last steps' noise than the weights themselves."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

PREFIX = "average."


class Average:
    """Of modules' parameters; buffers, such as the statistics of batch norm, are followed as they
    are. decay: how much of the mean a step leaves, in [0, 1); early on less, (1 + n) / (10 + n)
    after n steps, so that the start is soon forgotten."""

    def __init__(self, modules: Sequence, decay: float):
        self.modules, self.decay, self.steps = tuple(modules), decay, 0
        self.mean = {name: array.copy() for name, array in self._own().items()}

    def _own(self) -> dict[str, np.ndarray]:
        return {f"{i}.{name}": array for i, module in enumerate(self.modules)
                for name, array in module.state_dict().items()}

    def step(self) -> None:
        """Called after each step of the optimiser."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        trained = {f"{i}.{name}" for i, module in enumerate(self.modules) for name, _ in module.named_parameters()}
        for name, array in self._own().items():
            if name in trained:
                mean = self.mean[name]
                mean += np.asarray(1 - decay, mean.dtype) * (array - mean)
            else:
                self.mean[name][...] = array

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the modules have the mean's values."""
        own = self._own()
        kept = {name: array.copy() for name, array in own.items()}
        for name, array in own.items():
            array[...] = self.mean[name]
        try:
            yield
        finally:
            for name, array in own.items():
                array[...] = kept[name]

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for a checkpoint."""
        return {f"{PREFIX}{name}": array for name, array in self.mean.items()} | {
            f"{PREFIX}steps": np.array(self.steps, np.int64)}

    def loading(self, arrays: Mapping[str, np.ndarray]):
        """Checks arrays of `state`; what takes them over. ValueError."""
        for name, mean in self.state().items():
            found = arrays.get(name)
            if found is None or found.shape != mean.shape or found.dtype != mean.dtype:
                raise ValueError(f"its averaged weights lack {name.removeprefix(PREFIX)}, {mean.dtype} {mean.shape}")
        steps = int(arrays[f"{PREFIX}steps"])
        if steps < 0:
            raise ValueError(f"its averaged weights have seen {steps} steps")

        def load() -> None:
            self.steps = steps
            for name, mean in self.mean.items():
                mean[...] = arrays[f"{PREFIX}{name}"]
        return load
