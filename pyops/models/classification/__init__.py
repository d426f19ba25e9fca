"""Networks that say what an image shows, in the order of docs/models.md."""
# ruff: noqa: F403, I001
from .classifier import Classifier
from .lenet5 import *
from .alexnet import *
from .vgg import *
from .all_cnn import *
from .googlenet import *
from .inception import *
from .inception_resnet import *
from .resnet import *
from .resnet_v2 import *
from .plain import *
from .densenet import *
from .mobilenet_v1 import *
from .mobilenet_v2 import *
from .mobilenet_v3 import *
from .efficientnet import *
from .efficientnet_v2 import *
from .xception import *
from .xception_aligned import *
from .nasnet import *
from .squeezenet import *
from .shufflenet_v2 import *
