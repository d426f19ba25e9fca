"""Detectors from image to boxes beside torchvision and ONNX Runtime: python -m pyops.bench.detectors_torchvision
[NAMES] [--batch N] [--seconds S] [--steps]

One process, the same weights and images, calls in turn; ratios say how many times ours a peer takes.
Where torchvision's extension does not load, its nms and roi_align are ours on torch's memory. --steps
prints instead what a run of ours spends outside of convolutions.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

import pyops
from pyops import functional as F
from pyops.bench import peers
from pyops.bench.measure import interleaved, once
from pyops.bench.record import Unsupported
from pyops.bench.same_boxes import Boxes, agreeing
from pyops.core.registry import OPS
from pyops.nn import init

SIZES = {"retinanet_resnet50_fpn": (480, 640), "fasterrcnn_resnet50_fpn": (480, 640), "ssd300_vgg16": (300, 300),
         "ssdlite320_mobilenet_v3_large": (320, 320), "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 320)}


def there_are() -> bool:   # torch scripts these while it exports
    return True


def nothing() -> None:
    pass


def torchvision_with_operators():
    import torch

    from pyops.bench.torchvision_schemas import torchvision
    if torchvision.extension._has_ops():
        return torch, torchvision
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("torchvision"):
            for name, value in (("_assert_has_ops", nothing), ("_has_ops", there_are)):
                if hasattr(module, name):
                    setattr(module, name, value)

    def nms(boxes, scores, threshold):
        return torch.from_numpy(np.asarray(F.nms(boxes.detach().numpy(), scores.detach().numpy(), threshold)))

    def roi_align(input, rois, *how):
        scale, height, width, ratio, aligned = how
        maps, regions = input.detach().contiguous().numpy(), rois.detach().numpy()
        return torch.from_numpy(F.roi_align(maps, regions, (height, width), scale, ratio, aligned))

    def kept(ctx, inputs, output):
        ctx.shape, ctx.regions, ctx.how = inputs[0].shape, inputs[1].detach().numpy(), inputs[2:]

    def roi_align_backward(ctx, gradient):
        scale, _, _, ratio, aligned = ctx.how
        found = OPS["roi_align_backward"](gradient.contiguous().numpy(), ctx.regions, shape=tuple(ctx.shape),
                                          scale=scale, ratio=ratio, aligned=aligned)
        return torch.from_numpy(np.asarray(found)), *[None] * 6
    for name, function in (("nms", nms), ("roi_align", roi_align)):
        torch.library.impl(f"torchvision::{name}", "CPU", function)
    torch.library.register_autograd("torchvision::roi_align", roi_align_backward, setup_context=kept)
    return torch, torchvision


def pair(name: str, torch, torchvision):
    """torchvision's network with random numbers, and ours with the same."""
    torch.manual_seed(0)
    theirs = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None).eval()
    spread(theirs, torch.rand(3, *SIZES[name]), torch)
    with init.skip_draws():
        ours = pyops.create_model(name).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def spread(network, image, torch) -> None:
    """Layers scaled so that what they make of the image has a deviation of 1, and boxes move by a third of
    their size: untrained ones make scores that are all alike, whose order says nothing (layer-sequential
    unit variance, Mishkin and Matas 2015).
    """
    layers = {layer: 0.3 if "bbox_" in name or "regression_head.module_list" in name else 1.0
              for name, layer in network.named_modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))}

    def scale(layer, _, output):
        wanted = layers.pop(layer, None)
        if wanted is None:   # a head meets several maps
            return output
        factor = wanted / max(float(output.std()), 1e-6)
        layer.weight.mul_(factor)
        bias = 0 if layer.bias is None else layer.bias.reshape(-1, *[1] * (output.dim() - 2))
        return (output - bias) * factor + bias

    handles = [layer.register_forward_hook(scale) for layer in layers]
    with torch.no_grad():
        network([image])
    for handle in handles:
        handle.remove()


def exported(theirs, x: np.ndarray, torch, folder: Path) -> Path:
    """torchvision's own export, which is for one image."""
    from torchvision.ops import _register_onnx_ops
    _register_onnx_ops._register_custom_op()
    file = folder / "detector.onnx"
    torch.onnx.export(theirs, ([torch.from_numpy(x[0])],), str(file), opset_version=17, dynamo=False)
    return file


