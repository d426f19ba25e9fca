"""Tensor maps: what the Tensor Memory Accelerator of compute capability 9.0 knows of an array whose boxes it copies to shared memory."""
from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

import numpy as np

TENSOR_MAP = np.dtype([("opaque", np.uint64, 16)])   # hopper.cuh's TensorMap, the driver's CUtensorMap
ALIGNMENT = 64          # bytes, of the driver's result
PACKET = 16             # bytes: addresses and strides are multiples of it
LINE = 128              # bytes: the most that the 128-byte swizzle takes along a box's innermost axis
LARGEST_BOX = 256       # elements along an axis


def mappable(array) -> bool:
    """Whether a dense array of three axes, none of them empty, has address and strides that the accelerator takes."""
    return array.size > 0 and array.shape[-1] * array.dtype.itemsize % PACKET == 0 and address(array) % PACKET == 0


def address(array) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"][0]


def tensor_map(array, box: tuple[int, int]) -> np.void:
    """The map of a dense (matrices, lines, length) array of float16 or bfloat16 for boxes of `box` = (lines, length) elements of one matrix,
    with the 128-byte swizzle and zeros outside; a kernel takes it as `const __grid_constant__ TensorMap`.

    ValueError for an array or a box that the accelerator cannot take; RuntimeError, with the driver's code, if it refuses.
    """
    if array.ndim != 3 or not mappable(array):
        raise ValueError(f"tensor_map: needs three axes, none empty, lines of a multiple of {PACKET} bytes and an address that is one; got "
                         f"{tuple(array.shape)} {array.dtype} at {address(array):#x}")
    if not 0 < box[0] <= LARGEST_BOX or not 0 < box[1] * array.dtype.itemsize <= LINE:
        raise ValueError(f"tensor_map: a box has at most {LARGEST_BOX} lines of {LINE} bytes, got {box} of {array.dtype}")
    return _encoded(address(array), array.dtype.name, array.dtype.itemsize, tuple(array.shape), tuple(box))


@lru_cache(1024)
def _encoded(at, dtype, item, shape, box):
    """All that a map depends on are these numbers, so one that was made for another array at the same place will do."""
    from cuda.bindings import driver as names
    types = {"float16": names.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
             "bfloat16": names.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16}
    if dtype not in types:
        raise ValueError(f"tensor_map: takes float16 and bfloat16, got {dtype}")
    matrices, lines, length = shape
    memory = np.zeros(TENSOR_MAP.itemsize + ALIGNMENT, np.uint8)
    made = memory[-memory.ctypes.data % ALIGNMENT:][:TENSOR_MAP.itemsize]
    code = encode()(ctypes.c_void_p(made.ctypes.data), int(types[dtype]), 3, ctypes.c_void_p(at),
                    _array(ctypes.c_uint64, length, lines, matrices), _array(ctypes.c_uint64, length * item, lines * length * item),
                    _array(ctypes.c_uint32, box[1], box[0], 1), _array(ctypes.c_uint32, 1, 1, 1),
                    int(names.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE), int(names.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B),
                    int(names.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B),
                    int(names.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE))   # "none" is zeros, the other choice NaN
    if code:
        raise RuntimeError(f"tensor_map: the driver refuses {shape} {dtype} in boxes of {box} with {names.CUresult(code).name}")
    return made.view(TENSOR_MAP)[0].copy()


def _array(kind, *values):
    return (kind * len(values))(*values)


@lru_cache(1)
def encode():
    """The driver's cuTensorMapEncodeTiled, called directly: the one of cuda.bindings has its result wherever Python's allocator puts it, which
    need not be a multiple of 64 bytes as the driver demands."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1").cuTensorMapEncodeTiled
