"""TextTrainer: truncated backpropagation through time over one long text."""
from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..files import whole
from ..models.sequence.recurrent import detached
from ..optim import Adam, CosineAnnealingLR, RMSprop, clip_grad_norm_
from ..text import Characters
from . import checkpoint

OPTIMIZERS = {"adam": Adam, "rmsprop": RMSprop}


def chunks(numbers: np.ndarray, batch: int, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(x, y), both (batch, up to `length`): the text as `batch` streams side by side, a chunk at a
    time; y is x one character on.

    A row goes on where it ended in the chunk before, so that a state can be carried over.
    Fewer than `batch` characters at the end of the text are left out. ValueError where the
    text has no whole chunk.
    """
    steps = (len(numbers) - 1) // batch
    if steps < length:
        raise ValueError(f"a text of {len(numbers)} characters is too short for {batch} streams of chunks of "
                         f"{length}: that needs {batch * length + 1}; take a smaller batch or shorter chunks")
    streams = [numbers[offset:offset + batch * steps].reshape(batch, steps) for offset in (0, 1)]
    return ((streams[0][:, begin:begin + length], streams[1][:, begin:begin + length])
            for begin in range(0, steps, length))


@dataclass(frozen=True)
class Progress:
    """Where a training stands. loss: nats a character, a running mean of the last
    hundred iterations or so."""
    iteration: int
    epoch: float
    loss: float
    seconds: float


@dataclass
class TextTrainer:
    """Trains a models.CharRNN on `text` for `iterations` chunks of `seq_length` characters of
    each of `batch` streams.

    The state goes from chunk to chunk, gradients do not (truncated BPTT), and are clipped to a
    joint norm of `clip`. The rate falls from lr to a tenth along a cosine. fit() calls
    report(Progress) every report_every iterations, sample(Progress) at those in sample_at, when
    out/checkpoint.safetensors is written too, and begun(loss) with the loss before the first step.
    A KeyboardInterrupt ends it: `interrupted` is set and the checkpoint is the last one written.
    """
    model: object
    characters: Characters
    text: str
    out: Any   # a path, as str or Path
    iterations: int = 2000
    seq_length: int = 50
    batch: int = 32
    lr: float = 4e-3
    optimizer: str = "adam"
    clip: float = 5.0
    sample_at: tuple[int, ...] = (100, 700, 1200, 2000)
    report_every: int = 100
    metadata: dict = field(default_factory=dict)
    begun: Callable[[float], None] = lambda loss: None
    report: Callable[[Progress], None] = lambda progress: None
    sample: Callable[[Progress], None] = lambda progress: None
    interrupted: bool = False
    written: Progress | None = None

    def __repr__(self) -> str:
        return (f"TextTrainer({type(self.model).__name__} on {len(self.text)} characters, {self.iterations} "
                f"iterations, out={str(self.out)!r})")

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        self.out = Path(self.out)
        self.numbers = self.characters.encode(self.text)
        chunks(self.numbers, self.batch, self.seq_length)   # refuses a text that is too short now, not in fit
        self.rule = OPTIMIZERS[self.optimizer](self.model.parameters(), self.lr)
        self.schedule = CosineAnnealingLR(self.rule, self.iterations, self.lr / 10)

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.safetensors"

    @property
    def chunks_per_epoch(self) -> int:
        return -(-((len(self.numbers) - 1) // self.batch) // self.seq_length)

    def fit(self) -> Progress | None:
        """Trains; returns what was last written, None if nothing was. Warns where another training
        is at work in the same folder."""
        self.out.mkdir(parents=True, exist_ok=True)
        with whole.alone(self.out) as alone:
            if not alone:
                warnings.warn(f"TextTrainer: another training is at work in {self.out}; each replaces the "
                              "files of the other. Give one another folder.", stacklevel=2)
            try:
                self._run()
            except KeyboardInterrupt:
                self.interrupted = True
        return self.written

    def _run(self):
        begin, mean, state = time.perf_counter(), None, None
        self.model.train()
        for iteration, (x, y, fresh) in enumerate(self._endless(), 1):
            loss, state = self.step(x, y, None if fresh else state)
            if iteration == 1:
                self.begun(loss)
            weight = max(0.01, 1 / iteration)
            mean = loss if mean is None else mean + weight * (loss - mean)
            now = Progress(iteration, iteration / self.chunks_per_epoch, mean, time.perf_counter() - begin)
            if iteration % self.report_every == 0 or iteration == self.iterations:
                self.report(now)
            if iteration in self.sample_at or iteration == self.iterations:
                self.keep(now)
                if iteration in self.sample_at:
                    self.sample(now)
                    self.model.train()
            if iteration == self.iterations:
                return

    def _endless(self):
        """Epoch after epoch: (x, y, whether the text begins anew)."""
        while True:
            for i, (x, y) in enumerate(chunks(self.numbers, self.batch, self.seq_length)):
                yield x, y, i == 0

    def step(self, x, y, state) -> tuple[float, object]:
        """One update from one chunk. The loss before it, and the state after the chunk."""
        self.rule.zero_grad()
        scores, state = self.model(x, detached(state))
        loss = self.model.loss(scores, y)
        loss.backward()
        clip_grad_norm_(self.model.parameters(), self.clip, error_if_nonfinite=True)
        self.rule.step()
        self.schedule.step()
        return loss.item(), state

    def keep(self, now: Progress) -> None:
        told = {**self.metadata, "iteration": now.iteration, "loss": f"{now.loss:.4f}"}
        checkpoint.save(self.checkpoint, self.model.state_dict(), told)
        self.written = now

