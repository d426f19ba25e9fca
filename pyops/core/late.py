"""Modules that are imported at their first use: those of higher floors, as core's methods call
ops, and ops stand on core; and those that most programs never need, as the definitions that
kernels are compared with."""
from __future__ import annotations

from importlib import import_module
from typing import Any


class Late:
    """A module by its name: attributes are the module's, which is imported when the first of
    them is asked for."""

    def __init__(self, name: str):
        self.__dict__["_late_name"] = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._late_name), attribute)
        self.__dict__[attribute] = value   # the next look-up does not come here
        return value


class LateFunctions(Late):
    """A module of which functions are wanted: an attribute is a function that imports the module
    when it is called, not when it is named."""

    def __getattr__(self, attribute: str) -> Any:
        found = None

        def late(*args: Any, **kwargs: Any) -> Any:
            nonlocal found
            found = found or getattr(import_module(self._late_name), attribute)
            return found(*args, **kwargs)
        late.__name__ = late.__qualname__ = attribute
        return self.__dict__.setdefault(attribute, late)
