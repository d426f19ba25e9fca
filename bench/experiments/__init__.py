"""The lecture's experiments on handwritten digits: python -m pyops.bench.experiments [NAMES]
[--seeds N] [--quick] [--out DIR] [--docs DIR] [--data DIR]

    degradation   plain and residual networks of 8, 20 and 56 layers: does a deeper one train worse?
    pooling       max pooling, strides in its place, a convolution of stride 2 in its place
    head          global average pooling or flattening before the linear layer, on digits where they were and moved
    lrn           local response normalisation after the convolutions, or none
    auxiliary     a narrow GoogLeNet with and without its auxiliary classifiers, with and without batch normalisation
    transfer      trained on 0-4, moved to 5-9 with 10, 100 and 1000 images, beside the same network from scratch
    detection     localisation, sliding windows, R-CNN, Fast, Faster, YOLO, SSD, RetinaNet on scenes of digits, one
                  after the other; focal loss, anchors, suppression on and off (always scikit-learn's digits)
    segmentation  pooling indices, transposed convolutions or interpolation; skips; dilation for strides; a CRF behind
                  (always scenes of scikit-learn's digits)

An experiment is a file with `run(seeds, quick, data) -> Outcome`: which networks, on which digits,
and the table and curves that come of it.
"""
from __future__ import annotations

from importlib import import_module

NAMES = ("degradation", "pooling", "head", "lrn", "auxiliary", "transfer", "detection", "segmentation")


def run(name: str, seeds: int = 3, quick: bool = False, data: str | None = None):
    """The Outcome of the experiment `name`. quick: in seconds, on fewer images, to see that it
    runs. data: a folder with MNIST's files."""
    if name not in NAMES:
        raise ValueError(f"no experiment is called {name!r}; there are {', '.join(NAMES)}")
    if seeds < 1:
        raise ValueError(f"seeds must be positive, got {seeds}")
    return import_module(f".{name}", __name__).run(seeds, quick, data)
