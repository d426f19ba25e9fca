"""Checkpoints: safetensors files (pyops.files.safetensors) that say which network they hold."""
from __future__ import annotations

from ..files.safetensors import RESUMING, load, save
from ..models.create import rebuild

__all__ = ["RESUMING", "load", "load_model", "save"]


def load_model(path):
    """(model, metadata): the network of a checkpoint, or of a file of models.weights.save, built
    again with its weights, in evaluation mode.

    FileNotFoundError; ValueError where the file is no such file, names no network of create_model,
    or its arrays do not fit it.
    """
    state, metadata = load(path)
    try:
        model = rebuild(metadata, sum(a.size for a in state.values()))
        model.load_state_dict(state)
    except ValueError as why:
        raise ValueError(f"{path}: {why}") from why
    return model.eval(), metadata
