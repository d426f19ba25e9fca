"""Learning-rate schedules with torch.optim.lr_scheduler's arguments.

A schedule is a function of the epoch, `at(epoch)`, which gives one rate per group; `step()` moves
one epoch on. So a schedule can be resumed at any epoch and SequentialLR is a choice between
functions. What others did to the rate in between is overwritten.
"""
from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from .optimizer import Optimizer


class LRScheduler:
    """Base. last_epoch: the epoch that was finished; -1 starts."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    def factor(self, epoch: int) -> float:
        """What the initial rate is multiplied with: a subclass gives this or `at`."""
        raise NotImplementedError

    def at(self, epoch: int) -> list[float]:
        return [base * self.factor(epoch) for base in self.base_lrs]

    def step(self) -> None:
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.at(self.last_epoch), strict=True):
            group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "optimizer" and not callable(v)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(epoch)."""

    def __init__(self, optimizer: Any, lr_lambda: Callable[[int], float], last_epoch: int = -1) -> None:
        self.factor = lr_lambda   # type: ignore[method-assign, assignment]
        super().__init__(optimizer, last_epoch)


class NoamLR(LRScheduler):
    """The initial rate times d_model^-0.5 min(step^-0.5, step warmup_steps^-1.5), a call of step()
    each step: it rises for warmup_steps steps and then falls. Vaswani et al. (2017), section 5.3."""

    def __init__(self, optimizer: Any, d_model: int, warmup_steps: int = 4000, last_epoch: int = -1) -> None:
        if d_model < 1 or warmup_steps < 1:
            raise ValueError(f"NoamLR: d_model and warmup_steps must be positive, got {d_model} and {warmup_steps}")
        self.d_model, self.warmup_steps = d_model, warmup_steps
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: Any) -> Any:
        step = epoch + 1
        return self.d_model ** -0.5 * min(step ** -0.5, step * self.warmup_steps ** -1.5)


class StepLR(LRScheduler):
    """Times gamma every step_size epochs."""

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: Any) -> Any:
        return self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Times gamma at each milestone."""

    def __init__(self, optimizer: Any, milestones: Sequence[int], gamma: float = 0.1,
                 last_epoch: int = -1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: Any) -> Any:
        return self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(LRScheduler):
    """Times gamma every epoch."""

    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: Any) -> Any:
        return self.gamma ** epoch


class LinearLR(LRScheduler):
    """From start_factor to end_factor in total_iters epochs, in a straight line: a warm-up."""

    def __init__(self, optimizer: Any, start_factor: float = 1 / 3, end_factor: float = 1.0,
                 total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError("LinearLR: start_factor must be in (0, 1] and end_factor in [0, 1], got "
                             f"{start_factor} and {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: Any) -> Any:
        done = min(epoch, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate to eta_min in T_max epochs, then back up.
    Loshchilov & Hutter (2017)."""

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def at(self, epoch: Any) -> Any:
        weight = (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * weight for base in self.base_lrs]


