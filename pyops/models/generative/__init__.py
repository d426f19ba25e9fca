"""Networks that make images: adversarial pairs, and autoencoders with a distribution in the middle."""
# ruff: noqa: F403
from .acgan import *
from .base import *
from .cyclegan import *
from .dcgan import *
from .gan import *
from .pix2pix import *
from .sngan import *
from .style import *
from .super_resolution import *
from .vae import *
from .vqvae import *
from .wgan import *
