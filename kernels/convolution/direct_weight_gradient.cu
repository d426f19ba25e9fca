// The weight's gradient where a group has few channels and filters (see direct.cu): dw[m, c, tap] =
// sum over p of dy[m, p] x[c, p + tap].
//
// A block takes one filter and channel, up to TAPS taps of the filter (each a sum in a register, so
// that dy is read once for all of them) and one part of the output's lines; its threads lie
// `across` a line. Parts are added in order by split_sum.
#include "geometry.cuh"
#include "reduce.cuh"
#ifndef TAPS
#define TAPS 9
#endif

struct Taps {
    Place place[TAPS];
    acc sum[TAPS];
    int count;

    __device__ __forceinline__ Taps(const Window& win, int first) : count(min(TAPS, win.taps() - first)) {
#pragma unroll
        for (int t = 0; t < TAPS; ++t) {
            sum[t] = 0;
            place[t] = t < count ? win.place(0, first + t) : Place{0, FAR, 0, 0};
        }
    }
    __device__ __forceinline__ void add(const Window& win, const real* x, const Corner& c, acc dy) {
#pragma unroll
        for (int t = 0; t < TAPS; ++t)
            if (win.inside(c, place[t])) sum[t] = fma(dy, value(x[c.at + place[t].at]), sum[t]);
    }
};

__device__ void gradient(const real* x, const real* dy, real* dw, acc* partial, const Dims& sizes, int across,
                         const AxisSizes& sd, const AxisSizes& sh, const AxisSizes& sw) {
    __shared__ acc slots[32];
    const int batch = sizes[0], channels = sizes[1], filters = sizes[2], groups = sizes[3], parts = sizes[4];
    const Window win = forward_window(sd, sh, sw);
    const int sets = (win.taps() + TAPS - 1) / TAPS, first = blockIdx.x % sets * TAPS;
    int id = blockIdx.x / sets;
    const int pairs = groups * filters * channels, pair = id % pairs, part = id / pairs;
    const int filter = pair / channels, channel = filter / filters * channels + pair % channels;
    const int lines = batch * win.d.grid * win.h.grid, each = (lines + parts - 1) / parts,
              end = min(lines, part * each + each);

    Taps taps(win, first);
    for (int line = part * each + (int)threadIdx.x / across; line < end; line += (int)blockDim.x / across) {
        const int h = line % win.h.grid, slab = line / win.h.grid, d = slab % win.d.grid,
                  n = slab / win.d.grid;
        const real* from = x + ((i64)n * groups * channels + channel) * win.inputs();
        const real* grads = dy + ((i64)n * groups * filters + filter) * win.outputs();
        for (int w = (int)threadIdx.x % across; w < win.w.grid; w += across) {
            const Corner c = win.corner(n, d, h, w);
            taps.add(win, from, c, value(grads[c.to]));
        }
    }
    const i64 at = (i64)pair * win.taps() + first, total = (i64)pairs * win.taps();
#pragma unroll
    for (int t = 0; t < TAPS; ++t) {
        if (t >= taps.count) break;
        const acc sum = block_reduce<Sum>(taps.sum[t], slots);
        if (threadIdx.x != 0) continue;
        if (partial) partial[part * total + at + t] = sum;
        else dw[at + t] = rounded(sum);
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv_direct_weight_gradient(const real* __restrict__ x, const real* __restrict__ dy,
                                real* __restrict__ dw, acc* __restrict__ partial, Dims sizes, int across,
                                Dims d, Dims h, Dims w) {
    gradient(x, dy, dw, partial, sizes, across, d, h, w);
}
