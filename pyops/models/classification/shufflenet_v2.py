"""ShuffleNet v2. Ma, Zhang, Zheng & Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN
Architecture Design" (2018), with torchvision's names."""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["ShuffleNetV2", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5",
           "shufflenet_v2_x2_0"]

BLOCKS = (4, 8, 4)   # of the three stages; the paper's table 5


def pointwise(channels: int, filters: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, filters, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]


def depthwise(channels: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels)]


def shuffle(maps):
    """Interleaves the two halves of the channels, so that the next block's halves see both."""
    n, c, h, w = maps.shape
    return F.reshape(F.transpose(F.reshape(maps, (n, 2, c // 2, h, w)), 1, 2), (n, c, h, w))


class Unit(nn.Module):
    """At stride 1 half of the channels pass untouched, the others are convolved (figure 3c);
    at stride 2 both halves are made anew from all channels (figure 3d). The halves are
    shuffled at the end."""

    def __init__(self, channels: int, filters: int, stride: int):
        half = filters // 2
        self.stride = stride
        self.branch1 = (nn.Sequential(*depthwise(channels, stride), *pointwise(channels, half)) if stride > 1
                        else nn.Sequential())
        self.branch2 = nn.Sequential(*pointwise(channels if stride > 1 else half, half),
                                     *depthwise(half, stride), *pointwise(half, half))

    def forward(self, input):
        if self.stride > 1:
            kept, convolved = self.branch1(input), input
        else:
            half = input.shape[1] // 2
            kept, convolved = input[:, :half], input[:, half:]
        return shuffle(F.cat([kept, self.branch2(convolved)], 1))


class ShuffleNetV2(Classifier):
    """widths: channels of the stem, the three stages and the last convolution. input: (N, 3, H, W),
    224 in the paper. Returns logits (N, num_classes)."""
    head_names = ("fc",)

    def __init__(self, widths: tuple[int, int, int, int, int], num_classes: int = 1000):
        stem, *stages, last = widths
        self.conv1 = nn.Sequential(nn.Conv2d(3, stem, 3, 2, padding=1, bias=False), nn.BatchNorm2d(stem),
                                   nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        for number, (blocks, channels, filters) in enumerate(zip(BLOCKS, (stem, *stages), stages), 2):
            units = [Unit(filters if i else channels, filters, 1 if i else 2) for i in range(blocks)]
            setattr(self, f"stage{number}", nn.Sequential(*units))
        self.conv5 = nn.Sequential(*pointwise(stages[-1], last))
        self.fc = nn.Linear(last, num_classes)

    def maps(self, input):
        return self.conv5(self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(input))))))

    def classify(self, maps):
        return self.fc(F.flatten(F.adaptive_avg_pool2d(maps, 1), 1))


@network(published=1_366_792, source="torchvision")
def shufflenet_v2_x0_5(**settings) -> ShuffleNetV2:
    """41 million multiply-adds. settings: num_classes."""
    return ShuffleNetV2((24, 48, 96, 192, 1024), **settings)


@network(published=2_278_604, source="torchvision")
def shufflenet_v2_x1_0(**settings) -> ShuffleNetV2:
    """146 million multiply-adds."""
    return ShuffleNetV2((24, 116, 232, 464, 1024), **settings)


@network(published=3_503_624, source="torchvision")
def shufflenet_v2_x1_5(**settings) -> ShuffleNetV2:
    """299 million multiply-adds."""
    return ShuffleNetV2((24, 176, 352, 704, 1024), **settings)


@network(published=7_393_996, source="torchvision")
def shufflenet_v2_x2_0(**settings) -> ShuffleNetV2:
    """591 million multiply-adds."""
    return ShuffleNetV2((24, 244, 488, 976, 2048), **settings)