class SequentialLR(LRScheduler):
    """schedulers[i] from milestones[i - 1] on, each counting its epochs from there: a
    warm-up, then anything."""

    def __init__(self, optimizer: Any, schedulers: Sequence[LRScheduler], milestones: Sequence[int],
                 last_epoch: int = -1) -> None:
        if len(milestones) != len(schedulers) - 1 or any(s.optimizer is not optimizer for s in schedulers):
            raise ValueError(f"SequentialLR: {len(schedulers)} schedulers of this optimiser need "
                             f"{len(schedulers) - 1} milestones, got {list(milestones)}")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer, last_epoch)

    def at(self, epoch: Any) -> Any:
        i = bisect_right(self.milestones, epoch)
        return self.schedulers[i].at(epoch - (self.milestones[i - 1] if i else 0))

    def state_dict(self) -> Any:
        return super().state_dict() | {"schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state: Any) -> None:
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        super().load_state_dict({k: v for k, v in state.items() if k != "schedulers"})


def _annealed(strategy: str, start: float, end: float, done: float) -> float:
    """Between start (done = 0) and end (done = 1)."""
    return start + (end - start) * ((1 - math.cos(math.pi * done)) / 2 if strategy == "cos" else done)


class OneCycleLR(LRScheduler):
    """Up to max_lr and down again over total_steps steps (call step() after every batch), momentum
    the other way. Smith (2018)."""

    def __init__(self, optimizer: Any, max_lr: float | Sequence[float], total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
                 anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float = 0.85,
                 max_momentum: float = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
                 three_phase: bool = False, last_epoch: int = -1) -> None:
        if total_steps is None:
            if not epochs or not steps_per_epoch:
                raise ValueError("OneCycleLR: needs total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1 or not 0 <= pct_start <= 1 or anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: total_steps {total_steps} must be positive, pct_start {pct_start} "
                             f"in [0, 1], anneal_strategy {anneal_strategy!r} cos or linear")
        self.total_steps, self.anneal_strategy, self.cycle_momentum = (total_steps, anneal_strategy,
                                                                       cycle_momentum)
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        groups = optimizer.param_groups
        self.max_lrs = ([float(max_lr)] * len(groups) if isinstance(max_lr, (int, float))
                        else [float(v) for v in max_lr])
        if len(self.max_lrs) != len(groups):
            raise ValueError(f"OneCycleLR: {len(groups)} groups, {len(self.max_lrs)} values of max_lr")
        self.phases = self._phases(pct_start, three_phase)
        for group, top in zip(groups, self.max_lrs):
            group["initial_lr"] = top / div_factor
        if cycle_momentum and not any(k in self.optimizer_keys(groups) for k in ("momentum", "betas")):
            raise ValueError("OneCycleLR: cycle_momentum needs an optimiser with momentum or betas")
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def optimizer_keys(groups: Any) -> Any:
        return set().union(*groups)

    def _phases(self, pct_start: Any, three_phase: Any) -> Any:
        """(last step, rate from, rate to, momentum from, momentum to): rates and momenta by
        name."""
        up = (pct_start * self.total_steps - 1, "initial", "max", "high", "low")
        if three_phase:
            return [up, (2 * pct_start * self.total_steps - 2, "max", "initial", "low", "high"),
                    (self.total_steps - 1, "initial", "min", "high", "high")]
        return [up, (self.total_steps - 1, "max", "min", "low", "high")]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for phase in state.get("phases", ()):
            known = (isinstance(phase, (list, tuple)) and len(phase) == 5
                     and isinstance(phase[0], (int, float)) and all(
                         isinstance(name, str) for name in phase[1:]))
            if not known or not {*phase[1:3]} <= {"initial", "max",
                                                  "min"} or not {*phase[3:]} <= {"low", "high"}:
                raise ValueError(f"OneCycleLR: {phase!r} is no phase (end, from rate, to rate, from "
                                 "momentum, to momentum)")
        super().load_state_dict(state)

    def _phase(self, step: Any) -> Any:
        """The phase that `step` lies in, and how much of it is done."""
        if step > self.total_steps:
            raise ValueError(f"OneCycleLR: step {step} of a schedule of {self.total_steps} steps")
        begin = 0.0
        for i, phase in enumerate(self.phases):
            if step <= phase[0] or i == len(self.phases) - 1:
                return phase, (step - begin) / (phase[0] - begin)
            begin = phase[0]

    def at(self, epoch: Any) -> Any:
        (_, start, end, _, _), done = self._phase(epoch)
        rates = []
        for base, top in zip(self.base_lrs, self.max_lrs):
            named = {"initial": base, "max": top, "min": base / self.final_div_factor}
            rates.append(_annealed(self.anneal_strategy, named[start], named[end], done))
        return rates

    def step(self) -> None:
        super().step()
        if not self.cycle_momentum:
            return
        (_, _, _, start, end), done = self._phase(self.last_epoch)
        named = {"low": self.base_momentum, "high": self.max_momentum}
        momentum = _annealed(self.anneal_strategy, named[start], named[end], done)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


class ReduceLROnPlateau:
    """Times factor when `step(metric)` has seen no improvement for more than `patience` epochs."""

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1,
                 patience: int = 10, threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
                 min_lr: float | Sequence[float] = 0.0, eps: float = 1e-8) -> None:
        if not factor < 1 or mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: factor {factor} must be below 1, mode {mode!r} min or max, "
                             f"threshold_mode {threshold_mode!r} rel or abs")
        groups = optimizer.param_groups
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = (threshold, threshold_mode, cooldown,
                                                                        eps)
        self.min_lrs = [min_lr] * len(groups) if isinstance(min_lr, (int, float)) else list(min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_epochs = self.cooldown_left = self.last_epoch = 0

    def _better(self, metric: Any) -> Any:
        sign = 1 if self.mode == "min" else -1
        margin = self.threshold * (sign * self.best if self.threshold_mode == "rel" else 1)
        return (sign * metric < sign * self.best - margin if math.isfinite(self.best)
                else sign * metric < sign * self.best)

    def step(self, metrics: Any) -> None:
        metric = float(metrics.item() if hasattr(metrics, "item") else metrics)
        self.last_epoch += 1
        if self._better(metric):
            self.best, self.bad_epochs = metric, 0
        else:
            self.bad_epochs += 1
        if self.cooldown_left > 0:
            self.cooldown_left -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            self.cooldown_left, self.bad_epochs = self.cooldown, 0
            for group, least in zip(self.optimizer.param_groups, self.min_lrs):
                lower = max(group["lr"] * self.factor, least)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower

    get_last_lr = LRScheduler.get_last_lr
    state_dict = LRScheduler.state_dict
    load_state_dict = LRScheduler.load_state_dict
