"""How maps become large again: pooling indices, transposed convolutions, bilinear interpolation; with
and without what passes the bottleneck by; dilated convolutions instead of strides; and a CRF behind.

All are one small encoder and decoder that differ in the one thing that a row names, trained for as
long on the same scenes: which pixels are a digit's, whichever it is. That is soon learnt, so that
what is left is how well borders are drawn.
"""
from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap

import numpy as np

import pyops
from pyops import functional as F, nn, train
from pyops.models.segmentation.segmenter import Segmenter as Network
from pyops.segmentation import PALETTE, dense_crf, dice_loss
from pyops.train.detection.scenes import SceneSettings
from pyops.train.segmentation import DigitMasks, MaskSample, PixelConfusion, boundary_f

from .outcome import Curves, Outcome
from .training import tell

CLASSES = ("ground", "ink")
WIDTH, SIDE, BATCH, RATE = 16, 64, 16, 6e-3
BAND = 2            # pixels to either side of a border
SHOWN, CUT = 3, slice(8, 56)
CRF = dict(steps=5, smooth=1.0, smooth_sigma=1.0, bilateral=3.0, place_sigma=6.0, colour_sigma=20.0)


def block(channels: int, filters: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, filters, 3, padding=dilation, dilation=dilation, bias=False),
                         nn.BatchNorm2d(filters), nn.ReLU())


class Ink(DigitMasks):
    """Scenes in which all digits are one class."""
    classes = CLASSES

    def sample(self, index: int) -> MaskSample:
        image, mask = super().sample(index)
        return MaskSample(image, np.minimum(mask, 1))

    def take(self, indices, rng: np.random.Generator | None = None):
        images, masks = super().take(indices, rng)
        return images, np.minimum(masks, 1)


class Small(Network):
    """Three levels down by max pooling and up again. up: "indices", "transposed" or "bilinear". skips:
    whether the encoder's maps go to the decoder. dilated: the lowest two levels keep the size of
    the first, and their convolutions see as far by dilation."""

    def __init__(self, up: str = "bilinear", skips: bool = False, dilated: bool = False):
        widths = (WIDTH, 2 * WIDTH, 4 * WIDTH)
        self.up, self.skips, self.levels = up, skips, 1 if dilated else 3
        self.stem = block(3, widths[0])
        rates = (1, 2, 4) if dilated else (1, 1, 1)
        self.down = nn.ModuleList([block(a, b, rate) for a, b, rate in zip(widths, (*widths[1:], 4 * WIDTH), rates)])
        back = (*widths[:self.levels], 4 * WIDTH if not dilated else widths[0])
        deepest, self.rise, self.mix = 4 * WIDTH, nn.ModuleList([]), nn.ModuleList([])
        for width in back[:self.levels][::-1]:
            given = width if up == "indices" else deepest
            self.rise.append(block(deepest, width) if up == "indices" and deepest != width
                             else nn.ConvTranspose2d(deepest, deepest, 2, 2) if up == "transposed" else nn.Identity())
            self.mix.append(block(given + (width if skips else 0), width))
            deepest = width
        self.classify = nn.Conv2d(deepest, len(CLASSES), 1)

    def forward(self, input):
        x, kept, places = self.stem(input), [], []
        for level, layer in enumerate(self.down):
            if level < self.levels:
                kept.append(x)
                x, indices = F.max_pool2d(x, 2, return_indices=True)
                places.append(indices)
            x = layer(x)
        for rise, mix in zip(self.rise, self.mix):
            beside, indices = kept.pop(), places.pop()
            x = rise(x)
            if self.up == "indices":
                x = F.max_unpool2d(x, indices, 2)
            elif self.up == "bilinear":
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = mix(F.cat([x, beside], 1) if self.skips else x)
        return self.classify(x)


VARIANTS = {
    "pooling indices": dict(up="indices"),
    "transposed": dict(up="transposed"),
    "bilinear": dict(up="bilinear"),
    "bilinear, skips": dict(up="bilinear", skips=True),
    "dilated": dict(up="bilinear", dilated=True),
}
WITH_CRF = ("bilinear", "bilinear, skips")
WHY = {"pooling indices": "each value goes where the maximum was", "transposed": "learnt, stride 2",
       "bilinear": "no skips: borders are guessed", "bilinear, skips": "the encoder's maps beside",
       "dilated": "one pooling, then dilation 2 and 4", "bilinear + CRF": "labels follow edges",
       "bilinear, skips + CRF": "little left to do"}


