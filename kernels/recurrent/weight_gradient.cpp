// The gradients of a direction's weights: one product over all steps of all samples each, dgates' x
// for W_ih and dgates' h_before for W_hh, on the register tile of kernels/gemm/gemm.h. Rows of x
// and h lie wherever the order of the direction puts them, so panels are packed from row pointers.
// Sums run over the rows in the order of dgates.
#include "gemm/gemm.h"
#include "cell.h"

BEGIN_KERNELS

namespace {
// of the reduction; of a task's columns; tiles of rows packed together
constexpr i64 ROW_BLOCK = 256, COLUMN_GROUP = 11 * WIDTH, TILES = 8;

// c[row_of(tile)][j] = sum over k of a[k][column_of(tile) + i] b[k][j], tiles of ROWS rows.
// b[k] may be null: zeros.
struct Product {
    const real*        a;
    i64                pitch, rows;
    const real* const* b;
    i64                columns;
    real*              c;

    struct Place { i64 column, row; int valid; };

    template <class PlaceOf>
    void task(i64 tile0, i64 tile1, i64 column0, i64 column1, PlaceOf place_of) const {
        Scratch<real> packed_b(ROW_BLOCK * (column1 - column0 + WIDTH)), packed_a(ROW_BLOCK * TILES * ROWS);
        const real zeros[ROWS] = {};
        for (i64 k0 = 0; k0 < rows || k0 == 0; k0 += ROW_BLOCK) {
            const i64 depth = least(rows - k0, ROW_BLOCK);
            for (i64 j = column0; j < column1; j += WIDTH)
                pack_b(k0, depth, j, least(column1 - j, WIDTH), packed_b + (j - column0) * ROW_BLOCK);
            for (i64 first = tile0; first < tile1; first += TILES) {
                const i64 last = least(first + TILES, tile1);
                i64 column[TILES];
                for (i64 t = first; t < last; ++t) column[t - first] = place_of(t).column;
                for (i64 k = 0; k < depth; ++k)   // row after row: a tile alone would take half of every line
                    for (i64 t = first; t < last; ++t)
                        std::memcpy(packed_a + (t - first) * ROWS * ROW_BLOCK + k * ROWS,
                                    a + (k0 + k) * pitch + column[t - first], ROWS * sizeof(real));
                for (i64 j = column0; j < column1; j += WIDTH) {
                    const i64 count = least(column1 - j, WIDTH);
                    const int vectors = (int)blocks_of(count, LANES);
                    for (i64 t = first; t < last; ++t) {
                        const Place place = place_of(t);
                        if (place.valid == 0) continue;
                        if (k0)
                            fetch(c + place_of(t + 1 < last ? t + 1 : first).row * columns +
                                  (t + 1 < last ? j : least(j + WIDTH, columns - 1)));
                        const real *pa = packed_a + (t - first) * ROWS * ROW_BLOCK,
                                   *pb = packed_b + (j - column0) * ROW_BLOCK, *start = k0 ? nullptr : zeros;
                        real* to = c + place.row * columns + j;
                        if (place.valid == ROWS && count == vectors * LANES)
                            gemm_tile(vectors, depth, pa, pb, to, columns, start);
                        else gemm_tile_ragged(vectors, depth, pa, pb, to, columns, place.valid, count, start);
                    }
                }
            }
        }
    }
    // The next tile's sums: rows far apart, which no hardware would expect
    void fetch(const real* from) const {
        for (int r = 0; r < ROWS; ++r)
            for (i64 i = 0; i < WIDTH; i += 64 / (i64)sizeof(real))
                __builtin_prefetch(from + r * columns + i, 1, 3);
    }
    void pack_b(i64 k0, i64 depth, i64 column, i64 count, real* to) const {
        const int vectors = (int)blocks_of(count, LANES);
        for (i64 k = 0; k < depth; ++k, to += vectors * LANES)
            for (int v = 0; v < vectors; ++v) {
                const real* row = b[k0 + k];
                store(to + v * LANES,
                      row ? load_some(row + column + v * LANES, lanes_of(count - v * LANES)) : V{});
            }
    }

