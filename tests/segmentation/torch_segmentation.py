"""Segmentation networks once more, in torch, as their papers' tables and figures have them."""
import torch
from torch import nn
from torch.nn import functional as F


def fcn(state, x, stride):
    """Long et al.: padding 100, Caffe's pooling (rounded up), crops by the offsets of the authors'
    networks."""
    def conv(name, x, padding=0):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def up(name, x, factor):
        return F.conv_transpose2d(x, state[f"{name}.weight"], stride=factor)

    def crop(x, at, like):
        return x[:, :, at:at + like.shape[2], at:at + like.shape[3]]
    maps, at, image = [], 0, x
    for stage in ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3):
        for _ in stage:
            x = F.relu(conv(f"features.{at}", x, 100 if at == 0 else 1))
            at += 2
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        maps.append(x)
        at += 1
    x = conv("score", F.relu(conv("fc7", F.relu(conv("fc6", x)))))
    if stride <= 16:
        x = up("twice.0", x, 2)
        x = x + crop(conv("score_pool4", maps[3]), 5, x)
    if stride == 8:
        x = up("twice.1", x, 2)
        x = x + crop(conv("score_pool3", maps[2]), 9, x)
    return crop(up("upscore", x, stride), {32: 19, 16: 27, 8: 31}[stride], image)


def from_ours(layer):
    """One of our layers as torch's, its name kept by where it stands."""
    kind = type(layer).__name__
    if kind in ("Sequential", "ModuleList"):
        return getattr(nn, kind)(*[from_ours(part) for part in layer.children()]) if kind == "Sequential" \
            else nn.ModuleList(from_ours(part) for part in layer.children())
    if kind.startswith("ConvTranspose"):
        return getattr(nn, kind)(layer.in_channels, layer.out_channels, 2, stride=2)
    if kind.startswith("Conv"):
        size = layer.kernel_size
        return getattr(nn, kind)(layer.in_channels, layer.out_channels, size, padding=tuple(k // 2 for k in size))
    if kind.startswith("BatchNorm"):
        return getattr(nn, kind)(len(layer.weight.data))
    return nn.ReLU()


class SegNet(nn.Module):
    """Figure 2: max pooling's indices cross over, nothing else."""

    def __init__(self, ours):
        super().__init__()
        self.down, self.up, self.head = from_ours(ours.down), from_ours(ours.up), from_ours(ours.head)
        depth = len(self.down)
        assert [len(stage) for stage in self.down] == [6, 6, 9, 9, 9][:depth]
        assert [len(stage) for stage in self.up] == [9, 9, 9, 6, 3][5 - depth:]

    def forward(self, x):
        kept = []
        for stage in self.down:
            x = stage(x)
            size = x.shape
            x, places = F.max_pool2d(x, 2, 2, return_indices=True)
            kept.append((places, size))
        for stage in self.up:
            places, size = kept.pop()
            x = stage(F.max_unpool2d(x, places, 2, 2, output_size=size[2:]))
        return self.head(x)


class SegNetBasic(SegNet):
    def __init__(self, ours):
        nn.Module.__init__(self)
        self.down, self.up, self.head = from_ours(ours.down), from_ours(ours.up), nn.Conv2d(8, 4, 1)
        assert len(self.down) == len(self.up) == 4

    def forward(self, x):
        return super().forward(F.local_response_norm(x, 5))


class DeepLab(nn.Module):
    """DeepLab-LargeFOV and -ASPP on VGG-16."""

    def __init__(self, rates, classes, mean):
        super().__init__()
        layers, channels = [], 3
        for width, count, stride, dilation in ((64, 2, 2, 1), (128, 2, 2, 1), (256, 3, 2, 1), (512, 3, 1, 1),
                                               (512, 3, 1, 2)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.features, self.mean = nn.Sequential(*layers), mean
        self.branches = nn.ModuleList(nn.Sequential(
            nn.Conv2d(512, 1024, 3, padding=rate, dilation=rate), nn.ReLU(), nn.Dropout(),
            nn.Conv2d(1024, 1024, 1), nn.ReLU(), nn.Dropout(), nn.Conv2d(1024, classes, 1)) for rate in rates)

    def forward(self, x):
        maps = self.features(x)
        if self.mean:
            maps = F.avg_pool2d(maps, 3, 1, 1)
        return F.interpolate(sum(branch(maps) for branch in self.branches), x.shape[2:], mode="bilinear",
                             align_corners=True)


class OnResNet(nn.Module):
    def __init__(self, trunk, head, auxiliary=None):
        super().__init__()
        trunk.fc = nn.Identity()
        self.backbone = trunk
        self.where = "branches" if isinstance(head, AddedScores) else "classifier"
        setattr(self, self.where, head)
        self.aux_classifier = auxiliary

    def forward(self, x):
        t = self.backbone
        third = t.layer3(t.layer2(t.layer1(t.maxpool(t.relu(t.bn1(t.conv1(x)))))))
        outputs = [getattr(self, self.where)(t.layer4(third))]
        if self.aux_classifier is not None:
            outputs.append(self.aux_classifier(third))
        outputs = [F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=True) for y in outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class AddedScores(nn.ModuleList):
    def __init__(self, classes):
        super().__init__(nn.Conv2d(2048, classes, 3, padding=rate, dilation=rate) for rate in (6, 12, 18, 24))

    def forward(self, x):
        return sum(branch(x) for branch in self)


def conv_norm(channels, filters, kernel=1):
    return [nn.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]


class Levels(nn.Module):
    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(n), *conv_norm(2048, 512))
                                    for n in (1, 2, 3, 6))

    def forward(self, x):
        return torch.cat([x] + [F.interpolate(level(x), x.shape[2:], mode="bilinear", align_corners=True)
                                for level in self.levels], 1)


class Pyramid(nn.Sequential):
    def __init__(self, classes):
        super().__init__(Levels(), *conv_norm(4096, 512, 3), nn.Dropout(), nn.Conv2d(512, classes, 1))


def auxiliary(classes):
    return nn.Sequential(*conv_norm(1024, 256, 3), nn.Dropout(), nn.Conv2d(256, classes, 1))


def separable(channels, filters, rate=1):
    return [nn.Sequential(nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False),
                          nn.Conv2d(channels, filters, 1, bias=False)), nn.BatchNorm2d(filters), nn.ReLU()]


