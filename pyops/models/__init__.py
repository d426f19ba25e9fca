"""The classic networks, built from pyops.nn.

    model = pyops.models.vgg16()
    model.load_state_dict(torchvision_model.state_dict())
    model = pyops.create_model("xception", classes=10)
"""
# ruff: noqa: F403, I001
from .classification import *
from .detection import *
from .segmentation import *
from .generative import *
from .sequence import *
from .create import create_model
from .registry import list_models
