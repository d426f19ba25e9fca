// The gradient of a recurrent layer: back through time, then the input's gradient as one product.
//
// Gates and cell states of every step were kept. A step from behind computes dh, the sum of dy and
// of what the step after it sends back, dgates W_hh, and from that its own dgates, which need dh of
// the same units only. So the two forms of forward.cu serve here too: a block that goes through all
// steps of its samples (recurrent_layer_backward), or a launch a step (recurrent_back_step, and
// with a projection recurrent_back_hidden). dgates lie as gates do; the weights' gradients are
// products of all of them (weight_gradient.cu).
#include "cell.cuh"
#include "product.cuh"
#include "steps.cuh"

#ifndef SAMPLES
#define SAMPLES 4   // of a block of recurrent_layer_backward
#endif

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

extern "C" {
__global__ void __launch_bounds__(RESIDENT_THREADS, 1) recurrent_layer_backward(BACK_PARAMETERS) {
    constexpr int S = SAMPLES;
    extern __shared__ __align__(16) acc shared[];
    __shared__ int length[S];
    BACK(blockIdx.y)
    const int first = blockIdx.x * S, columns = z.columns(), H = z.hidden, splits = layout[3],
              projection_splits = layout[4], kept = layout[5];
    const int widest = max(z.outputs * splits, z.projected() ? H * projection_splits : 0);
    acc *d = shared, *carry = d + columns * S, *out = carry + H * S,
        *parts = out + (z.projected() ? z.outputs * S : 0);
    real* here = (real*)(parts + widest * S);
    if (threadIdx.x < S)
        length[threadIdx.x] = first + (int)threadIdx.x < z.samples ? order.length(first + threadIdx.x) : 0;
    for (int i = threadIdx.x; i < kept * z.outputs; i += blockDim.x) here[i] = recurrent_weights[i];
    for (int i = threadIdx.x; i < columns * S; i += blockDim.x) d[i] = 0;
    for (int i = threadIdx.x; i < H * S; i += blockDim.x) carry[i] = 0;
    if (z.projected())
        for (int i = threadIdx.x; i < z.outputs * S; i += blockDim.x) out[i] = 0;
    __syncthreads();
    int longest = 0;
    for (int s = 0; s < S; ++s) longest = max(longest, length[s]);

    auto slopes = [&](int s, int u, int step, acc dh) {
        acc g[4];
        b.slopes(first + s, step, order.time(direction, step, length[s]), u, step + 1 == length[s], dh,
                 carry[u * S + s], g);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int slot = i - z.recurrent_slot();
            if (slot >= 0 && slot < z.slots()) d[(slot * H + u) * S + s] = g[i];
        }
    };
    for (int step = longest - 1; step >= -1; --step) {
        if (step + 1 < longest)
            resident_product<S>(d, here, kept, recurrent_weights, columns, z.outputs, splits, parts);
        __syncthreads();
        for (int i = threadIdx.x; i < S * z.outputs; i += blockDim.x) {
            const int s = i / z.outputs, o = i - s * z.outputs, n = first + s;
            if (length[s] == 0 || step >= length[s]) continue;
            const bool last = step + 1 == length[s];
            acc dh = last ? acc(0) : resident_sum<S>(parts, splits, z.outputs, s, o);
            if (!last && z.cell == GRU) dh += carry[o * S + s];
            if (step < 0) {
                dh0[z.state(direction, n) * z.outputs + o] = rounded(dh);
                continue;
            }
            const int t = order.time(direction, step, length[s]);
            dh += b.outside(n, t, o, last);
            if (z.projected()) {
                const real kept_dh = rounded(dh);
                b.dprojected[order.row(t, n) * b.projected_pitch + o] = kept_dh;
                out[o * S + s] = value(kept_dh);
            } else {
                slopes(s, o, step, dh);
            }
        }
        __syncthreads();
        if (!z.projected() || step < 0) continue;
        resident_product<S>(out, nullptr, 0, projection, z.outputs, H, projection_splits, parts);
        __syncthreads();
        for (int i = threadIdx.x; i < S * H; i += blockDim.x) {
            const int s = i / H, u = i - s * H;
            if (step < length[s]) slopes(s, u, step, resident_sum<S>(parts, projection_splits, H, s, u));
        }
        __syncthreads();
    }
}

