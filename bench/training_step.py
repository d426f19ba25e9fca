"""A training step beside torch eager: python -m pyops.bench.training_step [NAME] [--batch N --size
N --repeats N --profile]

A step is forward, cross-entropy, backward and an SGD step with momentum, float32, the same weights
and images. Gradients are compared first: with 2 million activations a few lie within rounding of
zero, and one whose sign differs moves the gradients before it by some 1e-3 of their norm, ours and
torch's alike against float64 (tests compare in float64, where they agree to 1e-5).
Both libraries take turns, so that a change of the machine's clock meets both; the table gives the
shortest and the median step of each. --profile adds our time by op, forward and backward, from a
step in which each call is timed.
"""
from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np

import pyops
from pyops import Tensor, functional as F
from pyops.core.registry import Op
from pyops.optim import SGD

from .measure import beside_torch

CLASSES, RATE, MOMENTUM = 10, 1e-3, 0.9


def ours(name: str, x: np.ndarray, target: np.ndarray):
    """(model, step) of pyops; step() returns the loss."""
    pyops.manual_seed(0)
    model = pyops.create_model(name, classes=CLASSES)
    optimizer, images = SGD(model.parameters(), RATE, momentum=MOMENTUM), Tensor(x)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        return loss.item()
    return model, step


def theirs(name: str, x: np.ndarray, target: np.ndarray, state):
    import torch

    from .torchvision_schemas import torchvision
    torch.set_num_threads(pyops.get_num_threads())
    model = getattr(torchvision.models, name)(num_classes=CLASSES)
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    images, labels = torch.from_numpy(x), torch.from_numpy(target)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()
    return model, step


def profile(step, clock: Callable[[], float] = time.perf_counter) -> list[tuple[str, float, int]]:
    """(op, ms, calls) of one step, the most expensive first. Rows of gradients are ops too; time
    within an op's own calls is counted once, and a call on Tensors, which calls the row again on
    their arrays, is one call."""
    spent, calls, inside, running = defaultdict(float), defaultdict(int), [0.0], [None]
    plain = Op.__call__

    def timed(self, *inputs, **attrs):
        outer, inside[0], caller, start = inside[0], 0.0, running[0], clock()
        running[0] = self
        try:
            return plain(self, *inputs, **attrs)
        finally:
            took = clock() - start
            spent[self.name] += took - inside[0]
            calls[self.name] += caller is not self
            inside[0], running[0] = outer + took, caller
    Op.__call__ = timed
    try:
        start = clock()
        step()
        whole = clock() - start
    finally:
        Op.__call__ = plain
    spent["(outside of ops)"], calls["(outside of ops)"] = whole - sum(spent.values()), 1
    return sorted(((name, 1e3 * t, calls[name]) for name, t in spent.items()), key=lambda row: -row[1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.training_step",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("name", nargs="?", default="resnet18",
                        help="a network that torchvision has too (default: resnet18)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((args.batch, 3, args.size,
                                     args.size)).astype(np.float32), rng.integers(0, CLASSES, args.batch)
    model, step = ours(args.name, x, target)
    reference, other = theirs(args.name, x, target, model.state_dict())
    losses = step(), other()
    pairs = [(p.grad, q.grad.numpy()) for p, q in zip(model.parameters(), reference.parameters())]
    apart = np.sqrt(sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in pairs)
                    / sum(float(np.square(b, dtype=np.float64).sum()) for _, b in pairs))
    print(f"{args.name}, batch {args.batch}, {args.size}x{args.size}, {pyops.get_num_threads()} threads; "
          f"losses {losses[0]:.5f} and {losses[1]:.5f}, gradients differ by {apart:.1e} of their norm")
    print(*beside_torch(step, other, args.repeats), sep="\n")
    if args.profile:
        for name, ms, calls in profile(step):
            print(f"{name:28} {ms:8.2f} ms  {calls:4} calls")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
