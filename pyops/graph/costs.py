"""What the work of a convolution costs: measured on this machine by `pyops tune`, or as measured on
the one of docs/performance.md."""
from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from ..files import whole
from ..machine import cpu_model


@dataclass(frozen=True)
class Costs:
    """Nanoseconds, with a team of `threads` at work on separate parts."""
    threads: int
    direct: float         # a multiply-add of 16 filters, in a direct convolution
    winograd: float       # the same, at the points of Winograd's tiles
    # of a tile of F(2x2), F(4x4), F(6x6) and 16 channels: half of the way in and half of the way
    # out
    transform: tuple[float, float, float]
    cache: float          # a byte of weights from the last cache, for the whole team
    memory: float         # the same from memory
    kept: int             # bytes of weights that are still in cache when a program runs again
    filter: float = 30    # a transform of 16 filters of one channel to the 36 points of F(4x4)


TILES = (2, 4, 6)
LARGEST = 1 << 20   # bytes of a file of costs
ZEN4 = Costs(threads=2, direct=0.285, winograd=0.285, transform=(40, 112, 232), cache=0.0085, memory=0.027,
             kept=16 << 20)
# half the lanes, twice the time
HALF = replace(ZEN4, direct=0.57, winograd=0.57, transform=(80, 224, 464), filter=60)
# a whole vector of 16 a cycle, where the former takes two
ZEN5 = replace(ZEN4, direct=0.125, winograd=0.122, transform=(31, 97, 212), cache=0.008, memory=0.021,
               filter=28)
ZEN5_HALF = replace(ZEN5, direct=0.243, winograd=0.248, transform=(23, 92, 306), memory=0.026)
# Every set of csrc/isas.inc. The last two were not measured: their ratios are taken to be AVX2's
# until `pyops tune` has been there.
DEFAULT = {"avx512": ZEN4, "avx2": HALF, "neon": HALF, "scalar": HALF}
ON_ZEN5 = {**DEFAULT, "avx512": ZEN5, "avx2": ZEN5_HALF}


@lru_cache
def of(isa: str) -> Costs:
    """Of an instruction set: those that `pyops tune` left for this CPU, else the default ones.
    ValueError for a file that is no such thing."""
    place = file()
    try:
        if not place.exists():
            return default(isa)
        if not place.is_file() or place.stat().st_size > LARGEST:
            raise ValueError("it is no file of some hundred bytes")
        content = json.loads(place.read_text())
        if content["cpu"] == cpu_model() and isa in content["costs"]:
            return checked(content["costs"][isa])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{place} does not hold costs as pyops tune writes them ({type(error).__name__}: "
                         f"{error}); remove it or tune again") from error
    return default(isa)


def default(isa: str) -> Costs:
    """ValueError for an instruction set without costs."""
    if isa not in DEFAULT:
        raise ValueError(f"no costs are known for {isa!r}, only for {', '.join(DEFAULT)}: pyops tune "
                         "measures them, costs.py holds the defaults")
    return (ON_ZEN5 if is_zen5() else DEFAULT)[isa]


def is_zen5() -> bool:
    """AMD's family 26, of which this machine's processor says that it is one."""
    model = cpu_model()
    return "AMD" in model and "cpu family 26" in model


def checked(values: dict) -> Costs:
    """The costs in a file: times that are positive and finite (transforms and cache may be free),
    whole threads and bytes."""
    found = Costs(**values)
    free = {"transform": found.transform, "cache": [found.cache], "memory": [found.memory],
            "filter": [found.filter]}
    times = {"direct": [found.direct], "winograd": [found.winograd], **free}
    for name, numbers in times.items():
        if not isinstance(numbers,
                          (list, tuple)) or len(numbers) != (len(TILES) if name == "transform" else 1):
            raise ValueError(f"{name} must be {len(TILES)} numbers, is {numbers!r}")
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < 1e12 or (
                    number == 0 and name not in free):
                raise ValueError(f"{name} must be a time in nanoseconds, is {number!r}")
    for name, least in (("threads", 1), ("kept", 0)):
        number = getattr(found, name)
        if type(number) is not int or not least <= number < 1 << 48:
            raise ValueError(f"{name} must be a whole number of at least {least}, is {number!r}")
    return replace(found, transform=tuple(map(float, found.transform)))


def keep(measured: dict[str, Costs]) -> Path:
    """Writes the costs of instruction sets where `of` finds them."""
    place = file()
    place.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"cpu": cpu_model(), "costs": {isa: asdict(costs) for isa, costs in measured.items()}},
                      indent=1)
    with whole.writing(place) as out:
        out.write(text.encode())
    of.cache_clear()
    return place


def file() -> Path:
    """PYOPS_COSTS, or costs.json in the user's cache folder."""
    if os.environ.get("PYOPS_COSTS"):
        return Path(os.environ["PYOPS_COSTS"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyops" / "costs.json"
