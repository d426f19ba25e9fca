"""What the ways to compute a layer are estimated to take, and which is the quickest."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from . import costs

IN_RUN = " in the run"   # behind an algorithm's name: what it makes of filters is not kept


@dataclass(frozen=True, slots=True)
class Time:
    """Nanoseconds of the team that costs were measured with, and of one thread, whose memory is less busy."""
    team: float
    alone: float


def time(cost: Callable[[costs.Costs], float], isa: str) -> Time:
    known = costs.of(isa)
    return Time(cost(known), cost(replace(known, threads=1)))


def quickest(estimate: dict[str, Time]) -> str:
    """By the team's time; filters that are made in the run have to gain for one thread as well."""
    first = fewest(estimate)
    kept = {name: time for name, time in estimate.items() if not name.endswith(IN_RUN)}
    other = fewest(kept)
    return first if estimate[first].alone <= kept[other].alone else other


def fewest(estimate: dict[str, Time]) -> str:
    return min(estimate, key=lambda name: estimate[name].team)


def listed(estimate: dict[str, Time]) -> str:
    return "estimated us: " + ", ".join(f"{name or 'direct'} {time.team / 1e3:.0f}" for name, time in estimate.items())
