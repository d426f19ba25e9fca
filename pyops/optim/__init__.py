"""Optimisers, limits on gradients and learning-rate schedules, with torch.optim's names,
arguments and rules."""
from . import lr_scheduler
from .clip import clip_grad_norm_, clip_grad_value_
from .lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    NoamLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from .optimizer import Optimizer
from .rules import SGD, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR",
           "LinearLR", "MultiStepLR", "NoamLR", "OneCycleLR", "Optimizer", "RMSprop", "ReduceLROnPlateau",
           "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_", "lr_scheduler"]
