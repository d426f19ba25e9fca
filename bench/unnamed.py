"""Networks that nobody tuned for, beside every peer: `python -m pyops.bench.unnamed [NETWORK ...]`.

NETWORK is a name of torchvision's, or of timm's after "timm/"; without any, the thirty of NETWORKS.
Each is exported to ONNX with random weights and the batch statistics of noise for every image size
and batch; pyops (`onnx.load`), ONNX Runtime and OpenVINO read that file, ncnn what pnnx makes of the
module where both are installed (batch 1), and torch runs the module eagerly. Each library has a
process of its own (worker.py), in turn. Who is off by more than 1e-3 of the largest value from torch's
answer in float64, or four times what torch's in float32 is off by where that is more, is not timed.

A line a size and batch: our shortest call in milliseconds, each peer's over ours, and the least of
these. At the end the geometric mean of the least over each batch, and what is below 1. `--layers N`
adds the N slowest layers: those that take most beyond the time that multiply-adds at the measured
peak would take. `--isa avx2` holds pyops, torch and OpenVINO to AVX2 and leaves out the others, which
know no such setting. (Nor does MLAS, by which OpenVINO computes some linear layers.)
"""
from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import pyops

from .isolated import Failed, Process, interleave
from .record import Unsupported

NETWORKS = """timm/resnet26d timm/res2net50_14w_8s timm/resnest14d timm/skresnet18 timm/selecsls42b timm/dla60x_c
timm/regnetx_008 timm/regnety_016 timm/efficientnet_lite0 timm/tf_efficientnetv2_b0 timm/mobilenetv3_small_100
timm/mnasnet_100 timm/lcnet_100 timm/hardcorenas_a timm/rexnet_100 timm/repghostnet_100 timm/cspdarknet53
timm/ese_vovnet19b_dw timm/mobileone_s1 timm/repvit_m0_9 timm/convnextv2_atto timm/mobilevit_s timm/inception_v4
timm/xception41p timm/dpn68 timm/vovnet39a shufflenet_v2_x1_0 squeezenet1_0 lraspp_mobilenet_v3_large
deeplabv3_mobilenet_v3_large""".split()
SIZES = {"small": 0.57, "usual": 1.0, "large": 1.43}   # of the network's own image size, to the next 32
BATCHES = (1, 8)
# Of the largest value. Random weights may enlarge roundings beyond it: then ROUNDINGS times what torch errs by.
WRONG, ROUNDINGS = 1e-3, 4
ISAS = {   # how libraries are held to an instruction set, and which of them can be
    "avx2": {"PYOPS_MAX_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}
HELD = ("torch", "openvino")


def module(name: str) -> tuple[Any, int]:
    """The module in evaluation mode, its batch norms with the statistics of four images of noise, and
    the side of its images."""
    import torch

    from . import zoo
    torch.manual_seed(0)
    family, _, short = name.rpartition("/")
    if family == "timm":
        import timm
        made = timm.create_model(short)
        side = made.default_cfg["input_size"][-1]
    else:
        made, side = zoo.from_torchvision(short)[0], {"inception_v3": 299}.get(short, 224)
    norms = [m for m in made.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.2, 0.2)
    if norms:
        with torch.no_grad():
            made.train()(torch.randn(4, 3, side, side))
    return made.eval(), side


def first(result: Any) -> Any:
    """The first tensor of a result."""
    while not hasattr(result, "numpy"):
        result = next(iter(result.values())) if isinstance(result, dict) else result[0]
    return result


def write(name: str, size: str, batch: int, folder: Path) -> None:
    """x.npy, what torch makes of it (want.npy in float64, rounded.npy in float32), model.onnx, and of one
    image net.param and net.bin."""
    import torch
    made, side = module(name)
    side = max(32, round(side * SIZES[size] / 32) * 32)

    class First(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = made

        def forward(self, x: Any) -> Any:
            return first(self.inner(x))
    one, x = First().eval(), torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.save(folder / "x.npy", x.numpy())
        rounded = one(x).numpy()
        torch.onnx.export(one, (x,), str(folder / "model.onnx"), opset_version=17, dynamo=False, input_names=["x"])
        if batch == 1 and find_spec("ncnn") and find_spec("pnnx"):
            ncnn_files(one, x, folder)
        np.save(folder / "want.npy", one.double()(x.double()).numpy())
        np.save(folder / "rounded.npy", rounded)


def ncnn_files(one: Any, x: Any, folder: Path) -> None:
    """What ncnn's own converter makes of the module."""
    import pnnx
    import torch
    with torch.no_grad():
        torch.jit.trace(one, x).save(str(folder / "net.pt"))
    subprocess.run([pnnx.EXEC_PATH, "net.pt", f"inputshape=[{','.join(map(str, x.shape))}]", "fp16=0"], cwd=folder,
                   capture_output=True, timeout=600, check=False)


@dataclass
class Job:
    """What a library's process is told."""
    name: str
    place: Path
    threads: int

    @classmethod
    def of(cls, job: dict[str, Any]) -> Job:
        return cls(job["network"], Path(job["place"]), job["threads"])

    @property
    def x(self) -> np.ndarray:
        return np.load(self.place / "x.npy")


def run_pyops(description: dict[str, Any]) -> Callable[[], Callable[[], Any]]:
    import pyops.onnx
    job = Job.of(description)
    pyops.set_num_threads(job.threads)
    x = job.x

    def prepare() -> Callable[[], Any]:
        program = pyops.onnx.load(job.place / "model.onnx", threads=job.threads)
        return lambda: program(x)
    return prepare


def run_torch(description: dict[str, Any]) -> Callable[[], Callable[[], Any]]:
    import torch
    job = Job.of(description)
    torch.set_num_threads(job.threads)
    made, _ = module(job.name)
    x = torch.from_numpy(job.x)

    def call() -> Any:
        with torch.inference_mode():
            return first(made(x)).numpy()
    return lambda: call


def run_onnxruntime(description: dict[str, Any]) -> Callable[[], Callable[[], Any]]:
    from .peers import onnxruntime_session
    job = Job.of(description)
    return lambda: onnxruntime_session(job.place / "model.onnx", job.threads)(job.x)


def run_openvino(description: dict[str, Any]) -> Callable[[], Callable[[], Any]]:
    from .peers import openvino_model
    job = Job.of(description)
    return lambda: openvino_model(job.place / "model.onnx", job.threads)(job.x)


def run_ncnn(description: dict[str, Any]) -> Callable[[], Callable[[], Any]]:
    import ncnn

    from .ncnn_model import in_float32
    job = Job.of(description)
    if not (job.place / "net.ncnn.param").exists():
        raise Unsupported("pnnx made nothing for ncnn")
    x = job.x

    def prepare() -> Callable[[], Any]:
        net = ncnn.Net()
        in_float32(net.opt, job.threads)
        if net.load_param(str(job.place / "net.ncnn.param")) or net.load_model(str(job.place / "net.ncnn.bin")):
            raise Unsupported("ncnn does not load the network")
        image = ncnn.Mat(x[0]).clone()

        def run() -> Any:
            extractor = net.create_extractor()
            extractor.input("in0", image)
            failed, result = extractor.extract("out0")
            if failed:
                raise Unsupported("ncnn refused to run the network")
            return np.asarray(result)
        return run
    return prepare


PEERS = ("torch", "onnxruntime", "openvino", "ncnn")


@dataclass
class Found:
    """A size and batch: milliseconds of each library's shortest call, and why others have none."""
    name: str
    size: str
    batch: int
    times: dict[str, float]
    notes: dict[str, str]
    layers: Sequence[str] = ()

    @property
    def least(self) -> float:
        """The best peer's time over ours."""
        others = [t for way, t in self.times.items() if way != "pyops"]
        return min(others) / self.times["pyops"] if others and "pyops" in self.times else math.nan

    def line(self, ways: Sequence[str]) -> str:
        ours = self.times.get("pyops", math.nan)
        return (f"{self.name:<34}{self.size:<7}{self.batch:>3}{ours:>10.2f}"
                + "".join(f"{self.times.get(way, math.nan) / ours:>13.2f}" for way in ways) + f"{self.least:>8.2f}"
                + "".join(f"  {way}: {why}" for way, why in self.notes.items())
                + "".join(f"\n    {layer}" for layer in self.layers))


def apart(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference, of the largest value."""
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


def measure(name: str, size: str, batch: int, args: argparse.Namespace) -> Found:
    ways, processes, notes = ("pyops", *args.peers), {}, {}
    held = ISAS.get(args.isa, {})
    with tempfile.TemporaryDirectory(prefix="pyops-unnamed-") as folder:
        place = Path(folder)
        written = subprocess.run([sys.executable, "-m", "pyops.bench.unnamed", name, "--write", folder, "--sizes", size,
                                  "--batches", str(batch)], capture_output=True, text=True)
        if written.returncode:
            return Found(name, size, batch, {}, {"export": written.stderr.strip().splitlines()[-1]})
        want = np.load(place / "want.npy")
        most = max(WRONG, ROUNDINGS * apart(np.load(place / "rounded.npy"), want))
        try:
            for way in ways:
                if way == "ncnn" and batch > 1:
                    continue
                job = {"runner": f"pyops.bench.unnamed:run_{way}", "network": name, "place": folder,
                       "threads": args.threads, "result": str(place / f"{way}.npy")}
                try:
                    processes[way] = Process(job, {"OMP_NUM_THREADS": str(args.threads), **held})
                except Failed as why:
                    notes[way] = str(why)
                    continue
                got = np.load(place / f"{way}.npy").reshape(want.shape)
                off = apart(got, want)
                if not off <= most:
                    notes[way] = f"off by {off:.0e} of the largest value"
                    processes.pop(way).close()
            notes |= interleave(processes, args.block, args.seconds, 3)
            times = {way: 1e3 * min(p.samples) for way, p in processes.items() if way not in notes}
        finally:
            for process in processes.values():
                process.close()
        layers = slowest(place, args) if args.layers and "pyops" in times else ()
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(place / "model.onnx", args.keep / f"{name.replace('/', '-')}-{size}-{batch}.onnx")
    return Found(name, size, batch, times, notes, layers)


def slowest(place: Path, args: argparse.Namespace) -> list[str]:
    """The layers that take most beyond what their multiply-adds would at the peak."""
    from pyops.graph.program import shape_of
    from pyops.machine import ceilings
    with pyops.use_backend(args.isa) if args.isa else nullcontext():
        program = pyops.onnx.load(place / "model.onnx", threads=args.threads)
    limits = ceilings(program.isa, "f32", args.threads, 0.05)
    rows = []
    for step, seconds in zip(program.steps, program.measured(10)):
        floor = program.samples * step.flops / (1e9 * limits.gflops)
        rows.append((seconds - floor, seconds, floor, step))
    rows.sort(key=lambda row: -row[0])
    return [f"{1e3 * lost:>8.3f} ms beyond, {1e3 * seconds:>8.3f} in all, {100 * floor / seconds:>3.0f} % of peak  "
            f"{step.op} {shape_of(step)} {step.algorithm} {step.module}"
            for lost, seconds, floor, step in rows[:args.layers]]


def mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def summary(found: list[Found]) -> str:
    lines = []
    for batch in sorted({f.batch for f in found}):
        there = [f for f in found if f.batch == batch and not math.isnan(f.least)]
        below = sorted((f.least, f"{f.name} {f.size}") for f in there if f.least < 1)
        lines.append(f"batch {batch}: {mean([f.least for f in there]):.3f} of the best peer over {len(there)}"
                     + f", {len(below)} below 1" + "".join(f"; {name} {ratio:.2f}" for ratio, name in below))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def some_of(*names: str) -> Callable[[str], list[str]]:
        def found(text: str) -> list[str]:
            asked = [n for n in text.split(",") if n and n != "none"]
            odd = [n for n in asked if n not in names]
            if odd:
                raise argparse.ArgumentTypeError(f"{', '.join(odd)}: not among {', '.join(names)}")
            return asked
        return found

    def batches(text: str) -> list[int]:
        found = [int(n) if n.isdecimal() else 0 for n in text.split(",")]
        if min(found) < 1:
            raise argparse.ArgumentTypeError(f"{text}: numbers from 1 on, with commas between them, are expected")
        return found
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--sizes", type=some_of(*SIZES, "all"), default=["usual"],
                        help=f"of {', '.join(SIZES)}, or all")
    parser.add_argument("--batches", type=batches, default=BATCHES, help="default: 1,8")
    parser.add_argument("--peers", type=some_of(*PEERS), default=[p for p in PEERS if find_spec(p)],
                        help="of these, or none; default: those that are installed")
    parser.add_argument("--threads", type=int, default=pyops.get_num_threads())
    parser.add_argument("--seconds", type=float, default=4, help="for all libraries together (default: %(default)s)")
    parser.add_argument("--block", type=float, default=0.25, help="seconds of a library's turn")
    parser.add_argument("--isa", choices=sorted(ISAS))
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder that gets the ONNX files")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if "all" in args.sizes:
        args.sizes = list(SIZES)
    if args.write:
        write(args.networks[0], args.sizes[0], args.batches[0], args.write)
        return
    if args.isa:
        args.peers = [peer for peer in args.peers if peer in HELD]
        os.environ.update(ISAS[args.isa])
    print(f"{'network':<34}{'size':<7}{'':>3}{'ours, ms':>10}" + "".join(f"{p:>13}" for p in args.peers)
          + f"{'least':>8}")
    found = []
    for name in args.networks:
        for size in args.sizes:
            for batch in args.batches:
                found.append(measure(name, size, batch, args))
                print(found[-1].line(args.peers), flush=True)
    print(summary(found))
    if args.json:
        args.json.write_text(json.dumps([vars(f) for f in found], indent=1))


if __name__ == "__main__":
    main()