@dataclass
class SegmentationOutcome(Outcome):
    """With one scene. tiles: (pixels, words), the image and what is there first."""
    tiles: list = field(default_factory=list)

    def draw(self, path: Path) -> None:
        from matplotlib.figure import Figure
        figure = Figure(figsize=(13, 9), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=(1.5, 1))
        for axes, (picture, words) in zip(upper.subplots(2, 5).ravel(), self.tiles + [(None, "")] * 10):
            axes.axis("off")
            if picture is not None:
                axes.imshow(picture, interpolation="nearest")
                axes.set_title("\n".join(wrap(words, 30)), fontsize=9)
        upper.suptitle(f"{self.title}: a piece of one test scene")
        learning, bars = lower.subplots(1, 2)
        for name, values in self.curves.lines.items():
            learning.plot(self.curves.x, np.mean(values, 0), marker=".", label=name)
        learning.set(xlabel=self.curves.xlabel, ylabel=self.curves.ylabel)
        learning.legend(fontsize=7)
        names = list(self.rows)[::-1]
        bars.barh(names, [self.mean(name, "near borders, %") for name in names])
        bars.set(xlabel=f"mean IoU within {BAND} pixels of a border, %")
        for axes in (learning, bars):
            axes.grid(alpha=0.3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)


def run(seeds: int, quick: bool, data: str | None) -> Outcome:
    scenes, tested, epochs = (32, 8, 1) if quick else (320, 60, 6)
    rows: dict = {}
    histories: dict = {}
    tiles: list = []
    for seed in range(seeds):
        scene = SceneSettings((SIDE, SIDE), overlap=1)
        split = train.Split(Ink(scenes, "train", seed, True, scene), Ink(tested, "test", seed, settings=scene),
                            "ink of scattered digits")
        test = [split.test.sample(i) for i in range(tested)]
        if not seed:
            tiles += [(test[SHOWN].image[CUT, CUT], "image"), (painted(test[SHOWN].mask), "what is there")]
        for name, settings in VARIANTS.items():
            pyops.manual_seed(seed)
            model = Small(**settings)
            with tempfile.TemporaryDirectory() as out:
                history = train.Segmenter(model, split, out, epochs=epochs, batch_size=BATCH, lr=RATE, seed=seed,
                                          sampled=0, draw_curve=False, loss=both).fit()
            tell(f"{name}, seed {seed}", {"mIoU": history[-1].test_accuracy})
            histories.setdefault(name, []).append([100 * e.test_accuracy for e in history])
            chances = probabilities(model, split.test)
            found = {name: chances.argmax(1)}
            if name in WITH_CRF:
                found[f"{name} + CRF"] = np.stack([dense_crf(p, s.image, **CRF).argmax(0)
                                                   for p, s in zip(chances, test)])
            for row, labels in found.items():
                size = sum(p.size for p in model.parameters())
                for column, value in {"parameters": size, **measured(labels, [s.mask for s in test])}.items():
                    rows.setdefault(row, {}).setdefault(column, []).append(value)
                if not seed:
                    tiles.append((painted(labels[SHOWN]), f"{row}: {WHY[row]}"))
    return SegmentationOutcome(
        "how maps become large again",
        f"Scenes of digits, {SIDE}x{SIDE}, ink or ground: {scenes} an epoch, {epochs} epochs, {tested} to test. Near "
        f"borders: mean IoU of pixels within {BAND} of one. CRF: on the classes' probabilities.", "decoder",
        {"parameters": None, "mean IoU, %": 1, "pixels right, %": 1, "near borders, %": 1, "boundary F": 3}, rows,
        Curves(range(1, epochs + 1), {name: [np.array(h) for h in values] for name, values in histories.items()},
               "epoch", "mean IoU of the test, %"), tiles)


def both(output, masks):
    """Cross-entropy and dice."""
    return F.cross_entropy(output, masks) + dice_loss(output, masks)


def probabilities(model: Network, data: Ink) -> np.ndarray:
    """float32 (n, classes, H, W) of all images."""
    model.eval()
    with pyops.no_grad():
        parts = [np.asarray(F.softmax(model(pyops.Tensor(data.take(range(i, min(i + BATCH, len(data))))[0])), 1).data)
                 for i in range(0, len(data), BATCH)]
    return np.concatenate(parts)


def measured(found: np.ndarray, masks: list[np.ndarray]) -> dict[str, float]:
    """In percent, but for the boundary's F-measure."""
    overall, near = PixelConfusion(len(CLASSES)), PixelConfusion(len(CLASSES))
    for labels, mask in zip(found, masks):
        overall.add(labels, mask)
        near.add(labels, np.where(by_border(mask), mask, 255))
    return {"mean IoU, %": 100 * overall.mean_iou, "pixels right, %": 100 * overall.accuracy,
            "near borders, %": 100 * near.mean_iou,
            "boundary F": float(np.mean([boundary_f(f, m, 1.0) for f, m in zip(found, masks)]))}


def by_border(mask: np.ndarray) -> np.ndarray:
    """Whether a pixel of another class lies within BAND rows and columns."""
    padded = np.pad(mask, BAND, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * BAND + 1,) * 2)
    return (windows != mask[:, :, None, None]).any((2, 3))


def painted(labels: np.ndarray) -> np.ndarray:
    return PALETTE[labels[CUT, CUT]]
