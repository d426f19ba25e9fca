"""What stands around networks that label pixels: images of any size, tiles, losses, borders,
overlays."""
from .borders import border_weights
from .losses import dice_loss, focal_loss, jaccard_loss, lovasz_hinge, lovasz_softmax, tversky_loss
from .overlay import PALETTE, coloured, overlay
from .segment import segment

__all__ = ["PALETTE", "border_weights", "coloured", "dice_loss", "focal_loss", "jaccard_loss", "lovasz_hinge",
           "lovasz_softmax", "overlay", "segment", "tversky_loss"]
