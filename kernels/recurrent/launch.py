"""Grids of the recurrent kernels: which form a layer's steps take, and the tables that rows of
different length need."""
import math

import numpy as np

__all__ = ["recurrent", "recurrent_backward", "recurrent_pack", "recurrent_pack_transposed",
           "recurrent_weight_gradient"]

PACK, FORWARD, BACKWARD, LAYER, LAYER_BACKWARD, WEIGHTS = (
    f"recurrent/{name}.cu" for name in ("pack", "forward", "backward", "layer", "layer_backward", "weight_gradient"))
TANH, RELU, LSTM, GRU = range(4)
WIDTH, UNITS, WIDE, CHUNK, WIDE_PITCH, RESIDENT_THREADS = 64, 16, 16, 256, 20, 512   # product.cuh, steps.cuh
LANES_MOST = 8   # values of a 16-byte packet, of the narrowest type
RESIDENT_MOST = 320 << 10   # bytes of a recurrent matrix that a block goes through by itself at every step
SHARED_OWN = 256   # bytes of shared memory that kernels declare themselves, at most
PART_ROWS, PARTS_MOST = 128, 64   # of a sum over rows: rows that are worth a block, and parts


class Sizes:
    def __init__(self, sizes):
        self.steps, self.samples, self.inputs, self.hidden, self.outputs, self.directions, self.cell = sizes[
            :7]
        self.slots = {LSTM: 4, GRU: 3}.get(self.cell, 1)
        self.columns = self.slots * self.hidden
        self.shift = 2 * self.hidden if self.cell == GRU else 0
        self.recurrent_slot = int(self.cell == GRU)
        self.bias = self.columns + self.recurrent_slot * self.hidden
        self.projected = self.outputs != self.hidden


def rounded_up(count, each):
    return parts_of(count, each) * each


