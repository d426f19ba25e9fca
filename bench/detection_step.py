"""A training step of a detector beside torch eager: python -m pyops.bench.detection_step
[fasterrcnn_resnet50_fpn|retinanet_resnet50_fpn|ssd300_vgg16|yolov3_tiny|yolov3 ...] [--batch N --size N --repeats N
--profile --quick]

A step is the losses of a batch with eight boxes an image, backward, and an SGD step with momentum, float32, the same
weights, images and boxes. torchvision has the first three networks; where its extension does not load, its nms and
roi_align with its gradient are ours on torch's memory. Darknet's networks are written down in torch here, layer by
layer, with YOLOv3's losses; which anchor answers for which box is worked out by pyops for both. The first losses are
printed: torchvision draws at random what its proposals are trained on, so that Faster R-CNN's differ a little.
Both take turns; the table gives the shortest and the median step of each.
"""
from __future__ import annotations

import argparse
import time

import numpy as np

import pyops
from pyops.nn import init
from pyops.optim import SGD

from .detectors_torchvision import torchvision_with_operators
from .measure import beside_torch
from .training_step import profile

RATE, MOMENTUM, BOXES = 1e-4, 0.9, 8
TORCHVISION = {"fasterrcnn_resnet50_fpn": (2, 256), "retinanet_resnet50_fpn": (2, 256), "ssd300_vgg16": (4, 300)}
DARKNET = {"yolov3_tiny": (8, 416), "yolov3": (2, 416)}
USUAL = TORCHVISION | DARKNET


def boxes_of(rng: np.random.Generator, size: int) -> np.ndarray:
    wide = rng.uniform(0.1, 0.5, (BOXES, 2))
    low = rng.uniform(0, 1 - wide)
    return (np.concatenate([low, low + wide], 1) * size).astype(np.float32)


def ours(model, images: np.ndarray, targets: list):
    optimizer = SGD(model.parameters(), RATE, momentum=MOMENTUM)
    model.train()

    def step():
        optimizer.zero_grad()
        loss = sum(model.losses(images, targets).values())
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def theirs(torch, losses, parameters):
    optimizer = torch.optim.SGD(parameters, RATE, momentum=MOMENTUM)

    def step():
        optimizer.zero_grad()
        loss = losses()
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def of_torchvision(name: str, size: int, images: np.ndarray, targets: list):
    torch, torchvision = torchvision_with_operators()
    torch.manual_seed(0)
    square = {} if name.startswith("ssd") else {"min_size": size, "max_size": size}
    reference = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, **square).train()
    with init.skip_draws():
        model = pyops.create_model(name, **square)
    model.load_state_dict(reference.state_dict())
    given = list(torch.from_numpy(images))
    wanted = [{key: torch.from_numpy(value) for key, value in target.items()} for target in targets]
    return (ours(model, images, targets),
            theirs(torch, lambda: sum(reference(given, wanted).values()), reference.parameters()), torch)


# ---- Darknet's layers and YOLOv3's losses in torch

def layer_of(torch, layer, section):
    """A function of what the layer takes, and its modules."""
    from torch.nn import functional as F
    kind = type(layer).__name__
    if kind == "Convolutional":
        ours = layer.conv
        conv = torch.nn.Conv2d(ours.in_channels, ours.out_channels, ours.kernel_size, ours.stride, ours.padding,
                               bias=ours.bias is not None)
        parts = [conv]
        if layer.norm is not None:
            parts.append(torch.nn.BatchNorm2d(ours.out_channels, eps=layer.norm.eps, momentum=0.01))
        for one, mine in zip(parts, (layer.conv, layer.norm)):
            one.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in mine.state_dict().items()})
        if section.text("activation", "logistic") == "leaky":
            parts.append(torch.nn.LeakyReLU(0.1, inplace=True))
        return torch.nn.Sequential(*parts)
    if kind == "MaxPool":
        def pooled(x):
            over = (0, layer.after, 0, layer.after) if layer.stride == 1 else (0, 0, 0, 0)
            return F.max_pool2d(F.pad(x, over, value=-float("inf")) if any(over) else x, layer.size, layer.stride)
        return pooled
    if kind == "Upsample":
        return lambda x: F.interpolate(x, scale_factor=layer.stride, mode="nearest")
    return {"Route": lambda *maps: maps[0] if len(maps) == 1 else torch.cat(maps, 1),
            "Shortcut": lambda x, earlier: x + earlier, "Head": lambda x: x}[kind]


