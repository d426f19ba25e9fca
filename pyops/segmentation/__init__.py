"""What stands around networks that label pixels: images of any size, tiles, losses, borders,
dense CRFs, overlays."""
from .borders import border_weights
from .dense_crf import dense_crf
from .lattice import Lattice
from .losses import dice_loss, focal_loss, jaccard_loss, lovasz_hinge, lovasz_softmax, tversky_loss
from .overlay import PALETTE, coloured, overlay
from .segment import segment

__all__ = ["PALETTE", "Lattice", "border_weights", "coloured", "dense_crf", "dice_loss", "focal_loss",
           "jaccard_loss", "lovasz_hinge", "lovasz_softmax", "overlay", "segment", "tversky_loss"]
