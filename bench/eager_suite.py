"""Our eager ops beside torch eager: every call of eager_calls.py forward, and forward with gradients of all
its arrays, the two in turn by blocks. `pyops bench --ops`."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np

import pyops.functional as F
from pyops import Tensor, no_grad

from .eager_calls import CALLS, Call, Ids

# what is not given in the order of its inputs' shapes
KEYWORDS = {"layer_norm": ("input", "weight", "bias"), "rms_norm": ("input", "weight"),
            "group_norm": ("input", "weight", "bias"), "batch_norm": ("input", "weight", "bias"),
            "scatter_add": ("input", "index", "src"), "gather": ("input", "index"), "index_select": ("input", "index")}
LISTED = ("cat", "stack")
CLOSE = 1e-3    # relative difference of the results, of the largest: another result from here on
SAMPLE = 1e-3   # seconds that one sample lasts at least
BLOCK = 0.02    # seconds that one library is timed before it is the other's turn
PAUSE = 0.005   # seconds between, in which the threads of the one before stop looking for work


@dataclass(frozen=True)
class Measured:
    """Seconds of a call, ours and torch's: the least, and the median."""
    call: Call
    gradients: bool
    ours: tuple[float, float]
    torch: tuple[float, float]

    @property
    def ratio(self) -> float:
        """How many times as long torch takes, by the least."""
        return self.torch[0] / self.ours[0]

    def __str__(self):
        ratio = f"{self.ratio:6.2f}"
        ours, peer = (f"{1e6 * seconds[0]:10.1f}" for seconds in (self.ours, self.torch))
        return (f"{ratio}  {self.torch[1] / self.ours[1]:6.2f}  {ours}  {peer}  "
                f"{'gradients ' if self.gradients else ''}{self.call.name}")


HEADER = f"{'least':>6}  {'median':>6}  {'pyops us':>10}  {'torch us':>10}  torch's time over ours, and the call"


def arrays(call: Call) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, x.below, x.shape) if isinstance(x, Ids) else rng.standard_normal(x).astype(np.float32)
            for x in call.inputs]


def targets(call: Call, made: list[np.ndarray]) -> list[np.ndarray]:
    """Losses of probabilities have their second array in 0 .. 1, grids lie in -1 .. 1."""
    if call.op.startswith("binary_cross_entropy"):
        made[1] = 1 / (1 + np.exp(-made[1]))
    if call.op == "grid_sample":
        made[1] = np.tanh(made[1])
    return made


def invoked(function: Callable, call: Call, given: list) -> Callable[[], object]:
    settings = dict(call.settings)
    if call.op in LISTED:
        return lambda: function(given, **settings)
    if call.op not in KEYWORDS:
        return lambda: function(*given, **settings)
    settings |= dict(zip(KEYWORDS[call.op], given))
    if call.op in ("layer_norm", "rms_norm"):
        settings["normalized_shape"] = call.inputs[1]
    if call.op == "batch_norm":
        settings |= {"running_mean": None, "running_var": None, "training": True}
    return lambda: function(**settings)


def first(result):
    return result[0] if isinstance(result, (tuple, list)) else result


def runners(call: Call, gradients: bool) -> dict[str, Callable[[], object]]:
    """Ours and torch's call, each after a look at whether they agree. AssertionError where they do
    not."""
    import torch
    made = targets(call, arrays(call))
    floats = [a.dtype == np.float32 for a in made]
    theirs = [torch.from_numpy(a) for a in made]
    ours = [Tensor(a, requires_grad=gradients) if f else a for a, f in zip(made, floats)]
    for tensor, f in zip(theirs, floats):
        tensor.requires_grad_(gradients and f)
    function = getattr(torch.nn.functional, call.op, None) or getattr(torch, call.op)
    run, peer = invoked(getattr(F, call.op), call, ours), invoked(function, call, theirs)
    if not gradients:
        quiet = {"pyops": silently(run, no_grad), "torch": silently(peer, torch.no_grad)}
        agree(call, first(quiet["pyops"]()), first(quiet["torch"]()))
        return quiet
    g = np.random.default_rng(1).standard_normal(first(run()).shape).astype(np.float32)
    towards = torch.from_numpy(g)
    found = {"pyops": lambda: step(run, ours, g), "torch": lambda: step(peer, theirs, towards)}
    for a, b, f in zip(found["pyops"](), found["torch"](), floats):
        if f:
            agree(call, a, b)
    return found


def silently(run: Callable, context: Callable) -> Callable[[], object]:
    def quiet():
        with context():
            return run()
    return quiet


def step(run: Callable, leaves: list, towards) -> list:
    for leaf in leaves:
        if not isinstance(leaf, np.ndarray):
            leaf.grad = None
    first(run()).backward(towards)
    return [getattr(leaf, "grad", None) for leaf in leaves]


def agree(call: Call, ours, theirs) -> None:
    mine, other = np.asarray(getattr(ours, "data", ours)), theirs.detach().numpy()
    if mine.dtype != np.float32:
        assert np.array_equal(mine, other), f"{call.name}: another result than torch's"
        return
    scale = max(1e-3, float(np.abs(other).max()))
    worst = float(np.abs(mine - other).max()) / scale
    assert worst <= CLOSE, f"{call.name}: {worst:.1e} of the largest away from torch's result"


def measure(call: Call, gradients: bool, seconds: float, clock: Callable[[], float]) -> Measured:
    runs = runners(call, gradients)
    counts, times = {}, {name: [] for name in runs}
    for name, run in runs.items():
        run()
        counts[name] = max(1, int(SAMPLE / max(sample(run, 1, time.perf_counter), 1e-7)))
    end, done = time.perf_counter() + seconds, 0
    while done < 3 or time.perf_counter() < end:
        for name in sorted(runs, reverse=bool(done % 2)):
            time.sleep(PAUSE)
            runs[name]()
            block = time.perf_counter() + BLOCK
            while not times[name] or time.perf_counter() < block:
                times[name].append(sample(runs[name], counts[name], clock))
        done += 1
    return Measured(call, gradients, *((min(times[n]), median(times[n])) for n in ("pyops", "torch")))


def sample(run: Callable, count: int, clock: Callable[[], float]) -> float:
    begin = clock()
    for _ in range(count):
        run()
    return (clock() - begin) / count


def chosen(text: str) -> list[Call]:
    """The calls whose name holds every word of `text`."""
    return [c for c in CALLS if all(word in c.name for word in text.split())]


def measure_both(call: Call, seconds: float, processor_time: bool = False) -> Iterator[Measured]:
    """Forward, and with gradients. processor_time: of all threads together, for machines where others
    compute."""
    clock = time.process_time if processor_time else time.perf_counter
    yield measure(call, False, seconds, clock)
    if call.smooth:
        yield measure(call, True, seconds, clock)


def summary(found: list[Measured]) -> list[str]:
    """A line for forward and one for gradients: the geometric mean, and how many are behind."""
    lines = []
    for gradients in (False, True):
        ratios = [m.ratio for m in found if m.gradients == gradients]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            behind = sum(r < 1 for r in ratios)
            lines.append(f"{'with gradients' if gradients else 'forward'}: {len(ratios)} calls, geometric mean "
                         f"{mean:.2f} of torch's time over ours, {behind} below 1.0")
    return lines
