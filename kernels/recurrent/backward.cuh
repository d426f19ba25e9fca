// A step of a recurrent layer's gradient: what a unit does, and where things lie.
#pragma once
#include "cell.cuh"
#include "steps.cuh"

struct Backward {
    const Sizes& z;
    const Order& order;
    int direction, pitch, units, projected_pitch;
    // these and the next two: of this direction
    const real *dy, *dh_n, *dc_n, *h0, *c0, *y, *gates, *cells, *peephole;
    real *dgates, *dprojected, *dh0, *dc0;

    // What reaches h from outside the layer
    __device__ acc outside(int n, int t, int o, bool last) const {
        acc sum = dy ? value(dy[(order.place(t, n) * z.directions + direction) * z.outputs + o]) : acc(0);
        if (last && dh_n) sum += value(dh_n[z.state(direction, n) * z.outputs + o]);
        return sum;
    }
    __device__ int before(int t) const { return direction ? t + 1 : t - 1; }

    // dgates of a unit, in g afterwards too. carry: what this step leaves to the one before it: of
    // an LSTM the cell state's gradient, of a GRU what goes to h besides the product.
    __device__ void slopes(int n, int step, int t, int u, bool last, acc dh, acc& carry, acc (&g)[4]) const {
        const i64 row = order.row(t, n), state = z.state(direction, n);
        const real* kept = gates + row * pitch + u;
        real* to = dgates + row * pitch + u;
        const int count = z.slots() + z.recurrent_slot();
#pragma unroll
        for (int i = 0; i < 4; ++i) g[i] = i < count ? value(kept[i * z.hidden]) : acc(0);
        if (z.cell == LSTM) {
            if (last) carry = dc_n ? value(dc_n[state * z.hidden + u]) : acc(0);
            const acc c_before = step ? value(cells[order.row(before(t), n) * units + u])
                                 : c0 ? value(c0[state * z.hidden + u])
                                      : acc(0);
            lstm_slopes(g, dh, carry, c_before, value(cells[row * units + u]),
                        peephole ? peephole + u : nullptr, z.hidden);
            if (step == 0) dc0[state * z.hidden + u] = rounded(carry);
        } else if (z.cell == GRU) {
            const acc h_before =
                step ? value(y[(order.place(before(t), n) * z.directions + direction) * z.outputs + u])
                : h0 ? value(h0[state * z.outputs + u])
                     : acc(0);
            carry = gru_slopes(g, dh, h_before);
        } else {
            plain_slopes(g, dh, z.cell == RELU);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (i < count) to[i * z.hidden] = rounded(g[i]);
            g[i] = value(rounded(g[i]));
        }
    }
};

// layout: pitches of gates, of cells and of dprojected; then of recurrent_layer_backward: splits of
// W_hh's product, of the projection's, rows of W_hh in shared memory
#define BACK_PARAMETERS Dims sizes, Dims layout, i64 rows, i64 packed_size, const i64* lengths, const int* offsets, const real* dy, \
                        const real* dh_n, const real* dc_n, const real* h0, const real* c0, const real* y, const real* gates, const real* cells, \
                        const real* packed, const real* peephole, real* dgates, real* dprojected, real* dh0, real* dc0
#define BACK(which)                                                                                                                          \
    const Sizes z(sizes);                                                                                                                    \
    const Order order(z, lengths, offsets);                                                                                                  \
    const int direction = which;                                                                                                             \
    const Backward b{z, order, direction, layout[0], layout[1], layout[2], dy, dh_n, dc_n, h0, c0, y, gates + direction * rows * layout[0],   \
                     cells ? cells + direction * rows * layout[1] : nullptr, peephole ? peephole + (i64)direction * 3 * z.hidden : nullptr,  \
                     dgates + direction * rows * layout[0], dprojected ? dprojected + direction * rows * layout[2] : nullptr, dh0, dc0};     \
    const real* recurrent_weights = packed + direction * packed_size + (i64)z.columns() * z.inputs;                                          \
    const real* projection = recurrent_weights + (i64)z.columns() * z.outputs;
