"""Models of other libraries: front ends say which they take, and how one becomes a function of our
ops.

The compiler imports none of them. A front end appends itself to FRONT_ENDS when it is imported;
LATER names the module to import when a model of that library comes, so that nobody has to import it
by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class FrontEnd(NamedTuple):
    """takes(model): whether the model is of this library. as_function(model, inputs): it as a
    function of as many arrays."""

    takes: Callable[[Any], bool]
    as_function: Callable[[Any, tuple[Any, ...]], Callable[..., Any]]


FRONT_ENDS: list[FrontEnd] = []
# the package that a model's class or a base of it comes from -> the module that registers its front end
LATER: dict[str, str] = {}


def as_function(model: Any, inputs: tuple[Any, ...]) -> Callable[..., Any]:
    """The model as a function of arrays, by the front end that takes it; itself where none does."""
    for package in {base.__module__.partition(".")[0] for base in type(model).__mro__} & set(LATER):
        import_module(LATER[package])
    for front_end in FRONT_ENDS:
        if front_end.takes(model):
            return front_end.as_function(model, inputs)
    own: Callable[..., Any] = model
    return own
