// The register tile of Strassen's algorithm (blocked_strassen.cpp): P pixels x Q blocks of filters stay in
// registers while one product after another is added to them, and sums that several results have in common
// wait in the nearest cache.
#pragma once
#include "convolution/blocked_tile.h"

BEGIN_KERNELS
constexpr int STRASSEN_Q = BV == 1 ? 2 : 1;
constexpr int STRASSEN_P = most_pixels(STRASSEN_Q);

// Where sums become results, y = act(sum scale + bias + residual): blocks of filters lie `block` values apart.
// scale, bias and residual may be null.
struct Result {
    real*       y;
    const real *scale, *bias, *residual;
    i64         block, residual_block;

    void fetch(int pixels, int blocks) const {
        for (int q = 0; q < blocks; ++q)
            for (int p = 0; p < pixels; ++p) __builtin_prefetch(y + q * block + p * BLOCK, 1);
    }
};

// sums = [sums] + [first] + [second] + w x. Then they are kept, or made a result, or both. x: pixels side by
// side, blocks of channels `x_block` values apart; w: [channel][16], blocks of filters `w_filter` apart. Pixels
// `ahead` values further are fetched meanwhile.
struct Product {
    const real *x, *w;
    i64         x_block, channels, w_filter, ahead;
    bool        fresh;             // sums begin at 0
    const real *first, *second;    // what was kept before, or null
    real*         keep;
    const Result* result;
};

// What is added up later and is brought into the second-level cache meanwhile: `lines` of each of `blocks` blocks
struct Later {
    const real* from = nullptr;
    i64         block = 0, blocks = 0, lines = 0;

    // part i of n
    void fetch(i64 i, i64 n) const {
        for (i64 b = 0; b < blocks; ++b)
            for (i64 line = lines * i / n; line < lines * (i + 1) / n; ++line)
                __builtin_prefetch(from + b * block + line * BLOCK, 0, 2);
    }
};

template <int P, int Q>
static inline __attribute__((always_inline)) void put_result(const V (&acc)[P][Q * BV], const Result& r,
                                                             const Epilogue& e) {
    const Clamp clamp(e);
    #pragma GCC unroll 4
    for (int v = 0; v < Q * BV; ++v) {
        const i64 lane = v * LANES;
        const V scale = r.scale ? load(r.scale + lane) : splat(1), bias = r.bias ? load(r.bias + lane) : V{};
        real* y = r.y + v / BV * r.block + v % BV * LANES;
        if (r.residual) {
            const real* add = r.residual + v / BV * r.residual_block + v % BV * LANES;
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p)
                store(y + p * BLOCK, clamp(acc[p][v] * scale + bias + load(add + p * BLOCK)));
        } else {
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p) store(y + p * BLOCK, clamp(acc[p][v] * scale + bias));
        }
    }
}

// Products one after the other. The first lines of the next one, and results soon to be written, are fetched:
// each begins where no stream of reads foretells it.
template <int P, int Q>
static void strassen_tile(const Product* product, int count, const Later (&later)[2], const Epilogue& e) {
    constexpr int N = Q * BV;
    V acc[P][N] = {};
    const auto each = [&](auto body) __attribute__((always_inline)) {
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p)
            #pragma GCC unroll 4
            for (int v = 0; v < N; ++v) body(acc[p][v], p * Q * BLOCK + v * LANES);
    };
    for (int i = 0; i < count; ++i, ++product) {
        for (const Later& l : later) l.fetch(i, count);
        if (i + 2 < count && product[2].result) product[2].result->fetch(P, Q);
        if (i + 1 < count) {
            for (int p = 0; p < P; ++p) __builtin_prefetch(product[1].x + p * BLOCK);
            for (int c = 0; c < 4; ++c)
                for (int q = 0; q < Q; ++q) __builtin_prefetch(product[1].w + q * product[1].w_filter + c * BLOCK);
        }
        if (product->fresh) each([](V& sum, i64) { sum = V{}; });
        if (const real* from = product->first) each([&](V& sum, i64 at) { sum += load(from + at); });
        if (const real* from = product->second) each([&](V& sum, i64 at) { sum += load(from + at); });
        const real *x = product->x, *w = product->w;
        const i64 next = product->w_filter;
        const i64 ahead = product->ahead;
        const auto channel = [&](int c) __attribute__((always_inline)) {
            __builtin_prefetch(x + ahead + (c < P ? c : P - 1) * BLOCK, 0, 2);
            V wv[N];
            #pragma GCC unroll 4
            for (int v = 0; v < N; ++v) wv[v] = load(w + v / BV * next + v % BV * LANES);
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p)
                #pragma GCC unroll 4
                for (int v = 0; v < N; ++v) acc[p][v] += x[p * BLOCK + c] * wv[v];
            w += BLOCK;
        };
        i64 left = product->channels;
        for (; left >= BLOCK; left -= BLOCK, x += product->x_block)
            #pragma GCC unroll 4
            for (int c = 0; c < BLOCK; ++c) channel(c);
        for (int c = 0; c < left; ++c) channel(c);
        if (real* to = product->keep) each([&](V& sum, i64 at) { store(to + at, sum); });
        if (product->result) put_result<P, Q>(acc, *product->result, e);
    }
}

using StrassenTile = void (*)(const Product*, int, const Later (&)[2], const Epilogue&);
template <int Q, int... P> static StrassenTile strassen_tile_of(int pixels, std::integer_sequence<int, P...>) {
    static constexpr StrassenTile table[] = {strassen_tile<P + 1, Q>...};
    return table[pixels - 1];
}
static inline StrassenTile strassen_tile_of(int pixels, int q) {
    constexpr auto all = std::make_integer_sequence<int, STRASSEN_P>{};
    return q == 1 ? strassen_tile_of<1>(pixels, all) : strassen_tile_of<STRASSEN_Q>(pixels, all);
}
END_KERNELS
