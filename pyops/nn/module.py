"""Module: parameters, buffers and submodules under torch's names.

There is no hidden registry: what a module holds is what its attributes are. A Parameter is a
parameter, a Module a submodule, and an array declared with register_buffer a buffer, in the order
in which they were first assigned.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _C
from ..core import scope
from ..core.operands import check_device, dtype_and_device, dtype_of
from ..core.tensor import Tensor
from ..core.types import DType

# what checkpoints of torch before 0.4.1, torchvision's among them, do not have
ADDED_LATER = ("num_batches_tracked",)

if TYPE_CHECKING:
    from typing_extensions import Self


class Parameter(Tensor):
    """A Tensor that a module trains. data: a float array, taken as it is (not copied)."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return self._text("Parameter")


_C.route_parameters(Parameter)


class LoadReport(NamedTuple):
    """What load_state_dict(strict=False) left out."""
    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of everything in pyops.nn. A subclass assigns Parameters and Modules to attributes and
    defines `forward`."""

    training: bool = True
    # name -> whether state_dict holds it; an instance gets its own with its first buffer
    _buffers: Mapping[str, bool] = {}
    _hooks: Sequence[HookHandle] = ()   # likewise

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        watch = scope.watching.get()
        if watch is None:
            return self._hooked(inputs, kwargs) if self._hooks else self.forward(*inputs, **kwargs)
        with watch(self):
            return self._hooked(inputs, kwargs) if self._hooks else self.forward(*inputs, **kwargs)

    # ---- hooks: looking at what goes in and comes out, without touching `forward`

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Calls hook(module, inputs) before every forward; what it returns, unless None, replaces
        the inputs (a tuple, or the only one)."""
        return HookHandle(self, "before", hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Calls hook(module, inputs, output) after every forward; what it returns, unless None,
        replaces the output."""
        return HookHandle(self, "after", hook)

    def _hooked(self, inputs: Any, kwargs: Any) -> Any:
        hooks = list(self._hooks)
        for handle in hooks:
            if handle.when == "before" and (given := handle.hook(self, inputs)) is not None:
                inputs = given if isinstance(given, tuple) else (given,)
        output: Any = self.forward(*inputs, **kwargs)
        for handle in hooks:
            if handle.when == "after" and (given := handle.hook(self, inputs, output)) is not None:
                output = given
        return output

    def register_buffer(self, name: str, value: Any, persistent: bool = True) -> None:
        """Makes `value` (an array or None) an attribute that is saved, if persistent, but not
        trained."""
        self.__dict__.setdefault("_buffers", {})[name] = persistent
        setattr(self, name, None if value is None else np.asarray(value))

    def add_module(self, name: str, module: Module) -> None:
        """Makes `module` a submodule under `name`, which need not be an identifier. KeyError if the
        name is taken or has a dot."""
        if hasattr(self, name) or "." in name or not name:
            raise KeyError(
                f"{type(self).__name__}: {name!r} cannot name a submodule: it is taken, empty or has a dot")
        setattr(self, name, module)

    # ---- what it holds

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with dotted names; its own name is `prefix`."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        """Every (name, module), a shared module as often as it is held."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def _members(self, own: Callable[..., Any], prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of what own(module) yields, each value once."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in own(module):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        return self._members(_own_parameters, prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, np.ndarray]]:
        return self._members(_own_buffers, prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[np.ndarray]:
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The submodule with the dotted name `target`. KeyError if there is none."""
        for name, module in self._walk(""):
            if name == target:
                return module
        raise KeyError(f"{type(self).__name__} has no submodule {target!r}")

    # ---- saving and loading

    def state_dict(self) -> dict[str, np.ndarray]:
        """Dotted name -> array of every parameter and persistent buffer, in torch's order. The
        arrays are the module's own."""
        state: dict[str, np.ndarray] = {}
        for path, module in self._walk(""):
            dot = f"{path}." if path else ""
            state |= {dot + name: p.data for name, p in _own_parameters(module)}
            state |= {dot + name: b for name, b in _own_buffers(module) if module._buffers[name]}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadReport:
        """Copies arrays (NumPy, Tensor or torch, of any float type) into parameters and buffers of
        the same names and shapes.

        Raises ValueError that lists every shape that differs and, when strict, every missing and
        unexpected key; then nothing was changed. Returns the missing and unexpected keys. As in
        torch, num_batches_tracked may be absent and is no missing key.
        """
        report, load = self.loading(state_dict, strict)
        load()
        return report

    def loading(self, state_dict: Mapping[str, Any],
                strict: bool = True) -> tuple[LoadReport, Callable[[], None]]:
        """load_state_dict in two parts: the report, once everything is checked, and what then
        copies the arrays."""
        own = self.state_dict()
        missing = [k for k in own if k not in state_dict and k.rpartition(".")[2] not in ADDED_LATER]
        report = LoadReport(missing, [k for k in state_dict if k not in own])
        given = {k: as_array(state_dict[k]) for k in own if k in state_dict}
        wrong = [f"{k} {unlike(a, own[k])}" for k, a in given.items() if unlike(a, own[k])]
        if strict:
            wrong = [f"missing: {k}" for k in report.missing_keys] + [f"unexpected: {k}"
                                                                      for k in report.unexpected_keys] + wrong
        if wrong:
            raise ValueError(f"{type(self).__name__}.load_state_dict, nothing loaded:\n  "
                             + "\n  ".join(wrong))

        def load() -> None:
            for k, array in given.items():
                own[k][...] = array
        return report, load

    # ---- changing all of it

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Calls fn on every submodule, children first, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Sets training mode (dropout drops, batch norm uses the batch's statistics) here and
        below."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        zero_gradients(self.parameters(), set_to_none)

    def to(self, *where: Any, dtype: Any = None, device: Any = None) -> Self:
        """Converts float parameters and buffers to float32 or float64, in place, and returns
        itself; make optimisers after, not before.

        to("cpu") changes nothing: modules lie in the host's memory. ValueError for another device,
        TypeError for another dtype.
        """
        dtype, device = dtype_and_device(where, dtype, device)
        check_device(f"{type(self).__name__}.to", device)
        if dtype is None:
            return self
        dtype = dtype_of(f"{type(self).__name__}.to", dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"{type(self).__name__}.to: dtype must be float32 or float64, got {dtype}")
        for p in self.parameters():
            p.data, p.grad = p.data.astype(dtype), None
        for module in self.modules():
            for name, buffer in _own_buffers(module):
                if buffer.dtype.kind == "f":
                    setattr(module, name, buffer.astype(dtype))
        return self

    def cpu(self) -> Self:
        return self

    def float(self) -> Self:
        return self.to(np.float32)

    def double(self) -> Self:
        return self.to(np.float64)

    # ---- showing

    def summary(self, input_shape: tuple[int, ...] | None = None) -> Any:
        """Layers with their results' shapes, parameters and multiply-adds, for print(); also
        `.layers`, `.parameters` and `.macs`.

        input_shape: of one float32 input without its batch axis, such as (3, 224, 224); networks of
        create_model know their own. Nothing is computed. ValueError where there is no shape or it
        does not suit the model.
        """
        from ..graph.describe import summary
        return summary(self, input_shape)

    def extra_repr(self) -> str:
        """What a layer says about itself between the parentheses of its repr."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return (f"{type(self).__name__}(\n  "
                + "\n  ".join(([self.extra_repr()] if self.extra_repr() else []) + lines) + "\n)")


class HookHandle:
    """A hook in its place; remove() takes it out, and so does the end of a with block."""

    def __init__(self, module: Module, when: str, hook: Callable[..., Any]) -> None:
        self.module, self.when, self.hook = module, when, hook
        module._hooks = [*module._hooks, self]

    def remove(self) -> None:
        self.module._hooks = [h for h in self.module._hooks if h is not self]

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def _own_parameters(module: Any) -> Any:
    return [(name, value) for name, value in vars(module).items() if isinstance(value, Parameter)]


def _own_buffers(module: Any) -> Any:
    return [(name, vars(module)[name]) for name in module._buffers if vars(module)[name] is not None]


def as_array(value: Any) -> np.ndarray:
    """A saved value as an array; torch's tensors must let go of their graph first."""
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


def unlike(array: np.ndarray, own: np.ndarray) -> str:
    """Why `array` cannot take the place of `own`: its shape, its type, numbers that the type of
    `own` has not. "" if it can."""
    if array.shape != own.shape:
        return f"has shape {array.shape}, the module's is {own.shape}"
    if own.dtype.kind == "f":
        if array.dtype.kind != "f":
            return f"is of type {array.dtype}, the module's is {own.dtype}"
        finite = (np.abs(array[np.isfinite(array)]) if array.dtype.itemsize > own.dtype.itemsize
                  else np.zeros(0))
        return (f"has numbers beyond {own.dtype}" if len(finite) and finite.max() > np.finfo(own.dtype).max
                else "")
    # counters that a script saved as floats are whole numbers all the same
    whole = array.dtype.kind in "iub" or (array.dtype.kind == "f" and own.dtype.kind != "b" and bool(
        np.isfinite(array).all() and (np.trunc(array) == array).all()))
    fits = whole and (not array.size or own.dtype.kind == "b" or in_range(array, own.dtype))
    return "" if fits else f"is of type {array.dtype} or beyond {own.dtype}, which the module's is"


def in_range(array: np.ndarray, dtype: DType) -> bool:
    return np.iinfo(dtype).min <= int(array.min()) and int(array.max()) <= np.iinfo(dtype).max


def zero_gradients(parameters: Any, set_to_none: bool = True) -> None:
    """Drops every gradient, or fills it with zeros."""
    for p in parameters:
        if set_to_none or p.grad is None:
            p.grad = None
        else:
            p.grad = np.zeros_like(p.data)
