"""pixel_shuffle and pixel_unshuffle in NumPy: the definition. Shi et al., "Real-Time Single Image
and Video Super-Resolution" (2016)."""


def pixel_shuffle(x, *, factor):
    """y[.., c, h r + i, w r + j] = x[.., c r r + i r + j, h, w]."""
    *lead, channels, height, width = x.shape
    r, n = factor, len(lead)
    blocks = x.reshape(*lead, channels // (r * r), r, r, height, width)
    order = (*range(n + 1), n + 3, n + 1, n + 4, n + 2)
    return blocks.transpose(order).reshape(*lead, channels // (r * r), height * r, width * r).copy()


def pixel_unshuffle(x, *, factor):
    """The inverse of pixel_shuffle."""
    *lead, channels, height, width = x.shape
    r, n = factor, len(lead)
    blocks = x.reshape(*lead, channels, height // r, r, width // r, r)
    order = (*range(n + 1), n + 2, n + 4, n + 1, n + 3)
    return blocks.transpose(order).reshape(*lead, channels * r * r, height // r, width // r).copy()
