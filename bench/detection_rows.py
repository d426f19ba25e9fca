"""Suppression of boxes and pooling of regions beside ONNX Runtime, OpenCV and, where its extension loads,
torchvision, interleaved.

`python -m pyops.bench.detection_rows` prints milliseconds, the least of some rounds, and how many
times as long the best peer takes; of gradients, how many times as long they take as the forward call.
`--boxes 1000,8400 --classes 1,80 --threads 2` say what, `--quick` leaves out what takes ONNX Runtime seconds.
Boxes lie evenly in 600 x 600 pixels and are 10 to 120 wide and high; scores of one class are even in [0, 1], of
several mostly small. All that stays is returned, and must be as many as ONNX Runtime finds. OpenCV's batched
suppression has one class a box, so it is a peer of batched_nms.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import chain
from time import perf_counter

import numpy as np

from pyops import functional as F
from pyops.core.registry import OPS
from pyops.core.threads import num_threads

IOU, LEAST = 0.5, float(np.float32(0.05))
Calls = dict[str, Callable[[], object]]


def boxes_of(rng: np.random.Generator, count: int, size: tuple[float, float], smallest: float,
             largest: float) -> np.ndarray:
    wide = rng.uniform(smallest, largest, (count, 2))
    low = rng.uniform(0, 1, (count, 2)) * (np.array(size) - wide)
    return np.concatenate([low, low + wide], 1).astype(np.float32)


def onnx_node(name: str, inputs: dict[str, np.ndarray], threads: int, opset: int, constants=(), **attrs) -> Callable:
    """A call of one ONNX operator by ONNX Runtime."""
    import onnxruntime as ort
    from onnx import helper, numpy_helper
    node = helper.make_node(name, [*inputs, *(n for n, _ in constants)], ["y"], **attrs)
    kinds = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}
    given = [helper.make_tensor_value_info(n, kinds[a.dtype], None) for n, a in inputs.items()]
    result = helper.make_tensor_value_info("y", 7 if name == "NonMaxSuppression" else 1, None)
    graph = helper.make_graph([node], "g", given, [result],
                              [numpy_helper.from_array(a, n) for n, a in constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)[0]


def suppression(rng: np.random.Generator, count: int, classes: int, threads: int) -> Iterator[tuple[str, Calls]]:
    boxes = boxes_of(rng, count, (600, 600), 10, 120)
    scores = (rng.uniform(0, 1, (count, classes)) ** (1 if classes == 1 else 8)).astype(np.float32)
    calls: Calls = {}
    room = count * classes
    if find_spec("onnxruntime") and find_spec("onnx"):
        limits = [("m", np.array([count])), ("i", np.array([IOU], np.float32)), ("t", np.array([LEAST], np.float32))]
        calls["onnxruntime"] = onnx_node(
            "NonMaxSuppression", {"b": boxes[None][..., [1, 0, 3, 2]].copy(), "s": scores.T[None].copy()}, threads,
            11, limits)
        room = len(calls["onnxruntime"]())   # type: ignore[arg-type]
    found = F.multiclass_nms(boxes[None], scores[None], IOU, LEAST, room)
    assert find_spec("onnxruntime") is None or found[3][0] == room, "as many boxes as ONNX Runtime finds"
    if classes == 1 and count <= 30_000:
        calls |= opencv(boxes, scores[:, 0], None, threads)
    if classes == 1:
        calls |= torchvision(boxes, scores[:, 0], None, threads)
    calls["pyops"] = lambda: F.multiclass_nms(boxes[None], scores[None], IOU, LEAST, room)
    yield f"multiclass_nms {count} boxes, {classes} classes", calls
    if classes > 1 and count <= 30_000:
        groups, best = scores.argmax(1), scores.max(1)
        calls = opencv(boxes, best, groups, threads) | torchvision(boxes, best, groups, threads)
        calls["pyops"] = lambda: F.batched_nms(boxes, best, groups, IOU)
        yield f"batched_nms {count} boxes, {classes} groups", calls


def torchvision(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray | None, threads: int) -> Calls:
    """Its nms, which has no threshold of scores, where its extension loads."""
    if not (find_spec("torch") and find_spec("torchvision")):
        return {}
    import torch

    from .torchvision_schemas import torchvision
    if not torchvision.extension._has_ops():
        return {}
    torch.set_num_threads(threads)
    above = scores > LEAST
    given = [torch.from_numpy(a[above]) for a in (boxes, scores)]
    if groups is None:
        return {"torchvision": lambda: torchvision.ops.nms(*given, IOU)}
    kinds = torch.from_numpy(groups[above])
    return {"torchvision": lambda: torchvision.ops.batched_nms(*given, kinds, IOU)}


def opencv(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray | None, threads: int) -> Calls:
    if find_spec("cv2") is None:
        return {}
    import cv2
    cv2.setNumThreads(threads)
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
    values = scores.tolist()
    if groups is None:
        return {"opencv": lambda: cv2.dnn.NMSBoxes(corners, values, LEAST, IOU)}
    kinds = groups.tolist()
    return {"opencv": lambda: cv2.dnn.NMSBoxesBatched(corners, values, kinds, 0.0, IOU)}


def pooling(rng: np.random.Generator, threads: int) -> Iterator[tuple[str, Calls]]:
    """512 regions of 256 channels in 7 x 7 cells, of a map as Faster R-CNN has it and of the finest of a pyramid."""
    for (high, wide), scale, smallest, largest in (((50, 68), 1 / 16, 30, 300), ((200, 272), 1 / 4, 20, 110)):
        x = rng.standard_normal((1, 256, high, wide)).astype(np.float32)
        corners = boxes_of(rng, 512, (wide / scale, high / scale), smallest, largest)
        boxes = np.concatenate([np.zeros((512, 1), np.float32), corners], 1)
        forward: dict[str, Callable] = {"roi_align": partial(F.roi_align, x, boxes, 7, scale, 2, True),
                                        "roi_pool": partial(F.roi_pool, x, boxes, 7, scale)}
        g = rng.standard_normal((512, 256, 7, 7)).astype(np.float32)
        backward: dict[str, Callable] = {
            "roi_align": partial(OPS["roi_align_backward"], g, boxes, shape=x.shape, scale=scale, ratio=2,
                                 aligned=True),
            "roi_pool": partial(OPS["roi_pool_backward"], g, x, boxes, scale=scale)}
        peers: dict[str, Callable] = {}
        if find_spec("onnxruntime") and find_spec("onnx"):
            peers["roi_align"] = onnx_node("RoiAlign", {"x": x, "r": corners, "b": np.zeros(512, np.int64)},
                                           threads, 16, output_height=7, output_width=7, sampling_ratio=2,
                                           spatial_scale=scale)
            peers["roi_pool"] = onnx_node("MaxRoiPool", {"x": x, "r": boxes}, threads, 11, pooled_shape=[7, 7],
                                          spatial_scale=scale)
        for name in forward:
            calls = {"onnxruntime": peers[name]} if name in peers else {}
            yield f"{name} {high}x{wide}", {**calls, "pyops": forward[name], "backward": backward[name]}


def measure(calls: Calls, rounds: int) -> dict[str, float]:
    """The least milliseconds of each, in turn, after a call that is not timed: `rounds`, and as many as go into half
    a second, as calls of a tenth of a millisecond are as often late as not."""
    start = perf_counter()
    for call in calls.values():
        call()
    more = min(50, int(0.5 / (perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(max(rounds, more)):
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
    return {name: 1e3 * min(values) for name, values in times.items()}


def report(name: str, found: dict[str, float]) -> str:
    ours = found["pyops"]
    peers = [value for key, value in found.items() if key not in ("pyops", "backward")]
    text = "  ".join(f"{key} {value:.2f} ms" for key, value in found.items())
    best = f"  best peer / pyops {min(peers) / ours:.1f}" if peers else ""
    backward = f"  backward / forward {found['backward'] / ours:.2f}" if "backward" in found else ""
    return f"{name:<40} {text}{best}{backward}"


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.detection_rows",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("--boxes", type=numbers, default=[1000, 8400, 25200, 100_000])
    parser.add_argument("--classes", type=numbers, default=[1, 80])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="up to 8,400 boxes of 80 classes, 25,200 of one")
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    with num_threads(options.threads):
        rows = (row for count in options.boxes for classes in options.classes
                if not options.quick or count * classes <= 8400 * 80 and count <= 25_200
                for row in suppression(rng, count, classes, options.threads))
        for name, calls in chain(rows, pooling(rng, options.threads)):
            print(report(name, measure(calls, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
