"""ONNX models through our kernels: load(file) -> Program, and Backend for onnx.backend.test. Needs
the package onnx.
"""

from .model import Model, ModelError
from .program import NodeByNode, load, run

__all__ = ["Backend", "Model", "ModelError", "NodeByNode", "load", "run"]


def __getattr__(name):
    if name == "Backend":  # imports onnx.backend
        from .backend import Backend

        return Backend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
