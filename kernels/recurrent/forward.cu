// A recurrent layer over time, in one or two directions.
//
// x's part of all gates is one product over all steps (recurrent_input). What is left is W_hh h
// and the cell, step after step. Samples do not need each other, so where W_hh is small a block
// takes up to 8 of them from the first step to the last (layer.cu). Where it is large, a launch a
// step spreads the matrix over all multiprocessors (recurrent_step, and recurrent_project for what
// is projected).
#include "forward.cuh"
#include "product.cuh"

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

extern "C" {
__global__ void __launch_bounds__(256)
    recurrent_input(const real* x, const real* packed, i64 packed_size, const int* place, Dims sizes,
                    int peepholes, int rows, int pitch, real* gates) {
    input_product(x, packed + blockIdx.z * packed_size, place, Sizes(sizes), peepholes, rows, pitch,
                  gates + (i64)blockIdx.z * rows * pitch);
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
