"""Grids of unfold and fold."""

__all__ = ["fold", "unfold"]

FILE = "im2col/cuda.cu"
THREADS = 256


def over(device, n):
    """Blocks of a loop over n elements."""
    return min(-(-n // THREADS), 32 * device.multiprocessors)


def unfold(device, x, kernel, dilation, padding, stride, places, y):
    samples, channels, height, width = x.shape
    pixels = samples * channels * places[0] * places[1]
    if pixels:
        device.launch(FILE, "unfold", (over(device, pixels), kernel[0]), (THREADS,),
                      (x, kernel, dilation, padding, stride, places, height, width, pixels, y))


def fold(device, columns, kernel, dilation, padding, stride, places, y):
    if y.size:
        device.launch(FILE, "fold", (over(device, y.size),), (THREADS,),
                      (columns, kernel, dilation, padding, stride, places, *y.shape[2:], y.size, y))
