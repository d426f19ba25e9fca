"""Transfer: a trunk trained on the digits 0-4 learns 5-9 from few images, beside the same
network from scratch.

Step by step as docs/training.md has it: the trunk, a new head, freeze, train; unfreeze the top at a
small rate, train; then all of it at the rate it was first trained with. The network from scratch
makes as many steps as the three together, at that rate.
"""
from __future__ import annotations

import copy

import numpy as np

import pyops
from pyops.train import ArrayDataset, Split, freeze, replace_head, unfreeze

from .digits import Images, digits, placed, placed_anew
from .outcome import Curves, Outcome
from .residual import Deep
from .training import tell, train

COUNTS, CLASSES = (10, 100, 1000), 5
FIRST_EPOCHS, EPOCHS, IMAGES_AN_EPOCH, RATE = 20, 6, 1000, 3e-3


def some(images: Images, count: int, seed: int) -> ArrayDataset:
    """`count` of them, as many of each digit, each placed once; where there are fewer, some digits
    are placed more than once."""
    rng = np.random.default_rng([seed, count])
    chosen = np.concatenate(
        [np.resize(rng.permutation(np.flatnonzero(images.labels == digit)), count // CLASSES)
         for digit in range(CLASSES)])
    return ArrayDataset(placed(images.images[chosen], rng), images.labels[chosen])


def repeated(data: ArrayDataset, most: int) -> ArrayDataset:
    """So often that an epoch has about `most` images: epochs of few samples would be
    no more than a step."""
    times = max(1, most // len(data))
    return ArrayDataset(np.tile(data.images, (times, 1, 1, 1)), np.tile(data.labels, times))


def steps(pretrained: Deep, data: Split, epochs: int, seed: int) -> dict[str, float]:
    """Test accuracy in % after each step of the transfer."""
    model = freeze(replace_head(copy.deepcopy(pretrained), CLASSES))
    found = {"new head": train(model, data, epochs, seed,
                               groups=[{"params": list(model.head.parameters()), "lr": 3 * RATE}])}
    found["then the top two layers"] = train(model, data, epochs, seed,
                                             groups=unfreeze(model, top=2, lr=RATE / 10, head_lr=RATE))
    found["then all layers"] = train(model, data, epochs, seed, groups=unfreeze(model, lr=RATE, head_lr=RATE))
    return {name: 100 * history[-1].test_accuracy for name, history in found.items()}


def run(seeds: int, quick: bool, data: str | None) -> Outcome:
    first_epochs, epochs, size, counts = (6, 3, 100, COUNTS[:2]) if quick else (FIRST_EPOCHS, EPOCHS,
                                                                                IMAGES_AN_EPOCH, COUNTS)
    rows: dict[str, dict[str, list]] = {}
    for seed in range(seeds):
        train_images, test_images = digits(seed, 16, data)
        pyops.manual_seed(seed)
        pretrained = Deep(1, True, CLASSES)
        train(pretrained, placed_anew(train_images.only(0, 5), test_images.only(0, 5), seed), first_epochs,
              seed, RATE)
        images = train_images.only(5, 10)
        test = placed_anew(images, test_images.only(5, 10), seed).test
        for count in counts:
            few = Split(repeated(some(images, count, seed), size), test)
            found = steps(pretrained, few, epochs, seed)
            pyops.manual_seed(seed)
            found["from scratch"] = 100 * train(Deep(1, True, CLASSES), few, 3 * epochs, seed,
                                                RATE)[-1].test_accuracy
            tell(f"{count} samples, seed {seed}", found)
            for column, value in found.items():
                rows.setdefault(str(count), {}).setdefault(column, []).append(value)
    columns = list(rows[str(counts[0])])
    return Outcome(
        "transfer from the digits 0-4 to 5-9",
        "Test accuracy in %. Digits turned, scaled and moved on 16x16 pixels; 0-4 anew in each of "
        f"{first_epochs} epochs, 5-9 placed once and for all. There are {len(images.labels)} to train on of "
        "5-9; where that is fewer than the samples, some are the same digit placed otherwise.",
        "samples", dict.fromkeys(columns, 1), rows, Curves(counts, {
            column: list(np.transpose([rows[str(count)][column] for count in counts])) for column in columns},
                                                           "samples of 5-9", "test accuracy, %", "x"))
