"""Whether the weights that a plan was packed from are still the model's.

torch counts the versions of a tensor, but fused optimisers, writes through `.data` and NumPy's
views of its memory go past that counter. So every call compares three things: addresses and
versions; one word of every weight; and one piece of all contents, the next one at each call, so
that a change of any single value is seen after `Watch.turn` calls at the latest. Weights of `PIECE`
bytes in all are one piece: they are compared whole at each call. A step of any
torch.optim.Optimizer, and `refresh`, have all contents compared at the next call.

What this costs a call is bounded by a piece and a word of each weight: see docs/torch.md for
ResNet-50.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

PIECE = 128 << 10  # bytes compared in each call
WORD = np.dtype(np.uint32)
# One odd factor a word: then a sum of products modulo 2^32 changes with any one word, and with
# several but for one chance in 2^31
KEYS = np.arange(PIECE // WORD.itemsize, dtype=WORD) * WORD.type(2654435761) | WORD.type(1)


class _Steps:
    """How many steps all optimisers have taken since pyops.torch was imported."""

    taken = 0


def _count_step(optimizer, args, kwargs) -> None:
    _Steps.taken += 1


register_optimizer_step_post_hook(_count_step)


@dataclass(frozen=True)
class Span:
    """Bytes in memory: what a dense weight, or the part of a storage that a strided one lies in,
    takes.
    """

    address: int
    size: int

    @staticmethod
    def of(tensor: torch.Tensor) -> Span | None:
        """None where there is no memory to look at: an empty tensor, another device, a subclass
        without a storage of its own.
        """
        if (
            tensor.device.type != "cpu"
            or tensor.layout != torch.strided
            or tensor.numel() == 0
            or not tensor.data_ptr()
        ):
            return None
        last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
        return Span(tensor.data_ptr(), (last + 1) * tensor.element_size())

    @property
    def in_words(self) -> bool:
        return self.address % WORD.itemsize == 0 and self.size % WORD.itemsize == 0


class _Memory:
    """An array over memory that somebody else owns; who reads it knows that the owner is alive."""

    def __init__(self, address: int, count: int, dtype: np.dtype):
        self.__array_interface__ = {
            "data": (address, True),
            "shape": (count,),
            "typestr": dtype.str,
            "version": 3,
        }


def array_at(address: int, count: int, dtype: np.dtype) -> np.ndarray:
    return np.asarray(_Memory(address, count, dtype))


class Contents:
    """The bytes of some tensors, as digests. Every method reads the tensors' memory: only while
    they are known to be there.
    """

    def __init__(self, tensors):
        spans = [span for span in map(Span.of, tensors) if span is not None]
        self.pieces = pieces(spans)
        self.digests = [digest(piece) for piece in self.pieces]
        self.next = 0
        words = [s for s in spans if s.in_words] if len(self.pieces) > 1 else []
        start = min((s.address for s in words), default=0)
        # One gather reads a word of every weight; a view each would take ten times as long
        self.memory = (
            array_at(start, max((s.address + s.size - start) // WORD.itemsize for s in words), WORD)
            if words
            else None
        )
        self.places = np.array([(s.address + s.size // 2 - start) // WORD.itemsize for s in words], np.int64)
        self.sample = self.sampled()

    def sampled(self) -> bytes:
        return b"" if self.memory is None else self.memory.take(self.places).tobytes()

    def differ(self) -> bool:
        """Whether a word of some weight, or the piece whose turn it is, differs."""
        if not self.pieces:
            return False
        turn, self.next = self.next, (self.next + 1) % len(self.pieces)
        return self.sampled() != self.sample or digest(self.pieces[turn]) != self.digests[turn]

    def differ_anywhere(self) -> bool:
        return any(digest(piece) != kept for piece, kept in zip(self.pieces, self.digests))


def pieces(spans: list[Span]) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """The spans cut into arrays, each with the factors of its place in its piece, and put together
    into pieces of PIECE bytes.
    """
    made: list[list[tuple[np.ndarray, np.ndarray]]] = []
    room = 0  # words left in the last piece
    for span in spans:
        dtype = WORD if span.in_words else np.dtype(np.uint8)
        whole = array_at(span.address, span.size // dtype.itemsize, dtype)
        start = 0
        while start < len(whole):
            if not room:
                made.append([])
                room = len(KEYS)
            part = whole[start : start + room]
            made[-1].append((part, KEYS[len(KEYS) - room :][: len(part)]))
            start, room = start + len(part), room - len(part)
    return made


def digest(piece) -> int:
    return sum(
        int(np.dot(words if words.dtype == WORD else words.astype(WORD), keys)) for words, keys in piece
    )


def identity(tensors) -> list[tuple[int, int]]:
    """Addresses and versions: of one that was changed in place by torch's own calls the version is
    another, of a new one the address.
    """
    try:
        return [(t.data_ptr(), t._version) for t in tensors]
    except RuntimeError:  # tensors of inference mode count no versions
        return [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]


class Watch:
    """Notices that tensors have changed since it was made."""

    def __init__(self, tensors: list[torch.Tensor]):
        self.steps = _Steps.taken
        self.identity = identity(tensors)
        self.contents = Contents(tensors)

    @property
    def turn(self) -> int:
        """The number of calls after which all contents have been compared once."""
        return len(self.contents.pieces)

    def changed(self, tensors: list[torch.Tensor]) -> bool:
        if identity(tensors) != self.identity:
            return True
        if self.steps != _Steps.taken:
            self.steps = _Steps.taken
            return self.contents.differ_anywhere()
        return self.contents.differ()


def storages(tensors) -> set[int]:
    """The addresses of the memory that the tensors are views of."""
    return {t.untyped_storage().data_ptr() for t in tensors if t.layout == torch.strided}


watchers: weakref.WeakSet = (
    weakref.WeakSet()
)  # whatever keeps packed weights: has reads(addresses) and renew()


def refresh(model: torch.nn.Module | None = None) -> int:
    """Has the weights of this model, or of all, packed anew at the next call, whoever changed them
    and however.

    Returns how many compiled graphs read them. Frozen graphs (freeze=True) take part: they read the
    memory that the model's weights had when they were compiled, so values written in place are
    seen, and a Parameter put in another's place is not. A Program made by pyops.compile is a copy
    of the weights and is not reached: make another.
    """
    own = None if model is None else storages([*model.parameters(), *model.buffers()])
    found = [w for w in list(watchers) if own is None or w.reads(own)]
    for watcher in found:
        watcher.renew()
    return len(found)
