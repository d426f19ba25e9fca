"""Detectors from image to boxes, ours beside ONNX Runtime, OpenVINO, torch and, for Darknet's networks, OpenCV, in
one process, in turn, from a picture of bytes to boxes after suppression; ncnn, which has no batch and no such
suppression, on the network alone.

    python -m pyops.bench.detectors yolov3:416 yolov5s:640 --threads 2
    python -m pyops.bench.detectors yolov4:416 --batch 8 --peers onnxruntime,torch-compile

Weights are random, heads such that tens to hundreds of boxes are found. The task is one for all: of every pair of a
box and a class above the score threshold, suppression by class, the best hundred. ONNX Runtime and OpenVINO get the
network and its decoding as a graph with NonMaxSuppression at the end, OpenCV the network as .cfg and .weights, torch
the recorded calls; torch's and OpenCV's boxes are suppressed by OpenCV's NMSBoxesBatched. For all of them OpenCV makes
the letterbox. How many of our boxes a peer found too, of the same frame, is printed beside its time.
Ratios above 1: ours is faster.
"""
from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

import pyops
from pyops import functional as F, models, nn

from . import peers
from .networks import calibrate, onnx_model, recorded
from .record import Unsupported
from .same_boxes import Boxes, agreeing

ALL = ("onnxruntime", "openvino", "opencv", "torch", "torch-compile", "ncnn")
QUICK = ("onnxruntime", "openvino", "opencv")   # torch and ncnn are slower, and torch.compile takes minutes
PATIENCE = 8.0   # seconds of rounds with --quick, once there is one
PICTURE, SOME = (480, 640), 100   # pixels; scores of a class above the threshold, before suppression


class Decoded(nn.Module):
    """A detector from its frame to boxes and scores in one array (N, K, 4 + C)."""

    def __init__(self, detector) -> None:
        self.detector = detector

    def forward(self, x):
        boxes, scores = self.detector.decoded(self.detector.maps(x))
        return F.cat([boxes, scores], 2)


class Maps(nn.Module):
    """A detector from its frame to what its heads say, in one array (N, K)."""

    def __init__(self, detector) -> None:
        self.detector = detector

    def forward(self, x):
        said = [part for one in self.detector.maps(x) for part in (one if isinstance(one, tuple) else (one,))]
        return F.cat([F.flatten(part, 1) for part in said], 1)


def drawn(name: str, size: int, image: np.ndarray):
    """The detector with random weights, and from frame to decoded boxes; objects are rare, but there are some."""
    pyops.manual_seed(0)
    model = models.create_model(name, size=size, fit="letterbox")
    with pyops.no_grad():
        frame = np.asarray(model.placed(image, (size, size))[0])
    convs = list(heads(model))
    for conv, _ in convs:
        nn.init.normal_(conv.weight)
    calibrate(Decoded(model), frame)
    with pyops.no_grad():
        maps = [one[0] if isinstance(one, tuple) else one for one in model.maps(frame)]
    for (conv, rows), said in zip(convs, maps):
        conv.weight.data[...] *= 2 / np.asarray(said).std()
        bias = conv.bias.data.reshape(rows, -1)
        if rows > 1:   # box, objectness, classes
            bias[:, :4], bias[:, 4], bias[:, 5:] = 0, -6, -5
        else:          # classes alone
            bias[...] = -8.3
    with pyops.no_grad():
        maps = model.maps(frame)
    more = next(by for by in np.arange(0, 20, 0.25) if above(model, raised(maps, convs, by)) >= SOME)
    for conv, rows in convs:
        bias = conv.bias.data.reshape(rows, -1)
        bias[:, objects(rows)] += more
    return model.eval(), Decoded(model).eval()


def objects(rows: int):
    """Which of an anchor's numbers say that something is there: its objectness, or all classes."""
    return 4 if rows > 1 else slice(None)


def raised(maps, convs, by: float) -> list:
    """The maps with so much more of it."""
    found = []
    for (_, rows), one in zip(convs, maps):
        first = np.array(one[0] if isinstance(one, tuple) else one)
        first.reshape(len(first), rows, -1, *first.shape[2:])[:, :, objects(rows)] += by
        found.append((first, *one[1:]) if isinstance(one, tuple) else first)
    return found


def above(model, maps) -> int:
    """How many scores are above the threshold."""
    with pyops.no_grad():
        return int((np.asarray(model.decoded(maps)[1]) > model.score_threshold).sum())


def heads(model):
    """(last convolution, anchors of a cell) of every head."""
    if hasattr(model, "network"):
        layers = list(model.network.layers)
        return [(layers[layers.index(layer) - 1].conv, len(head.anchors))
                for layer, head in zip(model.network.heads, model.heads)]
    return [(conv, 3) for conv in model.head] if hasattr(model, "head") else [(h.classes, 1) for h in model.heads]


