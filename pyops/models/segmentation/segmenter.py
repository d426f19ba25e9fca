"""What every network that says of each pixel what it shows has in common."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ... import functional as F, nn

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["Segmenter"]

NOTHING = 255   # in a mask: a pixel that nobody labelled, as in Pascal VOC


class Segmenter(nn.Module):
    """A subclass defines forward(images): logits (N, classes, H, W) for images (N, channels, H, W);
    while training, a network with an auxiliary classifier returns a pair, its logits second."""
    image: tuple[int, int, int] = (3, 224, 224)
    auxiliary_weight = 0.4
    multiple = 1   # what an image's sides must be multiples of
    least = 1      # and how many pixels they must have
    recipe: Recipe | None = None

    def current_settings(self) -> dict:
        """What was changed since create_model made it: nothing can be."""
        return {}

    def check_size(self, images) -> None:
        """ValueError for images smaller than the network's smallest maps are."""
        if min(images.shape[-2:]) < self.least:
            raise ValueError(f"{type(self).__name__}: height and width must be at least {self.least}, got "
                             f"{tuple(images.shape[-2:])}; pyops.segmentation.segment takes images of any size")

    def logits(self, images):
        """The main classifier's, in training as well."""
        output = self(images)
        return output[0] if isinstance(output, tuple) else output

    def labels(self, images):
        """The likeliest class of each pixel, (N, H, W) uint8, int64 from 256 classes on."""
        scores = self.logits(images)
        found = F.argmax(scores, 1)
        return found.astype("uint8") if scores.shape[1] <= 256 else found

    def loss(self, output, masks, ignore_index: int = NOTHING, weight=None):
        """The mean cross entropy over labelled pixels; an auxiliary classifier's counts 0.4 (Zhao et
        al., 2017). output: what forward returned. masks: (N, H, W), whole numbers. weight: of each class,
        None: 1."""
        if not isinstance(output, tuple):
            return F.cross_entropy(output, masks, weight=weight, ignore_index=ignore_index)
        main, auxiliary = (F.cross_entropy(part, masks, weight=weight, ignore_index=ignore_index)
                           for part in output)
        return F.add(main, F.mul(auxiliary, self.auxiliary_weight))


def resized(logits, images, align_corners: bool = False):
    """Logits at the images' size, bilinearly."""
    return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=align_corners)


def conv_norm_relu(channels: int, filters: int, kernel: int = 1, dilation: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size, its normalisation and ReLU."""
    return [nn.Conv2d(channels, filters, kernel, padding=kernel // 2 * dilation, dilation=dilation,
                      bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
