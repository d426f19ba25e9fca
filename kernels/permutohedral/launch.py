"""Grids of the permutohedral lattice: its vertices are found, sorted and numbered (lattice.cu, sort.cu), then
values are filtered on it (filter.cu). How many vertices there are never leaves the device: arrays have room
for a vertex a corner."""
import numpy as np

from ...cuda.arguments import ACC
from ..grid import ceil_div

__all__ = ["permutohedral"]

LATTICE, SORT, FILTER = (f"permutohedral/{name}.cu" for name in ("lattice", "sort", "filter"))
THREADS, TILE, BITS, SUM = 256, 1024, 4, 1024   # as in sort.cu


def over(device, n):
    """Blocks of a loop over n elements."""
    return (min(ceil_div(n, THREADS), 32 * device.multiprocessors),)


def sort(device, numbers, beside, bits):
    """(numbers, what belongs to them) by rising numbers of so many bits, equal ones in their order."""
    n = numbers.size
    tiles = ceil_div(n, TILE)
    counts = device.empty((1 << BITS, tiles), "int32")
    there = device.empty(numbers.shape, "uint32"), device.empty(beside.shape, "int32")
    for shift in range(0, bits, BITS):
        device.launch(SORT, "sort_count", (tiles,), (THREADS,), (numbers, n, shift, counts))
        device.launch(SORT, "sort_sum", (1,), (SUM,), (counts, counts.size))
        device.launch(SORT, "sort_put", (tiles,), (THREADS,), (numbers, beside, n, shift, counts, *there))
        (numbers, beside), there = there, (numbers, beside)
    return numbers, beside


def permutohedral(device, features, values, reverse, y):
    (n, d), c = features.shape, values.shape[1]
    if not n * c:
        return
    corners, acc = n * (d + 1), ACC[device.real]
    slots_of = 1 << max(4, (2 * corners - 1).bit_length())
    mask, blocks = np.uint32(slots_of - 1), over(device, corners)
    weights, keys = device.empty((n, d + 1), acc), device.empty((corners, d), "int32")
    lost, slots = device.empty((n,), "uint8"), device.zeros((slots_of,), "int32")
    place, order = device.empty((corners,), "uint32"), device.empty((corners,), "int32")
    device.launch(LATTICE, "lattice_simplices", over(device, n), (THREADS,), (features, n, d, weights, keys, lost))
    device.launch(LATTICE, "lattice_insert", blocks, (THREADS,), (keys, d, corners, mask, slots, place, order))
    place, order = sort(device, place, order, slots_of.bit_length() - 1)

    before, starts = device.empty((corners,), "int32"), device.empty((corners + 1,), "int32")
    of_slot, of_corner = device.empty((slots_of,), "int32"), device.empty((corners,), "int32")
    count, sides = device.empty((1,), "int32"), device.empty((corners, d + 1, 2), "int32")
    device.launch(LATTICE, "lattice_begins", blocks, (THREADS,), (place, corners, before))
    device.launch(SORT, "sort_sum", (1,), (SUM,), (before, corners))
    device.launch(LATTICE, "lattice_number", blocks, (THREADS,),
                  (place, order, before, corners, starts, of_slot, of_corner, count))
    device.launch(LATTICE, "lattice_sides", over(device, 2 * corners * (d + 1)), (THREADS,),
                  (keys, d, mask, slots, order, starts, of_slot, count, sides))

    held, other = device.empty((corners, c), acc), device.empty((corners, c), acc)
    wide = min(32, 1 << (c - 1).bit_length())
    device.launch(FILTER, "lattice_splat", over(device, 32 * corners * ceil_div(c, wide)), (THREADS,),
                  (values, weights, lost, order, starts, count, c, d, wide, held))
    for axis in range(d, -1, -1) if reverse else range(d + 1):
        device.launch(FILTER, "lattice_blur", over(device, corners * c), (THREADS,),
                      (held, sides, count, c, d + 1, axis, other))
        held, other = other, held
    device.launch(FILTER, "lattice_slice", over(device, y.size), (THREADS,),
                  (held, weights, lost, of_corner, d + 1, c, y, np.int64(y.size)))
