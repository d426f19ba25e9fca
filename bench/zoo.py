"""Every classification and segmentation model of torchvision through pyops.compile, with random weights: python -m pyops.bench.zoo [NAMES]

A line a model: its layers' FLOPs, the time of a call beside torch's, and the greatest difference from torch over torch's greatest value;
or what it calls that has no counterpart here. Exits with 1 if an answer is off by more than 1e-4.
"""
from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import pyops
from pyops.torch import UnsupportedOp

from .torchvision_schemas import torchvision

ALLOWED = 1e-4
SIZES = {"inception_v3": 139, "vit_h_14": 224, "vit_l_16": 224, "vit_b_16": 224, "vit_b_32": 224, "vit_l_32": 224, "maxvit_t": 224}
SIZE = 96
SETTINGS = {"googlenet": {"aux_logits": False, "init_weights": False}, "inception_v3": {"aux_logits": False, "init_weights": False}}


def models() -> list[str]:
    return [*torchvision.models.list_models(module=torchvision.models), *torchvision.models.list_models(module=torchvision.models.segmentation)]


def made(name: str) -> torch.nn.Module:
    """The model, in evaluation, with batch norms that do something and no branch that its own initial weights switch off."""
    torch.manual_seed(0)
    settings = {**SETTINGS.get(name, {}), **({"weights_backbone": None} if name in torchvision.models.list_models(module=torchvision.models.segmentation) else {})}
    model = torchvision.models.get_model(name, weights=None, **settings)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for key, parameter in model.named_parameters():
        if key.endswith(("head.weight", "layer_scale")) or (parameter.ndim > 1 and not parameter.any()):
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


def tensors(result) -> list[np.ndarray]:
    if isinstance(result, dict):
        return [a for v in result.values() for a in tensors(v)]
    if isinstance(result, (tuple, list)):
        return [a for v in result for a in tensors(v)]
    return [np.asarray(result)]


def shortest(call, seconds: float = 0.3) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > end:
            return best


def line(name: str) -> tuple[str, bool]:
    """What is said of a model, and whether its answer is wrong."""
    model, size = made(name), SIZES.get(name, SIZE)
    x = torch.randn(1, 3, size, size)
    try:
        program = pyops.compile(model, x)
    except UnsupportedOp as why:
        return f"not compiled: {why}", False
    with torch.inference_mode():
        want, ours, theirs = tensors(model(x)), shortest(lambda: program(x)), shortest(lambda: model(x))
    off = max(np.abs(g - w).max() / max(np.abs(w).max(), 1e-30) for g, w in zip(tensors(program(x)), want, strict=True))
    flops = sum(s.flops for s in program.steps)
    wrong = not off <= ALLOWED
    return f"{flops / 1e9:8.2f} GFLOP {1e3 * ours:9.2f} ms, torch {1e3 * theirs:9.2f} ms   error {off:.0e}{'  WRONG' if wrong else ''}", wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.zoo", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models of torchvision (default: all)")
    wrong = left_out = 0
    names = parser.parse_args().names or models()
    torch.set_num_threads(pyops.get_num_threads())
    for name in names:
        text, bad = line(name)
        wrong, left_out = wrong + bad, left_out + text.startswith("not compiled")
        print(f"{name:<30} {text}", flush=True)
    print(f"{len(names)} models: {len(names) - left_out} compiled whole, {left_out} not; {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
