"""Named shapes, as data. A group is a dict from a name to the call that is timed; a call whose op
is not there yet is reported as such.

live gaps: shapes on which users of today's frameworks wait, most of them from bug reports
(docs/performance.md says which). resnet50: its twenty distinct convolutions at batch 1, stride on
the 1x1 (He et al., 2015), in the order of Georganas et al. (2018); the name says channels, filter,
size, and how often the network has the layer.
vgg16: its nine distinct convolutions at batch 1 (Simonyan & Zisserman, 2014).
deepbench: the distinct convolutions of Baidu's DeepBench, inference_server_set
(code/kernels/conv_problems.h), at batch 1. overhead: arrays so small that only the way to the
kernel and back is timed. sampling: reading between pixels, and products of three.
"""
from dataclasses import dataclass, field

from pyops import models
from pyops.core.cases import A, Case, case

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
    (3, 64, 224, 7, 2, 1), (64, 256, 56, 1, 1, 4), (64, 64, 56, 1, 1, 1), (64, 64, 56, 3, 1, 3),
    (256, 64, 56, 1, 1, 2),
    (256, 512, 56, 1, 2, 1), (256, 128, 56, 1, 2, 1), (128, 128, 28, 3, 1, 4), (128, 512, 28, 1, 1, 4),
    (512, 128, 28, 1, 1, 3),
    (512, 1024, 28, 1, 2, 1), (512, 256, 28, 1, 2, 1), (256, 256, 14, 3, 1, 6), (256, 1024, 14, 1, 1, 6),
    (1024, 256, 14, 1, 1, 5), (1024, 2048, 14, 1, 2, 1), (1024, 512, 14, 1, 2, 1), (512, 512, 7, 3, 1, 3),
    (512, 2048, 7, 1, 1, 3), (2048, 512, 7, 1, 1, 2),
]   # channels, filters, height and width, filter size, stride, occurrences

VGG16 = [(3, 64, 224, 1), (64, 64, 224, 1), (64, 128, 112, 1), (128, 128, 112, 1), (128, 256, 56, 1),
         (256, 256, 56, 2), (256, 512, 28, 1), (512, 512, 28, 2), (512, 512, 14, 3),]   # channels, filters, height and width, occurrences; filters are 3x3

DEEPBENCH = [
    (700, 161, 1, 32, 20, 5, 0, 2), (341, 79, 32, 32, 10, 5, 0, 2), (480, 48, 1, 16, 3, 3, 1, 1),
    (240, 24, 16, 32, 3, 3, 1, 1),
    (120, 12, 32, 64, 3, 3, 1, 1), (60, 6, 64, 128, 3, 3, 1, 1), (108, 108, 3, 64, 3, 3, 1, 2),
    (54, 54, 64, 64, 3, 3, 1, 1),
    (27, 27, 128, 128, 3, 3, 1, 1), (14, 14, 128, 256, 3, 3, 1, 1), (7, 7, 256, 512, 3, 3, 1, 1),
    (224, 224, 3, 64, 3, 3, 1, 1),
    (112, 112, 64, 128, 3, 3, 1, 1), (56, 56, 128, 256, 3, 3, 1, 1), (28, 28, 256, 512, 3, 3, 1, 1),
    (14, 14, 512, 512, 3, 3, 1, 1),
    (7, 7, 512, 512, 3, 3, 1, 1), (224, 224, 3, 64, 7, 7, 3, 2), (28, 28, 192, 32, 5, 5, 2, 1),
    (28, 28, 192, 64, 1, 1, 0, 1),
    (14, 14, 512, 48, 5, 5, 2, 1), (14, 14, 512, 192, 1, 1, 0, 1), (7, 7, 832, 256, 1, 1, 0, 1),
    (7, 7, 832, 128, 5, 5, 2, 1),
    (56, 56, 64, 64, 3, 3, 1, 1), (56, 56, 64, 256, 1, 1, 0, 2), (28, 28, 128, 128, 3, 3, 1, 1),
    (28, 28, 128, 512, 1, 1, 0, 2),
    (14, 14, 256, 256, 1, 1, 0, 1), (14, 14, 256, 256, 3, 3, 1, 1), (14, 14, 256, 1024, 1, 1, 0, 2),
    (7, 7, 512, 512, 1, 1, 0, 1),
    (7, 7, 2048, 512, 1, 1, 3, 2), (700, 161, 1, 64, 5, 5, 1, 2), (350, 80, 64, 64, 3, 3, 1, 1),
    (350, 80, 64, 128, 5, 5, 1, 2),
    (175, 40, 128, 128, 3, 3, 1, 1), (175, 40, 128, 256, 5, 5, 1, 2), (84, 20, 256, 256, 3, 3, 1, 1),
    (84, 20, 256, 512, 5, 5, 1, 2),
    (42, 10, 512, 512, 3, 3, 1, 1), (112, 112, 64, 64, 1, 1, 0, 1), (56, 56, 64, 256, 1, 1, 0, 1),
    (56, 56, 256, 64, 1, 1, 0, 1),
    (56, 56, 256, 128, 1, 1, 0, 2), (28, 28, 128, 512, 1, 1, 0, 1), (28, 28, 512, 128, 1, 1, 0, 1),
    (28, 28, 512, 256, 1, 1, 0, 2),
    (14, 14, 256, 1024, 1, 1, 0, 1), (28, 28, 512, 1024, 1, 1, 0, 2), (14, 14, 1024, 256, 1, 1, 0, 1),
    (14, 14, 1024, 512, 1, 1, 0, 2),
    (7, 7, 512, 2048, 1, 1, 0, 1), (14, 14, 1024, 2048, 1, 1, 0, 2), (7, 7, 2048, 512, 1, 1, 0, 1),
]   # width, height, channels, filters, filter width and height, padding, stride

