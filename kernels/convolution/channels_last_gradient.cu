// The weight's gradient where channels lie last and a group has few of them (see channels_last.cu):
// dw[o, c, tap] = sum over n, p of dy[n, p, o] x[n, position(p, tap), channel(o, c)].
//
// A block takes up to `across` packets of channels, some taps of the filter (COLS columns of it,
// or FEW_TAPS taps of any filter) and one part of the outputs; its threads lie `across` the
// channels. A thread reads a strip of dy and walks down the input as the forward kernel does, its
// taps' sums in registers. Then the block adds them, and split_sum the parts, in an order that
// depends on shapes alone.
#include "channels_last.cuh"
#ifndef COLS
#define COLS 1
#endif
constexpr int FEW_TAPS = 4, TAPS = KH > 0 ? COLS * KH : FEW_TAPS;
static_assert(KH > 0 || ROWS == 1, "any filter goes output by output");

struct Sums {
    acc v[TAPS][PACK] = {};

    __device__ __forceinline__ void add(int tap, const acc (&x)[PACK], const acc (&dy)[PACK]) {
#pragma unroll
        for (int l = 0; l < PACK; ++l) v[tap][l] = fma(x[l], dy[l], v[tap][l]);
    }
};

struct Problem {
    const real *x, *dy;
    int c, o, outputs, inputs;   // channel within its group, first output; of a pixel of dy, of x
    int set;                     // which taps
    Lanes lanes;

    // What the taps' index in the whole filter is: negative where this set has fewer.
    __device__ __forceinline__ int tap(const Window& win, int t) const {
        if (KH == 0) return set * TAPS + t < win.taps() ? set * TAPS + t : -1;
        const int columns = (win.w.taps + COLS - 1) / COLS, column = set % columns * COLS + t / max(KH, 1);
        return column < win.w.taps ? (set / columns * KH + t % max(KH, 1)) * win.w.taps + column : -1;
    }
    __device__ __forceinline__ const real* plane(const Window& win, int n, int d) const {
        return x + ((i64)n * win.d.in + d) * win.h.in * win.w.in * inputs;
    }
#if KH > 0
    __device__ __forceinline__ void add(Sums& sums, const Window& win, const StripPlace& at) const {
        const int columns = (win.w.taps + COLS - 1) / COLS, line = win.w.in * inputs;
        const int d = win.d.base + at.d * win.d.move + set / columns * win.d.shift,
                  h = win.h.base + at.h * win.h.move;
        if (!within(d, win.d.in)) return;
        acc grads[ROWS][PACK];
        const real* from =
            dy + ((((i64)at.n * win.d.grid + at.d) * win.h.grid + at.h) * win.w.grid + at.w) * outputs + o;
#pragma unroll
        for (int t = 0; t < ROWS; ++t)
            if (at.h + t < win.h.grid) read(from + (i64)t * win.w.grid * outputs, grads[t]);
#pragma unroll
        for (int k = 0; k < COLS; ++k) {
            const int tap = set % columns * COLS + k, w = win.w.base + at.w * win.w.move + tap * win.w.shift;
            if (tap >= win.w.taps || !within(w, win.w.in)) continue;
            const real* pixel = plane(win, at.n, d) + (i64)h * line + w * inputs;
#pragma unroll
            for (int r = 0; r < REACH; ++r, pixel += line) {
                if (!within(h + r, win.h.in)) continue;
                acc v[PACK];
                lanes.load(pixel, c, v);
#pragma unroll
                for (int t = 0; t < ROWS; ++t)
                    if (r - t * SH >= 0 && r - t * SH < KH && at.h + t < win.h.grid)
                        sums.add(k * KH + r - t * SH, v, grads[t]);
            }
        }
    }
#else
    __device__ __forceinline__ void add(Sums& sums, const Window& win, const StripPlace& at) const {
        acc grads[PACK];
        read(dy + ((((i64)at.n * win.d.grid + at.d) * win.h.grid + at.h) * win.w.grid + at.w) * outputs + o,
             grads);
#pragma unroll
        for (int t = 0; t < TAPS; ++t) {
            const int index = tap(win, t);
            if (index < 0) continue;
            const int line = index / win.w.taps;
            const int d = win.d.base + at.d * win.d.move + line / win.h.taps * win.d.shift;
            const int h = win.h.base + at.h * win.h.move + line % win.h.taps * win.h.shift;
            const int w = win.w.base + at.w * win.w.move + index % win.w.taps * win.w.shift;
            if (!within(d, win.d.in) || !within(h, win.h.in) || !within(w, win.w.in)) continue;
            acc v[PACK];
            lanes.load(plane(win, at.n, d) + ((i64)h * win.w.in + w) * inputs, c, v);
            sums.add(t, v, grads);
        }
    }
#endif
};

// Adds v over the threads that are `across` apart; the first `across` threads have the sum.
__device__ __forceinline__ void join(acc (&v)[PACK], acc (*slots)[256], int across) {
#pragma unroll
    for (int l = 0; l < PACK; ++l) slots[l][threadIdx.x] = v[l];
    for (int half = 128; half >= across; half >>= 1) {
        __syncthreads();
        if (threadIdx.x < half) {
#pragma unroll
            for (int l = 0; l < PACK; ++l) slots[l][threadIdx.x] = v[l] += slots[l][threadIdx.x + half];
        }
    }
    __syncthreads();
}

// sizes: samples, channels and filters of a group, groups, parts, sets of taps
__device__ __forceinline__ void gradient(const real* x, const real* dy, real* dw, acc* partial,
                                         const Dims& sizes, int across, const Window& win) {
    __shared__ acc slots[PACK][256];
    const int samples = sizes[0], channels = sizes[1], filters = sizes[2], outputs = filters * sizes[3],
              parts = sizes[4], sets = sizes[5];
    const int packets = outputs / PACK, chunks = (packets + across - 1) / across;
    int id = blockIdx.x;
    const int set = id % sets, c = (id /= sets) % channels, chunk = (id /= channels) % chunks,
              part = id / chunks;
    const int packet = chunk * across + (int)threadIdx.x % across, o = packet * PACK;
    const bool mine = packet < packets;
    const Problem p{x, dy, c, o, outputs, channels * sizes[3], set, Lanes(mine ? o : 0, channels, filters)};
    const int strips = samples * win.d.grid * ((win.h.grid + ROWS - 1) / ROWS) * win.w.grid,
              each = (strips + parts - 1) / parts;
    const int end = min(strips, part * each + each);
    Sums sums;
    if (mine)
        for (int i = part * each + (int)threadIdx.x / across; i < end; i += 256 / across)
            p.add(sums, win, strip_place(win, i));
    const i64 total = (i64)outputs * channels * win.taps();
#pragma unroll
    for (int t = 0; t < TAPS; ++t) {
        join(sums.v[t], slots, across);
        const int tap = p.tap(win, t);
        if (!mine || threadIdx.x >= across || tap < 0) continue;
#pragma unroll
        for (int l = 0; l < PACK; ++l) {
            const i64 at = ((i64)(o + l) * channels + c) * win.taps() + tap;
            if (partial) partial[part * total + at] = sums.v[t][l];
            else dw[at] = rounded(sums.v[t][l]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 1)
    channels_last_gradient(const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw,
                           acc* __restrict__ partial, Dims sizes, int across, Dims d, Dims h, Dims w) {
    gradient(x, dy, dw, partial, sizes, across, forward_window(d, h, w));
}
