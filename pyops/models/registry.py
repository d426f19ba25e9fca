"""The table of networks: a family's functions register themselves, and whatever lists networks
reads it.

create_model, list_models, the documentation's table, the benchmarks and the tests are loops over
NETWORKS.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar, get_type_hints

Make = TypeVar("Make", bound=Callable)


@dataclass(frozen=True)
class Network:
    """make: the function. task and family: the folder and the file where it is written down.

    image: of one input, (channels, height, width); () where it reads tokens. published: its
    trainable parameters with the published number of classes, by source; None where nobody
    published them. timm: its name there, where it is not in torchvision. smallest: an input for
    tests, where the usual one, (3, 64, 50), is too small.
    """
    name: str
    make: Callable
    task: str
    family: str
    image: tuple[int, ...]
    published: int | None
    source: str
    timm: str | None
    smallest: tuple[int, ...] | None


NETWORKS: dict[str, Network] = {}


def network(image: tuple[int, ...] = (3, 224, 224), published: int | None = None, source: str = "",
            timm: str | None = None, smallest: tuple[int, ...] | None = None) -> Callable[[Make], Make]:
    """A decorator: the function is a network of create_model, under its own name."""
    def register(make: Make) -> Make:
        task, family = make.__module__.split(".")[-2:]
        if make.__name__ in NETWORKS:
            raise ValueError(f"network: {make.__name__} is registered twice")
        NETWORKS[make.__name__] = Network(make.__name__, make, task, family, image, published, source, timm,
                                          smallest)
        return make
    return register


def by_size(make: Callable, sizes: Iterable[str], source: str = "") -> None:
    """A network of create_model for each size, make(size, ...) as NAME_SIZE."""
    for size in sizes:
        def sized(*, size: str = size, **settings):
            return make(size, **settings)
        sized.__name__, sized.__module__ = f"{make.__name__}_{size}", make.__module__
        sized.__annotations__ = {"return": get_type_hints(make)["return"]}
        network(image=(), source=source)(sized)


def families(task: str = "classification") -> dict[str, list[Network]]:
    """Networks of a task by family, in the order in which they were written down."""
    found: dict[str, list[Network]] = {}
    for entry in NETWORKS.values():
        if entry.task == task:
            found.setdefault(entry.family, []).append(entry)
    return found


def list_models(pattern: str = "*", task: str | None = None) -> list[str]:
    """Names that create_model knows and that fit `pattern` ("*res*"), family by family; of one task,
    "classification" or "detection", where that is given."""
    return [n.name for n in NETWORKS.values() if fnmatchcase(n.name, pattern) and task in (None, n.task)]
