"""Training: data, checkpoints, curves and the loops behind `pyops train`.

Needs the extra `train`: pip install "pyops[train]" (matplotlib, Pillow, rich, safetensors, scikit-learn), each only where it is used.
"""
from . import checkpoint
from .data import Digits, batches, mnist, uci_digits
from .idx import read_idx
from .text_trainer import Progress, TextTrainer, chunks
from .trainer import Epoch, Trainer, evaluate

__all__ = ["Digits", "Epoch", "Progress", "TextTrainer", "Trainer", "batches", "checkpoint", "chunks", "evaluate", "mnist", "read_idx",
           "uci_digits"]
