"""What became of the graphs that torch.compile handed over."""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Report:
    """What became of one graph that torch.compile handed over.

    kind: "program" (inference), "training", or "torch" where torch runs all of it, for the reason
    `why`. steps, flops: of our Programs. ours, torch: calls by op; torch_flops: of the calls that
    are torch's, as torch counts them; torch_ms: in inference, the milliseconds of these calls by
    op, in one run while the graph was planned.
    """

    kind: str
    steps: int = 0
    flops: float = 0.0
    why: str = ""
    torch: dict = field(default_factory=dict)
    torch_flops: float = 0.0
    ours: dict = field(default_factory=dict)
    torch_ms: dict = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of the FLOPs, the part in our kernels."""
        total = self.flops + self.torch_flops
        return self.flops / total if total else float(self.kind != "torch")

    def __str__(self):
        if self.kind == "torch":
            return f"torch runs it: {self.why}"
        left = (
            ", ".join(
                f"{op} {count}" + (f" ({self.torch_ms[op]:.3f} ms)" if op in self.torch_ms else "")
                for op, count in self.torch.items()
            )
            or "nothing"
        )
        share = f"{100 * self.share:.1f} %"
        if self.kind == "training":
            calls = sum(self.ours.values())
            return f"training: {calls} calls by our kernels ({share} of the FLOPs); left to torch: {left}"
        work = f"{self.steps} steps, {self.flops / 1e6:.1f} MFLOP"
        return f"inference: {work} ({share} of all); left to torch: {left}"


class Reports(list):
    """Reports that print as lines, a graph each. outside: what dynamo could not put into any graph and
    why, and how often; it and what follows it in its function is torch's, and not in any graph's share.
    """

    def __init__(self, reports=(), outside=None):
        super().__init__(reports)
        self.outside = dict(outside or {})

    def __str__(self):
        lines = [f"{i}. {report}" for i, report in enumerate(self, 1)] or ["no graph was compiled"]
        lines += [f"outside of all graphs, by torch and in no share above: {why}" + (f" ({n} times)" if n > 1 else "")
                  for why, n in self.outside.items()]
        return "\n".join(lines)

    __repr__ = __str__


MEANT = "pyops computes it before the graph"   # of calls that are meant to be outside of graphs

_reports = Reports()
_cleared: Counter = Counter()   # dynamo's refusals before the last clear


def refusals() -> Counter:
    """What dynamo could not trace so far, in its own words: the fault, and what it met."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    found: Counter = Counter()
    for kind in ("unimplemented", "graph_break"):   # the same one may be in both
        for text, count in (dynamo.counters.get(kind, {}) if dynamo else {}).items():
            if MEANT in text:
                continue
            met = re.search(r"Developer debug context: *(.+)", text)
            why = text.partition("\n")[0] + (f": {met[1]}" if met else "")
            found[why] = max(found[why], count)
    return found


def add(report: Report) -> None:
    _reports.append(report)


def compile_report(clear: bool = False) -> Reports:
    """Every graph since the start or the last clear, in order: a list of Report that prints as
    lines. Beside them what dynamo put into none, such as recurrent layers unless
    torch._dynamo.config.allow_rnn is set.
    """
    seen = refusals()
    found = Reports(_reports, {why: n - _cleared[why] for why, n in seen.items() if n > _cleared[why]})
    if clear:
        _reports.clear()
        _cleared.clear()
        _cleared.update(seen)
    return found


def left_to_torch(gm, why):
    """Notes and warns that torch runs the graph; returns what runs it."""
    add(Report("torch", why=why if isinstance(why, str) else f"{type(why).__name__}: {why}"))
    warnings.warn(
        f"torch.compile(backend='pyops'): a graph of {len(gm.graph.nodes)} nodes runs in torch: {why}",
        stacklevel=3,
    )
    return gm.forward
