// A recurrent layer over time, in one or two directions.
//
// x's part of all gates is one product over all steps (recurrent_input). What is left is W_hh h
// and the cell, step after step. Samples do not need each other, so where W_hh is small a block
// takes up to 8 of them from the first step to the last (recurrent_layer): h and c stay in shared
// memory, with as much of W_hh as fits, and no block waits for another. Where it is large, a
// launch a step spreads the matrix over all multiprocessors (recurrent_step, and
// recurrent_project for what is projected).
#include "cell.cuh"
#include "product.cuh"
#include "steps.cuh"

#ifndef SAMPLES
#define SAMPLES 4   // of a block of recurrent_layer
#endif

// Row of gates r = W_ih x + b, of x's slots
static __device__ void input_product(const real* x, const real* packed, const int* place, const Sizes& z,
                                     bool peepholes, int rows, int pitch, real* gates) {
    __shared__ Tile<HEIGHT> left;
    __shared__ Tile<WIDTH> right;
    const int row = blockIdx.x * HEIGHT, column = blockIdx.y * WIDTH, columns = z.columns();
    acc sum[OWN][4] = {};
    accumulate(sum, AlongDepth(x, z.inputs, place, row, rows, z.inputs),
               AcrossDepth<WIDTH>(packed, columns, column, columns, z.inputs), 0, z.inputs, left, right);
    const real* bias = packed + Packed(z, peepholes).bias;
    each_value(sum, row, column, rows, columns,
               [&](int r, int c, acc v) { gates[(i64)r * pitch + c] = rounded(v + value(bias[c])); });
}

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