class Mean(nn.Sequential):
    def __init__(self):
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_norm(2048, 256))

    def forward(self, x):
        return super().forward(x).expand(-1, -1, *x.shape[2:])


class SeparableASPP(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Sequential(*conv_norm(2048, 256)),
                                    *(nn.Sequential(*separable(2048, 256, rate)) for rate in (6, 12, 18)), Mean()])
        self.project = nn.Sequential(*conv_norm(1280, 256), nn.Dropout())

    def forward(self, x):
        return self.project(torch.cat([branch(x) for branch in self.convs], 1))


class DeepLabV3Plus(nn.Module):
    def __init__(self, trunk, classes):
        super().__init__()
        trunk.fc = nn.Identity()
        self.encoder = trunk
        self.decoder = nn.ModuleDict({"aspp": nn.Sequential(SeparableASPP(), *separable(256, 256)),
                                      "block1": nn.Sequential(*conv_norm(256, 48)),
                                      "block2": nn.Sequential(*separable(304, 256))})
        self.segmentation_head = nn.Sequential(nn.Conv2d(256, classes, 1))

    def forward(self, x):
        t = self.encoder
        fine = t.layer1(t.maxpool(t.relu(t.bn1(t.conv1(x)))))
        coarse = self.decoder["aspp"](t.layer4(t.layer3(t.layer2(fine))))
        coarse = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True)
        y = self.decoder["block2"](torch.cat([coarse, self.decoder["block1"](fine)], 1))
        return F.interpolate(self.segmentation_head(y), x.shape[2:], mode="bilinear", align_corners=True)


class DilatedBlock(nn.Module):
    def __init__(self, channels, filters, stride, first, second):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, first, first, bias=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, second, second, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
        self.downsample = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)) \
            if stride > 1 or channels != filters else nn.Identity()

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.downsample(x))


class DeepLabV3Small(nn.Module):
    """blocks: (channels, filters, stride, dilations). The pyramid is torchvision's."""

    def __init__(self, blocks, pyramid, classes):
        super().__init__()
        base, top = blocks[0][0], blocks[-1][1]
        self.stem = nn.Sequential(*conv_norm(3, base, 3))
        self.trunk = nn.Sequential(*(DilatedBlock(*block) for block in blocks))
        self.classifier = nn.Sequential(pyramid, *conv_norm(top, top, 3), nn.Conv2d(top, classes, 1))

    def forward(self, x):
        return F.interpolate(self.classifier(self.trunk(self.stem(x))), x.shape[2:], mode="bilinear")


class UNet3D(nn.Module):
    def __init__(self, ours):
        super().__init__()
        for part in ("down", "up", "merge", "head"):
            setattr(self, part, from_ours(getattr(ours, part)))

    def forward(self, x):
        maps = []
        for at, layers in enumerate(self.down):
            x = layers(x if at == 0 else F.max_pool3d(x, 2))
            maps.append(x)
        maps.pop()
        for up, layers in zip(self.up, self.merge):
            x = layers(torch.cat([maps.pop(), up(x)], 1))
        return self.head(x)
