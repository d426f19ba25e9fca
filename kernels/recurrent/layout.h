// How the arrays of one recurrent layer lie in memory.
//
// W is the number of vectors of 16 that one panel of weights yields: an LSTM's panel gives the four
// gates of 16 units, a GRU's three, a plain network's 64 units. Between the input's part and the
// recurrent part a step's numbers lie in PANEL = 64 slots for each panel ("gates"):
//
//     LSTM   i, f, g (the lecture's C~), o      of units 16 p .. 16 p + 15
//     GRU    n, r, z, and W_hn h + b_hn         the input fills slots 0-2, h slots 1-3, so that
//            both are W = 3 neighbours
//     RNN    h                                  of units 64 p .. 64 p + 63
//
// Weights of a panel are [depth][W][16]. Units past the last are zeros everywhere, and
// finite numbers in gates.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
enum Cell : int { TANH, RELU, LSTM, GRU };
constexpr i64 PANEL = 4 * BLOCK;
constexpr int BLOCK_VECTORS = BLOCK / LANES;

static inline i64 blocks_of(i64 n, i64 size) { return (n + size - 1) / size; }
static inline i64 least(i64 a, i64 b) { return a < b ? a : b; }

struct Sizes {
    // outputs: units of h, fewer than hidden with a projection
    i64 steps, samples, inputs, hidden, outputs, directions;
    Cell cell;
    bool batch_first, peephole;
    Sizes(const Dims& d, bool batch_first, bool peephole)
        : steps(d[0]), samples(d[1]), inputs(d[2]), hidden(d[3]), outputs(d[4]), directions(d[5]),
          cell((Cell)d[6]), batch_first(batch_first), peephole(peephole) {}
    bool projected() const { return outputs != hidden; }
    bool gated() const { return cell == LSTM || cell == GRU; }
    int  width() const { return cell == GRU ? 3 : 4; }
    // the first slot that h's product fills
    int  recurrent_slot() const { return cell == GRU ? 1 : 0; }
    i64  panel_units() const { return gated() ? BLOCK : PANEL; }
    i64  panels() const { return blocks_of(hidden, panel_units()); }
    i64  units() const { return panels() * panel_units(); }              // with padding
    i64  gates() const { return panels() * PANEL; }                      // of one step of one sample
    // from one row of gates to the next: no power of two, or all rows' panels
    i64  pitch() const { return gates() + BLOCK; }
                                                                         // would compete for
                                                                         // the same few lines
                                                                         // of the cache
    // a row of x and y
    i64  place(i64 t, i64 n) const { return batch_first ? n * steps + t : t * samples + n; }
    // torch's row of weights for a unit's slot
    i64 input_row(int slot, i64 unit) const {
        return (cell == GRU ? (slot + 2) % 3 : gated() ? slot : 0) * hidden + unit;
    }
    i64 recurrent_row(int slot, i64 unit) const {
        return (cell == GRU ? slot - 1 : gated() ? slot : 0) * hidden + unit;
    }
};

// One direction's weights for the forward pass
struct Packed {
    i64 input, recurrent, bias, peephole, projection, size;   // where each begins
    explicit Packed(const Sizes& z) {
        input      = 0;
        recurrent  = input + z.panels() * z.inputs * z.width() * BLOCK;
        bias       = recurrent + z.panels() * z.outputs * z.width() * BLOCK;
        peephole   = bias + z.gates();
        projection = peephole + (z.peephole ? 3 * z.units() : 0);
        size       = projection + (z.projected() ? blocks_of(z.outputs, PANEL) * z.hidden * PANEL : 0);
    }
};

// ... and for the gradients: panels of 64 columns, [gates in their slots' order][64]
struct PackedTransposed {
    i64 input, recurrent, projection, size;
    explicit PackedTransposed(const Sizes& z) {
        const i64 depth = z.panels() * z.width() * BLOCK;
        input      = 0;
        recurrent  = input + blocks_of(z.inputs, PANEL) * depth * PANEL;
        projection = recurrent + blocks_of(z.outputs, PANEL) * depth * PANEL;
        size       = projection + (z.projected() ? blocks_of(z.hidden, PANEL) * z.outputs * PANEL : 0);
    }
};
}  // namespace ISA::REAL_NAME