extern "C" {
__global__ void __launch_bounds__(256)
    recurrent_input(const real* x, const real* packed, i64 packed_size, const int* place, Dims sizes,
                    int peepholes, int rows, int pitch, real* gates) {
    input_product(x, packed + blockIdx.z * packed_size, place, Sizes(sizes), peepholes, rows, pitch,
                  gates + (i64)blockIdx.z * rows * pitch);
}

__global__ void __launch_bounds__(RESIDENT_THREADS, 1) recurrent_layer(LAYER_PARAMETERS) {
    constexpr int S = SAMPLES;
    extern __shared__ __align__(16) acc shared[];
    __shared__ int length[S];
    LAYER(blockIdx.y)
    const int first = blockIdx.x * S, columns = z.columns(), H = z.hidden, splits = layout[4],
              projection_splits = layout[5], kept = layout[6];
    const int widest = max(columns * splits, z.projected() ? z.outputs * projection_splits : 0);
    const int width = (columns + LANES - 1) / LANES * LANES;
    real* ahead = (real*)shared;   // x's part of this step's gates
    acc *h = (acc*)(ahead + S * width), *c = h + z.outputs * S, *hidden = c + H * S,
        *parts = hidden + (z.projected() ? H * S : 0);
    real* here = (real*)(parts + widest * S);
    const real *w = f.packed + at.recurrent, *projection = f.packed + at.projection;

    if (threadIdx.x < S)
        length[threadIdx.x] = first + (int)threadIdx.x < z.samples ? order.length(first + threadIdx.x) : 0;
    for (int i = threadIdx.x; i < kept * columns; i += blockDim.x) here[i] = w[i];
    for (int i = threadIdx.x; i < S * z.outputs; i += blockDim.x) {
        const int u = i % z.outputs, s = i / z.outputs;
        h[u * S + s] =
            h0 && first + s < z.samples ? value(h0[z.state(direction, first + s) * z.outputs + u]) : acc(0);
    }
    for (int i = threadIdx.x; i < S * H; i += blockDim.x) {
        const int u = i % H, s = i / H;
        c[u * S + s] =
            c0 && first + s < z.samples ? value(c0[z.state(direction, first + s) * H + u]) : acc(0);
        // of samples that there are not, too: products go through all S
        if (z.projected()) hidden[u * S + s] = 0;
    }
    __syncthreads();
    int longest = 0;
    for (int s = 0; s < S; ++s) longest = max(longest, length[s]);

    for (int step = 0; step < longest; ++step) {
        const bool some_h = step || h0;
        for (int s = 0; s < S; ++s)
            if (step < length[s]) {
                const real* row = f.gates_row(first + s, order.time(direction, step, length[s]));
                for (int i = threadIdx.x * LANES; i < width; i += blockDim.x * LANES)
                    copy_beside((Pack*)(ahead + s * width + i), (const Pack*)(row + i));
            }
        if (some_h) resident_product<S>(h, here, kept, w, z.outputs, columns, splits, parts);
        arrived();
        __syncthreads();
        for (int i = threadIdx.x; i < S * H; i += blockDim.x) {
            const int s = i / H, u = i - s * H, n = first + s;
            if (step >= length[s]) continue;
            const bool last = step + 1 == length[s];
            const int  t = order.time(direction, step, length[s]);
            const acc now = f.advance(
                n, t, u, last, ahead + s * width, z.cell == GRU ? h[u * S + s] : acc(0), c[u * S + s],
                [&](int slot) {
                    return some_h ? resident_sum<S>(parts, splits, columns, s, slot * H + u) : acc(0);
                });
            if (z.projected()) {
                hidden[u * S + s] = value(rounded(now));
            } else {
                h[u * S + s] = value(rounded(now));
                f.emit(n, t, u, last, now);
            }
        }
        __syncthreads();
        if (!z.projected()) continue;
        resident_product<S>(hidden, nullptr, 0, projection, H, z.outputs, projection_splits, parts);
        __syncthreads();
        for (int i = threadIdx.x; i < S * z.outputs; i += blockDim.x) {
            const int s = i / z.outputs, o = i - s * z.outputs;
            if (step >= length[s]) continue;
            const acc now = resident_sum<S>(parts, projection_splits, z.outputs, s, o);
            h[o * S + s] = value(rounded(now));
            f.emit(first + s, order.time(direction, step, length[s]), o, step + 1 == length[s], now);
        }
        __syncthreads();
    }
}

// Step `step` of all samples. state: the cell state on its way, hidden: what is to be projected
__global__ void __launch_bounds__(1024) recurrent_step(LAYER_PARAMETERS, int step, acc* state, real* hidden) {
    extern __shared__ __align__(16) acc shared[];
    __shared__ const real* from[WIDE];
    LAYER(blockIdx.z)
    const int thread = thread_of_block(), first = blockIdx.y * 4 * blockDim.y, H = z.hidden;
    if (thread < WIDE) {
        const int n = first + thread, length = n < z.samples ? order.length(n) : 0;
        const real* start = h0 && length ? h0 + z.state(direction, n) * z.outputs : nullptr;
        from[thread] = step >= length ? nullptr
                       : step         ? f.output(n, order.time(direction, step - 1, length))
                                      : start;
    }
    const int slot = threadIdx.x / UNITS, u = blockIdx.x * UNITS + threadIdx.x % UNITS;
    const bool some_h = step || h0;
    if (some_h)
        step_product(from, f.packed + at.recurrent, z.columns(), slot * H + u, u < H, z.outputs, shared);
    else __syncthreads();
    each_unit(z.samples, H, [&](int i, int unit) {
        const int n = first + i, length = order.length(n), u = blockIdx.x * UNITS + unit,
                  t = order.time(direction, step, length);
        if (step >= length) return;
        const bool last = step + 1 == length;
        const i64  own = z.state(direction, n) * H + u;
        acc c = z.cell != LSTM ? acc(0) : step ? state[own] : c0 ? value(c0[own]) : acc(0);
        const acc before = z.cell == GRU && from[i] ? value(from[i][u]) : acc(0);
        const acc now = f.advance(n, t, u, last, f.gates_row(n, t), before, c, [&](int slot) {
            return some_h ? step_sum(shared, i, slot * UNITS + unit) : acc(0);
        });
        if (z.cell == LSTM) state[own] = c;
        if (z.projected()) hidden[own] = rounded(now);
        else f.emit(n, t, u, last, now);
    });
}

__global__ void __launch_bounds__(1024) recurrent_project(LAYER_PARAMETERS, int step, const real* hidden) {
    extern __shared__ __align__(16) acc shared[];
    __shared__ const real* from[WIDE];
    LAYER(blockIdx.z)
    const int thread = thread_of_block(), first = blockIdx.y * 4 * blockDim.y;
    if (thread < WIDE) {
        const int n = first + thread;
        from[thread] =
            n < z.samples && step < order.length(n) ? hidden + z.state(direction, n) * z.hidden : nullptr;
    }
    const int o = blockIdx.x * UNITS + threadIdx.x;
    step_product(from, f.packed + at.projection, z.outputs, o, o < z.outputs, z.hidden, shared);
    each_unit(z.samples, z.outputs, [&](int i, int unit) {
        const int n = first + i, length = order.length(n);
        if (step < length)
            f.emit(n, order.time(direction, step, length), blockIdx.x * UNITS + unit, step + 1 == length,
                   step_sum(shared, i, unit));
    });
}
}
