"""Named shapes, as data. A group is a dict from a name to the call that is timed; a call whose op is not there yet is reported as such.

live gaps: shapes on which users of today's frameworks wait, most of them from bug reports (docs/performance.md says which).
resnet50: its twenty distinct convolutions at batch 1, stride on the 1x1 (He et al., 2015), in the order of Georganas et al. (2018);
the name says channels, filter, size, and how often the network has the layer.
overhead: arrays so small that only the way to the kernel and back is timed.
"""
from pyops.registry import A, Case, case

LIVE_GAPS = [
    case("depthwise 3x3 C256 56x56", "conv2d", A(1, 256, 56, 56), A(256, 1, 3, 3), padding=1, groups=256),
    case("max_pool2d k3s2 16x1500x1000", "max_pool2d", A(1, 16, 1500, 1000), 3, 2),
    case("avg_pool2d k3s1 3x512x512", "avg_pool2d", A(1, 3, 512, 512), 3, 1, 1),
    case("max_pool3d k2 16x32x64x64", "max_pool3d", A(1, 16, 32, 64, 64), 2),
    case("conv3d 16->16 3x3x3 D20 64x64", "conv3d", A(1, 16, 20, 64, 64), A(16, 16, 3, 3, 3), padding=1),
    case("conv3d 16->16 3x3x3 D21 64x64", "conv3d", A(1, 16, 21, 64, 64), A(16, 16, 3, 3, 3), padding=1),
    case("lp_pool2d p2 k3s2 C64 112x112", "lp_pool2d", A(1, 64, 112, 112), 2.0, 3, 2),
    case("local_response_norm 5 C96 55x55", "local_response_norm", A(1, 96, 55, 55), 5, 1e-4, 0.75, 2.0),
    case("depthwise conv1d k4 C4096 L512", "conv1d", A(1, 4096, 512), A(4096, 1, 4), padding=3, groups=4096),
    case("grouped g32 3x3 C128 56x56", "conv2d", A(1, 128, 56, 56), A(128, 4, 3, 3), padding=1, groups=32),
]

RESNET50 = [
    (3, 64, 224, 7, 2, 1), (64, 256, 56, 1, 1, 4), (64, 64, 56, 1, 1, 1), (64, 64, 56, 3, 1, 3), (256, 64, 56, 1, 1, 2),
    (256, 512, 56, 1, 2, 1), (256, 128, 56, 1, 2, 1), (128, 128, 28, 3, 1, 4), (128, 512, 28, 1, 1, 4), (512, 128, 28, 1, 1, 3),
    (512, 1024, 28, 1, 2, 1), (512, 256, 28, 1, 2, 1), (256, 256, 14, 3, 1, 6), (256, 1024, 14, 1, 1, 6), (1024, 256, 14, 1, 1, 5),
    (1024, 2048, 14, 1, 2, 1), (1024, 512, 14, 1, 2, 1), (512, 512, 7, 3, 1, 3), (512, 2048, 7, 1, 1, 3), (2048, 512, 7, 1, 1, 2),
]   # channels, filters, height and width, filter size, stride, occurrences

OVERHEAD = [
    case("relu 8", "relu", A(8)),
    case("add 8", "add", A(8), A(8)),
    case("layer_norm 2x8", "layer_norm", A(2, 8), (8,), A(8), A(8)),
    case("linear 2x8 -> 8", "linear", A(2, 8), A(8, 8), A(8)),
    case("conv2d 1x2x5x5 3x3", "conv2d", A(1, 2, 5, 5), A(2, 2, 3, 3), A(2)),
    case("max_pool2d 1x2x4x4 k2", "max_pool2d", A(1, 2, 4, 4), 2),
]


def resnet_layer(channels, filters, size, kernel, stride, count) -> Case:
    name = f"{channels}->{filters} {kernel}x{kernel}{'/2' if stride == 2 else ''} {size}x{size} (x{count})"
    return case(name, "conv2d", A(1, channels, size, size), A(filters, channels, kernel, kernel), stride=stride, padding=kernel // 2)


def by_name(cases) -> dict[str, Case]:
    return {c.why: c for c in cases}


GROUPS = {
    "live gaps": by_name(LIVE_GAPS),
    "resnet50": by_name(resnet_layer(*layer) for layer in RESNET50),
    "overhead": by_name(OVERHEAD),
}
NETWORKS = {   # name, also of a function of pyops.models: the input's shape
    "lenet5": (1, 1, 32, 32),
    "lenet5_modern": (1, 1, 32, 32),
    "alexnet": (1, 3, 224, 224),
    "alexnet_2012": (1, 3, 224, 224),
    "vgg16": (1, 3, 224, 224),
}
