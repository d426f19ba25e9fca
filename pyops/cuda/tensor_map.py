"""Tensor maps: what the Tensor Memory Accelerator of compute capability 9.0 knows of an array that
it copies to shared memory piece by piece.

A kernel takes one as `const __grid_constant__ TensorMap`. All maps here have the 128-byte swizzle
(hopper.cuh) and give zeros outside of the array. On a device the driver makes them; the emulator's
hold the same numbers in the clear (cuemu_hopper.h).
"""
from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

import numpy as np

from ..kernels.grid import address

TENSOR_MAP = np.dtype([("opaque", np.uint64, 16)])   # hopper.cuh's TensorMap, the driver's CUtensorMap
ALIGNMENT = 64          # bytes, of the driver's result
PACKET = 16             # bytes: addresses and strides are multiples of it
LINE = 128              # bytes: the most that the 128-byte swizzle takes along a box's innermost axis
LARGEST_BOX = 256       # elements along an axis
MOST_PIXELS = 1024      # of one im2col copy
CORNERS = range(-128, 128)   # of an im2col map of four axes
LARGEST_SHIFT = 255     # of an im2col copy of four axes
LARGEST_STEP = 8        # from one pixel to the next

# cuda.h's CUtensorMapDataType, and of its modes: not interleaved, swizzled by 128 bytes, fetched in 256 from
# the second-level cache, zeros outside (the other choice is NaN)
TYPES = {"float16": 6, "bfloat16": 9}
MODES = (0, 3, 3, 0)


def mappable(array) -> bool:
    """Whether a dense array, no axis of it empty, has address and strides that the
    accelerator takes."""
    return (array.size > 0 and array.shape[-1] * array.dtype.itemsize % PACKET == 0
            and address(array) % PACKET == 0)


# ---- what a kernel is passed

def tensor_map(array, box: tuple[int, int]) -> np.void:
    """The map of a dense (matrices, lines, length) array of float16 or bfloat16 for boxes of `box`
    = (lines, length) elements of one matrix.

    ValueError for an array or a box that the accelerator cannot take; RuntimeError, with the
    driver's code, if it refuses.
    """
    check_box(array, box)
    return _encoded(address(array), array.dtype.name, array.dtype.itemsize, tuple(array.shape), tuple(box))


def im2col_map(array, lower, upper, step, pixels, channels) -> np.void:
    """The map of a dense (N, H, W, C) array of float16 or bfloat16 for copies of `pixels` pixels of
    `channels` channels each.

    Pixels are those of a bounding box in each image, `step` = (along H, along W) apart, row by row
    and image by image: rows from lower[0] to H - 1 + upper[0], columns from lower[1] to W - 1 +
    upper[1]. ValueError and RuntimeError as for tensor_map.
    """
    check_pixels(array, lower, upper, step, pixels, channels)
    return _im2col(address(array), array.dtype.name, array.dtype.itemsize, tuple(array.shape), tuple(lower),
                   tuple(upper), tuple(step), pixels, channels)


def emulated_map(array, box) -> np.void:
    """tensor_map's, for the emulator."""
    check_box(array, box)
    matrices, lines, length = array.shape
    return _in_the_clear(1, array, length, lines, matrices, box[1], box[0])


def emulated_im2col_map(array, lower, upper, step, pixels, channels) -> np.void:
    """im2col_map's, for the emulator."""
    check_pixels(array, lower, upper, step, pixels, channels)
    return _in_the_clear(2, array, *array.shape[::-1], *lower[::-1], *upper[::-1], *step[::-1], pixels,
                         channels)


def _in_the_clear(mode, array, *numbers):
    made = np.zeros((), TENSOR_MAP)
    values = [address(array), mode, array.dtype.itemsize, *map(int, numbers)]
    made["opaque"][:len(values)] = np.array(values, np.int64).view(np.uint64)
    return made[()]


# ---- what the accelerator takes

def check_box(array, box):
    if array.ndim != 3 or not mappable(array):
        raise ValueError(
            f"tensor_map: needs three axes, none empty, lines of a multiple of {PACKET} bytes and an address "
            f"that is one; got {tuple(array.shape)} {array.dtype} at {address(array):#x}")
    if not 0 < box[0] <= LARGEST_BOX or not 0 < box[1] * array.dtype.itemsize <= LINE:
        raise ValueError(
            f"tensor_map: a box has at most {LARGEST_BOX} lines of {LINE} bytes, got {box} of {array.dtype}")
    check_type(array)


