"""Detectors from image to boxes, ours beside ONNX Runtime, OpenVINO and, for Darknet's networks, OpenCV: in one
process, in turn, from a picture of bytes to boxes after suppression.

    python -m pyops.bench.detectors yolov3:416 yolov5s:640 --threads 2

Weights are random, heads such that tens to hundreds of boxes are found. ONNX Runtime and OpenVINO get the network
and its decoding as a graph with NonMaxSuppression at the end, OpenCV the network as .cfg and .weights and
its NMSBoxesBatched; for all of them OpenCV makes the letterbox. Ratios above 1: ours is faster.
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

PICTURE, SOME = (480, 640), 100   # pixels; scores of a class above the threshold, before suppression


class Decoded(nn.Module):
    """A detector from its frame to boxes and scores in one array (N, K, 4 + C)."""

    def __init__(self, detector) -> None:
        self.detector = detector

    def forward(self, x):
        boxes, scores = self.detector.decoded(self.detector.maps(x))
        return F.cat([boxes, scores], 2)


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
            constant("least", np.array([settings.score_threshold], np.float32))], ["chosen"])])
    graph.output.append(helper.make_tensor_value_info("chosen", onnx.TensorProto.INT64, ["n", 3]))
    del graph.output[0]
    return model.SerializeToString()


def by_opencv(model, size: int, threads: int, settings, folder: Path) -> Callable:
    import cv2

    from pyops.models.detection.darknet_cfg import write_cfg
    cv2.setNumThreads(threads)
    (folder / "net.cfg").write_text(write_cfg(model.network.sections))
    model.save_weights(folder / "net.weights")
    net = cv2.dnn.readNetFromDarknet(str(folder / "net.cfg"), str(folder / "net.weights"))
    names = net.getUnconnectedOutLayersNames()

    def run(picture):
        net.setInput(framed(picture, size))
        rows = np.concatenate(net.forward(names))
        kinds = rows[:, 5:].argmax(1)
        scores = rows[np.arange(len(rows)), 5 + kinds]
        boxes = rows[:, :4] * size
        boxes[:, :2] -= boxes[:, 2:] / 2
        return len(cv2.dnn.NMSBoxesBatched(boxes, scores, kinds, settings.score_threshold, settings.iou_threshold))
    return run


def compare(name: str, size: int, batch: int, threads: int, rounds: int) -> None:
    import cv2
    coarse = np.random.default_rng(1).integers(0, 255, (PICTURE[0] // 16, PICTURE[1] // 16, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, PICTURE[::-1], interpolation=cv2.INTER_CUBIC)   # smooth: all letterboxes are near
    image = np.ascontiguousarray(picture.transpose(2, 0, 1))[None]
    model, whole = drawn(name, size, image)
    several = np.repeat(image, batch, 0)
    program = pyops.compile(model, several, threads=threads)
    runners: dict[str, Callable] = {"pyops": lambda _: int(program(several)[3].sum())}
    graph = with_suppression(whole, size, batch, model)
    for peer, session in (("onnxruntime", peers.onnxruntime_session), ("openvino", peers.openvino_model)):
        if not peers.missing(peer):
            bind = session(graph, threads)
            runners[peer] = lambda picture, bind=bind: len(bind(framed(picture, size, batch))())
    with tempfile.TemporaryDirectory() as folder:
        if hasattr(model, "network") and batch == 1:
            runners["opencv"] = by_opencv(model, size, threads, model, Path(folder))
        found = {runner: run(picture) for runner, run in runners.items()}
        times: dict[str, list[float]] = {runner: [] for runner in runners}
        for _ in range(rounds):
            for runner, run in runners.items():
                start = time.perf_counter()
                run(picture)
                times[runner].append(time.perf_counter() - start)
    ours = times["pyops"]
    for runner, taken in times.items():
        ratio = median(theirs / mine for theirs, mine in zip(taken, ours))
        print(f"{name} {size}, batch {batch}  {runner:12} {1000 * median(taken):8.1f} ms  {ratio:5.2f}  "
              f"{found[runner]} boxes", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.detectors", description=__doc__.partition("\n\n")[0])
    parser.add_argument("networks", nargs="*", default=["yolov3:416", "yolov4:416", "yolov5s:640", "yolov6s:640"],
                        metavar="NAME:SIZE")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    args = parser.parse_args(argv)
    for network in args.networks:
        name, _, size = network.partition(":")
        compare(name, int(size or 416), args.batch, args.threads, 3 if args.quick else args.rounds)


if __name__ == "__main__":
    main()
