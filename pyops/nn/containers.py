"""Modules that hold modules: in a row, in a list, by name."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from .module import Module


class _Indexed(Module):
    """Submodules named "0", "1", ... as torch names them."""

    def _append(self, module):
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: holds Modules, got {type(module).__name__}")
        setattr(self, str(len(self)), module)

    def append(self, module: Module):
        self._append(module)
        return self

    def extend(self, modules: Iterable[Module]):
        for module in modules:
            self._append(module)
        return self

    def __len__(self):
        return sum(1 for _ in self.children())

    def __iter__(self):
        return self.children()

    def __getitem__(self, index):
        held = list(self.children())
        return self._of(held[index]) if isinstance(index, slice) else held[index]

    def __setitem__(self, index: int, module: Module):
        setattr(self, str(range(len(self))[index]), module)


class Sequential(_Indexed):
    """Calls its modules one after another. Sequential(a, b, ...) or Sequential({"name": a, ...})."""

    def __init__(self, *modules):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)

    @staticmethod
    def _of(modules):
        return Sequential(*modules)

    def forward(self, input):
        for module in self.children():
            input = module(input)
        return input


class ModuleList(_Indexed):
    """A list of modules whose parameters are seen."""

    def __init__(self, modules: Iterable[Module] = ()):
        self.extend(modules)

    @staticmethod
    def _of(modules):
        return ModuleList(modules)


class ModuleDict(Module):
    """A dict of modules whose parameters are seen."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()):
        self.update(modules)

    def update(self, modules) -> None:
        for name, module in dict(modules).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module):
        if name in self:
            delattr(self, name)
        self.add_module(name, module)

    def __getitem__(self, name: str) -> Module:
        return dict(self.named_children())[name]

    def __delitem__(self, name: str):
        if name not in self:
            raise KeyError(name)
        delattr(self, name)

    def __contains__(self, name):
        return name in self.keys()

    def __len__(self):
        return len(self.keys())

    def __iter__(self):
        return iter(self.keys())

    def keys(self):
        return [name for name, _ in self.named_children()]

    def values(self):
        return list(self.children())

    def items(self):
        return list(self.named_children())