def check_pixels(array, lower, upper, step, pixels, channels):
    if array.ndim != 4 or not mappable(array):
        raise ValueError(
            f"im2col_map: needs four axes, none empty, channels of a multiple of {PACKET} bytes and an "
            f"address that is one; got {tuple(array.shape)} {array.dtype} at {address(array):#x}")
    if not boxable(array.shape[1:3], lower, upper, step):
        raise ValueError(
            f"im2col_map: a bounding box that is not empty has corners from {CORNERS[0]} to {CORNERS[-1]} "
            f"and steps up to {LARGEST_STEP}; got {lower}, {upper} and {step} for {tuple(array.shape)}")
    if not 0 < pixels <= MOST_PIXELS or not 0 < channels * array.dtype.itemsize <= LINE:
        raise ValueError(f"im2col_map: a copy has at most {MOST_PIXELS} pixels of {LINE} bytes, got {pixels} "
                         f"of {channels} {array.dtype}")
    check_type(array)


def boxable(sizes, lower, upper, step) -> bool:
    """Whether an im2col map of images of these sizes can have this bounding box."""
    return (all(corner in CORNERS for corner in (*lower, *upper)) and all(0 < s <= LARGEST_STEP for s in step)
            and all(low < size + high for size, low, high in zip(sizes, lower, upper)))


def check_type(array):
    if array.dtype.name not in ("float16", "bfloat16"):
        raise ValueError(f"tensor_map: takes float16 and bfloat16, got {array.dtype}")


# ---- the driver. All that a map depends on are these numbers, so one that was made for another
# array at the same place will do.

@lru_cache(1024)
def _encoded(at, dtype, item, shape, box):
    matrices, lines, length = shape
    return _made(encode(), f"{shape} {dtype} in boxes of {box}", dtype, 3, at,
                 _array(ctypes.c_uint64, length, lines, matrices),
                 _array(ctypes.c_uint64, length * item, lines * length * item),
                 _array(ctypes.c_uint32, box[1], box[0], 1), _array(ctypes.c_uint32, 1, 1, 1))


@lru_cache(1024)
def _im2col(at, dtype, item, shape, lower, upper, step, pixels, channels):
    n, h, w, c = shape
    # corners, too, are from the innermost axis on: W, then H
    return _made(encode_im2col(),
                 f"{shape} {dtype} in {pixels} pixels of {channels} from {lower} to {upper} by {step}", dtype,
                 4, at, _array(ctypes.c_uint64, c, w, h, n),
                 _array(ctypes.c_uint64, c * item, w * c * item, h * w * c * item),
                 _array(ctypes.c_int, *lower[::-1]), _array(ctypes.c_int, *upper[::-1]),
                 ctypes.c_uint32(channels), ctypes.c_uint32(pixels),
                 _array(ctypes.c_uint32, 1, *step[::-1], 1))


def _made(driver, asked, dtype, rank, at, *geometry):
    memory = np.zeros(TENSOR_MAP.itemsize + ALIGNMENT, np.uint8)
    made = memory[-memory.ctypes.data % ALIGNMENT:][:TENSOR_MAP.itemsize]
    code = driver(ctypes.c_void_p(made.ctypes.data), TYPES[dtype], rank, ctypes.c_void_p(at), *geometry, *MODES)
    if code:
        raise RuntimeError(f"tensor_map: the driver refuses {asked} with {error_name(code)}")
    return made.view(TENSOR_MAP)[0].copy()


def error_name(code: int) -> str:
    """CUDA_ERROR_..., as the driver calls it, and the number."""
    name = ctypes.c_char_p()
    library().cuGetErrorName(code, ctypes.byref(name))
    return f"{(name.value or b'error').decode()} ({code})"


def _array(kind, *values):
    return (kind * len(values))(*values)


@lru_cache(1)
def library():
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def encode():
    """The driver's cuTensorMapEncodeTiled, called directly: the one of cuda.bindings has its
    result wherever Python's allocator puts it, which need not be a multiple of 64 bytes as
    the driver demands."""
    return library().cuTensorMapEncodeTiled


def encode_im2col():
    return library().cuTensorMapEncodeIm2col
