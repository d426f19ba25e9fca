// The equations of a step, on the gates' sums in registers. [h, x] stands for the two vectors end
// to end, * is elementwise:
//
//     LSTM (Hochreiter & Schmidhuber, 1997; Gers et al., 2000), with torch's names of
//     the slots on the right
//         f_t  = sigma(W_f [h_(t-1), x_t] + b_f)       slot 1, f
//         i_t  = sigma(W_i [h_(t-1), x_t] + b_i)       slot 0, i
//         C~_t = tanh(W_C [h_(t-1), x_t] + b_C)        slot 2, g
//         C_t  = f_t * C_(t-1) + i_t * C~_t
//         o_t  = sigma(W_o [h_(t-1), x_t] + b_o)       slot 3, o
//         h_t  = o_t * tanh(C_t)
//     with peepholes (Gers & Schmidhuber, 2000): f and i also see p_f * C_(t-1) and p_i *
//     C_(t-1), o sees p_o * C_t
//
//     GRU (Cho et al., 2014; as in torch the reset gate acts on W_hn h + b_hn, not on h)
//         r_t = sigma(W_r [h_(t-1), x_t] + b_r),  z_t = sigma(W_z [h_(t-1), x_t] + b_z)
//         n_t = tanh(W_in x_t + b_in + r_t * (W_hn h_(t-1) + b_hn))
//         h_t = (1 - z_t) * n_t + z_t * h_(t-1)
//
//     RNN     h_t = tanh(W [h_(t-1), x_t] + b), or relu
#pragma once
#include "order.h"
#include "gates.h"

namespace ISA::REAL_NAME {
// Of the `left` units from some place on, how many a vector holds
static inline int lanes_of(i64 left) { return left >= LANES ? LANES : left > 0 ? (int)left : 0; }
static inline V load_some(const real* p, int n) { return n == LANES ? load(p) : load(p, n); }
static inline void store_some(real* p, V v, int n) {
    if (n == LANES) store(p, v);
    else store(p, v, n);
}

// One panel of a sample's step: gates hold sums before and, where keep is set, gates after.
struct CellStep {
    real*       gates;
    const real* h_before;   // GRU
    const real* c_before;   // LSTM, padded, as c is
    real*       c;
    real*       h;          // `left` units are stored
    i64         left;
    const real* peephole;   // of these units, or null: three vectors peephole_stride apart
    i64         peephole_stride;
    bool        keep;

    void lstm() const {
        for (int v = 0; v < BLOCK; v += LANES) {
            real* at = gates + v;
            V i = load(at), f = load(at + BLOCK), g = load(at + 2 * BLOCK), o = load(at + 3 * BLOCK);
            const V before = load(c_before + v);
            if (peephole) {
                i += before * load(peephole + v);
                f += before * load(peephole + peephole_stride + v);
            }
            i = gate_sigmoid(i);
            f = gate_sigmoid(f);
            g = gate_tanh(g);
            const V now = f * before + i * g;
            if (peephole) o += now * load(peephole + 2 * peephole_stride + v);
            o = gate_sigmoid(o);
            store(c + v, now);
            store_some(h + v, o * gate_tanh(now), lanes_of(left - v));
            if (!keep) continue;
            store(at, i);
            store(at + BLOCK, f);
            store(at + 2 * BLOCK, g);
            store(at + 3 * BLOCK, o);
        }
    }
    void gru() const {
        for (int v = 0; v < BLOCK; v += LANES) {
            real* at = gates + v;
            const int n_lanes = lanes_of(left - v);
            const V r = gate_sigmoid(load(at + BLOCK)), z = gate_sigmoid(load(at + 2 * BLOCK)),
                    n = gate_tanh(load(at) + r * load(at + 3 * BLOCK));
            store_some(h + v, n + z * (load_some(h_before + v, n_lanes) - n), n_lanes);
            if (!keep) continue;
            store(at, n);
            store(at + BLOCK, r);
            store(at + 2 * BLOCK, z);
        }
    }
    void plain(bool relu) const {
        for (int v = 0; v < PANEL && left > v; v += LANES) {
            const V sum = load(gates + v), y = relu ? (sum < 0 ? V{} : sum) : gate_tanh(sum);   // keeps NaN
            store_some(h + v, y, lanes_of(left - v));
            if (keep) store(gates + v, y);
        }
    }
    void run(Cell cell) const {
        if (cell == LSTM) lstm();
        else if (cell == GRU) gru();
        else plain(cell == RELU);
    }
};
}  // namespace ISA::REAL_NAME
