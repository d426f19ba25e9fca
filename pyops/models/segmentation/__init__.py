"""Networks that say what each pixel shows."""
# ruff: noqa: F403, I001
from .unet import *
from .fcn import *
from .deeplab_v3 import *
from .deeplab_small import *
from .lraspp import *
from .deeplab import *
from .deeplab_v3_plus import *
from .pspnet import *
from .segnet import *
