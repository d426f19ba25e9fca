"""Peak memory and set-up of networks: loading a file and running it, in a process of its own for each
library.

`python -m pyops.bench.memory [NETWORK ...]` prints how much more memory a process needs at most (its
resident set) than one that has only imported the library, in MB, and the shortest call in
milliseconds: pyops.onnx.load with each `memory`, and the peers that are installed, each from the file
that it reads (ONNX, ncnn's own, a pickled graph for torch). Beside it the size of the weights. At the
end, what "balanced" takes over the leanest peer. A NETWORK may be an ONNX file of one input.

`--set-up` prints the time from the file to the first answer instead, in milliseconds of the
processor's, with the library imported: the shortest of `--rounds` processes that take turns.
"""
from __future__ import annotations

import argparse
import json
import pickle
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

NETWORKS = ("alexnet", "vgg11", "vgg16", "googlenet", "inception_v3", "resnet18", "resnet34", "resnet50", "resnet101",
            "densenet121", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0",
            "efficientnet_v2_s", "xception", "nasnet_mobile", "squeezenet1_1", "shufflenet_v2_x1_0", "unet",
            "fcn_resnet50", "deeplabv3_resnet50", "dcgan_64", "pix2pix")
SIZE = {"unet": 256}   # of images; others as the network's entry says
OURS = ("fast", "balanced", "lean")
PEERS = ("torch", "onnxruntime", "openvino", "ncnn")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measured(way: str, folder: Path, rounds: int) -> dict[str, float]:
    """MB that loading and running take at most, milliseconds of the shortest run, and the processor's from
    the file to the first answer."""
    x = np.zeros(json.loads((folder / "shape.json").read_text()), np.float32)
    prepare = ours(way, folder, x) if way in OURS else peer(way, folder, x)
    before, start = peak(), process_time()
    run = prepare()
    run()
    set_up = process_time() - start
    seconds = []
    for _ in range(rounds):
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    return {"MB": peak() - before, "ms": 1e3 * min(seconds), "set-up": 1e3 * set_up}


def ours(way: str, folder: Path, x: np.ndarray) -> Callable[[], Callable[[], Any]]:
    import pyops.onnx

    def prepare() -> Callable[[], Any]:
        program = pyops.onnx.load(folder / "model.onnx", memory=way)
        return lambda: program(x)
    return prepare


def peer(way: str, folder: Path, x: np.ndarray) -> Callable[[], Callable[[], Any]]:
    import pyops

    from . import ncnn_model, peers, torch_model
    import_module(way)   # its own memory is no model's
    threads = pyops.get_num_threads()

    def torch_module() -> Callable[[], Any]:
        import torch
        torch.set_num_threads(threads)
        with open(folder / "graph.pkl", "rb") as file:
            run, tensor = torch_model.module(pickle.load(file)), torch.from_numpy(x)

        def call() -> Any:
            with torch.inference_mode():
                return run(tensor)
        return call
    return {"torch": torch_module,
            "onnxruntime": lambda: peers.onnxruntime_session(folder / "model.onnx", threads)(x),
            "openvino": lambda: peers.openvino_model(folder / "model.onnx", threads)(x),
            "ncnn": lambda: ncnn_model.load(folder, threads)(list(x))}[way]


def write(name: str, batch: int, folder: Path) -> dict[str, Any]:
    """The network in the forms that libraries read; MB of its weights, and the forms it has."""
    from pyops.models import create_model
    from pyops.models.registry import NETWORKS as KNOWN

    from . import ncnn_model, record
    from .networks import recorded
    from .onnx_model import model
    network = create_model(name)
    network.eval()
    image = (3, SIZE[name], SIZE[name]) if name in SIZE else KNOWN[name].image
    x = np.zeros((batch, *image), np.float32)
    graph = recorded(network, x)
    (folder / "shape.json").write_text(json.dumps(x.shape))
    (folder / "model.onnx").write_bytes(model(graph))
    with open(folder / "graph.pkl", "wb") as file:
        pickle.dump(graph, file, protocol=5)
    forms = [*OURS, "torch", "onnxruntime", "openvino"]
    try:
        if batch == 1:
            ncnn_model.write(graph, folder)
            forms.append("ncnn")
    except record.Unsupported as why:
        print(f"{name}: ncnn: {why}", file=sys.stderr)
    return {"weights": sum(p.data.nbytes for p in network.parameters()) / 1e6, "forms": forms}


def given(file: Path, folder: Path) -> dict[str, Any]:
    """The same of an ONNX file."""
    import pyops.onnx
    (folder / "model.onnx").symlink_to(file.resolve())
    program = pyops.onnx.load(file)
    (shape, _), = program.inputs
    (folder / "shape.json").write_text(json.dumps(shape))
    return {"weights": file.stat().st_size / 1e6, "forms": [*OURS, "onnxruntime", "openvino"]}


def alone(*arguments: Any) -> dict[str, Any] | None:
    """What this module says in a process of its own; None where the library refuses the network."""
    done = subprocess.run([sys.executable, "-m", "pyops.bench.memory", *map(str, arguments)], capture_output=True,
                          text=True)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    from .peers import missing
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"default: {', '.join(NETWORKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1, help="ncnn, which has no batch, is left out above 1")
    parser.add_argument("--ways", default=",".join((*OURS, *PEERS)), help="of what is measured: %(default)s")
    parser.add_argument("--set-up", action="store_true", help="the time to the first answer")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=(*OURS, *PEERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        (name,) = args.networks
        print(json.dumps(given(Path(name), Path(args.write)) if name.endswith(".onnx")
                         else write(name, args.batch, Path(args.write))))
        return
    if args.way:
        print(json.dumps(measured(args.way, Path(args.networks[0]), args.rounds)))
        return
    ways = [way for way in args.ways.split(",") if way in OURS or not missing(way)]
    if args.set_up:
        ways = [way for way in ways if way not in OURS or way == "balanced"]
    title, kind = ("set-up, ms", "set-up") if args.set_up else ("MB at most (ms)", "MB")
    print(f"{title:<24}{'weights':>8}" + "".join(f"{way:>15}" for way in ways))
    ratios = []
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            written = alone(name, "--write", folder, "--batch", args.batch)
            if written is None:
                continue
            found = of_ways([way for way in ways if way in written["forms"]], folder, args)
        print(f"{Path(name).stem:<24}{written['weights']:>8.0f}" + "".join(
            f"{'-':>15}" if (one := found.get(way)) is None else f"{one[kind]:>15.0f}" if args.set_up
            else f"{one['MB']:>7.0f} ({one['ms']:>5.1f})" for way in ways), flush=True)
        others = [one[kind] for way, one in found.items() if way in PEERS]
        if others and (balanced := found.get("balanced")):
            ratios.append((balanced[kind] / min(others), name))
    if ratios:
        most, worst = max(ratios)
        what = "the quickest peer's set-up" if args.set_up else "the leanest peer's memory"
        print(f'"balanced" takes at most {what} on {sum(r <= 1 for r, _ in ratios)} of '
              f"{len(ratios)}, and at most {most:.2f} times it ({Path(worst).stem})")


def of_ways(ways: list[str], folder: str, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What `measured` says of each; of set-up the shortest of several processes in turn."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(args.rounds if args.set_up else 1):
        for way in ways:
            one = alone(folder, "--way", way, "--rounds", 1 if args.set_up else args.rounds)
            if one is not None and (way not in found or one["set-up"] < found[way]["set-up"]):
                found[way] = one
    return found


if __name__ == "__main__":
    main()
