"""Peak memory of networks: loading an ONNX file and running it, in a process of its own for each.

`python -m pyops.bench.memory [NETWORK ...]` prints how much more memory a process needs at most (its
resident set) than one that has only imported the library, in MB: pyops.onnx.load with each `memory`, and ONNX
Runtime and OpenVINO where they are installed. Beside it the size of the weights.
"""
from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np

NETWORKS = ("vgg16", "resnet50", "mobilenet_v2")
WAYS = ("fast", "balanced", "lean", "onnxruntime", "openvino")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measured(way: str, file: str, rounds: int) -> dict[str, float]:
    """MB that loading and running take at most, and milliseconds of the shortest run."""
    x = np.zeros((1, 3, 224, 224), np.float32)
    if way in ("onnxruntime", "openvino"):
        import pyops

        from . import peers
        import_module(way)   # its own memory is no model's
        before = peak()
        made = peers.onnxruntime_session if way == "onnxruntime" else peers.openvino_model
        run = made(Path(file), pyops.get_num_threads())(x)
    else:
        import pyops
        import pyops.onnx
        before = peak()
        program = pyops.onnx.load(file, memory=way)

        def run():
            return program(x)
    seconds = []
    for _ in range(rounds):
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    return {"MB": peak() - before, "ms": 1e3 * min(seconds)}


def write(name: str, file: Path) -> float:
    """The network as an ONNX file; MB of its weights."""
    from pyops.models import create_model

    from .networks import recorded
    from .onnx_model import model
    network = create_model(name)
    network.eval()
    file.write_bytes(model(recorded(network, np.zeros((1, 3, 224, 224), np.float32))))
    return sum(p.data.nbytes for p in network.parameters()) / 1e6


def alone(*arguments: str) -> dict:
    """What this module says in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "pyops.bench.memory", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"default: {', '.join(NETWORKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        print(json.dumps({"weights": write(args.networks[0], Path(args.write))}))
        return
    if args.way:
        print(json.dumps(measured(args.way, args.networks[0], args.rounds)))
        return
    ways = [way for way in WAYS if way not in ("onnxruntime", "openvino") or find_spec(way)]
    print(f"{'MB at most':<16} {'weights':>8} " + " ".join(f"{way:>20}" for way in ways))
    for name in args.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "model.onnx")
            weights = alone(name, "--write", file)["weights"]
            found = [alone(file, "--way", way, "--rounds", str(args.rounds)) for way in ways]
        print(f"{name:<16} {weights:>8.0f} " + " ".join(f"{f['MB']:>9.0f} ({f['ms']:>5.1f} ms)" for f in found))


if __name__ == "__main__":
    main()
