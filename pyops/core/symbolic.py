"""Sizes that carry a formula: what a model computes from the shape of an input whose axes vary.

A SymInt has the number of the example at hand and remembers how it came about, so that the same can
be worked out for another size without running the model again. What turns it into a plain number
(an index, a loop, a hash) or decides by it (a comparison) is a guard: what was found holds only for
sizes by which every guard comes out as it did. So nothing is lost unseen.
"""
from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

OPS = f"{os.sep}pyops{os.sep}ops{os.sep}"   # whose caches are keyed by formulas


PLAIN = frozenset((int, float, bool, str, type(None)))


class Formulas:
    """Numbers worked out one after the other: first constants and symbols, then what `steps` make of
    earlier ones."""

    def __init__(self) -> None:
        self.numbers: list[Any] = []          # of the example
        self.symbols: list[int] = []          # places of what is given
        # a place -> the function that makes it and the places it takes; none of constants and symbols
        self.steps: list[tuple[int, Callable[..., Any], tuple[int, ...]]] = []
        self.guards: list[tuple[Callable[..., Any], tuple[int, ...], Any]] = []
        self._known: dict[Any, Any] = {}
        # (formula of an array, its shape, its type) -> what stands for it while a model is traced
        self.as_value: Callable[[SymInt, Any, Any], Any] | None = None

    def symbol(self, number: int) -> SymInt:
        self.symbols.append(len(self.numbers))
        self.numbers.append(number)
        return SymInt(self, len(self.numbers) - 1)

    def apply(self, function: Callable[..., Any], *operands: Any) -> Any:
        """function(*operands) as a formula; one that was made before is the same object."""
        places = tuple(map(self.place, operands))
        key = function, places
        if key not in self._known:
            self.steps.append((len(self.numbers), function, places))
            self.numbers.append(function(*(self.numbers[i] for i in places)))
            self._known[key] = SymInt(self, len(self.numbers) - 1)
        return self._known[key]

    def decide(self, function: Callable[..., Any], *operands: Any) -> Any:
        """function(*operands) as a plain value, which has to be the same for other sizes."""
        places = tuple(map(self.place, operands))
        found = function(*(self.numbers[i] for i in places))
        if ("guard", function, places) not in self._known:
            self._known["guard", function, places] = found
            self.guards.append((function, places, found))
        return found

    def place(self, operand: Any) -> int:
        if isinstance(operand, SymInt):
            return operand.place
        key = "constant", type(operand), operand
        if key not in self._known:
            self._known[key] = len(self.numbers)
            self.numbers.append(operand)
        return int(self._known[key])

    def closed(self) -> Evaluated:
        """What is left once everything is recorded; caches that still hold a formula hold
        nothing behind it."""
        done = Evaluated(list(self.numbers), self.symbols, self.steps, self.guards)
        self.steps, self.guards, self._known = [], [], {}
        return done


class Evaluated:
    """The same for other sizes."""

    def __init__(self, numbers: list[Any], symbols: list[int], steps: list[Any], guards: list[Any]) -> None:
        self.numbers, self.symbols, self.steps, self.guards = numbers, symbols, steps, guards

    def at(self, given: Sequence[int]) -> list[Any] | None:
        """The number at every place, for those of the symbols; None where a guard does not hold."""
        numbers = list(self.numbers)
        for place, number in zip(self.symbols, given):
            numbers[place] = number
        try:
            for place, function, operands in self.steps:
                numbers[place] = function(*[numbers[i] for i in operands])
            for function, operands, found in self.guards:
                if function(*[numbers[i] for i in operands]) != found:
                    return None
        except (ArithmeticError, ValueError, TypeError, IndexError):   # refused: by the model itself, anew
            return None
        return numbers


