// A recurrent layer whose W_hh is small: a block takes up to 8 samples, SAMPLES, from the first step
// to the last. h and c stay in shared memory, with as much of W_hh as fits, and no block waits for
// another. x's part of the gates comes from forward.cu.
#include "forward.cuh"
#include "resident.cuh"

extern "C" {
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

    const int longest = begin_resident<S>(length, order, first, z.samples, w, kept * columns, here, [&] {
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
    });

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
}
