"""The classic networks, built from pyops.nn.

    model = pyops.models.vgg16()
    model.load_state_dict(torchvision_model.state_dict())
"""
from .alexnet import AlexNet, AlexNet2012, alexnet, alexnet_2012
from .lenet5 import LeNet5, LeNet5Modern, lenet5, lenet5_modern
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

__all__ = ["AlexNet", "AlexNet2012", "LeNet5", "LeNet5Modern", "VGG", "alexnet", "alexnet_2012", "lenet5", "lenet5_modern", "vgg11",
           "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]
