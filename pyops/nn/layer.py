"""Layer: a function of pyops.functional with its arguments bound.

A subclass names the function and lists the bound arguments as annotated fields, which become
torch.nn's constructor:

    class LeakyReLU(Layer, of="leaky_relu"):
        negative_slope: float = 0.01
"""
from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from .. import functional as F
from .module import Module

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:
    def dataclass_transform(**_: Any) -> Any:   # only type checkers read it
        return lambda cls: cls

Size = int | tuple[int, ...]   # one for all spatial axes, or one each

# Accepted as torch does and without effect: an op's result is always a new array, which changes no value.
WITHOUT_EFFECT = ("inplace",)


@dataclass_transform(eq_default=False)
class Layer(Module):
    function: ClassVar[str]
    bound: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, of: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(eq=False, repr=False)(cls)
        if of is not None:
            cls.function = of
        cls.bound = tuple(f.name for f in fields(cls) if f.name not in WITHOUT_EFFECT)   # type: ignore[arg-type]

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        values = self.__dict__
        return getattr(F, self.function)(*inputs, **{name: values[name] for name in self.bound}, **kwargs)

    def extra_repr(self) -> str:
        return ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))   # type: ignore[arg-type]
