"""What stands around networks that label pixels: images of any size, tiles, borders, dense CRFs,
overlays."""
from .borders import border_weights
from .overlay import PALETTE, coloured, overlay
from .segment import segment

__all__ = ["PALETTE", "border_weights", "coloured", "overlay", "segment"]