class SymInt:
    """A size with its formula; no int, so that whatever takes it for one has to ask."""

    __slots__ = ("formulas", "place")

    def __init__(self, formulas: Formulas, place: int) -> None:
        self.formulas, self.place = formulas, place

    @property
    def number(self) -> Any:
        """Of the example; nothing may depend on it but messages."""
        return self.formulas.numbers[self.place]

    def plain(self) -> Any:
        """The number, which the size then has to have."""
        return self.formulas.decide(same, self)

    def __index__(self) -> int:
        return operator.index(self.plain())

    def __int__(self) -> int:
        return int(self.plain())

    def __float__(self) -> float:
        return float(self.plain())

    def __bool__(self) -> bool:
        return bool(self.formulas.decide(operator.ne, self, 0))

    def __hash__(self) -> int:
        # caches of attributes hold formulas, which are the same if they are the same object
        if OPS in sys._getframe(1).f_code.co_filename:
            return id(self) >> 4
        return hash(self.plain())

    def __repr__(self) -> str:
        return repr(self.number)

    def __format__(self, how: str) -> str:
        return format(self.number, how)

    # ---- arithmetic

    def __add__(self, other: Any) -> Any:
        return added(self, other) if is_number(other) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if not is_number(other):
            return NotImplemented
        if self is other:
            return 0
        return self.formulas.apply(operator.sub, self, other) if isinstance(other, SymInt) else self + -other

    def __rsub__(self, other: Any) -> Any:
        return self.formulas.apply(operator.sub, other, self) if is_number(other) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if not is_number(other):
            return NotImplemented
        if type(other) is int and other in (0, 1):
            return self if other else 0
        a, b = sorted((self, other), key=self.formulas.place)
        return self.formulas.apply(operator.mul, a, b)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if not is_number(other):
            return NotImplemented
        return self if type(other) is int and other == 1 else self.formulas.apply(operator.floordiv, self, other)

    def __mod__(self, other: Any) -> Any:
        if not is_number(other):
            return NotImplemented
        return 0 if type(other) is int and other == 1 else self.formulas.apply(operator.mod, self, other)

    def __divmod__(self, other: Any) -> Any:
        return (self // other, self % other) if is_number(other) else NotImplemented

    def __neg__(self) -> Any:
        return self.formulas.apply(operator.neg, self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self.formulas.apply(abs, self)

    def __ceil__(self) -> Any:
        return self.formulas.apply(math.ceil, self)

    def __floor__(self) -> Any:
        return self.formulas.apply(math.floor, self)

    def __trunc__(self) -> Any:
        return self.formulas.apply(math.trunc, self)

    def __round__(self, digits: Any = None) -> Any:
        return self.formulas.apply(round, self) if digits is None else self.formulas.apply(round, self, digits)


class Count(SymInt):
    """A number of elements that can be called for the shape, as a Tensor's size."""

    __slots__ = ("shape",)

    def __init__(self, count: SymInt, shape: tuple[Any, ...]) -> None:
        super().__init__(count.formulas, count.place)
        self.shape = shape

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


def same(number: Any) -> Any:
    return number


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, SymInt))


def added(size: SymInt, other: Any) -> Any:
    """A size plus a number: (n + 2) - 2 is n."""
    if type(other) is not int:
        return (size.formulas.apply(operator.add, *sorted((size, other), key=size.formulas.place))
                if isinstance(other, SymInt) else size.formulas.apply(operator.add, size, other))
    of = size.formulas
    base, more = of._known.get(("sum", size.place), (size, 0))
    if base is not size:
        return added(base, more + other)
    if other == 0:
        return size
    made = of.apply(operator.add, size, other)
    of._known["sum", made.place] = size, other
    return made


def applied(name: str, function: Callable[..., Any], swapped: bool) -> Callable[..., Any]:
    def of(self: SymInt, other: Any) -> Any:
        if not is_number(other):
            return NotImplemented
        return self.formulas.apply(function, *((other, self) if swapped else (self, other)))
    of.__name__ = name
    return of


def compared(name: str, function: Callable[..., Any], of_itself: bool) -> Callable[..., Any]:
    def of(self: SymInt, other: Any) -> Any:
        if self is other:
            return of_itself
        if isinstance(other, SymInt) and other.formulas is not self.formulas:   # an older one, in a cache
            return function(0, 1) if function in (operator.eq, operator.ne) else NotImplemented
        return self.formulas.decide(function, self, other) if is_number(other) else NotImplemented
    of.__name__ = name
    return of


