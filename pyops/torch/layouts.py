"""Results as torch's own would be: views of inputs stay views of them, results that share memory
share it, strides stay.

A Program writes each result into an array of its own. What torch would return is found by one run
of the graph in torch when a plan is made, on the call's own inputs, and kept as one Result for
each. An expanded result stays one in memory.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch.utils import _pytree as pytree

from .refusals import UnsupportedOp


@dataclass(frozen=True)
class Result:
    """Where one result lies. base: the input (or weight) whose memory it is in, as ("input", i), or
    the group of results that it shares memory with, as ("shared", i), or None; size, stride: of the
    view; offset: in that memory, from the input's own.
    """

    base: tuple[str, int] | None
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0
    order: tuple[int, ...] | None = None   # of the axes in memory, where a run decides a length


NUMBER = Result(("number", 0), (), ())   # a size that a run decides


class Layout:
    """The results of a graph in torch's memory order. inputs: every argument of the graph; results:
    what torch returned for them; of_the_run: those of which a run decides a length, by their places.
    Such a result has memory of its own.
    """

    def __init__(self, inputs: list, results, of_the_run: frozenset[int] = frozenset()):
        flat = pytree.tree_leaves(results)
        places = {memory(x): i for i, x in reversed(list(enumerate(inputs))) if isinstance(x, torch.Tensor)}
        owners: dict[int, list[int]] = {}
        for i, r in enumerate(flat):
            if isinstance(r, torch.Tensor) and r.numel() and i not in of_the_run:
                owners.setdefault(memory(r), []).append(i)
        self.lengths: dict[
            int, tuple[int, torch.dtype]
        ] = {}  # of groups that share memory: elements and type
        self.results = [self.free(r) if i in of_the_run else self.placed(r, inputs, places, owners)
                        for i, r in enumerate(flat)]
        # Empty ones are never plain: NumPy gives them strides of its own
        self.plain = all(
            r is None or (in_order(r) if r.order is None
                          else r.base is None and r.order == tuple(range(len(r.size))))
            for r in self.results
        )

    def of_any_size(self, count: int) -> Layout | None:
        """The layout for inputs of other sizes, where they do not change it: results are in order in memory
        of their own, or weights. count: of inputs, which come before the weights."""
        kept = [r if r is None or r.order is not None or r is NUMBER or r.base is not None and r.base[0] == "input"
                and r.base[1] >= count else None if in_order(r) else False for r in self.results]
        if False in kept:
            return None
        found = copy(self)
        found.results = kept
        return found

    def free(self, result) -> Result:
        if not isinstance(result, torch.Tensor):
            return NUMBER
        stride = result.stride()
        order = sorted(range(result.ndim), key=lambda axis: -stride[axis]) if result.numel() else range(result.ndim)
        return Result(None, tuple(result.shape), tuple(stride), order=tuple(order))

    def placed(self, result, inputs, places, owners) -> Result | None:
        if not isinstance(result, torch.Tensor):
            return None
        size, stride = tuple(result.shape), tuple(result.stride())
        if not result.numel():
            return Result(None, size, stride)
        where = places.get(memory(result))
        if where is not None:
            source = inputs[where]
            if source.dtype != result.dtype or result.is_conj() or result.is_neg():
                raise UnsupportedOp(f"compile: result {where} is a view of an input as another type")
            return Result(("input", where), size, stride, result.storage_offset() - source.storage_offset())
        if len(owners[memory(result)]) == 1:
            return Result(None, size, stride)
        group = owners[memory(result)][0]
        length, dtype = result.untyped_storage().nbytes() // result.element_size(), result.dtype
        if self.lengths.setdefault(group, (length, dtype)) != (length, dtype):
            raise UnsupportedOp("compile: two results share memory as different types")
        return Result(("shared", group), size, stride, result.storage_offset())

    def laid(self, inputs: list, results):
        """The results, of the same structure, where torch's would lie."""
        flat, structure = pytree.tree_flatten(results)
        shared = {group: torch.empty(length, dtype=dtype) for group, (length, dtype) in self.lengths.items()}
        for i, (r, place) in enumerate(zip(flat, self.results, strict=True)):
            if place is None or not isinstance(r, torch.Tensor):
                continue
            if place is NUMBER:
                flat[i] = r.item()
            elif place.order is not None:
                back = sorted(range(r.ndim), key=place.order.__getitem__)
                flat[i] = r.permute(place.order).contiguous().permute(back)
            elif place.base is None:
                if r.stride() != place.stride:
                    flat[i] = filled(torch.empty_strided(place.size, place.stride, dtype=r.dtype), r)
            if place.base is None or place is NUMBER:
                continue
            kind, number = place.base
            if kind == "input":
                source = inputs[number]
                same = (place.size, place.stride, place.offset) == (source.shape, source.stride(), 0)
                flat[i] = (
                    source
                    if same
                    else source.as_strided(place.size, place.stride, source.storage_offset() + place.offset)
                )
            else:
                flat[i] = filled(shared[number].as_strided(place.size, place.stride, place.offset), r)
        return pytree.tree_unflatten(flat, structure)


def in_order(result: Result) -> bool:
    """Whether it has memory of its own, its elements one after the other."""
    return result.base is None and result.stride == contiguous(result.size) and 0 not in result.size


def memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def contiguous(size) -> tuple[int, ...]:
    return torch.empty(size, device="meta").stride()


def filled(target: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The target with the values in it; where it is an expanded view, all of whose elements are one
    in memory, that one is written.
    """
    once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in target.stride())
    target[once].copy_(values[once])
    return target
