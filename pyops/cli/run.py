"""pyops run MODEL.onnx: once, with what goes in and comes out."""
from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from . import UsageError


def add_arguments(parser):
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("--input", metavar="FILE", action="append", help="a .npy or .pb for each input in "
                        "turn, or one .npz with all by name; or random, normal numbers of seed 0 (default)")
    parser.add_argument("--output", metavar="FILE", help="write the outputs, by name, as .npz")
    parser.add_argument("--shape", metavar="NAME=1x3x224x224", action="append", default=[],
                        help="of an input whose shape the file leaves open")
    parser.add_argument("--threads", type=int, metavar="N", help="(default: as pyops info says)")


def run(args) -> int:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise UsageError("pyops run needs onnx: pip install onnx") from None
    from .. import onnx as door
    try:
        model = door.program.parsed(args.model)
        inputs = given(args.input or ["random"], model, shapes_of(args.shape))
        start = time.perf_counter()
        loaded = door.load(args.model, shapes={n: a.shape for n, a in inputs.items()}, threads=args.threads)
        program = loaded.program_for(*inputs.values()) if hasattr(loaded, "program_for") else loaded
        made = time.perf_counter() - start
        left_out = getattr(program, "left_out", "")

        def call():
            return loaded(*inputs.values())
        results = call()
        results = results if isinstance(results, (tuple, list)) else (results,)
        seconds = min(timed(call) for _ in range(3))
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None
    for name, array in (*inputs.items(), *zip(model.outputs, results)):
        print(f"{'in' if name in inputs else 'out':<4} {name:<24} {array.dtype} {array.shape}")
    print(f"{seconds * 1e3:.3f} ms a call, shortest of 3; " + (
        f"node by node: {left_out}" if left_out else f"{len(program.steps)} steps, made in {made:.2f} s"))
    first = np.asarray(results[0])
    if first.ndim == 2 and first.shape[1] >= 10 and first.dtype.kind == "f":
        for row in first[:8]:
            print("greatest: " + ", ".join(f"{i} ({row[i]:.4g})" for i in np.argsort(-row)[:5]))
    if args.output:
        np.savez(args.output, **dict(zip(model.outputs, results)))
    return 0


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def shapes_of(texts) -> dict:
    try:
        return {name: tuple(int(s) for s in sizes.split("x"))
                for name, sizes in (t.split("=") for t in texts)}
    except ValueError:
        raise UsageError(f"--shape must read NAME=1x3x224x224, got {' '.join(texts)}") from None


def given(files, model, shapes) -> dict[str, np.ndarray]:
    if files == ["random"]:
        from ..onnx.program import random_inputs
        try:
            return random_inputs(model, shapes)
        except ValueError as why:
            raise UsageError(str(why).replace(
                "shapes={", "--shape NAME=1x3x224x224, in Python shapes={")) from None
    if len(files) == 1 and files[0].endswith(".npz"):
        with np.load(files[0]) as held:
            arrays = dict(held)
    else:
        if len(files) != len(model.inputs):
            raise UsageError(f"the model takes {len(model.inputs)} inputs, {', '.join(model.inputs)}; got "
                             f"{len(files)} files")
        arrays = dict(zip(model.inputs, map(array_in, files)))
    missing = [n for n in model.inputs if n not in arrays]
    if missing:
        raise UsageError(f"the files hold no {', '.join(missing)}")
    for name, (dtype, shape) in model.inputs.items():
        fits = (shape is None or len(shape) == arrays[name].ndim
                and all(s in (None, a) for s, a in zip(shape, arrays[name].shape)))
        if not fits or dtype is not None and arrays[name].dtype != dtype:
            wanted = None if shape is None else tuple("?" if s is None else s for s in shape)
            raise UsageError(f"input {name} is {arrays[name].dtype} {arrays[name].shape}; the model is "
                             f"compiled for {np.dtype(dtype)} {wanted}")
    return {n: arrays[n] for n in model.inputs}


def array_in(file) -> np.ndarray:
    if file.endswith(".pb"):
        import onnx

        from ..onnx.model import array_of
        tensor = onnx.TensorProto()
        tensor.ParseFromString(Path(file).read_bytes())
        return array_of(tensor, None)
    return np.load(file)
