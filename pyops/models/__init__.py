"""The classic networks, built from pyops.nn.

    model = pyops.models.vgg16()
    model.load_state_dict(torchvision_model.state_dict())
"""
from .alexnet import AlexNet, AlexNet2012, alexnet, alexnet_2012
from .captioner import Captioner, captioner
from .char_rnn import CharRNN, char_rnn
from .densenet import DenseNet, densenet121, densenet161, densenet169, densenet201
from .efficientnet import (EfficientNet, efficientnet_b0, efficientnet_b1, efficientnet_b2, efficientnet_b3, efficientnet_b4,
                           efficientnet_b5, efficientnet_b6, efficientnet_b7)
from .googlenet import GoogLeNet, GoogLeNetOutputs, googlenet
from .inception import Inception3, InceptionOutputs, inception_v3
from .lenet5 import LeNet5, LeNet5Modern, lenet5, lenet5_modern
from .mobilenet_v2 import MobileNetV2, mobilenet_v2
from .mobilenet_v3 import MobileNetV3, mobilenet_v3_large, mobilenet_v3_small
from .resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from .seq2seq import Seq2Seq, seq2seq
from .sequence_classifier import SequenceClassifier, sequence_classifier
from .sequence_tagger import SequenceTagger, sequence_tagger
from .transformer import transformer_encoder
from .unet import UNet, unet
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

__all__ = [
    "AlexNet", "AlexNet2012", "Captioner", "CharRNN", "DenseNet", "EfficientNet", "GoogLeNet", "GoogLeNetOutputs", "Inception3",
    "InceptionOutputs", "LeNet5", "LeNet5Modern", "MobileNetV2", "MobileNetV3", "ResNet", "Seq2Seq", "SequenceClassifier", "SequenceTagger",
    "UNet", "VGG", "alexnet", "alexnet_2012", "captioner", "char_rnn", "densenet121", "densenet161", "densenet169", "densenet201",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6",
    "efficientnet_b7", "googlenet", "inception_v3", "lenet5", "lenet5_modern", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
    "resnet101", "resnet152", "resnet18", "resnet34", "resnet50", "seq2seq", "sequence_classifier", "sequence_tagger",
    "transformer_encoder", "unet", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]