def onnxruntime(file: Path, x: np.ndarray, threads: int):
    import onnxruntime as runtime
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: [session.run(None, {name: image}) for image in x]


def openvino(file: Path, x: np.ndarray, threads: int):
    bind = peers.openvino_model(file, threads)

    def run():
        for image in x:
            bind(image)()
    return run


def others(theirs, x: np.ndarray, threads: int, torch, quick: bool):
    """(peer, a function of nothing, or why there is none) of those beside torchvision."""
    runners = {"onnxruntime": onnxruntime, "openvino": openvino}
    there = {peer: peers.missing(peer) for peer in runners}
    with tempfile.TemporaryDirectory() as folder:
        file = exported(theirs, x, torch, Path(folder)) if not all(there.values()) else Path()
        for peer, runner in runners.items():
            if there[peer]:
                yield peer, f"{', '.join(there[peer])} is not installed"
                continue
            try:
                run = runner(file, x, threads)
                run()   # operators that it lacks show here
                yield peer, run
            except (RuntimeError, Unsupported) as why:
                yield peer, str(why).strip().splitlines()[0]
    if not quick:
        compiled, given = torch.compile(theirs), list(torch.from_numpy(x))

        def run():
            with torch.no_grad():
                return compiled(given)
        yield "torch-compile", run
    yield "ncnn", "it takes no such network whole, its own regions and suppression included"


def measured(name: str, batch: int, seconds: float, threads: int, quick: bool = False) -> str:
    torch, torchvision = torchvision_with_operators()
    torch.set_num_threads(threads)
    theirs, ours = pair(name, torch, torchvision)
    x = np.random.default_rng(0).random((batch, 3, *SIZES[name]), np.float32)
    program = pyops.compile(ours, x, threads=threads)
    given = list(torch.from_numpy(x))

    def eager():
        with torch.no_grad():
            return theirs(given)
    runs = {"pyops": lambda: program(x), "torchvision": eager}
    for peer, run in others(theirs, x, threads, torch, quick):
        if isinstance(run, str):
            print(f"{name} batch {batch}: {peer} not run: {run}", flush=True)
        else:
            runs[peer] = run
    found, want = ours.cut(*program(x)), eager()
    same = agreeing([Boxes(f.boxes, f.scores, f.labels) for f in found],
                    [Boxes(w["boxes"].numpy(), w["scores"].numpy(), w["labels"].numpy()) for w in want], score=1e-3)
    samples = {peer: [once(run, 1) for _ in range(2)] for peer, run in runs.items()} if quick else interleaved(
        runs, seconds)[0]
    best = {key: min(times) for key, times in samples.items()}
    line = ", ".join(f"{key} {1e3 * value:.1f} ms ({value / best['pyops']:.2f})" for key, value in best.items())
    return f"{name} batch {batch}: {line}; {same} of {sum(map(len, found))} boxes are torchvision's"


def steps(name: str, threads: int) -> str:
    with init.skip_draws():
        ours = pyops.create_model(name).eval()
    for p in ours.parameters():
        p.data[...] = 0.01
    program = pyops.compile(ours, np.zeros((1, 3, *SIZES[name]), np.float32), threads=threads)
    spent: dict[str, float] = defaultdict(float)
    for step, took in zip(program.steps, program.measured(3)):
        spent["layers" if step.flops else step.op] += 1e3 * took
    return "\n".join(f"{took:10.3f} ms  {op}" for op, took in sorted(spent.items(), key=lambda pair: -pair[1])[:12])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.detectors_torchvision",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", default=list(SIZES)[:3], help=f"default: {', '.join(list(SIZES)[:3])}; "
                                                                           f"there are {', '.join(SIZES)}")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each detector")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", action="store_true", help="what our steps take, without peers")
    parser.add_argument("--quick", action="store_true", help="two calls each, and not torch.compile")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in SIZES]:
        parser.error(f"no detector is called {unknown[0]!r}; there are {', '.join(SIZES)}")
    for name in args.names:
        print(steps(name, args.threads) if args.steps else measured(name, args.batch, args.seconds, args.threads,
                                                                             args.quick),
              flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
