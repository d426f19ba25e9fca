"""Independent implementations of create_model's networks in torch: torchvision's, timm's, or the
paper's tables written down once more where neither has the network. Each is made without arrays of
its own and holds those of our model, so that both have the same weights."""
import numpy as np
import pytest

from pyops import models, nn
from pyops.models.registry import NETWORKS

OF_TIMM = {**{n.name: n.timm for n in NETWORKS.values() if n.task == "classification" and n.timm is not None},
           **{f"efficientnet_v2_b{i}": f"tf_efficientnetv2_b{i}" for i in range(4)}}   # under other names
OF_PAPERS = ("alexnet_2012", "all_cnn_a", "all_cnn_b", "all_cnn_c", "plain18", "plain34")
# LeNets are functions of a test, NASNets Keras'
LENETS, NASNETS = ("lenet5", "lenet5_modern"), ("nasnet_mobile", "nasnet_large")
NAMES = [name for name in models.list_models(task="classification") if name not in LENETS + NASNETS]
ALL_CNN = {   # kernel, filters, stride, padding; the paper's tables 1 and 2, of images of 32
    "a": [(5, 96, 1, 2), (3, 96, 2, 1), (5, 192, 1, 2), (3, 192, 2, 1)],
    "b": [(5, 96, 1, 2), (1, 96, 1, 0), (3, 96, 2, 1), (5, 192, 1, 2), (1, 192, 1, 0), (3, 192, 2, 1)],
    "c": [(3, 96, 1, 1), (3, 96, 1, 1), (3, 96, 2, 1), (3, 192, 1, 1), (3, 192, 1, 1), (3, 192, 2, 1)]}


def undrawn(name, classes, **settings):
    """Our network in float64 and in training mode, without dropout and without
    numbers in its arrays."""
    with nn.init.skip_draws():
        model = models.create_model(name, classes=classes, **settings)
    for layer in model.modules():
        if isinstance(layer, (nn.Dropout, nn.StochasticDepth)):
            layer.p = 0.0
    with np.errstate(all="ignore"):   # casting what memory held before
        return model.double().train()


def drawn(name, classes, **settings):
    """The same with every array drawn: He's uniform for weights, scales around 1."""
    model, rng = undrawn(name, classes, **settings), np.random.default_rng(1)
    for key, p in model.named_parameters():
        rng.random(out=p.data)
        p.data -= 0.5
        p.data *= np.sqrt(24 * len(p.data) / p.size) if p.ndim > 1 else 0.4
        p.data += p.ndim == 1 and key.endswith("weight")
    return model


def peer(name, model, classes):
    """(reference, names): the implementation of others, in training mode without dropout,
    with the model's arrays, of which norms' statistics are copies; names: what the model
    calls what they call so."""
    import torch
    # timm imports torchvision too
    torchvision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision
    with torch.device("meta"):
        if name in OF_TIMM:
            reference = pytest.importorskip("timm").create_model(OF_TIMM[name], num_classes=classes)
        elif name in OF_PAPERS:
            reference = of_paper(name, classes)
        else:
            announced = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            reference = getattr(torchvision.models, name)(num_classes=classes, **announced)
    own, trained = model.state_dict(), {key for key, _ in model.named_parameters()}
    if own.keys() == reference.state_dict().keys():
        names = {key: key for key in own}
    else:   # the same arrays in the same order under other names
        assert OF_TIMM.get(name, "").startswith("tf_"), name
        names = dict(zip(reference.state_dict(), own, strict=True))
    reference.load_state_dict({theirs: torch.from_numpy(own[ours] if ours in trained else own[ours].copy())
                               for theirs, ours in names.items()},
                              assign=True)
    for layer in reference.modules():
        if type(layer).__name__ in ("Dropout", "StochasticDepth"):
            layer.p = 0.0
    return reference.train(), names


def of_paper(name, classes):
    if name.startswith("plain"):
        return plain(3 if name == "plain34" else 2, classes)
    return alexnet_2012(classes) if name == "alexnet_2012" else all_cnn(ALL_CNN[name[-1]], classes)


def plain(first, classes):
    """A residual network of torchvision without shortcuts."""
    from torchvision.models.resnet import BasicBlock, ResNet

    class Block(BasicBlock):
        def forward(self, x):
            return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
    reference = ResNet(Block, [2, 2, 2, 2] if first == 2 else [3, 4, 6, 3], num_classes=classes)
    for stage in (reference.layer2, reference.layer3, reference.layer4):
        stage[0].downsample = None
    return reference


def all_cnn(rows, classes):
    import torch.nn as tn
    features, channels = [tn.Dropout(0.2)], 3
    for kernel, filters, stride, padding in rows:
        features += [tn.Conv2d(channels, filters, kernel, stride, padding), tn.ReLU(),
                     *([tn.Dropout(0.5)] if stride > 1 else [])]
        channels = filters
    features += [tn.Conv2d(192, 192, 3), tn.ReLU(), tn.Conv2d(192, 192, 1), tn.ReLU()]
    head = tn.Sequential(tn.Conv2d(192, classes, 1), tn.ReLU(), tn.AdaptiveAvgPool2d(1))
    return both(tn.Sequential(*features), head,
                lambda whole, x: whole.classifier(whole.features(x)).flatten(1))


def alexnet_2012(classes):
    """The paper's alpha is a factor of the sum of squares, torch's of their mean."""
    import torch.nn as tn

    def conv(*sizes, groups=1, **settings):
        return tn.Conv2d(*sizes, groups=groups, **settings), tn.ReLU()
    norm_and_pool = (tn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), tn.MaxPool2d(3, 2))
    features = tn.Sequential(*conv(3, 96, 11, stride=4, padding=2), *norm_and_pool,
                             *conv(96, 256, 5, padding=2, groups=2), *norm_and_pool,
                             *conv(256, 384, 3, padding=1), *conv(384, 384, 3, padding=1, groups=2),
                             *conv(384, 256, 3, padding=1, groups=2), tn.MaxPool2d(3, 2))
    head = tn.Sequential(tn.Linear(9216, 4096), tn.ReLU(), tn.Dropout(), tn.Linear(4096, 4096), tn.ReLU(),
                         tn.Dropout(), tn.Linear(4096, classes))
    return both(features, head, lambda whole, x: whole.classifier(whole.features(x).flatten(1)))


def both(features, classifier, forward):
    import torch.nn as tn

    class Network(tn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.classifier = features, classifier

        def forward(self, x):
            return forward(self, x)
    return Network()
