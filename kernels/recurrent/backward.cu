// The gradient of a recurrent layer: back through time, then the input's gradient as one product.
//
// Gates and cell states of every step were kept. A step from behind computes dh, the sum of dy and
// of what the step after it sends back, dgates W_hh, and from that its own dgates, which need dh of
// the same units only. So the two forms of the layer serve here too: a block that goes through all
// steps of its samples (layer_backward.cu), or a launch a step (recurrent_back_step, and
// with a projection recurrent_back_hidden). dgates lie as gates do; the weights' gradients are
// products of all of them (weight_gradient.cu).
#include "backward.cuh"
#include "product.cuh"

extern "C" {
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
