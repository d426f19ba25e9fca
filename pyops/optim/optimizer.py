"""Optimizer: parameter groups, state, and a step that calls one kernel per parameter."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..core.backends import active
from ..core.tensor import Tensor
from ..kernels.optim import reference
from ..nn.module import zero_gradients

REAL = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}


class Optimizer:
    """Base of the optimisers, with torch.optim's param_groups and layout of state_dict.

    A subclass gives `start`, the state of a parameter that has none, and `update`, one step
    on one array, in place.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
                 defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: got no parameters")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters, with settings of their own where `group` has them."""
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        unknown = sorted(set(group) - {"params", *self.defaults})
        if unknown:
            raise ValueError(f"{type(self).__name__}: unknown settings {', '.join(unknown)}")
        for p in params:
            if not isinstance(p, Tensor) or p.node is not None:
                raise TypeError(f"{type(self).__name__}: optimises leaf Tensors, got {type(p).__name__}")
        held = {p for g in self.param_groups for p in g["params"]}
        if len(set(params)) < len(params) or held & set(params):
            raise ValueError(f"{type(self).__name__}: a parameter appears twice")
        self.param_groups.append({**self.defaults, **group, "params": params})

    def start(self, p: np.ndarray, group: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def update(self, kernels: Any, p: np.ndarray, g: np.ndarray, state: dict[str, Any],
               group: dict[str, Any]) -> None:
        raise NotImplementedError

    def step(self, closure: Callable[..., Any] | None = None) -> Any:
        """One step on every parameter that has a gradient. A closure recomputes the loss first and
        its result is returned."""
        loss = closure() if closure is not None else None
        sets = getattr(active.get(), "sets", None) or {}
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state.get(p)
                if state is None:
                    state = self.state[p] = self.start(p.data, group)
                # arrays that a user gave may be strided: the definition takes those
                native = sets.get(REAL.get(p.data.dtype)) if p.data.flags.carray else None
                self.update(native or reference, p.data, _gradient(p, type(self).__name__), state, group)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            zero_gradients(group["params"], set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: arrays and counts}, "param_groups": settings, with parameters as
        indices}: torch's layout."""
        index = {p: i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        return {"state": {index[p]: dict(s) for p, s in self.state.items()},
                "param_groups": [{**g, "params": [index[p] for p in g["params"]]} for g in self.param_groups]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state_dict of the same optimiser over the same parameters, ours or torch's;
        the arrays are copied.

        ValueError, with nothing changed, where groups or shapes differ. Settings that we do
        not have are ignored.
        """
        self.loading(state_dict)()

    def loading(self, state_dict: Mapping[str, Any]) -> Callable[[], None]:
        """load_state_dict in two parts: everything is checked, and what is returned
        then takes it over."""
        name, groups = f"{type(self).__name__}.load_state_dict", state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError(f"{name}: groups of {[len(g['params']) for g in groups]} parameters, "
                             f"ours have {[len(g['params']) for g in self.param_groups]}")
        numbers = [i for g in groups for i in g["params"]]
        own = dict(zip(numbers, (p for g in self.param_groups for p in g["params"])))
        if len(own) < len(numbers) or not own.keys() >= state_dict["state"].keys():
            raise ValueError(
                f"{name}: a parameter is named twice, or state is of a parameter that no group names")
        state = {own[i]: {k: _loaded(v, own[i], f"{name}: {k} of parameter {i}")
                          for k, v in s.items() if v is not None}
                 for i, s in state_dict["state"].items()}
        settings = [{k: _setting(v, self.defaults.get(k, 0.0), f"{name}: {k}") for k, v in saved.items()
                     if k != "params" and (k in self.defaults or k in ("initial_lr", "max_lr", "min_lr"))}
                    for saved in groups]

        def load() -> None:
            for group, saved in zip(self.param_groups, settings):
                group.update(saved)
            self.state = {p: {**self.start(p.data, self._group(p)), **s} for p, s in state.items()}
        return load

    def _group(self, p: Any) -> Any:
        return next(g for g in self.param_groups if any(p is q for q in g["params"]))

    def __repr__(self) -> str:
        shown = [", ".join(f"{k}={v}" for k, v in g.items() if k != "params")
                 + f", {len(g['params'])} parameters" for g in self.param_groups]
        return f"{type(self).__name__}({'; '.join(shown)})"


def _gradient(p: Tensor, name: str) -> np.ndarray:
    g = p.grad.data if isinstance(p.grad, Tensor) else p.grad
    if g.shape != p.data.shape or g.dtype != p.data.dtype:
        raise ValueError(
            f"{name}: gradient is {g.dtype} {g.shape}, its parameter {p.data.dtype} {p.data.shape}")
    return np.ascontiguousarray(g).reshape(g.shape)


def _loaded(value: Any, p: Tensor, what: str) -> Any:
    array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{what} is of type {array.dtype}")
    if array.ndim == 0 and p.data.ndim:   # a count of steps
        if not (np.isfinite(array) and array >= 0 and array == int(array)):
            raise ValueError(f"{what} is {array}, which counts nothing")
        return int(array)
    if array.shape != p.data.shape:
        raise ValueError(f"{what} has shape {array.shape}, the parameter {p.data.shape}")
    return np.array(array, p.data.dtype)


def _setting(value: Any, default: Any, what: str) -> Any:
    """A saved setting, if it is like its default: numbers that are not negative, truth
    values, tuples of such."""
    if isinstance(default, tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(default):
            raise ValueError(f"{what} must be {len(default)} numbers, got {value!r}")
        return tuple(_setting(v, d, what) for v, d in zip(value, default))
    # torch may keep a rate as a tensor
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if isinstance(default, bool):
        if not isinstance(plain, bool):
            raise ValueError(f"{what} must be True or False, got {value!r}")
    elif isinstance(default, (int, float)):
        if isinstance(plain, bool) or not isinstance(plain, (int, float)) or not 0 <= plain < float("inf"):
            raise ValueError(f"{what} must be a number that is not negative, got {value!r}")
    return value


def at_least(name: str, low: float = 0.0, high: float = float("inf"), **settings: float) -> None:
    """ValueError unless every setting is in [low, high)."""
    for key, value in settings.items():
        if not low <= value < high:
            raise ValueError(
                f"{name}: {key} must be "
                f"{f'in [{low}, {high})' if high != float('inf') else f'at least {low}'}, got {value}")
