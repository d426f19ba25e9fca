"""Compilation: a model traced to a Graph of op rows, simplified by passes, lowered to kernel calls,
and run as a Program."""
from .compile import compile
from .program import Program
from .trace import TraceError

__all__ = ["Program", "TraceError", "compile"]
