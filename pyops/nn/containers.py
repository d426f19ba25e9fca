"""Modules that hold modules: in a row, in a list, by name."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .module import Module


class _Indexed(Module):
    """Submodules named "0", "1", ... as torch names them."""
    _of: Any   # makes one of the same kind, for a slice

    def _append(self, module: Any) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: holds Modules, got {type(module).__name__}")
        setattr(self, str(len(self)), module)

    def append(self, module: Module) -> Any:
        self._append(module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        for module in modules:
            self._append(module)
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Any:
        return self.children()

    def __getitem__(self, index: Any) -> Any:
        held = list(self.children())
        return self._of(held[index]) if isinstance(index, slice) else held[index]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, str(range(len(self))[index]), module)


class Sequential(_Indexed):
    """Calls its modules one after another. Sequential(a, b, ...) or
    Sequential({"name": a, ...})."""

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)

    @staticmethod
    def _of(modules: Any) -> Any:
        return Sequential(*modules)

    def forward(self, input: Any) -> Any:
        for module in self.children():
            input = module(input)
        return input


class ModuleList(_Indexed):
    """A list of modules whose parameters are seen."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    @staticmethod
    def _of(modules: Any) -> Any:
        return ModuleList(modules)


class ModuleDict(Module):
    """A dict of modules whose parameters are seen."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self.update(modules)

    def update(self, modules: Any) -> None:
        for name, module in dict(modules).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if name in self:
            delattr(self, name)
        self.add_module(name, module)

    def __getitem__(self, name: str) -> Module:
        return dict(self.named_children())[name]

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        delattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Any:
        return iter(self.keys())

    def keys(self) -> Any:
        return [name for name, _ in self.named_children()]

    def values(self) -> Any:
        return list(self.children())

    def items(self) -> Any:
        return list(self.named_children())
