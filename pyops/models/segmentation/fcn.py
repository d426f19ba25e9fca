"""Fully convolutional networks. Long, Shelhamer & Darrell, "Fully Convolutional Networks for
Semantic Segmentation" (2015): VGG-16 with its linear layers as convolutions, and its scores made as
large as the image by transposed convolutions that start as bilinear interpolation. FCN-16s and
FCN-8s add the scores of finer maps on the way up.

fcn_resnet50 and 101 are torchvision's, with its parameter names: a dilated ResNet and one
convolution.
"""
from __future__ import annotations

from ... import functional as F, nn
from ..classification.resnet import resnet50, resnet101
from ..classification.vgg import features
from ..registry import network
from .bilinear import bilinear_
from .fcn_head import fcn_head
from .segmenter import Segmenter, resized
from .trunk import dilated_resnet

__all__ = ["FCN", "FCNResNet", "fcn16s", "fcn32s", "fcn8s", "fcn_resnet101", "fcn_resnet50"]

# The first convolution's padding: with it an image of any size is large enough for the 7x7 layer.
# What the maps are then larger than the image is cut off, half on either side.
PADDING = 100
POOL3, POOL4 = 17, 24   # how many layers of VGG-16 come before the end of its third and fourth stage


class FCN(Segmenter):
    """stride: 32, 16 or 8, of the finest maps that have scores. input: (N, 3, H, W). Returns logits
    (N, num_classes, H, W)."""

    def __init__(self, stride: int, num_classes: int = 21, dropout: float = 0.5):
        if stride not in (32, 16, 8):
            raise ValueError(f"FCN: stride must be 32, 16 or 8, got {stride!r}")
        self.stride = stride
        self.features = features(16, batch_norm=False)
        self.features[0].padding = (PADDING, PADDING)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True   # as in Caffe
        self.fc6 = nn.Conv2d(512, 4096, 7)
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Conv2d(4096, num_classes, 1)
        self.score_pool4 = nn.Conv2d(512, num_classes, 1) if stride <= 16 else None
        self.score_pool3 = nn.Conv2d(256, num_classes, 1) if stride == 8 else None
        self.twice = nn.ModuleList(upsampling(num_classes, 2) for _ in range({32: 0, 16: 1, 8: 2}[stride]))
        self.upscore = upsampling(num_classes, stride)
        for layer in (self.score, self.score_pool4, self.score_pool3):
            if layer is not None:
                nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def forward(self, input):
        pool3 = self.features[:POOL3](input)
        pool4 = self.features[POOL3:POOL4](pool3)
        x = self.features[POOL4:](pool4)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.score(self.dropout(F.relu(self.fc7(x))))
        # where a finer map's pixel (0, 0) of the scores lies in it: the padding's and the 7x7 layer's doing
        for up, layer, maps, offset in zip(self.twice, (self.score_pool4, self.score_pool3), (pool4, pool3),
                                           (5, 9)):
            x = up(x)
            x = F.add(x, cut(layer(maps), offset, x.shape[-2:]))
        return cut(self.upscore(x), {32: 19, 16: 27, 8: 31}[self.stride], input.shape[-2:])


def upsampling(num_classes: int, factor: int) -> nn.ConvTranspose2d:
    """Starts as bilinear interpolation of each class by itself, and may learn."""
    layer = nn.ConvTranspose2d(num_classes, num_classes, 2 * factor, stride=factor, bias=False)
    bilinear_(layer.weight)
    return layer


def cut(maps, offset: int, size):
    """size pixels from (offset, offset) on."""
    height, width = size
    return maps[:, :, offset:offset + height, offset:offset + width]


class FCNResNet(Segmenter):
    """input: (N, 3, H, W). Returns logits (N, num_classes, H, W); in training with aux_loss a pair
    (see Segmenter)."""

    def __init__(self, make, num_classes: int, aux_loss: bool):
        self.backbone = dilated_resnet(make, 8)
        self.classifier = fcn_head(2048, num_classes)
        self.aux_classifier = fcn_head(1024, num_classes) if aux_loss else None

    def forward(self, input):
        middle, last = self.backbone.stages(input)[2:]
        scores = resized(self.classifier(last), input)
        if self.aux_classifier is None or not self.training:
            return scores
        return scores, resized(self.aux_classifier(middle), input)


@network()
def fcn32s(num_classes: int = 21, dropout: float = 0.5) -> FCN:
    """Scores at 1/32 of the image's size."""
    return FCN(32, num_classes, dropout)


@network()
def fcn16s(num_classes: int = 21, dropout: float = 0.5) -> FCN:
    """Scores at 1/32 and 1/16."""
    return FCN(16, num_classes, dropout)


@network()
def fcn8s(num_classes: int = 21, dropout: float = 0.5) -> FCN:
    """Scores at 1/32, 1/16 and 1/8."""
    return FCN(8, num_classes, dropout)


@network(published=35_322_218, source="torchvision")
def fcn_resnet50(num_classes: int = 21, aux_loss: bool = False) -> FCNResNet:
    """ResNet-50 at an output stride of 8. The published number is that with aux_loss."""
    return FCNResNet(resnet50, num_classes, aux_loss)


@network(published=54_314_346, source="torchvision")
def fcn_resnet101(num_classes: int = 21, aux_loss: bool = False) -> FCNResNet:
    """ResNet-101 at an output stride of 8. The published number is that with aux_loss."""
    return FCNResNet(resnet101, num_classes, aux_loss)
