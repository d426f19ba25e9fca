"""What an experiment came to: a table in Markdown, curves, and the file where both are kept."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyops.core.backends import get_backend

HEADER = """# The lecture's experiments

Written by `python -m pyops.bench.experiments --out bench/results`; see
[training.md](../../docs/training.md#the-lectures-experiments) for what they say. Mean +- standard
deviation over the seeds. A seed decides about the initial weights, the order of the batches and
which digits are held back for the test.

One build on one instruction set gives the same numbers again, on any number of threads. Another one
rounds otherwise, and a training makes much of that: then they differ as between two seeds.
"""


@dataclass
class Curves:
    """lines: name -> the values at x of each seed; drawn as their mean and range."""
    x: Sequence[float]
    lines: dict[str, list[np.ndarray]]
    xlabel: str
    ylabel: str
    logarithmic: str = ""   # "x", "y", "xy"


@dataclass
class Outcome:
    """rows: name of the row -> column -> a value a seed. places: decimals of each column, None for
    a count that is the same for all seeds."""
    title: str
    setup: str
    corner: str
    places: dict[str, int | None]
    rows: dict[str, dict[str, list[float]]]
    curves: Curves

    def mean(self, row: str, column: str) -> float:
        return float(np.mean(self.rows[row][column]))

    def table(self) -> str:
        lines = [f"| {self.corner} | {' | '.join(self.places)} |", f"|---|{'---:|' * len(self.places)}"]
        lines += [
            f"| {name} | {' | '.join(spread(row[column], places) for column, places in self.places.items())} "
            "|" for name, row in self.rows.items()]
        return "\n".join(lines)

    def draw(self, path: Path) -> None:
        from matplotlib.figure import Figure  # not pyplot: no window system, no global state
        from matplotlib.ticker import MaxNLocator, NullFormatter
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        axes = figure.subplots()
        for name, values in self.curves.lines.items():
            line, = axes.plot(self.curves.x, np.mean(values, 0), marker=".", label=name)
            axes.fill_between(self.curves.x, np.min(values, 0), np.max(values, 0), color=line.get_color(),
                              alpha=0.15, linewidth=0)
        axes.set(title=self.title, xlabel=self.curves.xlabel, ylabel=self.curves.ylabel)
        if "y" in self.curves.logarithmic:
            axes.set_yscale("log")
        if "x" in self.curves.logarithmic:
            axes.set_xscale("log")
            axes.set_xticks(self.curves.x, [f"{v:g}" for v in self.curves.x])
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=90)


def spread(values: Sequence[float], places: int | None) -> str:
    if places is None:
        return f"{values[0]:,}"
    mean = f"{np.mean(values):.{places}f}"
    return mean if len(values) < 2 else f"{mean} +- {np.std(values, ddof=1):.{places}f}"


def record(directory: str, name: str, outcome: Outcome, command: str) -> None:
    """Puts the outcome in place of what DIR/experiments.md had under its name, and draws
    DIR/experiments/NAME.png where matplotlib is."""
    path = Path(directory) / "experiments.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", path.read_text() if path.is_file() else "",
                               re.M | re.S))
    try:
        outcome.draw(path.parent / "experiments" / f"{name}.png")
        picture = f"\n![{name}](experiments/{name}.png)\n"
    except ImportError:
        picture = ""
    sections[name] = (f"\n{outcome.title[0].upper()}{outcome.title[1:]}. `{command}`, "
                      f"{get_backend().name}.\n\n{outcome.table()}\n\n{outcome.setup}\n{picture}\n")
    from . import NAMES
    ordered = sorted(sections, key=lambda one: NAMES.index(one) if one in NAMES else len(NAMES))
    path.write_text(HEADER + "\n" + "".join(f"## {one}\n{sections[one].rstrip()}\n\n" for one in ordered).rstrip("\n")
                    + "\n")


def quote(directory: str, outcome: Outcome) -> list[Path]:
    """Renews the outcome's table in the Markdown pages under `directory` that have one with its
    head. Returns the pages."""
    table = outcome.table() + "\n"
    head = "".join(table.splitlines(keepends=True)[:2])
    changed = []
    for page in sorted(Path(directory).rglob("*.md")):
        text = page.read_text()
        if head in text:
            page.write_text(re.sub(re.escape(head) + r"(?:\|.*\n)*", lambda _: table, text))
            changed.append(page)
    return changed