def head_losses(torch, head, maps, truth, size: tuple[int, int]):
    from torch.nn import functional as F
    n, _, h, w = maps.shape
    rows = maps.reshape(n, len(head.anchors), 5 + head.classes, h, w).permute(0, 1, 3, 4, 2).reshape(
        -1, 5 + head.classes)
    place, boxes, kinds = head._assigned(truth, (h, w), size)
    counted = head._counted(maps.detach().numpy(), truth, size)
    there = np.zeros_like(counted)
    there[place] = counted[place] = 1
    cell = np.stack([place % w, place // w % h], 1).astype(np.float32)
    wanted = np.log(boxes[:, 2:] * np.array([size[1], size[0]], np.float32) / head.anchors[place // (w * h)
                                                                                         % len(head.anchors)])
    inside = boxes[:, :2] * np.array([w, h], np.float32) - cell
    weight = torch.from_numpy((2 - boxes[:, 2:3] * boxes[:, 3:4]).astype(np.float32))
    there, counted, kinds, wanted, inside = map(torch.from_numpy, (there, counted, kinds, wanted.astype(np.float32),
                                                                   inside))
    chosen = rows[torch.from_numpy(place)]
    cross = F.binary_cross_entropy_with_logits
    return (cross(rows[:, 4], there, counted, reduction="sum") + cross(chosen[:, 5:], kinds, reduction="sum")
            + cross(chosen[:, :2], inside, weight.expand(-1, 2), reduction="sum")
            + ((chosen[:, 2:4] - wanted).square() * (0.5 * weight)).sum())


def of_darknet(name: str, size: int, images: np.ndarray, targets: list):
    import torch

    from pyops.models.detection.yolo_truth import truths
    pyops.manual_seed(0)
    model = pyops.create_model(name, classes=20, size=size)
    layers = [layer_of(torch, *pair) for pair in zip(model.network.layers, model.network.sections[1:])]
    modules = torch.nn.ModuleList(layer for layer in layers if isinstance(layer, torch.nn.Module)).train()
    given = torch.from_numpy(images)

    def losses():
        _, placed = model.placed(images, (size, size))
        truth = truths(name, targets, len(images), model.classes, placed, (size, size))
        x, results, total = given, {}, 0
        for i, (layer, run) in enumerate(zip(model.network.layers, layers)):
            x = run(*(results[j] for j in layer.sources)) if layer.sources else run(x)
            if i in model.network.kept:
                results[i] = x
            if layer in model.network.heads:
                head = model.heads[model.network.heads.index(layer)]
                total = total + head_losses(torch, head, x, truth, (size, size))
        return total / len(images)
    return ours(model, images, targets), theirs(torch, losses, modules.parameters()), torch


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.detection_step",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", default=["fasterrcnn_resnet50_fpn", "yolov3_tiny"],
                        help=f"default: fasterrcnn_resnet50_fpn yolov3_tiny; there are {', '.join(USUAL)}")
    parser.add_argument("--batch", type=int, help="default: 2, of yolov3_tiny 8, of ssd300_vgg16 4")
    parser.add_argument("--size", type=int, help="default: 256, of SSD 300, of YOLO 416")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="3 repeats")
    parser.add_argument("--profile", action="store_true", help="our time by op too")
    parser.add_argument("--processor-time", action="store_true",
                        help="of all threads, where others compute on the machine; best with --threads 1")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in USUAL]:
        parser.error(f"no step of {unknown[0]!r} is written down; there are {', '.join(USUAL)}")
    clock = time.process_time if args.processor_time else time.perf_counter
    for name in args.names:
        batch, size = args.batch or USUAL[name][0], args.size or USUAL[name][1]
        rng = np.random.default_rng(0)
        images = rng.random((batch, 3, size, size), np.float32)
        targets = [{"boxes": boxes_of(rng, size), "labels": rng.integers(1, 20, BOXES)} for _ in range(batch)]
        with pyops.num_threads(args.threads):
            step, other, torch = (of_darknet if name in DARKNET else of_torchvision)(name, size, images, targets)
            torch.set_num_threads(args.threads)
            print(f"{name}, batch {batch}, {size}x{size}, {args.threads} threads; losses of the first step "
                  f"{step():.5f} and {other():.5f}", flush=True)
            print(*beside_torch(step, other, 3 if args.quick else args.repeats, clock), sep="\n", flush=True)
            if args.profile:
                for op, ms, calls in profile(step):
                    print(f"{op:28} {ms:8.2f} ms  {calls:4} calls")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
