"""Networks that find objects in images."""
# ruff: noqa: F403
from .detector import *
from .retinanet import *
