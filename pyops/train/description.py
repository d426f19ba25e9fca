"""What a checkpoint says of the images that its network was trained on, so that others can be
brought into the same form."""
from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from .data import to_input
from .dataset import Normalize, Split, to_unit


def describe_images(data, split: Split) -> dict[str, str]:
    """Metadata: `image`, the shape (C, H, W) of an input; `resize`, what images were scaled to
    before they were cut; `normalize`, the mean and std of a Normalize; `digits`, the box of Digits;
    `prepare`, the name of a function that only the caller has; `class_names`."""
    test = split.test
    inputs, _ = test.take(np.arange(1))
    told: dict = {"image": list(inputs.shape[1:])}
    if getattr(test, "resize", None) not in (None, tuple(inputs.shape[2:])):
        told["resize"] = list(test.resize)
    prepare = getattr(test, "prepare", None)
    if isinstance(prepare, Normalize):
        told["normalize"] = [prepare.mean.ravel().tolist(), prepare.std.ravel().tolist()]
    elif prepare is to_input:
        told["digits"] = getattr(data, "box", inputs.shape[-1])
    elif prepare is not to_unit:
        told["prepare"] = getattr(prepare, "__qualname__", type(prepare).__name__)
    names = getattr(split.train, "classes", None)
    if names is not None:
        told["class_names"] = [str(name) for name in names]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}


def told(metadata: Mapping[str, str], key: str, default=None):
    """A value that describe_images wrote. ValueError where it is no JSON."""
    try:
        return json.loads(metadata[key]) if key in metadata else default
    except json.JSONDecodeError as why:
        raise ValueError(f"its metadata has {key} = {metadata[key]!r}, which is no JSON") from why
