"""Training: data, the loop, checkpoints and what tells whether a training goes well.

Needs the extra `train`: pip install "pyops[train]" (matplotlib, Pillow, rich, safetensors, scikit-learn), each only where it is used.
"""
from . import checkpoint
from .data import Digits, batches, mnist, uci_digits
from .dataset import ArrayDataset, Normalize, Split, to_unit
from .idx import read_idx
from .loader import plain_batches, training_batches
from .metrics import Measured, confusion_matrix, measure, top_k
from .nonfinite import NonFinite, NonFiniteError, first_non_finite
from .regularisation import penalty
from .progress import show
from .text_trainer import Progress, TextTrainer, chunks
from .trainer import Epoch, Trainer, evaluate

__all__ = ["ArrayDataset", "Digits", "Epoch", "Measured", "NonFinite", "NonFiniteError", "Normalize", "Progress", "Split", "TextTrainer",
           "Trainer", "batches", "checkpoint", "chunks", "confusion_matrix", "evaluate", "first_non_finite", "measure", "mnist", "penalty",
           "plain_batches", "read_idx", "show", "to_unit", "top_k", "training_batches", "uci_digits"]
