"""Who watches: the modules that run, by which a tracer names its nodes, and the calls of public
functions.

Modules and functions look here, so that whoever wants to know replaces nothing and sees the calls
of its own thread only.
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

# watching(module) is a context in which that module's forward runs; None: nobody looks
watching: ContextVar[Callable[[Any], AbstractContextManager[Any]] | None] = ContextVar("pyops_watching",
                                                                                       default=None)

# calls.get()(function, args, kwargs) makes the call of a public function in its place; None: nobody looks
calls: ContextVar[Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any] | None] = ContextVar(
    "pyops_calls", default=None)
# As many as look, in whatever threads: asked first, since nearly always nobody does
watchers: list[Any] = []