def framed(picture: np.ndarray, size: int, batch: int = 1) -> np.ndarray:
    """(batch, 3, size, size) of a picture (H, W, 3), by OpenCV, each anew."""
    import cv2
    h, w = picture.shape[:2]
    scale = min(size / w, size / h)
    new = round(w * scale), round(h * scale)
    left, top = (size - new[0]) // 2, (size - new[1]) // 2
    images = [cv2.copyMakeBorder(cv2.resize(picture, new), top, size - new[1] - top, left, size - new[0] - left,
                                 cv2.BORDER_CONSTANT, value=(127, 127, 127)) for _ in range(batch)]
    return cv2.dnn.blobFromImages(images, 1 / 255)


def with_suppression(whole, size: int, batch: int, settings) -> bytes:
    """An ONNX model of network, decoding and NonMaxSuppression."""
    import onnx
    from onnx import helper, numpy_helper
    x = np.zeros((batch, 3, size, size), np.float32)
    model = onnx.load_from_string(onnx_model(recorded(whole, x)))
    graph, end = model.graph, model.graph.output[0].name

    def constant(name: str, array) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name
    graph.node.extend([
        helper.make_node("Slice", [end, constant("b0", [0]), constant("b4", [4]), constant("two", [2])], ["boxes"]),
        helper.make_node("Slice", [end, "b4", constant("most", [2 ** 30]), "two"], ["scores_"]),
        helper.make_node("Transpose", ["scores_"], ["scores"], perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", [
            "boxes", "scores", constant("room", np.array([settings.max_detections])),
            constant("iou", np.array([settings.iou_threshold], np.float32)),
            constant("least", np.array([settings.score_threshold], np.float32))], ["chosen"]),
        helper.make_node("Gather", ["chosen", constant("of", [0, 2])], ["which"], axis=1),
        helper.make_node("GatherND", ["boxes", "which"], ["corners"]),
        helper.make_node("GatherND", ["scores", "chosen"], ["their_scores"]),
        helper.make_node("Unsqueeze", ["their_scores", constant("last", [1])], ["column"]),
        helper.make_node("Cast", ["chosen"], ["chosen_"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Concat", ["chosen_", "corners", "column"], ["found"], axis=1)])
    graph.output.append(helper.make_tensor_value_info("found", onnx.TensorProto.FLOAT, ["n", 8]))
    del graph.output[0]
    return model.SerializeToString()


def by_graph(session: Callable, graph: bytes, batch: int, threads: int, settings) -> Callable:
    """Of an ONNX model that with_suppression made."""
    bind = session(graph, threads)

    def run(frame):
        rows = bind(frame)()
        of = [rows[rows[:, 0] == i] for i in range(batch)]
        return [Boxes(r[:, 3:7], r[:, 7], r[:, 1].astype(int)).best(settings.max_detections) for r in of]
    return run


def suppressed(boxes: np.ndarray, scores: np.ndarray, settings) -> Boxes:
    """By OpenCV, of boxes (K, 4), corners, and scores (K, C)."""
    import cv2
    which, kinds = np.nonzero(scores > settings.score_threshold)
    corners, values = boxes[which], scores[which, kinds]
    sized = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    kept = np.asarray(cv2.dnn.NMSBoxesBatched(sized, values, kinds, settings.score_threshold,
                                              settings.iou_threshold), int).reshape(-1)
    return Boxes(corners[kept], values[kept], kinds[kept]).best(settings.max_detections)


def by_opencv(model, size: int, threads: int, settings, folder: Path) -> Callable:
    import cv2

    from pyops.models.detection.darknet_cfg import write_cfg
    cv2.setNumThreads(threads)
    (folder / "net.cfg").write_text(write_cfg(model.network.sections))
    model.save_weights(folder / "net.weights")
    net = cv2.dnn.readNetFromDarknet(str(folder / "net.cfg"), str(folder / "net.weights"))
    names = net.getUnconnectedOutLayersNames()

    def run(frame):
        net.setInput(frame)
        rows = np.concatenate(net.forward(names))   # centre, size, objectness, and classes times objectness
        centre, half = rows[:, :2] * size, rows[:, 2:4] * (size / 2)
        return [suppressed(np.concatenate([centre - half, centre + half], 1), rows[:, 5:], settings)]
    return run


def by_torch(whole, size: int, batch: int, threads: int, settings, compiled: bool) -> Callable:
    import torch

    from .torch_model import module
    torch.set_num_threads(threads)
    net = module(recorded(whole, np.zeros((batch, 3, size, size), np.float32)))
    if compiled:
        net = torch.compile(net, dynamic=False)

    def run(frame):
        with torch.no_grad():
            found = net(torch.from_numpy(frame)).numpy()
        return [suppressed(one[:, :4], one[:, 4:], settings) for one in found]
    return run


def by_ncnn(model, size: int, threads: int) -> Callable:
    x = np.zeros((1, 3, size, size), np.float32)
    run = peers.ncnn(recorded(Maps(model), x), x, threads)

    def alone(_):
        run()
    return alone


def runners(model, whole, size: int, batch: int, threads: int, wanted, folder: Path):
    """(peer, a function of a frame) of each that is installed; a sentence of each other."""
    graph = None
    for peer in wanted:
        package = "torch" if peer == "torch-compile" else peer
        if lacking := peers.missing(package) if package in peers.NEEDS else []:
            yield peer, f"{', '.join(lacking)} is not installed"
        elif peer == "opencv" and not (hasattr(model, "network") and batch == 1):
            yield peer, "reads Darknet's networks, one image at a time"
        elif peer == "ncnn" and batch > 1:
            yield peer, "ncnn has no batch axis"
        else:
            try:
                if peer in ("onnxruntime", "openvino"):
                    graph = graph or with_suppression(whole, size, batch, model)
                    session = peers.onnxruntime_session if peer == "onnxruntime" else peers.openvino_model
                    yield peer, by_graph(session, graph, batch, threads, model)
                elif peer == "opencv":
                    yield peer, by_opencv(model, size, threads, model, folder)
                elif peer == "ncnn":
                    yield peer, by_ncnn(model, size, threads)
                else:
                    yield peer, by_torch(whole, size, batch, threads, model, peer == "torch-compile")
            except Unsupported as why:
                yield peer, str(why)


def compare(name: str, size: int, batch: int, threads: int, rounds: int, wanted=ALL,
            quick: bool = False) -> None:
    import cv2
    coarse = np.random.default_rng(1).integers(0, 255, (PICTURE[0] // 16, PICTURE[1] // 16, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, PICTURE[::-1], interpolation=cv2.INTER_CUBIC)   # smooth: all letterboxes are near
    image = np.ascontiguousarray(picture.transpose(2, 0, 1))[None]
    model, whole = drawn(name, size, image)
    several = np.repeat(image, batch, 0)
    program = pyops.compile(model, several, threads=threads)
    frame, placed = model.placed(several, (size, size))

    def ours(_):
        return [Boxes(found.boxes, found.scores, found.labels) for found in model.cut(*program(several))]
    runs: dict[str, Callable] = {}
    with tempfile.TemporaryDirectory() as folder:
        for peer, run in runners(model, whole, size, batch, threads, wanted, Path(folder)):
            if isinstance(run, str):
                print(f"{name} {size}, batch {batch}  {peer:13} not run: {run}", flush=True)
            else:
                runs[peer] = run
        # of one frame: other ways to scale the picture are other numbers in a deep network
        found = {"pyops": ours(None)} | {peer: run(np.asarray(frame)) for peer, run in runs.items()}
        calls = {"pyops": ours} | {peer: lambda picture, run=run: run(framed(picture, size, batch))
                                   for peer, run in runs.items()}
        times: dict[str, list[float]] = {runner: [] for runner in calls}
        begun = time.perf_counter()
        for done in range(rounds):
            if quick and done and time.perf_counter() - begun > PATIENCE:
                break
            for runner, call in calls.items():
                start = time.perf_counter()
                call(picture)
                times[runner].append(time.perf_counter() - start)
    for runner, taken in times.items():
        ratio = median(theirs / mine for theirs, mine in zip(taken, times["pyops"]))
        print(f"{name} {size}, batch {batch}  {runner:13} {1000 * median(taken):8.1f} ms  {ratio:5.2f}  "
              f"{what_it_found(runner, found, placed)}", flush=True)


def what_it_found(runner: str, found: dict, placed) -> str:
    if found[runner] is None:
        return "the network alone"
    count = sum(len(one.boxes) for one in found[runner])
    if runner == "pyops":
        return f"{count} boxes"
    there = [one._replace(boxes=np.asarray(placed.clip(placed.back(one.boxes[None])))[0]) for one in found[runner]]
    return f"{count} boxes, {agreeing(found['pyops'], there)} of ours among them"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.detectors", description=__doc__.partition("\n\n")[0])
    parser.add_argument("networks", nargs="*", default=["yolov3:416", "yolov4:416", "yolov5s:640", "yolov6s:640"],
                        metavar="NAME:SIZE")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help=f"at most 3 rounds, of {', '.join(QUICK)} alone")
    parser.add_argument("--peers", help=f"comma-separated, of {', '.join(ALL)}; default: all")
    args = parser.parse_args(argv)
    wanted = tuple(args.peers.split(",")) if args.peers else QUICK if args.quick else ALL
    if unknown := [peer for peer in wanted if peer not in ALL]:
        parser.error(f"no peer is called {unknown[0]!r}; there are {', '.join(ALL)}")
    for network in args.networks:
        name, _, size = network.partition(":")
        compare(name, int(size or 416), args.batch, args.threads, 3 if args.quick else args.rounds, wanted,
                args.quick)


if __name__ == "__main__":
    main()
