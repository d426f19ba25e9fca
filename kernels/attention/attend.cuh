// Scaled dot-product attention: y = softmax(scale q k' + mask) v for every head, whatever queries see (looks.cuh).
//
// A block of threads is a tile of queries of one head. It walks the keys a tile at a time with
// a running maximum and sum of each query's line (Milakov & Gimelshein, "Online normalizer
// calculation for softmax", 2018; Dao et al., "FlashAttention", 2022), so that scores never
// leave the chip. A result wider than WIDTH is made in slabs by several blocks, which compute
// the same scores. A query's result is one chain of operations in the order of its keys,
// whatever else is computed.
//
// A query with no key left (every score is -inf) gives zeros; its log-sum-exp is +inf, from which
// the gradient computes probabilities of exactly zero.
#pragma once
#include "looks.cuh"

// scores become e^(score - top); the lines' tops and sums move on, and factor[i] is what earlier
// results are worth now
__device__ __forceinline__ void advance(acc (&s)[R][R], acc (&top)[R], acc (&sum)[R], acc (&factor)[R]) {
#pragma unroll
    for (int i = 0; i < R; ++i) {
        acc peak = s[i][0];
#pragma unroll
        for (int j = 1; j < R; ++j) peak = larger(peak, s[i][j]);
        peak = larger(top[i], row_reduce<Max>(peak));
        const acc base = peak == -infinity() ? acc(0) : peak;   // of nothing but -inf every weight is 0
        factor[i] = exp(top[i] - base);
        acc part = 0;
#pragma unroll
        for (int j = 0; j < R; ++j) part += s[i][j] = exp(s[i][j] - base);
        sum[i] = sum[i] * factor[i] + row_reduce<Sum>(part);
        top[i] = peak;
    }
}

// The queries `first` .. of a head, and of the results the columns from `column` on
template <class Look>
__device__ void attend(const Heads& of, const Look& look, i64 head, int first, int column, acc scale, real* y,
                       i64 y_stride, acc* logsum) {
    __shared__ __align__(16) acc slices[SLICES];
    __shared__ __align__(16) acc weights[TILE * TILE];
    __shared__ Shown shown;
    const Rank rank;
    const int queries = of.q.rows;
    const Span range = look.keys_of(first);
    typename Look::Lines lines;
    look.lines(first + rank.y * R, lines);
    acc out[R][COLUMNS] = {}, top[R], sum[R] = {};
#pragma unroll
    for (int i = 0; i < R; ++i) top[i] = -infinity();
    for (int key = range.begin / TILE * TILE; key < range.end; key += TILE) {
        acc s[R][R], factor[R];
        bool any[R] = {};
        scores_of(of.q, first, of.k, key, slices, s);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < R; ++j) {
                const int q = first + rank.y * R + i, k = key + rank.x * R + j;
                const bool seen = look.seen(lines, i, q, k);
                s[i][j] = seen ? s[i][j] * scale + look.added(q, k) : -infinity();
                any[j] |= seen;
            }
        advance(s, top, sum, factor);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < R; ++j) s[i][j] *= look.kept(first + rank.y * R + i, key + rank.x * R + j);
        put_weights(s, weights);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) out[i][c] *= factor[i];
        if constexpr (Look::HIDES) {
            shown.put(any);
            accumulate(weights, of.v, key, column, slices, out, shown);
        } else accumulate(weights, of.v, key, column, slices, out);
    }
    acc share[R];
#pragma unroll
    for (int i = 0; i < R; ++i) {
        const bool none = top[i] == -infinity();
        const int q = first + rank.y * R + i;
        share[i] = none ? acc(0) : acc(1) / sum[i];
        if (column == 0 && rank.x == 0 && q < queries)
            logsum[head * queries + q] = none ? infinity() : top[i] + log(sum[i]);
    }
    store_result(out, share, y, y_stride, first, queries, column, of.v.columns);
}
