"""Networks that make images: adversarial pairs and autoencoders with a distribution in the middle."""
# ruff: noqa: F403
from .base import *
from .dcgan import *
