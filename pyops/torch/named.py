"""torch.compile(model, backend="pyops") finds its backend here: naming it has dynamo's graphs go on
where a run decides a length (detection.capture)."""
from .backend import pyops
from .detection import capture

__all__ = ["pyops"]

capture()