def parts_of(count, each):
    return -(-count // each)


def acc_type(device):
    return np.dtype(np.float64 if device.real == "f64" else np.float32)


def tiles_of(device, height, width):
    """Blocks of a product, product.cuh."""
    return parts_of(height, 64 if device.real == "f64" else 128), parts_of(width, WIDTH)


# ---- weights

def transpose(device, w, shift, to):
    rows, depth = w.shape
    device.launch(PACK, "recurrent_transpose", (parts_of(depth, 32), parts_of(rows, 32)), (256,),
                  (w, rows, depth, shift, to))


def recurrent_pack(device, w_ih, w_hh, b_ih, b_hh, w_hr, peephole, sizes, packed):
    z = Sizes(sizes)
    at = z.inputs * z.columns
    transpose(device, w_ih, z.shift, packed)
    transpose(device, w_hh, 0, packed[at:])
    device.launch(PACK, "recurrent_bias", (parts_of(max(z.bias, 3 * z.hidden), 256),), (256,),
                  (b_ih, b_hh, peephole, sizes, packed))
    if w_hr is not None:
        transpose(device, w_hr, 0,
                  packed[at + z.outputs * z.columns + z.bias + (0 if peephole is None else 3 * z.hidden):])


def recurrent_pack_transposed(device, w_ih, w_hh, w_hr, sizes, packed):
    z = Sizes(sizes)
    at = 0
    for w, shift in ((w_ih, z.shift * z.inputs), (w_hh, 0), (w_hr, 0)):
        if w is not None:
            device.launch(PACK, "recurrent_rotate", (min(parts_of(w.size, 256), 4096),), (256,),
                          (w, np.int64(w.size), np.int64(shift), packed[at:]))
            at += w.size


# ---- the forms of a step

def splits_of(columns):
    """Of a product that one block makes: enough for all threads."""
    return min(16, max(1, RESIDENT_THREADS // columns))


class Resident:
    """How a block goes through all steps of its samples with a matrix (depth, columns) and, where h
    is projected, one of `projection` columns. A sample needs `own` values besides the products'
    parts, and `ahead` of the storage type. fits: whether one block can; that depends on the layer
    alone, so that a sample's result does not depend on how many there are."""

    def __init__(self, device, z, depth, columns, own, projection, ahead=0):
        size, most = device.dtype.itemsize, device.shared_limit - SHARED_OWN
        choices = (4, 2) if device.real == "f64" else (8, 4, 2)
        # as many samples as leave a block for every multiprocessor
        self.samples = next(
            (s for s in choices if parts_of(z.samples, s) * z.directions >= device.multiprocessors), 1)
        self.splits, self.projection_splits = splits_of(columns), splits_of(projection or 1)
        widest = max(columns * self.splits, (projection or 0) * self.projection_splits)
        each = (own + widest) * acc_type(device).itemsize + ahead * size
        self.fits = depth * columns * size <= RESIDENT_MOST and choices[0] * each <= most
        # rows in shared memory
        self.kept = max(0, min(depth, (most - self.samples * each) // (columns * size)))
        self.shared = self.samples * each + self.kept * columns * size
        self.threads = min(RESIDENT_THREADS, rounded_up(widest, 32))

    def launch(self, device, file, kernel, z, sizes, layout, args):
        device.launch(file, kernel, (parts_of(z.samples, self.samples), z.directions), (self.threads,),
                      (sizes, (*layout, self.splits, self.projection_splits, self.kept), *args),
                      shared=self.shared, SAMPLES=self.samples)


def step_block(z, slots):
    """Block of a launch a step: (columns, groups of 4 samples, splits)."""
    return slots * UNITS, min(WIDE // 4, parts_of(z.samples, 4)), 16 // slots


def step_launch(device, file, kernel, z, units, slots, args):
    block = step_block(z, slots)
    grid = (parts_of(units, UNITS), parts_of(z.samples, 4 * block[1]), z.directions)
    device.launch(file, kernel, grid, block, args,
                  shared=max(CHUNK * WIDE_PITCH, 4 * math.prod(block)) * acc_type(device).itemsize)


def tables(device, lengths, sizes, rows):
    """(offsets, place): where a sample's rows of gates begin, and the row of x of each; None where
    rows of gates are rows of x."""
    if lengths is None:
        return None, None
    offsets, place = device.empty((sizes[1],), np.int32), device.empty((rows,), np.int32)
    device.launch(PACK, "recurrent_rows", (sizes[1],), (128,), (lengths, sizes, 0, offsets, place, None))
    return offsets, place


# ---- forward

def recurrent(device, x, h0, c0, lengths, packed, sizes, batch_first, peephole, y, h_n, c_n, gates, cells):
    z, sizes = Sizes(sizes), (*sizes, int(batch_first))
    if z.samples == 0:
        return
    keep = gates.size > 0
    if not keep:
        gates = device.empty((z.directions, z.steps * z.samples, rounded_up(z.columns, LANES_MOST)))
    rows, pitch = gates.shape[1:]
    offsets, place = tables(device, lengths if keep else None, sizes, rows)
    if lengths is not None:
        y.fill(0)   # behind the ends
    device.launch(FORWARD, "recurrent_input", (*tiles_of(device, rows, z.columns), z.directions), (256,),
                  (x, packed, np.int64(packed.shape[1]), place, sizes, peephole, rows, pitch, gates))
    layout = (pitch, cells.shape[-1] if keep and cells.size else 0, int(peephole), int(keep))
    args = (np.int64(rows), np.int64(packed.shape[1]), lengths, offsets, h0, c0, packed, y, h_n, c_n, gates,
            cells if cells.size else None)
    form = Resident(device, z, z.outputs, z.columns, z.outputs + z.hidden + z.hidden * z.projected,
                    z.outputs if z.projected else None, rounded_up(z.columns, 16 // device.dtype.itemsize))
    if form.fits:
        form.launch(device, LAYER, "recurrent_layer", z, sizes, layout, args)
    else:
        stepwise_forward(device, z, sizes, layout, args)


def stepwise_forward(device, z, sizes, layout, args):
    state = device.empty((z.directions, z.samples, z.hidden) if z.cell == LSTM else (0,), acc_type(device))
    hidden = device.empty((z.directions, z.samples, z.hidden) if z.projected else (0,))
    for step in range(z.steps):
        step_launch(device, FORWARD, "recurrent_step", z, z.hidden, z.slots,
                    (sizes, layout, *args, step, state, hidden))
        if z.projected:
            step_launch(device, FORWARD, "recurrent_project", z, z.outputs, 1,
                        (sizes, layout, *args, step, hidden))


# ---- backward

def recurrent_backward(device, dy, dh_n, dc_n, h0, c0, lengths, y, gates, cells, packed, peephole, sizes,
                       batch_first, dx, dh0, dc0, dgates, dprojected):
    z, sizes = Sizes(sizes), (*sizes, int(batch_first))
    if z.samples == 0:
        return
    rows, pitch = gates.shape[1:]
    offsets, place = tables(device, lengths, sizes, rows)
    dprojected = dprojected if z.projected else None
    layout = (pitch, cells.shape[-1] if z.cell == LSTM else 0, dprojected.shape[-1] if z.projected else 0)
    size = np.int64(packed.shape[1])
    args = (np.int64(rows), size, lengths, offsets, dy, dh_n, dc_n, h0, c0, y, gates,
            cells if z.cell == LSTM else None, packed, peephole, dgates, dprojected, dh0, dc0)
    form = Resident(device, z, z.columns, z.outputs, z.columns + z.hidden + z.outputs * z.projected,
                    z.hidden if z.projected else None)
    if form.fits:
        form.launch(device, LAYER_BACKWARD, "recurrent_layer_backward", z, sizes, layout, args)
    else:
        stepwise_backward(device, z, sizes, layout, args)
    if dx.size:
        if lengths is not None:
            dx.fill(0)   # behind the ends
        device.launch(BACKWARD, "recurrent_input_gradient", tiles_of(device, rows, z.inputs), (256,),
                      (dgates, packed, size, place, sizes, rows, pitch, dx))


def stepwise_backward(device, z, sizes, layout, args):
    carry = device.empty((z.directions, z.samples, z.hidden) if z.cell in (LSTM, GRU) else (0,),
                         acc_type(device))
    for step in range(z.steps - 1, -2, -1):
        step_launch(device, BACKWARD, "recurrent_back_step", z, z.outputs, 1,
                    (sizes, layout, *args, step, carry))
        if z.projected and step >= 0:
            step_launch(device, BACKWARD, "recurrent_back_hidden", z, z.hidden, 1,
                        (sizes, layout, *args, step, carry))


# ---- the weights' gradients

def recurrent_weight_gradient(device, x, h0, c0, lengths, y, gates, cells, dgates, dprojected, sizes,
                              batch_first, direction, dw_ih, dw_hh, db_ih, db_hh, dw_hr, dpeephole):
    z, sizes = Sizes(sizes), (*sizes, int(batch_first))
    rows, pitch = gates.shape[1:]
    if z.samples == 0 or rows == 0:
        for gradient in (dw_ih, dw_hh, db_ih, db_hh, dw_hr, dpeephole):
            gradient.fill(0)
        return
    place, before = None if lengths is None else device.empty((rows,),
                                                              np.int32), device.empty((rows,), np.int32)
    device.launch(PACK, "recurrent_rows", (z.samples,), (128,),
                  (lengths, sizes, int(direction), None, place, before))
    slopes = dgates[direction]
    product(device, "recurrent_input_weights", rows, z.shift, (slopes, x, place, sizes, rows, pitch), dw_ih)
    product(device, "recurrent_state_weights", rows, 0,
            (slopes, y, h0, place, before, sizes, int(direction), rows, pitch), dw_hh)
    if db_ih.size:
        parts = column_sums(device, "recurrent_bias_gradient", rows, z.bias, (slopes, rows, z.bias, pitch))
        add(device, parts, 0, z.shift, db_ih)
        add(device, parts, z.recurrent_slot * z.hidden, 0, db_hh)
    if dpeephole.size:
        own, units = cells[direction], cells.shape[-1]
        add(device, column_sums(device, "recurrent_peephole_gradient", rows, 3 * z.hidden,
                                (slopes, own, c0, before, sizes, int(direction), rows, pitch, units)),
            0, 0, dpeephole)
    if dw_hr.size:
        product(device, "recurrent_projection_weights",
                rows, 0, (dprojected[direction], gates[direction], cells[direction], sizes, rows,
                          dprojected.shape[-1], pitch, cells.shape[-1]),
                dw_hr)


def cut(rows, parts):
    """(parts, rows of each): few enough that each is worth a block."""
    each = rounded_up(parts_of(rows, max(1, min(parts, PARTS_MOST, parts_of(rows, PART_ROWS)))), 16)
    return parts_of(rows, each), each


def product(device, kernel, rows, shift, args, to):
    """`to`, a sum over rows of products: in as many parts as give every
    multiprocessor two blocks."""
    height, width = to.shape
    tiles = tiles_of(device, height, width)
    parts, each = cut(rows, parts_of(2 * device.multiprocessors, math.prod(tiles)))
    held = device.empty((parts, to.size), acc_type(device)) if parts > 1 else None
    device.launch(WEIGHTS, kernel, (*tiles, parts), (256,), (*args, each, held, to))
    if parts > 1:
        add(device, held, 0, shift * width, to)


def column_sums(device, kernel, rows, columns, args):
    parts, each = cut(rows, parts_of(4 * device.multiprocessors, parts_of(columns, 32)))
    held = device.empty((parts, columns), acc_type(device))
    device.launch(WEIGHTS, kernel, (parts_of(columns, 32), parts), (32, 8), (*args, each, held))
    return held


def add(device, parts, first, shift, to):
    device.launch(WEIGHTS, "recurrent_sum_parts", (min(parts_of(to.size, 256), 4096),), (256,),
                  (parts, parts.shape[0], np.int64(parts.shape[1]), np.int64(first), np.int64(to.size),
                   np.int64(shift), to))
