// max_pool and avg_pool whose window is compiled in: KH x KW, strides SH and SW, of the last two axes,
// without dilation. Any other window: max.cu and mean.cu.
//
// A thread has a strip of ROWS outputs below each other: what windows of a strip share is read once,
// loops unroll, and a place is divided into row and plane once for all of them. Neighbouring threads
// take neighbouring columns. A value beside the input is one that changes nothing, -infinity or 0, so
// that no loop depends on where a window lies. Nothing is divided: a mean is a product with the
// inverses of how many rows and columns count, of which there are no more than the window has.
#include "index.cuh"
#ifndef KH
#define KH 3
#define KW 3
#define SH 2
#define SW 2
#endif
constexpr int ROWS = 4, SEEN = (ROWS - 1) * SH + KH;   // rows of the input that a strip sees

struct Choice {   // of equal maxima the first, of NaNs the last
    acc value;
    int at;
    __device__ __forceinline__ void see(acc v, int position) {
        if (v > value || v != v) { value = v; at = position; }
    }
};

struct Strip {
    int height, width, rows, cols;   // of the input, of the output
    int plane, row, col;             // of the first output
    int h, w;                        // of its window's first input
    __device__ __forceinline__ Strip(int t, const Dims& in, const Dims& out, const Dims& padding)
        : height(in[1]), width(in[2]), rows(out[1]), cols(out[2]) {
        const int above = t / cols, strips = (rows + ROWS - 1) / ROWS;
        plane = above / strips;
        row = (above - plane * strips) * ROWS;
        col = t - above * cols;
        h = row * SH - padding[1];
        w = col * SW - padding[2];
    }
    // see(output of the strip, value, position in the plane), for each output in the order of memory
    template <class See> __device__ __forceinline__ void each(const real* x, acc beside, See see) const {
        const real* from = x + (i64)plane * height * width;
        int at = h * width + w;
#pragma unroll
        for (int r = 0; r < SEEN; ++r, at += width) {
            const bool inside = (unsigned)(h + r) < (unsigned)height;
#pragma unroll
            for (int j = 0; j < KW; ++j) {
                const acc v = inside && (unsigned)(w + j) < (unsigned)width ? value(from[at + j]) : beside;
#pragma unroll
                for (int t = 0; t < ROWS; ++t)
                    if (r - t * SH >= 0 && r - t * SH < KH) see(t, v, at + j);
            }
        }
    }
    __device__ __forceinline__ i64 output(int t) const { return ((i64)plane * rows + row + t) * cols + col; }
};

template <class Index>
__device__ __forceinline__ void largest(const real* x, const Strip& s, real* y, Index* indices) {
    Choice best[ROWS];
#pragma unroll
    for (int t = 0; t < ROWS; ++t)
        best[t] = {-infinity(), max(s.h + t * SH, 0) * s.width + max(s.w, 0)};
    s.each(x, -infinity(), [&](int t, acc v, int at) { best[t].see(v, at); });
#pragma unroll
    for (int t = 0; t < ROWS; ++t) {
        if (s.row + t >= s.rows) break;
        if (y) y[s.output(t)] = rounded(best[t].value);
        if (indices) indices[s.output(t)] = best[t].at;
    }
}

// 1 / how many of K elements from `from` on are on the input, or on it and its padding: at least one.
template <int K> __device__ __forceinline__ acc share(int from, int in, int padding, int include_pad) {
    const int count = min(from + K, include_pad ? in + padding : in) - (include_pad ? from : max(from, 0));
    acc s = acc(1) / K;
#pragma unroll
    for (int i = 1; i < K; ++i)
        if (count == i) s = acc(1) / i;
    return s;
}

extern "C" {
__global__ void __launch_bounds__(256, 4)
    max_strips(const real* x, Dims in, Dims out, Dims padding, real* y, int strips) {
    for (GRID_STRIDE(t, strips)) largest(x, Strip((int)t, in, out, padding), y, (int*)nullptr);
}
__global__ void __launch_bounds__(256, 4) max_strips_indices(const real* x, Dims in, Dims out, Dims padding,
                                                             real* y, i64* indices, int strips) {
    for (GRID_STRIDE(t, strips)) largest(x, Strip((int)t, in, out, padding), y, indices);
}
__global__ void __launch_bounds__(256, 4)
    max_strips_choose(const real* x, Dims in, Dims out, Dims padding, int* chosen, int strips) {
    for (GRID_STRIDE(t, strips)) largest(x, Strip((int)t, in, out, padding), (real*)nullptr, chosen);
}
// scale: 1 / the divisor, 0 where that is the count
__global__ void __launch_bounds__(256, 4) avg_strips(const real* x, Dims in, Dims out, Dims padding,
                                                     int include_pad, acc scale, real* y, int strips) {
    for (GRID_STRIDE(i, strips)) {
        const Strip s((int)i, in, out, padding);
        acc sum[ROWS] = {};
        s.each(x, 0, [&](int t, acc v, int) { sum[t] += v; });
        const acc across = share<KW>(s.w, s.width, padding[2], include_pad);
#pragma unroll
        for (int t = 0; t < ROWS; ++t) {
            if (s.row + t >= s.rows) break;
            const acc down = share<KH>(s.h + t * SH, s.height, padding[1], include_pad);
            y[s.output(t)] = rounded(sum[t] * (scale != 0 ? scale : across * down));
        }
    }
}
}
