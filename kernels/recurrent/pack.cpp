// Weights in the order in which a step reads them (layout.h): a panel holds all that the gates of
// its units need, one vector a gate for every input, so that a unit's gates are finished together.
// Packing costs about one step's reading; a compiled program does it once.
#include "gemm/gemm.h"
#include "order.h"

BEGIN_KERNELS

// Panels [depth][W][16] of weights whose row for (slot, unit) row_of says; rows are `depth` long.
template <class RowOf>
static void pack_panels(const Sizes& z, const real* w, i64 depth, RowOf row_of, real* packed) {
    const int width = z.width();
    parallel_for(z.panels(), 1 + 20000 / (depth * PANEL + 1), [&](i64 begin, i64 end) {
        for (i64 p = begin; p < end; ++p)
            for (int g = 0; g < width; ++g) {
                const i64 unit = p * z.panel_units() + (z.gated() ? 0 : g * BLOCK);
                for (int v = 0; v < BLOCK; v += LANES) {
                    const i64 left = z.hidden - unit - v, valid = left < 0 ? 0 : least(left, LANES);
                    pack_rows<LANES>(valid ? w + row_of(g, unit + v) * depth : w, depth, (int)valid, depth,
                                     packed + p * depth * width * BLOCK + g * BLOCK + v, width * BLOCK);
                }
            }
    });
}

// `count` panels of 64 columns [rows][64]; `row_at(k)` is the k-th row or null for one of zeros.
template <class RowAt> static void pack_columns_of(i64 rows, i64 columns, RowAt row_at, real* packed) {
    parallel_for(blocks_of(columns, PANEL), 1 + 20000 / (rows * PANEL + 1), [&](i64 begin, i64 end) {
        for (i64 p = begin; p < end; ++p)
            for (i64 k = 0; k < rows; ++k) {
                const real* row = row_at(k);
                for (i64 j = 0; j < PANEL; j += LANES) {
                    const i64 left = columns - p * PANEL - j;
                    store(packed + (p * rows + k) * PANEL + j,
                          !row || left <= 0 ? V{}
                                            : load(row + p * PANEL + j, left < LANES ? (int)left : LANES));
                }
            }
    });
}

void recurrent_pack(In<real> w_ih, In<real> w_hh, In<real> b_ih, In<real> b_hh, In<real> w_hr,
                    In<real> peephole, Dims sizes, Out<real> packed) {
    const Sizes  z(sizes, false, (bool)peephole);
    const Packed at(z);
    pack_panels(
        z, w_ih.data, z.inputs, [&](int g, i64 unit) { return z.input_row(g, unit); },
        packed.data + at.input);
    pack_panels(
        z, w_hh.data, z.outputs,
        [&](int g, i64 unit) { return z.recurrent_row(g + z.recurrent_slot(), unit); },
        packed.data + at.recurrent);
    for (i64 i = 0; i < z.gates(); ++i) {
        const i64  slot = i % PANEL / BLOCK, unit = z.gated() ? i / PANEL * BLOCK + i % BLOCK : i;
        const bool from_x = z.cell != GRU || slot < 3, from_h = z.cell != GRU || slot > 0;
        real sum = 0;
        if (unit < z.hidden) {
            if (b_ih && from_x) sum += b_ih.data[z.input_row((int)slot, unit)];
            if (b_hh && from_h) sum += b_hh.data[z.recurrent_row((int)slot, unit)];
        }
        packed.data[at.bias + i] = sum;
    }
    if (peephole)
        for (i64 i = 0; i < 3 * z.units(); ++i) {
            const i64 unit = i % z.units();
            packed.data[at.peephole + i] =
                unit < z.hidden ? peephole.data[i / z.units() * z.hidden + unit] : 0;
        }
    if (z.projected())   // [units of h] panels of 64 outputs: row k is column k of w_hr (outputs, hidden)
        for (i64 p = 0; p < blocks_of(z.outputs, PANEL); ++p)
            for (i64 j = 0; j < PANEL; j += LANES) {
                const i64 first = p * PANEL + j, left = z.outputs - first,
                          valid = left < 0 ? 0 : least(left, LANES);
                pack_rows<LANES>(valid ? w_hr.data + first * z.hidden : w_hr.data, z.hidden, (int)valid,
                                 z.hidden, packed.data + at.projection + p * z.hidden * PANEL + j, PANEL);
            }
}

void recurrent_pack_transposed(In<real> w_ih, In<real> w_hh, In<real> w_hr, Dims sizes, Out<real> packed) {
    const Sizes            z(sizes, false, false);
    const PackedTransposed at(z);
    const i64 width = z.width(), depth = z.panels() * width * BLOCK;
    auto unit_of = [&](i64 k) { return z.gated() ? k / (width * BLOCK) * BLOCK + k % BLOCK : k; };
    auto slot_of = [&](i64 k) { return (int)(k / BLOCK % width); };
    pack_columns_of(
        depth, z.inputs,
        [&](i64 k) {
            return unit_of(k) < z.hidden ? w_ih.data + z.input_row(slot_of(k), unit_of(k)) * z.inputs
                                         : nullptr;
        },
        packed.data + at.input);
    pack_columns_of(
        depth, z.outputs,
        [&](i64 k) {
            return unit_of(k) < z.hidden
                       ? w_hh.data + z.recurrent_row(slot_of(k) + z.recurrent_slot(), unit_of(k)) * z.outputs
                       : nullptr;
        },
        packed.data + at.recurrent);
    if (z.projected())
        pack_columns_of(
            z.outputs, z.hidden, [&](i64 k) { return w_hr.data + k * z.hidden; },
            packed.data + at.projection);
}

END_KERNELS
