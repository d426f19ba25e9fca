"""Modules of higher floors, imported at their first use: core's methods call ops, and ops stand on core."""
from __future__ import annotations

from importlib import import_module
from typing import Any


class Late:
    """A module by its name: attributes are the module's, which is imported when the first of them is asked for."""

    def __init__(self, name: str):
        self.__dict__["_late_name"] = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._late_name), attribute)
        self.__dict__[attribute] = value   # the next look-up does not come here
        return value
