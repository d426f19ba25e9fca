"""Judge: a LeNet-5 that knows the real digits says what made ones are, and how they differ."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ... import functional as F
from ...core import random
from ...core.tensor import Tensor, no_grad
from ...models.classification.lenet5 import lenet5_modern
from ...models.generative.base import evaluating
from .. import checkpoint
from ..trainer import Trainer
from .measures import frechet_distance, precision_recall

COMPARED = 500      # real images that made ones are compared with
MISSING = 0.2       # a class with less than this share of its part of the images is missing


class Judge:
    """network: a Classifier of 32x32 grey images in -1 .. 1, whose layer before the last gives the
    features. real: a dataset of such images."""

    def __init__(self, network, real):
        self.network, self.classes = network, len(real.classes)
        images, _ = real.take(np.arange(min(COMPARED, len(real))))
        self.real = self.look(images)[1]

    def look(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """Logits and features of images (N, 1, H, W), which are brought to 32x32."""
        found: list[np.ndarray] = []
        last = list(self.network.modules())[-1]
        with evaluating(self.network), no_grad(), last.register_forward_pre_hook(
                lambda module, inputs: found.append(np.asarray(inputs[0].data).copy())):
            x = np.ascontiguousarray(images, np.float32)
            x = x if x.shape[2:] == (32, 32) else F.interpolate(x, (32, 32), mode="bilinear")
            logits = np.concatenate([self.network(Tensor(x[i:i + 256])).data for i in range(0, len(x), 256)])
        return logits, np.concatenate(found)

    def __call__(self, images: Any, labels: np.ndarray | None = None) -> dict[str, float]:
        """frechet distance, precision, recall; classes: how many are not missing; as asked: the share
        of images that are taken for their label."""
        logits, features = self.look(images)
        chosen = logits.argmax(1)
        share = np.bincount(chosen, minlength=self.classes) / len(chosen) * self.classes
        precision, recall = precision_recall(self.real, features)
        told = {"frechet distance": frechet_distance(self.real, features), "precision": precision, "recall": recall,
                "classes": float((share >= MISSING).sum())}
        return told if labels is None else {**told, "as asked": float((chosen == labels).mean())}


def digit_judge(split, out, epochs: int = 12, seed: int = 0) -> Judge:
    """A Judge that has learnt the digits of `split`, or is read from out/judge.safetensors, where it
    learnt before. The draws of others do not change."""
    path = Path(out) / "judge.safetensors"
    drawn = random.default_generator().bit_generator.state
    random.manual_seed(seed)
    network = lenet5_modern()
    if path.is_file():
        network.load_state_dict(checkpoint.load(path)[0])
    else:
        Trainer(network, split, Path(out) / "judge", epochs=epochs, batch_size=32, draw_curve=False).fit()
        checkpoint.save(path, network.state_dict(), {"data": split.name})
    random.default_generator().bit_generator.state = drawn
    return Judge(network, split.train)
