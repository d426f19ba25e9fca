// How the arrays of one recurrent layer lie on a device. H is the number of hidden units.
//
//     gates    a row for each step of each sample, slot after slot of H values:  LSTM i f g o,  GRU
//              n r z (W_hn h + b_hn),  RNN h
//              x fills slots 0 on, h those from `recurrent_slot` on: n r z of a GRU from x, r
//              z and the last from h
//     packed   W_ih^T (inputs, columns), W_hh^T (outputs, columns), biases by slot, peepholes (3,
//              H), W_hr^T (H, outputs)
//     packed transposed
//              W_ih (columns, inputs) in the slots' order, W_hh (columns, outputs), W_hr (outputs,
//              H)
//
// A row of gates belongs to a time, not to an iteration: without lengths it is the row of x and y,
// whichever axis comes first; with lengths samples follow each other without gaps (`offsets`). So
// both directions' gates of a step have the same row.
#pragma once
#include "index.cuh"

enum Cell : int { TANH, RELU, LSTM, GRU };

struct Sizes {
    // outputs: units of h, fewer than hidden with a projection
    int steps, samples, inputs, hidden, outputs, directions, cell, batch_first;
    __device__ explicit Sizes(const Dims& d)
        : steps(d[0]), samples(d[1]), inputs(d[2]), hidden(d[3]), outputs(d[4]), directions(d[5]), cell(d[6]),
          batch_first(d[7]) {}
    __device__ bool projected() const { return outputs != hidden; }
    // that x fills, and as many that h fills
    __device__ int slots() const { return cell == LSTM ? 4 : cell == GRU ? 3 : 1; }
    __device__ int columns() const { return slots() * hidden; }
    __device__ int recurrent_slot() const { return cell == GRU ? 1 : 0; }
    // column j of x's slots is row (j + shift) % columns of W_ih
    __device__ int shift() const { return cell == GRU ? 2 * hidden : 0; }
    // a row of h0, c0, h_n, c_n
    __device__ i64 state(int direction, int n) const { return (i64)direction * samples + n; }
};

struct Packed {
    i64 recurrent, bias, peephole, projection;
    __device__ Packed(const Sizes& z, bool peepholes) {
        recurrent  = (i64)z.inputs * z.columns();
        bias       = recurrent + (i64)z.outputs * z.columns();
        peephole   = bias + z.columns() + (z.cell == GRU ? z.hidden : 0);
        projection = peephole + (peepholes ? 3 * z.hidden : 0);
    }
};

struct Order {
    int steps, samples, batch_first;
    const i64* lengths;   // null: all steps
    const int* offsets;   // null: a row of gates is a row of x
    __device__ Order(const Sizes& z, const i64* lengths, const int* offsets)
        : steps(z.steps), samples(z.samples), batch_first(z.batch_first), lengths(lengths), offsets(offsets) {
    }
    __device__ int length(int n) const { return lengths ? (int)lengths[n] : steps; }
    // a row of x and y
    __device__ i64 place(int t, int n) const {
        return batch_first ? (i64)n * steps + t : (i64)t * samples + n;
    }
    __device__ i64 row(int t, int n) const { return offsets ? (i64)offsets[n] + t : place(t, n); }
    __device__ static int time(int direction, int step, int length) {
        return direction ? length - 1 - step : step;
    }
};
