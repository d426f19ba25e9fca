"""Hyperparameters from coarse to fine: many short trainings over wide ranges in log space, then
longer ones around the best.

Needs Optuna (the extra `train`). A training that does worse than the median of those before it at
the same epoch is pruned.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .nonfinite import NonFiniteError
from .trainer import MONITORS, Trainer


@dataclass(frozen=True)
class Range:
    """low .. high, drawn in log space if log. Values are ints if both ends are."""
    low: float
    high: float
    log: bool = True

    def __post_init__(self):
        if not self.low < self.high or self.log and self.low <= 0:
            raise ValueError(
                f"Range: low must be below high, and positive in log space, got {self.low} .. {self.high}")

    def ask(self, trial, name: str):
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return (trial.suggest_int if whole else trial.suggest_float)(name, self.low, self.high, log=self.log)

    def around(self, value) -> Range:
        """A decade about `value` to either side in log space, else a quarter of the range;
        cut to this range."""
        low, high = (value / 10, value * 10) if self.log else (value - (self.high - self.low) / 4,
                                                               value + (self.high - self.low) / 4)
        kind = math.floor if isinstance(self.low, int) and isinstance(self.high, int) else float
        low, high = max(self.low, kind(low)), min(self.high, kind(high))
        return Range(low, high, self.log) if low < high else self

    def decades(self) -> list[float]:
        """The powers of ten within the range, largest first: where a coarse search starts."""
        if not self.log or isinstance(self.low, int):
            return []
        return [10.0 ** e for e in range(math.floor(math.log10(self.high) + 1e-9),
                                         math.ceil(math.log10(self.low) - 1e-9) - 1, -1)]


@dataclass(frozen=True)
class Choice:
    """One of a few values."""
    values: tuple

    def ask(self, trial, name: str):
        return trial.suggest_categorical(name, list(self.values))

    def around(self, value) -> Choice:
        return self

    def decades(self) -> list:
        return []


@dataclass(frozen=True)
class Tried:
    stage: str
    parameters: dict
    value: float | None
    epochs: int
    state: str   # "complete", "pruned" or "diverged"


@dataclass(frozen=True)
class Found:
    """parameters, value: the best of the complete trials of both stages. fine: the ranges of the
    second. str() is a table, the best first."""
    parameters: dict
    value: float
    fine: dict
    trials: tuple[Tried, ...]
    monitor: str

    def __str__(self):
        names = list(self.parameters)
        sign = MONITORS[self.monitor]
        ranked = sorted(self.trials, key=lambda t: (t.state != "complete",
                                                    -sign * t.value if t.value is not None else math.inf))
        rows = [("stage", *names, self.monitor, "epochs", "")]
        rows += [(t.stage, *(shown(t.parameters[n]) for n in names), "-" if t.value is None
                  else f"{t.value:.4f}", str(t.epochs), "" if t.state == "complete" else t.state)
                 for t in ranked]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)


def shown(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def search(build: Callable[[dict, int], Trainer], space: Mapping[str, Range | Choice], *,
           coarse_trials: int = 10, coarse_epochs: int = 5,
           fine_trials: int = 10, fine_epochs: int = 15, monitor: str = "test_loss", seed: int = 0,
           report: Callable[[Tried], None] = lambda tried: None) -> Found:
    """The best hyperparameters of `space` by `monitor`, an attribute of Epoch.

    build(parameters, epochs) makes a Trainer with a model of its own; give it `patience` for
    the longer trainings to stop early. The coarse stage first tries the powers of ten of the
    first log range, the rest at the middle. The fine stage draws around the best of the coarse
    one (Range.around). Trials that turn non-finite count as failed. ValueError for a bad
    setting or where every trial failed; TypeError for a space or a build of another kind;
    ImportError without Optuna.
    """
    if not space or monitor not in MONITORS or min(coarse_trials, coarse_epochs,
                                                   fine_epochs) < 1 or fine_trials < 0:
        raise ValueError(f"search: needs a space, a monitor of {', '.join(MONITORS)} and positive counts, "
                         f"got {len(space)} parameters, {monitor!r}, {coarse_trials}, {coarse_epochs}, "
                         f"{fine_trials}, {fine_epochs}")
    for name, one in space.items():
        if not isinstance(one, (Range, Choice)):
            raise TypeError(f"search: {name} must be a Range or a Choice, got {one!r}")
    tried: list[Tried] = []

    def kept(one):
        tried.append(one)
        report(one)
    run_stage("coarse", build, space, coarse_trials, coarse_epochs, monitor, seed,
              starts(space)[:coarse_trials], kept)
    best = best_of(tried, monitor)
    fine = {name: one.around(best.parameters[name]) for name, one in space.items()}
    if fine_trials:
        run_stage("fine", build, fine, fine_trials, fine_epochs, monitor, seed + 1, [best.parameters], kept)
    best = best_of(tried, monitor)
    return Found(best.parameters, best.value, fine, tuple(tried), monitor)


def best_of(tried: list[Tried], monitor: str) -> Tried:
    complete = [t for t in tried if t.state == "complete"]
    if not complete:
        raise ValueError(f"search: none of {len(tried)} trainings ended with finite numbers; lower the "
                         "learning rate's range")
    return max(complete, key=lambda t: MONITORS[monitor] * t.value)


def starts(space) -> list[dict]:
    """Points that set the first log range to its powers of ten; Optuna draws the other
    parameters."""
    name = next((n for n, one in space.items() if one.decades()), None)
    return [] if name is None else [{name: value} for value in space[name].decades()]


def run_stage(stage, build, space, trials, epochs, monitor, seed, first, report) -> None:
    try:
        import optuna
    except ImportError as why:
        raise ImportError("search needs Optuna: pip install 'pyops-kernels[train]'") from why
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if MONITORS[monitor] > 0 else "minimize",
                                sampler=optuna.samplers.TPESampler(seed=seed),
                                pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1))
    for point in first:
        study.enqueue_trial(point)

    def objective(trial):
        parameters, seen = {name: one.ask(trial, name) for name, one in space.items()}, []
        trainer = build(parameters, epochs)
        if not isinstance(trainer, Trainer):
            raise TypeError(f"search: build must return a Trainer, got {trainer!r}")
        told = trainer.report

        def each(epoch):
            told(epoch)
            seen.append(getattr(epoch, monitor))
            trial.report(seen[-1], epoch.number)
            if trial.should_prune():
                raise optuna.TrialPruned
        trainer.report = each
        try:
            trainer.fit()
        except optuna.TrialPruned:
            report(Tried(stage, parameters, seen[-1], len(seen), "pruned"))
            raise
        except NonFiniteError as why:
            report(Tried(stage, parameters, None, len(seen), "diverged"))
            raise optuna.TrialPruned from why
        value = max(seen) if MONITORS[monitor] > 0 else min(seen)
        report(Tried(stage, parameters, value, len(seen), "complete"))
        return value
    study.optimize(objective, n_trials=trials)
