"""torch.compile(model, backend="pyops") finds its backend here: naming it has dynamo's graphs go on
where a run decides a length (capture.py)."""
from .backend import pyops
from .capture import capture

__all__ = ["pyops"]

capture()
