"""The dense CRF beside pydensecrf, in turn: python -m pyops.bench.dense_crf [--size 500x375]
[--classes 21] [--steps 10] [--rounds 5]

The image has patches of colour and noise, the probabilities are noisy; both take the same ones, with
DeepLab's parameters. pydensecrf (pip install pydensecrf2) has one thread. Where it is not installed,
our times stand alone.
"""
from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

import pyops
from pyops.bench.measure import interleaved
from pyops.segmentation import dense_crf


def scene(width: int, height: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(image uint8 (H, W, 3), probabilities float32 (classes, H, W))."""
    rng = np.random.default_rng(0)
    patches = rng.integers(classes, size=(height // 50 + 1, width // 50 + 1))
    labels = patches.repeat(50, 0).repeat(50, 1)[:height, :width]
    colours = rng.integers(30, 226, (classes, 3))
    image = np.clip(colours[labels] + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)
    scores = 2 * (labels == np.arange(classes)[:, None, None]) + rng.normal(0, 1, (classes, height, width))
    chances = np.exp(scores)
    return image, (chances / chances.sum(0)).astype(np.float32)


def theirs(image: np.ndarray, chances: np.ndarray, steps: int) -> Callable[[], np.ndarray]:
    from pydensecrf.densecrf import DenseCRF2D
    height, width = image.shape[:2]

    def run() -> np.ndarray:
        crf = DenseCRF2D(width, height, len(chances))
        crf.setUnaryEnergy(np.ascontiguousarray(-np.log(np.maximum(chances, 1e-8)).reshape(len(chances), -1)))
        crf.addPairwiseGaussian(sxy=3, compat=3)
        crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image, compat=10)
        return np.asarray(crf.inference(steps)).reshape(chances.shape)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.dense_crf", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="500x375", metavar="WxH", help="default: 500x375")
    parser.add_argument("--classes", type=int, default=21, help="default: 21")
    parser.add_argument("--steps", type=int, default=10, help="default: 10")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    image, chances = scene(width, height, args.classes)

    def ours(threads: int) -> Callable[[], np.ndarray]:
        def run() -> np.ndarray:
            with pyops.num_threads(threads):
                return dense_crf(chances, image, args.steps)
        return run
    runs = {"ours, 1 thread": ours(1), "ours, 2 threads": ours(2)}
    if find_spec("pydensecrf"):
        runs["pydensecrf"] = theirs(image, chances, args.steps)
    taken, _ = interleaved(runs, 0.5 * args.rounds * len(runs))
    print(f"{width}x{height}, {args.classes} classes, {args.steps} steps; shortest and median, ms")
    for name, times in taken.items():
        print(f"{name:16} {1000 * min(times):7.0f} {1000 * statistics.median(times):7.0f}")
    if "pydensecrf" in runs:
        other, labels = min(taken["pydensecrf"]), runs["ours, 2 threads"]().argmax(0)
        for name in list(runs)[:2]:
            print(f"{name}: {other / min(taken[name]):.2f} of pydensecrf")
        print(f"labels alike: {100 * (labels == runs['pydensecrf']().argmax(0)).mean():.2f} %")


if __name__ == "__main__":
    main()