    template <class PlaceOf> void run(i64 tiles, PlaceOf place_of) const {
        const i64 column_groups = blocks_of(columns, COLUMN_GROUP),
                  row_groups = least(tiles, blocks_of(threads_now(), column_groups));
        auto one = [&](i64 i) {
            const i64 group = i / row_groups, part = i % row_groups, panels = blocks_of(columns, WIDTH);
            task(tiles * part / row_groups, tiles * (part + 1) / row_groups,
                 panels * group / column_groups * WIDTH,
                 least(panels * (group + 1) / column_groups * WIDTH, columns), place_of);
        };
        if (tiles * ROWS * columns * rows > 40000) parallel_tasks(column_groups * row_groups, one);
        else for (i64 i = 0; i < column_groups * row_groups; ++i) one(i);
    }
};

// Tiles of a layer's gates: those of `width` slots from `first_slot` on.
struct GateTiles {
    const Sizes& z;
    int first_slot;
    bool recurrent;
    static constexpr i64 EACH = BLOCK / ROWS > 0 ? BLOCK / ROWS : 1;
    i64 count() const { return z.panels() * z.width() * EACH; }
    Product::Place operator()(i64 tile) const {
        const i64 sub = tile % EACH * ROWS, panel = tile / EACH / z.width();
        const int slot = (int)(tile / EACH % z.width()) + first_slot;
        const i64 unit = (z.gated() ? panel * BLOCK : panel * PANEL + slot * BLOCK) + sub,
                  left = z.hidden - unit;
        const int valid = left >= ROWS ? ROWS : left > 0 ? (int)left : 0;
        return {panel * PANEL + slot * BLOCK + sub,
                valid ? recurrent ? z.recurrent_row(slot, unit) : z.input_row(slot, unit) : 0, valid};
    }
};

// Sums of dgates over all rows go to the biases; with peepholes, sums of dgates times cell states too.
void bias_gradient(const Sizes& z, const real* dgates, i64 rows, Out<real> db_ih, Out<real> db_hh) {
    parallel_for(z.panels(), 1 + 40000 / (rows * PANEL + 1), [&](i64 begin, i64 end) {
        for (i64 p = begin; p < end; ++p) {
            real sums[PANEL];
            V acc[PANEL / LANES] = {};
            for (i64 r = 0; r < rows; ++r)
                for (int v = 0; v < PANEL / LANES; ++v)
                    acc[v] += load(dgates + r * z.pitch() + p * PANEL + v * LANES);
            for (int v = 0; v < PANEL / LANES; ++v) store(sums + v * LANES, acc[v]);
            for (int i = 0; i < PANEL; ++i) {
                const int slot = i / BLOCK;
                const i64 unit = z.gated() ? p * BLOCK + i % BLOCK : p * PANEL + i;
                if (unit >= z.hidden) continue;
                if (z.cell != GRU || slot < 3) db_ih.data[z.input_row(slot, unit)] = sums[i];
                if (z.cell != GRU || slot > 0) db_hh.data[z.recurrent_row(slot, unit)] = sums[i];
            }
        }
    });
}

void peephole_gradient(const Sizes& z, const Order& order, i64 direction, const real* dgates,
                       const real* cells, In<real> c0, Out<real> dpeephole) {
    for (i64 u = 0; u < z.hidden; u += LANES) {
        const int n = lanes_of(z.hidden - u);
        V di{}, df{}, d_o{};
        for (i64 s = 0; s < order.iterations(); ++s)
            for (i64 q = 0; q < order.count(s); ++q) {
                const real* d = dgates + order.row(s, q) * z.pitch() + u / BLOCK * PANEL + u % BLOCK;
                const V before =
                    s    ? load(cells + order.row(s - 1, q) * z.units() + u)
                    : c0 ? load_some(c0.data + (direction * z.samples + order.sample[q]) * z.hidden + u, n)
                         : V{};
                di += load(d) * before;
                df += load(d + BLOCK) * before;
                d_o += load(d + 3 * BLOCK) * load(cells + order.row(s, q) * z.units() + u);
            }
        store_some(dpeephole.data + u, di, n);
        store_some(dpeephole.data + z.hidden + u, df, n);
        store_some(dpeephole.data + 2 * z.hidden + u, d_o, n);
    }
}
}  // namespace

void recurrent_weight_gradient(In<real> x, In<real> h0, In<real> c0, In<i64> lengths, In<real> y,
                               In<real> gates, In<real> cells, In<real> dgates, In<real> dprojected,
                               Dims sizes, bool batch_first, i64 direction, Out<real> dw_ih, Out<real> dw_hh,
                               Out<real> db_ih, Out<real> db_hh, Out<real> dw_hr, Out<real> dpeephole) {
    const Sizes z(sizes, batch_first, dpeephole.size() > 0);
    const Order order(z, lengths);
    const i64   rows = order.rows(), width = z.directions * z.outputs;
    const real* slopes = dgates.data + direction * rows * z.pitch();
    Scratch<const real*> inputs(rows), before(rows);
    for (i64 s = 0; s < order.iterations(); ++s)
        for (i64 q = 0; q < order.count(s); ++q) {
            const i64 r = order.row(s, q);
            inputs[r] = x.data + order.place(direction, s, q) * z.inputs;
            before[r] = s ? y.data + order.place(direction, s - 1, q) * width + direction * z.outputs
                          : h0 ? h0.data + (direction * z.samples + order.sample[q]) * z.outputs : nullptr;
        }
    const GateTiles of_input{z, 0, false}, of_h{z, z.recurrent_slot(), true};
    Product{slopes, z.pitch(), rows, inputs, z.inputs, dw_ih.data}.run(of_input.count(), of_input);
    Product{slopes, z.pitch(), rows, before, z.outputs, dw_hh.data}.run(of_h.count(), of_h);
    if (db_ih.size()) bias_gradient(z, slopes, rows, db_ih, db_hh);
    if (dpeephole.size())
        peephole_gradient(z, order, direction, slopes, cells.data + direction * rows * z.units(), c0,
                          dpeephole);
    if (!dw_hr.size()) return;
    // what was projected, o tanh(C), once more
    Scratch<real> hidden(rows * z.units());
    Scratch<const real*> projected(rows);
    parallel_for(rows, 1 + 4000 / z.units(), [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            projected[r] = hidden + r * z.units();
            for (i64 u = 0; u < z.units(); u += LANES)
                store(hidden + r * z.units() + u,
                      load(gates.data + (direction * rows + r) * z.pitch() + u / BLOCK * PANEL + 3 * BLOCK +
                           u % BLOCK) *
                          gate_tanh(load(cells.data + (direction * rows + r) * z.units() + u)));
        }
    });
    const i64 padded = blocks_of(z.outputs, PANEL) * PANEL;
    Product{dprojected.data + direction * rows * padded, padded, rows, projected, z.hidden, dw_hr.data}.run(
        blocks_of(z.outputs, ROWS), [&](i64 tile) {
            return Product::Place{tile * ROWS, tile * ROWS, (int)least(ROWS, z.outputs - tile * ROWS)};
        });
}

END_KERNELS
