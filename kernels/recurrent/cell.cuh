// The equations of one unit's step and their slopes; kernels/recurrent/cell.h has them with their sources.
#pragma once
#include "layout.cuh"

__device__ __forceinline__ acc sigmoid(acc x) {   // never e^large; NaN stays
    const acc e = exp(-fabs(x));
    return (x < 0 ? e : acc(1)) / (1 + e);
}
// of a sigmoid whose value is s
__device__ __forceinline__ acc times_slope(acc d, acc s) { return d * (s * (1 - s)); }

// g: the slots' sums before, what is kept for the gradient after. p: null or the unit's peepholes,
// `stride` apart. Returns h.
__device__ inline acc lstm(acc (&g)[4], acc& c, const real* p, int stride) {
    if (p) {
        g[0] += c * value(p[0]);
        g[1] += c * value(p[stride]);
    }
    g[0] = sigmoid(g[0]);
    g[1] = sigmoid(g[1]);
    g[2] = tanh(g[2]);
    c = g[1] * c + g[0] * g[2];
    if (p) g[3] += c * value(p[2 * stride]);
    g[3] = sigmoid(g[3]);
    return g[3] * tanh(c);
}
__device__ inline acc gru(acc (&g)[4], acc before) {
    g[1] = sigmoid(g[1]);
    g[2] = sigmoid(g[2]);
    g[0] = tanh(g[0] + g[1] * g[3]);
    return g[0] + g[2] * (before - g[0]);
}
__device__ inline acc plain(acc (&g)[4], bool relu) {
    g[0] = relu ? (g[0] < 0 ? acc(0) : g[0]) : tanh(g[0]);   // keeps NaN
    return g[0];
}

// g: what was kept before, the sums' gradients after. dc: of the cell state after this step before,
// of that before it after.
__device__ inline void lstm_slopes(acc (&g)[4], acc dh, acc& dc, acc c_before, acc c, const real* p,
                                   int stride) {
    const acc t = tanh(c), d_o = times_slope(dh * t, g[3]);
    acc d = dc + dh * g[3] * (1 - t * t);
    if (p) d += d_o * value(p[2 * stride]);
    const acc di = times_slope(d * g[2], g[0]), df = times_slope(d * c_before, g[1]);
    dc = d * g[1];
    if (p) dc += di * value(p[0]) + df * value(p[stride]);
    g[2] = d * g[0] * (1 - g[2] * g[2]);
    g[0] = di;
    g[1] = df;
    g[3] = d_o;
}
// Returns what goes to h before besides the product
__device__ inline acc gru_slopes(acc (&g)[4], acc dh, acc before) {
    const acc n = g[0], r = g[1], z = g[2], dn = dh * (1 - z) * (1 - n * n);
    g[0] = dn;
    g[1] = times_slope(dn * g[3], r);
    g[2] = times_slope(dh * (before - n), z);
    g[3] = dn * r;
    return dh * z;
}
__device__ inline void plain_slopes(acc (&g)[4], acc dh, bool relu) {
    g[0] = relu ? (g[0] > 0 ? dh : acc(0)) : dh * (1 - g[0] * g[0]);
}
