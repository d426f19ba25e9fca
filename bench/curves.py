"""Time over batch size and over resolution: `python -m pyops.bench.curves [NETWORK ...]`.

Each network is run at one image size for all batch sizes, and at batch 1 for all image sizes, by us
and by each peer that is installed, in turn in one process. A step is a point that lies more than a
tenth above the line through its neighbours: a size for which a plan or a kernel is worse than for
those beside it. Batch sizes are compared as they are, image sizes by their pixels.

`--png FILE` draws the curves. Of a detector with several heads, the finest one is computed.
"""
from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import pyops

NETWORKS = ("resnet50", "mobilenet_v2", "unet", "yolov3")
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 416, 512, 640, 768, 1024)
IMAGE = {"unet": 256, "yolov3": 416}   # of the curve over batch sizes; others 224
PEERS = ("torch", "onnxruntime", "openvino")
OURS, ABOVE = "pyops", 1.1


@dataclass
class Curve:
    """Milliseconds of a call by batch size or by pixels, of each library."""
    network: str
    axis: str   # "batch" or "size"
    points: list[int] = field(default_factory=list)
    times: dict[str, list[float]] = field(default_factory=dict)

    def along(self) -> list[int]:
        """What a line is drawn over."""
        return self.points if self.axis == "batch" else [n * n for n in self.points]

    def steps(self) -> list[tuple[str, int, float]]:
        """(library, point, how many times the line's it takes) of the points above their neighbours'
        line."""
        return [(name, self.points[i], ratio) for name, times in self.times.items()
                for i, ratio in above(self.along(), times)]


def above(along: Sequence[float], times: Sequence[float]) -> list[tuple[int, float]]:
    """(index, time over the line's) of the inner points that lie more than a tenth above the line
    through their neighbours; NaN, what was not measured, is no neighbour."""
    there = [i for i, t in enumerate(times) if not np.isnan(t)]
    found = []
    for before, i, after in zip(there, there[1:], there[2:]):
        share = (along[i] - along[before]) / (along[after] - along[before])
        ratio = times[i] / (times[before] + share * (times[after] - times[before]))
        if ratio > ABOVE:
            found.append((i, ratio))
    return found


def made(name: str, batch: int, size: int, peers: Sequence[str], threads: int) -> dict[str, Callable[[], Any]]:
    """A call of each library for the network at that size; of a peer that refuses it, none."""
    from pyops.models import create_model

    from . import peers as others, record
    model = create_model(name, **({"size": size} if name == "yolov3" else {}))
    model.eval()
    x = np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)
    with pyops.no_grad(), record.calls() as recorded:
        (model.maps if hasattr(model, "decoded") else model)(pyops.Tensor(x))   # no boxes
    graph = record.graph(recorded, x)
    program = pyops.compile(graph_function(graph), x, threads=threads)
    calls: dict[str, Callable[[], Any]] = {OURS: lambda: program(x)}
    for peer in peers:
        try:
            calls[peer] = others.PEERS[peer](graph, x, threads)
        except record.Unsupported as why:
            print(f"{name} {batch}x{size}: {peer}: {why}")
    return calls


def graph_function(graph: Any) -> Callable[[Any], Any]:
    """The recorded calls as a function of the input."""
    from pyops import functional as F

    from .record import Value, convert

    def run(x: Any) -> Any:
        values: dict[str, Any] = {**graph.constants, graph.input.name: x}
        for step in graph.steps:
            args, kwargs = convert((step.args, step.kwargs), lambda v, known=values: known[v.name], Value)
            found = getattr(F, step.name)(*args, **kwargs)
            values |= zip((v.name for v in step.results), found if isinstance(found, tuple) else (found,))
        return values[graph.output.name]
    return run


def shortest(calls: dict[str, Callable[[], Any]], rounds: int, processor_time: bool) -> dict[str, float]:
    """Milliseconds of the shortest call of each, in turn."""
    clock = time.process_time if processor_time else time.perf_counter
    best = dict.fromkeys(calls, float("inf"))
    for i in range(rounds + 1):   # the first is not timed
        for name, call in calls.items():
            start = clock()
            call()
            if i:
                best[name] = min(best[name], 1e3 * (clock() - start))
    return best


def measure(name: str, axis: str, points: Sequence[int], args: argparse.Namespace) -> Curve:
    curve = Curve(name, axis, [], {way: [] for way in (OURS, *args.peers)})
    for point in points:
        batch, size = (point, IMAGE.get(name, 224)) if axis == "batch" else (1, point)
        try:
            found = shortest(made(name, batch, size, args.peers, args.threads), args.rounds, args.processor_time)
        except (MemoryError, ValueError) as why:   # too small an image, or too large a batch
            print(f"{name} {batch}x{size}: left out: {why}")
            continue
        gc.collect()
        curve.points.append(point)
        for way, times in curve.times.items():
            times.append(found.get(way, float("nan")))
        print(line(curve, -1), flush=True)
    return curve


def line(curve: Curve, i: int) -> str:
    ours = curve.times[OURS][i]
    others = "".join(f"{times[i] / ours:>13.2f}" for way, times in curve.times.items() if way != OURS)
    return f"{curve.network:<14}{curve.axis:<6}{curve.points[i]:>5}{ours:>12.2f}{others}"


def drawn(curves: list[Curve], file: Path) -> None:
    """A row a network: over batch sizes, and over image sizes."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    names = list(dict.fromkeys(c.network for c in curves))
    figure = Figure(figsize=(10, 3.2 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, squeeze=False)
    for curve in curves:
        place = axes[names.index(curve.network)][int(curve.axis == "size")]
        for way, times in curve.times.items():
            place.plot(curve.points, times, marker=".", label=way, linewidth=2 if way == OURS else 1)
        for way, point, _ in curve.steps():
            place.plot([point], [curve.times[way][curve.points.index(point)]], "x", color="black")
        place.set(xscale="log", yscale="log", title=f"{curve.network}, over {curve.axis}",
                  xlabel=curve.axis, ylabel="ms")
        place.set_xticks(curve.points, [str(p) for p in curve.points], fontsize=6)
        place.minorticks_off()
        place.tick_params(axis="x", rotation=60)
        place.legend(fontsize=7)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def numbers(text: str) -> list[int]:
        return [int(n) for n in text.split(",") if n]
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--batches", type=numbers, default=BATCHES)
    parser.add_argument("--sizes", type=numbers, default=SIZES)
    parser.add_argument("--peers", type=lambda text: [n for n in text.split(",") if n and n != "none"],
                        default=[p for p in PEERS if find_spec(p)], help="default: those that are installed")
    parser.add_argument("--threads", type=int, default=pyops.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true", help="of all threads together, for busy machines")
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    if unknown := set(args.peers) - set(PEERS):
        parser.error(f"--peers: {', '.join(sorted(unknown))} must be of {', '.join(PEERS)}")
    print(f"{'network':<14}{'over':<6}{'':>5}{'ours, ms':>12}" + "".join(f"{peer:>13}" for peer in args.peers))
    curves = [measure(name, axis, points, args) for name in args.networks
              for axis, points in (("batch", args.batches), ("size", args.sizes)) if len(points)]
    for curve in curves:
        for way, point, ratio in curve.steps():
            print(f"{curve.network} over {curve.axis}: {way} at {point} takes {ratio:.2f} of the line beside it")
    if args.png:
        drawn(curves, args.png)


if __name__ == "__main__":
    main()
