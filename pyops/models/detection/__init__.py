"""Networks that find objects in images."""
# ruff: noqa: F403
from .darknet import *
from .detector import *
from .fast_rcnn import *
from .faster_rcnn import *
from .localiser import *
from .rcnn import *
from .retinanet import *
from .small import *
from .ssd import *
from .yolo9000 import *
from .yolov1 import *
from .yolov2 import *
from .yolov3 import *
from .yolov4 import *
from .yolov5 import *
from .yolov6 import *
