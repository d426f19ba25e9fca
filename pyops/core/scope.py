"""Which module is running: what a tracer names its nodes by.

A module's call looks here, so that whoever wants to know replaces nothing and sees the calls of its own thread only.
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

# watching(module) is a context in which that module's forward runs; None: nobody looks
watching: ContextVar[Callable[[Any], AbstractContextManager] | None] = ContextVar("pyops_watching", default=None)
