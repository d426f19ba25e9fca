"""How long an image by feature visualisation takes: python -m pyops.bench.feature_visualisation
[NETWORK] [--layer NAME] [--size PIXELS] [--steps N] [--against-torch]

Weights are random, which changes no time. --against-torch has torch eager take the steps of the
same network in turn with ours (torchvision's GoogLeNet only), and prints the ratio of the fastest.
"""
from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import pyops
from pyops import inspect
from pyops.bench.measure import interleaved
from pyops.inspect import objective


def twin(model: Any) -> Any:
    """torchvision's GoogLeNet with the weights of ours."""
    import torch

    from pyops.bench.torchvision_schemas import torchvision
    other = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True)
    other.load_state_dict({name: torch.from_numpy(np.asarray(a)) for name, a in model.state_dict().items()})
    return other


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.feature_visualisation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="googlenet")
    parser.add_argument("--layer", default="inception4c", help="default: inception4c")
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS", help="default: 128")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--against-torch", action="store_true")
    args = parser.parse_args()
    pyops.manual_seed(0)
    model = pyops.create_model(args.network)
    goal, shape = objective.channel(args.layer, 0), (3, args.size, args.size)

    def ascent(of: Any, steps: int) -> np.ndarray:
        return inspect.visualise(of, goal, shape, steps=steps).images
    ascent(model, 2)
    begin = time.perf_counter()
    ascent(model, args.steps)
    seconds = time.perf_counter() - begin
    print(f"{args.network}, channel 0 of {args.layer}, {args.size}x{args.size}, {args.steps} steps, "
          f"{pyops.get_num_threads()} threads: {seconds:.1f} s, {1000 * seconds / args.steps:.1f} ms a step")
    if args.against_torch:
        other = twin(model)
        few = 5
        taken, _ = interleaved({"ours": lambda: ascent(model, few), "torch": lambda: ascent(other, few)}, 20)
        ours, torchs = min(taken["ours"]), min(taken["torch"])
        print(f"{few} steps: ours {1000 * ours:.0f} ms, torch eager {1000 * torchs:.0f} ms, "
              f"{torchs / ours:.2f} of torch")


if __name__ == "__main__":
    main()
