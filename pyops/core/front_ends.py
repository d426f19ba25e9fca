"""Models of other libraries: front ends say which they take, and how one becomes a function of our
ops.

The compiler imports none of them. A front end appends itself to FRONT_ENDS when it is imported;
LATER names the module to import when a model of that library comes, so that nobody has to import it
by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple


class ForSizes(NamedTuple):
    """A function of arrays, and whether it is for arrays of these shapes."""

    function: Callable[..., Any]
    allows: Callable[[Sequence[tuple[int, ...]]], bool]


class FrontEnd(NamedTuple):
    """takes(model): whether the model is of this library. for_sizes(model, inputs, axes): a function
    for sizes along these axes (input, axis) and which of them, by shapes, it is for; None where there
    is none. ranges(model): the axes that vary by themselves, as `dynamic` of pyops.compile has them.
    as_function(model, inputs): it as a
    function of as many arrays."""

    takes: Callable[[Any], bool]
    as_function: Callable[[Any, tuple[Any, ...]], Callable[..., Any]]
    for_sizes: Callable[[Any, tuple[Any, ...], set[tuple[int, int]]], ForSizes | None] = lambda *_: None
    ranges: Callable[[Any], dict[int, dict[int, Any]]] = lambda _: {}


FRONT_ENDS: list[FrontEnd] = []
# the package that a model's class or a base of it comes from -> the module that registers its front end
LATER: dict[str, str] = {}


def front_end_of(model: Any) -> FrontEnd | None:
    """The front end that takes the model, if it is of another library."""
    for package in {base.__module__.partition(".")[0] for base in type(model).__mro__} & set(LATER):
        import_module(LATER[package])
    return next((front_end for front_end in FRONT_ENDS if front_end.takes(model)), None)


def as_function(model: Any, inputs: tuple[Any, ...]) -> Callable[..., Any]:
    """The model as a function of arrays, by the front end that takes it; itself where none does."""
    front_end = front_end_of(model)
    own: Callable[..., Any] = model
    return own if front_end is None else front_end.as_function(model, inputs)


def for_sizes(model: Any, inputs: tuple[Any, ...], axes: set[tuple[int, int]]) -> ForSizes | None:
    """The model as a function for sizes along these axes; None where it is recorded for one size."""
    front_end = front_end_of(model)
    return ForSizes(model, lambda _: True) if front_end is None else front_end.for_sizes(model, inputs, axes)
