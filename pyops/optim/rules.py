"""SGD, Adam, AdamW and RMSprop with torch.optim's arguments, defaults and update rules
(kernels/optim/reference.py)."""
from __future__ import annotations

from typing import Any

import numpy as np

from .optimizer import Optimizer, at_least


def _array_if(wanted: Any, p: Any) -> Any:
    """Zeros like p, or an empty array: what a kernel gets for state that a setting does not use."""
    return np.zeros_like(p) if wanted else np.empty(0, p.dtype)


class SGD(Optimizer):
    """Gradient descent with momentum, dampening, Nesterov's form and L2 weight decay."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False) -> None:
        at_least("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening):
            raise ValueError(
                f"SGD: nesterov needs momentum > 0 and dampening 0, got {momentum} and {dampening}")
        super().__init__(params, dict(lr=lr, momentum=momentum, dampening=dampening,
                                      weight_decay=weight_decay, nesterov=nesterov, maximize=maximize))

    def start(self, p: Any, group: Any) -> Any:
        return {}

    def update(self, kernels: Any, p: Any, g: Any, state: Any, group: Any) -> None:
        buffer = state.get("momentum_buffer")
        first = buffer is None
        if first:
            buffer = _array_if(group["momentum"], p)
            if group["momentum"]:
                state["momentum_buffer"] = buffer
        kernels.sgd_step(g, p, buffer, group["lr"], group["momentum"], group["dampening"],
                         group["weight_decay"], group["nesterov"], first, group["maximize"])


class Adam(Optimizer):
    """Kingma & Ba (2015). weight_decay is added to the gradient."""
    decoupled = False

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0,
                 amsgrad: bool = False, *, maximize: bool = False) -> None:
        name = type(self).__name__
        at_least(name, lr=lr, eps=eps, weight_decay=weight_decay)
        at_least(name, 0, 1, beta1=betas[0], beta2=betas[1])
        super().__init__(params, dict(lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay,
                                      amsgrad=amsgrad, maximize=maximize))

    def start(self, p: Any, group: Any) -> Any:
        state = {"step": 0, "exp_avg": np.zeros_like(p), "exp_avg_sq": np.zeros_like(p)}
        return state | ({"max_exp_avg_sq": np.zeros_like(p)} if group["amsgrad"] else {})

    def update(self, kernels: Any, p: Any, g: Any, state: Any, group: Any) -> None:
        state["step"] += 1
        beta1, beta2 = group["betas"]
        largest = state["max_exp_avg_sq"] if group["amsgrad"] else np.empty(0, p.dtype)
        kernels.adam_step(g, p, state["exp_avg"], state["exp_avg_sq"], largest, group["lr"], beta1, beta2,
                          group["eps"], group["weight_decay"], self.decoupled, 1 - beta1 ** state["step"],
                          1 - beta2 ** state["step"], group["maximize"])


class AdamW(Adam):
    """Adam with weight decay applied to the parameter, not to its gradient.
    Loshchilov & Hutter (2019)."""
    decoupled = True

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2,
                 amsgrad: bool = False, *, maximize: bool = False) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """Gradients divided by the root of their running mean square; centered subtracts the
    squared running mean."""

    def __init__(self, params: Any, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0,
                 centered: bool = False, *, maximize: bool = False) -> None:
        at_least("RMSprop", lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        super().__init__(params, dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay,
                                      momentum=momentum, centered=centered, maximize=maximize))

    def start(self, p: Any, group: Any) -> Any:
        state = {"step": 0, "square_avg": np.zeros_like(p)}
        state |= {"grad_avg": np.zeros_like(p)} if group["centered"] else {}
        return state | ({"momentum_buffer": np.zeros_like(p)} if group["momentum"] else {})

    def update(self, kernels: Any, p: Any, g: Any, state: Any, group: Any) -> None:
        state["step"] += 1
        unused = np.empty(0, p.dtype)
        kernels.rmsprop_step(g, p, state["square_avg"], state["grad_avg"] if group["centered"] else unused,
                             state["momentum_buffer"] if group["momentum"] else unused, group["lr"],
                             group["alpha"], group["eps"],
                             group["weight_decay"], group["momentum"], group["maximize"])
