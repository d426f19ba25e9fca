"""Images of 16 bits, or of floats, as eight bits a pixel: Pillow's own conversion cuts them at 255."""
from __future__ import annotations

from typing import Any

import numpy as np


def eight_bits(image: Any) -> Any:
    """A PIL.Image as it is, or, of 16 bits, whole numbers or floats, as grey levels: from 0 to 65,535,
    255 or 1, whichever holds its values. ValueError for NaN and infinity."""
    if not image.mode.startswith(("I", "F")):
        return image
    from PIL import Image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("holds NaN or infinity")
    highest = values.max(initial=0)
    most = 65535 if highest > 255 or image.mode.startswith("I;16") else 255 if highest > 1 else 1
    return Image.fromarray(np.clip(np.rint(values / most * 255), 0, 255).astype(np.uint8))


def as_shown(image: Any) -> Any:
    """A PIL.Image as viewers show it: turned as its EXIF data says, transparency on white, eight_bits."""
    from PIL import Image, ImageOps
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I"):   # a level may be what shines through; Pillow would cut the others at 255
        through = np.asarray(turned) == turned.info.get("transparency", -1)
        return Image.fromarray(np.where(through, np.uint8(255), np.asarray(eight_bits(turned))))
    if turned.has_transparency_data:
        turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned.convert("RGBA"))
    return eight_bits(turned)
