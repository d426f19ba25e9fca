// The gradient of a recurrent layer whose W_hh is small: a block goes back through all steps of up to
// 8 samples, SAMPLES, as in layer.cu. Formulas: backward.cu.
#include "backward.cuh"
#include "resident.cuh"

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
    const int longest = begin_resident<S>(length, order, first, z.samples, recurrent_weights,
                                          kept * z.outputs, here, [&] {
        for (int i = threadIdx.x; i < columns * S; i += blockDim.x) d[i] = 0;
        for (int i = threadIdx.x; i < H * S; i += blockDim.x) carry[i] = 0;
        if (z.projected())
            for (int i = threadIdx.x; i < z.outputs * S; i += blockDim.x) out[i] = 0;
    });

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
}
