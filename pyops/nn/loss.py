"""Losses. reduction: "mean", "sum" or "none". Everything but `weight` is by keyword: torch's
deprecated positional flags are not taken."""
from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

from .layer import Layer


class _Weighted(Layer):
    """Weights are buffers, so that a state_dict holds them as torch's does."""
    weight: Any = None

    def __post_init__(self) -> None:
        self.register_buffer("weight", self.weight)


class CrossEntropyLoss(_Weighted, of="cross_entropy"):
    """-log softmax(input)[target] for class indices or probabilities; weight: (classes,)."""
    _: KW_ONLY
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0


class NLLLoss(_Weighted, of="nll_loss"):
    """-input[target] for log-probabilities; weight: (classes,)."""
    _: KW_ONLY
    ignore_index: int = -100
    reduction: str = "mean"


class BCELoss(_Weighted, of="binary_cross_entropy"):
    """-(t log x + (1 - t) log(1 - x)) for probabilities x."""
    _: KW_ONLY
    reduction: str = "mean"


class BCEWithLogitsLoss(_Weighted, of="binary_cross_entropy_with_logits"):
    """BCELoss of sigmoid(input), without its cancellation. pos_weight scales the positive term."""
    _: KW_ONLY
    reduction: str = "mean"
    pos_weight: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.register_buffer("pos_weight", self.pos_weight)


class MSELoss(Layer, of="mse_loss"):
    """(input - target)^2."""
    _: KW_ONLY
    reduction: str = "mean"


class L1Loss(Layer, of="l1_loss"):
    """|input - target|."""
    _: KW_ONLY
    reduction: str = "mean"


class SmoothL1Loss(Layer, of="smooth_l1_loss"):
    """d^2 / (2 beta) where d = |input - target| < beta, else d - beta / 2."""
    _: KW_ONLY
    reduction: str = "mean"
    beta: float = 1.0


class HuberLoss(Layer, of="huber_loss"):
    """d^2 / 2 where d = |input - target| < delta, else delta * (d - delta / 2)."""
    _: KW_ONLY
    reduction: str = "mean"
    delta: float = 1.0


class KLDivLoss(Layer, of="kl_div"):
    """target * (log target - input) for log-probabilities input; log_target says that target
    is a logarithm too."""
    _: KW_ONLY
    reduction: str = "mean"
    log_target: bool = False
