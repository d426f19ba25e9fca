// A step of a recurrent layer: what a unit does with its gates' sums, and where things lie.
#pragma once
#include "cell.cuh"
#include "steps.cuh"

struct Forward {
    const Sizes&  z;
    const Order&  order;
    const Packed& at;
    const real*   packed;   // of this direction
    int direction, pitch, units;
    bool peepholes, keep;
    real *gates, *cells, *y, *h_n, *c_n;   // gates and cells of this direction

    __device__ real* gates_row(int n, int t) const { return gates + order.row(t, n) * pitch; }
    // The unit's h after the step at time t. x: the row of gates, or its copy; h's part of the
    // sums comes as part(slot).
    template <class Part>
    __device__ acc advance(int n, int t, int u, bool last, const real* x, acc before, acc& c,
                           Part part) const {
        const i64 row = order.row(t, n);
        real* own = gates + row * pitch + u;
        acc g[4] = {};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int of_h = i - z.recurrent_slot();
            if (i < z.slots()) g[i] = value(x[i * z.hidden + u]);
            if (of_h >= 0 && of_h < z.slots()) g[i] += part(of_h);
        }
        acc h;
        if (z.cell == LSTM) {
            h = lstm(g, c, peepholes ? packed + at.peephole + u : nullptr, z.hidden);
            if (keep) cells[row * units + u] = rounded(c);
            if (last) c_n[z.state(direction, n) * z.hidden + u] = rounded(c);
        } else if (z.cell == GRU) {
            g[3] += value(packed[at.bias + 3 * z.hidden + u]);
            h = gru(g, before);
        } else {
            h = plain(g, z.cell == RELU);
        }
        if (keep) {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (i < z.slots() + z.recurrent_slot()) own[i * z.hidden] = rounded(g[i]);
        }
        return h;
    }
    __device__ real* output(int n, int t) const {
        return y + (order.place(t, n) * z.directions + direction) * z.outputs;
    }
    __device__ void emit(int n, int t, int o, bool last, acc h) const {
        output(n, t)[o] = rounded(h);
        if (last) h_n[z.state(direction, n) * z.outputs + o] = rounded(h);
    }
};

// layout: pitch of gates, pitch of cells, whether there are peepholes, whether gates are kept; then
// of recurrent_layer: splits of W_hh's product, of the projection's, rows of W_hh in shared memory
#define LAYER_PARAMETERS Dims sizes, Dims layout, i64 rows, i64 packed_size, const i64* lengths, const int* offsets, const real* h0, const real* c0, \
                         const real* packed, real* y, real* h_n, real* c_n, real* gates, real* cells
#define LAYER(which)                                                                                                                         \
    const Sizes z(sizes);                                                                                                                    \
    const Order order(z, lengths, offsets);                                                                                                  \
    const Packed at(z, layout[2]);                                                                                                           \
    const int direction = which;                                                                                                             \
    const Forward f{z, order, at, packed + direction * packed_size, direction, layout[0], layout[1], layout[2] != 0, layout[3] != 0,         \
                    gates + direction * rows * layout[0], layout[3] ? cells + direction * rows * layout[1] : cells, y, h_n, c_n};
