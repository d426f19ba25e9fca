// local_response_norm: y = x / d^beta, d = k + alpha / size * (sum of x^2 over the channels c -
// size / 2 .. c + (size - 1) / 2).
//
// A thread takes one pixel of a stretch of channels; a warp's lanes take neighbouring pixels, so
// that every step is one run of memory. A window is summed afresh for each channel, of values that
// are in the first-level cache after the first time: adding the newest square and taking off the
// oldest would let rounding errors pile up. Stretches make work enough where pixels are few.
// d^-beta needs no logarithm where beta is 1/2, 3/4 or 1.
#include "index.cuh"

// x / d^beta
__device__ __forceinline__ acc divided(acc x, acc d, acc beta) {
    if (beta == acc(0.75)) {
        const acc root = sqrt(d);
        return x / (root * sqrt(root));
    }
    if (beta == acc(0.5)) return x / sqrt(d);
    return beta == acc(1) ? x / d : x / pow(d, beta);
}

struct Window { int before, after; };

template <class Term> __device__ __forceinline__ acc window_sum(int c, Window w, int channels, Term term) {
    const int first = max(0, c - w.before), last = w.after < channels - c ? c + w.after + 1 : channels;
    acc sum = 0;
    for (int j = first; j < last; ++j) sum += term(j);
    return sum;
}

// Calls body(where the pixel of channel 0 lies, channel) for this thread's stretch of channels.
template <class Body>
__device__ __forceinline__ void for_stretch(i64 columns, int channels, i64 pixels, int stretch, Body body) {
    for (GRID_STRIDE(t, columns)) {
        const i64 from = t / pixels * channels * pixels + t % pixels;
        const int begin = blockIdx.y * stretch, end = min(channels, begin + stretch);
        for (int c = begin; c < end; ++c) body(from, c);
    }
}

__device__ __forceinline__ acc denominator(const real* x, int c, Window w, int channels, i64 pixels,
                                           acc share, acc k) {
    return k + share * window_sum(c, w, channels, [&](int j) {
        const acc v = value(x[j * pixels]);
        return v * v;
    });
}

extern "C" {
__global__ void __launch_bounds__(256) lrn(const real* x, int before, int after, acc share, acc beta, acc k,
                                           real* y, i64 columns, int channels, i64 pixels, int stretch) {
    for_stretch(columns, channels, pixels, stretch, [&](i64 from, int c) {
        const acc d = denominator(x + from, c, {before, after}, channels, pixels, share, k);
        y[from + c * pixels] = rounded(divided(value(x[from + c * pixels]), d, beta));
    });
}

// terms = dy x / d^(beta + 1), and dy / d^beta goes to dx
__global__ void __launch_bounds__(256)
    lrn_backward_terms(const real* dy, const real* x, int before, int after, acc share, acc beta, acc k,
                       acc* terms, acc* direct, i64 columns, int channels, i64 pixels, int stretch) {
    for_stretch(columns, channels, pixels, stretch, [&](i64 from, int c) {
        const i64 at = from + c * pixels;
        const acc d = denominator(x + from, c, {before, after}, channels, pixels, share, k),
                  g = divided(value(dy[at]), d, beta);
        direct[at] = g;
        terms[at] = g * value(x[at]) / d;
    });
}

// dx = dy / d^beta - factor x (sum of terms over the channels whose window holds c): a
// window the other way round
__global__ void __launch_bounds__(256)
    lrn_backward(const acc* terms, const acc* direct, const real* x, int before, int after, acc factor,
                 real* dx, i64 columns, int channels, i64 pixels, int stretch) {
    for_stretch(columns, channels, pixels, stretch, [&](i64 from, int c) {
        const i64 at = from + c * pixels;
        const acc sum =
            window_sum(c, {after, before}, channels, [&](int j) { return terms[from + j * pixels]; });
        dx[at] = rounded(direct[at] - factor * value(x[at]) * sum);
    });
}
}
