"""Networks that say what each pixel shows."""
from .unet import *  # noqa: F403
