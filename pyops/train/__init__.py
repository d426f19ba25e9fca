"""Training: data, the loop, checkpoints and what tells whether a training goes well.

Needs the extra `train`: pip install "pyops-kernels[train]" (matplotlib, Optuna, Pillow, rich,
safetensors, scikit-learn), each only where it is used.
"""
from . import augment, checkpoint, generative
from .checkpoint import load_model
from .cifar import cifar, read_cifar
from .data import Digits, batches, mnist, uci_digits
from .dataset import ArrayDataset, Normalize, Split, to_unit
from .detection.trainer import Detector
from .diagnosis import Diagnosis, diagnose
from .folder import ImageFolder
from .gallery import gallery, wrong_predictions
from .generative.trainer import GenerativeTrainer
from .idx import read_idx
from .loader import plain_batches, training_batches
from .metrics import Measured, confusion_matrix, measure, top_k
from .nonfinite import NonFinite, NonFiniteError, first_non_finite
from .progress import show
from .regularisation import penalty
from .sanity import SanityReport, sanity_check
from .search import Choice, Range, search
from .segmentation.trainer import Segmenter
from .text_trainer import Progress, TextTrainer, chunks
from .trainer import Epoch, Trainer, evaluate
from .transfer import freeze, replace_head, unfreeze

__all__ = ["ArrayDataset", "Choice", "Detector", "Diagnosis", "Digits", "Epoch", "GenerativeTrainer", "ImageFolder",
           "Measured", "NonFinite", "NonFiniteError", "Normalize", "Progress", "Range", "SanityReport", "Segmenter",
           "Split", "TextTrainer", "Trainer", "augment", "batches", "checkpoint", "chunks", "cifar",
           "confusion_matrix", "diagnose", "evaluate", "first_non_finite", "freeze", "gallery", "generative",
           "load_model", "measure", "mnist", "penalty", "plain_batches", "read_cifar", "read_idx", "replace_head",
           "sanity_check", "search", "show", "to_unit", "top_k", "training_batches", "uci_digits", "unfreeze",
           "wrong_predictions"]
