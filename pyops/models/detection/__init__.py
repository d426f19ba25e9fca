"""Networks that find objects in images."""
# ruff: noqa: F403
from .detector import *
from .retinanet import *
from .darknet import *
from .yolov1 import *
from .yolov2 import *
from .yolo9000 import *
from .yolov3 import *
from .yolov4 import *
