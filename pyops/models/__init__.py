"""The classic networks, built from pyops.nn.

    model = pyops.models.vgg16()
    model.load_state_dict(torchvision_model.state_dict())
    model = pyops.create_model("xception", classes=10)
"""
from .alexnet import AlexNet, AlexNet2012, alexnet, alexnet_2012
from .all_cnn import AllCNN, all_cnn_a, all_cnn_b, all_cnn_c
from .captioner import Captioner, captioner
from .char_rnn import CharRNN, char_rnn
from .classifier import Classifier
from .create import create_model, list_models
from .densenet import DenseNet, densenet121, densenet161, densenet169, densenet201
from .efficientnet import (EfficientNet, efficientnet_b0, efficientnet_b1, efficientnet_b2, efficientnet_b3, efficientnet_b4,
                           efficientnet_b5, efficientnet_b6, efficientnet_b7)
from .efficientnet_v2 import (EfficientNetV2, efficientnet_v2_b0, efficientnet_v2_b1, efficientnet_v2_b2, efficientnet_v2_b3,
                              efficientnet_v2_l, efficientnet_v2_m, efficientnet_v2_s)
from .googlenet import GoogLeNet, GoogLeNetOutputs, googlenet
from .inception import Inception3, InceptionOutputs, inception_v3
from .inception_resnet import InceptionResNetV2, inception_resnet_v2
from .lenet5 import LeNet5, LeNet5Modern, lenet5, lenet5_modern
from .mobilenet_v1 import MobileNetV1, mobilenet_v1
from .mobilenet_v2 import MobileNetV2, mobilenet_v2
from .mobilenet_v3 import MobileNetV3, mobilenet_v3_large, mobilenet_v3_small
from .nasnet import NASNet, nasnet_large, nasnet_mobile
from .plain import plain18, plain34
from .resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from .resnet_v2 import ResNetV2, resnet50_v2, resnet101_v2, resnet152_v2
from .seq2seq import Seq2Seq, seq2seq
from .sequence_classifier import SequenceClassifier, sequence_classifier
from .sequence_tagger import SequenceTagger, sequence_tagger
from .shufflenet_v2 import ShuffleNetV2, shufflenet_v2_x0_5, shufflenet_v2_x1_0, shufflenet_v2_x1_5, shufflenet_v2_x2_0
from .squeezenet import SqueezeNet, squeezenet1_0, squeezenet1_1
from .transformer import transformer_encoder
from .unet import UNet, unet
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from .xception import Xception, xception

__all__ = [
    "AlexNet", "AlexNet2012", "AllCNN", "Captioner", "CharRNN", "Classifier", "DenseNet", "EfficientNet", "EfficientNetV2", "GoogLeNet",
    "GoogLeNetOutputs", "Inception3", "InceptionOutputs", "InceptionResNetV2", "LeNet5", "LeNet5Modern", "MobileNetV1", "MobileNetV2",
    "MobileNetV3", "NASNet", "ResNet", "ResNetV2", "Seq2Seq", "SequenceClassifier", "SequenceTagger", "ShuffleNetV2", "SqueezeNet", "UNet", "VGG",
    "Xception", "alexnet", "alexnet_2012", "all_cnn_a", "all_cnn_b", "all_cnn_c", "captioner", "char_rnn", "create_model", "densenet121",
    "densenet161", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_b0", "efficientnet_v2_b1", "efficientnet_v2_b2",
    "efficientnet_v2_b3", "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s", "googlenet", "inception_resnet_v2", "inception_v3",
    "lenet5", "lenet5_modern", "list_models", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "nasnet_large",
    "nasnet_mobile", "plain18", "plain34",
    "resnet101", "resnet101_v2", "resnet152", "resnet152_v2", "resnet18", "resnet34", "resnet50", "resnet50_v2", "seq2seq",
    "sequence_classifier", "sequence_tagger", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
    "squeezenet1_0", "squeezenet1_1", "transformer_encoder", "unet", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19",
    "vgg19_bn", "xception"]