for _name in ("truediv", "pow"):
    setattr(SymInt, f"__{_name}__", applied(_name, getattr(operator, _name), False))
    setattr(SymInt, f"__r{_name}__", applied(_name, getattr(operator, _name), True))
for _name in ("floordiv", "mod"):
    setattr(SymInt, f"__r{_name}__", applied(_name, getattr(operator, _name), True))
for _name, _equal in (("eq", True), ("ne", False), ("lt", False), ("le", True), ("gt", False), ("ge", True)):
    setattr(SymInt, f"__{_name}__", compared(_name, getattr(operator, _name), _equal))


def formula(function: Callable[..., Any], *operands: Any) -> Any:
    """function(*operands), as a formula where one of them has one. The result may be anything."""
    of = next((v.formulas for v in operands if isinstance(v, SymInt)), None)
    return function(*operands) if of is None else of.apply(function, *operands)


def decided(function: Callable[..., Any], *operands: Any) -> Any:
    """function(*operands), which has to be the same for other sizes."""
    of = next((v.formulas for v in operands if isinstance(v, SymInt)), None)
    return function(*operands) if of is None else of.decide(function, *operands)


def array_of(function: Callable[..., Any], shape: Sequence[Any], dtype: Any, *operands: Any) -> Any:
    """function(*operands), an array of this shape and type: as it is, or, where an operand has a formula,
    a value of the graph that is traced."""
    of = next((v.formulas for v in operands if isinstance(v, SymInt)), None)
    if of is None or of.as_value is None:
        return function(*map(plain, operands))
    return of.as_value(of.apply(function, *operands), shape, dtype)


def plain(value: Any) -> Any:
    """A value to compute with: of a size with a formula, the number that it then has to be."""
    return value.plain() if isinstance(value, SymInt) else value


def index(value: Any) -> Any:
    """operator.index, but that a size stays one."""
    return value if isinstance(value, SymInt) else operator.index(value)


def symbolic(value: Any) -> bool:
    """Whether there is a size with a formula in nested tuples, lists, dicts and slices."""
    if isinstance(value, SymInt):
        return True
    if isinstance(value, (tuple, list)):
        return any(map(symbolic, value))
    if isinstance(value, dict):
        return any(map(symbolic, value.values()))
    return isinstance(value, slice) and symbolic((value.start, value.stop, value.step))


def unique_sizes(value: Any, found: dict[int, SymInt] | None = None) -> list[SymInt]:
    """The sizes with formulas in nested tuples, lists, dicts and slices, each once."""
    found = {} if found is None else found
    if isinstance(value, SymInt):
        found[value.place] = value
    elif isinstance(value, slice):
        unique_sizes((value.start, value.stop, value.step), found)
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            unique_sizes(part, found)
    return list(found.values())


def at(value: Any, numbers: Any) -> Any:
    """The value with the number at its place for every formula in it; None: those of the example."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, SymInt):
        return value.number if numbers is None else numbers[value.place]
    if isinstance(value, (tuple, list)):
        for part in value:
            if type(part) not in PLAIN:
                break
        else:   # a shape, most of the time
            return value
        parts = [at(part, numbers) for part in value]
        if all(map(operator.is_, parts, value)):
            return value
        return kind(*parts) if hasattr(value, "_fields") else kind(parts)
    if isinstance(value, dict):
        return {name: at(part, numbers) for name, part in value.items()}
    if isinstance(value, slice):
        return slice(*(at(part, numbers) for part in (value.start, value.stop, value.step)))
    if isinstance(value, np.ndarray) and value.dtype.kind == "O" and all(
            isinstance(v, (int, float, SymInt)) for v in value.flat):
        filled = np.array([at(v, numbers) for v in value.flat], None if value.size else np.int64)
        return filled.reshape(value.shape)   # what NumPy makes of a shape's numbers
    return value