// Step `step` of all samples, -1 for what reaches h0. carry: on its way from one step to the one before it.
__global__ void __launch_bounds__(1024) recurrent_back_step(BACK_PARAMETERS, int step, acc* carry) {
    extern __shared__ __align__(16) acc shared[];
    __shared__ const real* from[WIDE];
    BACK(blockIdx.z)
    const int thread = thread_of_block(), first = blockIdx.y * 4 * blockDim.y,
              o = blockIdx.x * UNITS + threadIdx.x;
    if (thread < WIDE) {
        const int n = first + thread, length = n < z.samples ? order.length(n) : 0;
        const i64 later = step + 1 < length ? order.row(order.time(direction, step + 1, length), n) : -1;
        from[thread] = later < 0 ? nullptr : b.dgates + later * b.pitch + z.recurrent_slot() * z.hidden;
    }
    step_product(from, recurrent_weights, z.outputs, o, o < z.outputs, z.columns(), shared);
    each_unit(z.samples, z.outputs, [&](int i, int unit) {
        const int n = first + i, length = order.length(n), o = blockIdx.x * UNITS + unit,
                  t = order.time(direction, step, length);
        const bool last = step + 1 == length;
        const i64  own = z.state(direction, n) * z.hidden + o;
        if (step >= length) return;
        acc dh = last ? acc(0) : step_sum(shared, i, unit);
        if (!last && z.cell == GRU) dh += carry[own];
        if (step < 0) {
            dh0[z.state(direction, n) * z.outputs + o] = rounded(dh);
            return;
        }
        dh += b.outside(n, t, o, last);
        if (z.projected()) {
            b.dprojected[order.row(t, n) * b.projected_pitch + o] = rounded(dh);
            return;
        }
        acc g[4], now = z.cell == LSTM && !last ? carry[own] : acc(0);
        b.slopes(n, step, t, o, last, dh, now, g);
        if (z.cell == LSTM || z.cell == GRU) carry[own] = now;
    });
}

// With a projection: from dh of what was projected to the gates
__global__ void __launch_bounds__(1024) recurrent_back_hidden(BACK_PARAMETERS, int step, acc* carry) {
    extern __shared__ __align__(16) acc shared[];
    __shared__ const real* from[WIDE];
    BACK(blockIdx.z)
    const int thread = thread_of_block(), first = blockIdx.y * 4 * blockDim.y,
              u = blockIdx.x * UNITS + threadIdx.x;
    if (thread < WIDE) {
        const int n = first + thread, length = n < z.samples ? order.length(n) : 0;
        from[thread] = step >= length ? nullptr
                                      : b.dprojected + order.row(order.time(direction, step, length), n) *
                                                           b.projected_pitch;
    }
    step_product(from, projection, z.hidden, u, u < z.hidden, z.outputs, shared);
    each_unit(z.samples, z.hidden, [&](int i, int unit) {
        const int n = first + i, length = order.length(n), u = blockIdx.x * UNITS + unit;
        if (step >= length) return;
        const bool last = step + 1 == length;
        const i64  own = z.state(direction, n) * z.hidden + u;
        acc g[4], now = last ? acc(0) : carry[own];
        b.slopes(n, step, order.time(direction, step, length), u, last, step_sum(shared, i, unit), now, g);
        carry[own] = now;
    });
}

// dx = dgates W_ih, the sum over directions
__global__ void __launch_bounds__(256)
    recurrent_input_gradient(const real* dgates, const real* packed, i64 packed_size, const int* place,
                             Dims sizes, int rows, int pitch, real* dx) {
    __shared__ Tile<HEIGHT> left;
    __shared__ Tile<WIDTH> right;
    const Sizes z(sizes);
    const int row = blockIdx.x * HEIGHT, column = blockIdx.y * WIDTH, columns = z.columns();
    acc sum[OWN][4] = {};
    for (int d = 0; d < z.directions; ++d)
        accumulate(sum, AlongDepth(dgates + (i64)d * rows * pitch, pitch, nullptr, row, rows, columns),
                   AcrossDepth<WIDTH>(packed + d * packed_size, z.inputs, column, z.inputs, columns), 0,
                   columns, left, right);
    each_value(sum, row, column, rows, z.inputs,
               [&](int r, int c, acc v) { dx[(i64)(place ? place[r] : r) * z.inputs + c] = rounded(v); });
}
}