OVERHEAD = [
    case("relu 8", "relu", A(8)),
    case("add 8", "add", A(8), A(8)),
    case("layer_norm 2x8", "layer_norm", A(2, 8), (8,), A(8), A(8)),
    case("linear 2x8 -> 8", "linear", A(2, 8), A(8, 8), A(8)),
    case("conv2d 1x2x5x5 3x3", "conv2d", A(1, 2, 5, 5), A(2, 2, 3, 3), A(2)),
    case("max_pool2d 1x2x4x4 k2", "max_pool2d", A(1, 2, 4, 4), 2),
]


SAMPLING = [
    *(case(f"grid_sample {mode} C{c} {size}x{size}", "grid_sample", A(1, c, size, size),
           A(1, size, size, 2, values="unit", scale=2.0, offset=-1.0), mode, align_corners=False)
      for c, size in ((64, 56), (3, 224)) for mode in ("bilinear", "bicubic")),
    case("bilinear 64x128x128 -> 32", "bilinear", A(64, 128), A(64, 128), A(32, 128, 128), A(32)),
]


def resnet_layer(channels, filters, size, kernel, stride, count) -> Case:
    name = f"{channels}->{filters} {kernel}x{kernel}{'/2' if stride == 2 else ''} {size}x{size} (x{count})"
    return case(name, "conv2d", A(1, channels, size, size), A(filters, channels, kernel, kernel),
                stride=stride, padding=kernel // 2)


def vgg_layer(channels, filters, size, count) -> Case:
    return resnet_layer(channels, filters, size, 3, 1, count)


def deepbench_layer(width, height, channels, filters, fw, fh, padding, stride) -> Case:
    name = (f"{channels}->{filters} "
            f"{fh}x{fw}{f'/{stride}' if stride > 1 else ''}{f' p{padding}' if padding else ''} "
            f"{height}x{width}")
    return case(name, "conv2d", A(1, channels, height, width), A(filters, channels, fh, fw), stride=stride,
                padding=padding)


def by_name(cases) -> dict[str, Case]:
    return {c.why: c for c in cases}


GROUPS = {
    "live gaps": by_name(LIVE_GAPS),
    "resnet50": by_name(resnet_layer(*layer) for layer in RESNET50),
    "overhead": by_name(OVERHEAD),
    "sampling": by_name(SAMPLING),
    "vgg16": by_name(vgg_layer(*layer) for layer in VGG16),
    "deepbench": by_name(deepbench_layer(*layer) for layer in DEEPBENCH),
}
EVERY_RUN = ("live gaps", "resnet50", "overhead")   # the others by --group


@dataclass(frozen=True)
class Network:
    # channels, height, width; of a sequence its length and features
    image: tuple[int, ...]
    # torchvision.models has it under the same name, with the same state_dict
    torchvision: bool = False
    # of its function in pyops.models, and of torchvision's
    settings: dict = field(default_factory=dict)
    # its function in pyops.models, where that has another name
    function: str = ""


def of_table(name: str, **settings) -> Network:
    """A network of create_model."""
    entry = models.registry.NETWORKS[name]
    return Network(entry.image, entry.source == "torchvision", settings)


WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": True}
NETWORKS = {   # by the name of their function in pyops.models
    **{name: of_table(name) for name in ("lenet5", "lenet5_modern", "alexnet", "alexnet_2012", "vgg16")},
    **{name: of_table(name, **WITHOUT_AUXILIARY) for name in ("googlenet", "inception_v3")},
    **{name: of_table(name) for name in ("resnet18", "resnet50", "densenet121", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0")},
    "unet": Network((3, 256, 256)),
    "transformer_encoder": Network((128, 512)),
}
MEASURED = tuple(NETWORKS)   # `--net all`; `--net zoo` are the other networks of create_model
ZOO = {name: of_table(name) for name in models.list_models(task="classification") if name not in NETWORKS}
# `--net segmentation`, at the sizes that are measured elsewhere
SEGMENTATION = {name: Network((3, 256, 256) if name.startswith("unet") else (3, 224, 224))
                for name in models.list_models(task="segmentation") if name not in NETWORKS}
SEGMENTATION["deeplabv3_resnet50_480x640"] = Network((3, 480, 640), function="deeplabv3_resnet50")
# `--net generative`: generators, from codes or images
GENERATIVE = {name: of_table(name) for name in ("dcgan_64", "pix2pix", "cyclegan")}
NETWORKS |= ZOO | SEGMENTATION | GENERATIVE
# what a run without --net measures, at batch 1
SHORT = ("lenet5_modern", "mobilenet_v2", "resnet18", "vgg16")
