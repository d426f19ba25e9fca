// The gradient of attention, whatever queries see (looks.cuh). With p = e^(score - logsum), the weights
// computed again, and delta = sum of dy y, one number a query (delta.cu):
//   dv = p' dy      ds = p (dy v' - delta)      dq = scale ds k      dk = scale ds' q
// Tiles of queries walk the keys for dq; tiles of keys walk the queries for dk and dv by the same
// steps with the roles exchanged. So nothing is added by two blocks, and the sums have one order.
#pragma once
#include "looks.cuh"

// p and ds of one pair of a query and a key; 0 where the query may not look
template <class Look> struct Slopes {
    Look look;
    const acc* logsum;
    const acc* delta;
    acc scale;
    // Of R queries from q on
    __device__ __forceinline__ void lines(int q, acc (&sums)[R], acc (&deltas)[R]) const {
#pragma unroll
        for (int i = 0; i < R; ++i) {
            sums[i] = q + i < look.queries ? logsum[q + i] : acc(0);
            deltas[i] = q + i < look.queries ? delta[q + i] : acc(0);
        }
    }
    // Comes with the score and with dy v' of query i of `lines`, leaves with p and ds, and whether it is seen
    __device__ __forceinline__ bool operator()(const typename Look::Lines& lines, int i, int q, int k,
                                               acc sum, acc delta, acc& p, acc& ds) const {
        const bool seen = look.seen(lines, i, q, k);
        if (seen) {
            const acc kept = look.kept(q, k);
            p = exp(p * scale + look.added(q, k) - sum);
            ds = p * (ds * kept - delta);
            p *= kept;
        } else {
            p = 0;
            ds = 0;
        }
        return seen;
    }
};

// dq of the queries `first` ..
template <class Look>
__device__ void of_queries(const Heads& of, const Matrix& dy, const Slopes<Look>& slopes, int first,
                           int column, real* dq) {
    __shared__ __align__(16) acc slices[SLICES];
    __shared__ __align__(16) acc weights[TILE * TILE];
    __shared__ Shown shown;
    const Rank rank;
    const Span range = slopes.look.keys_of(first);
    typename Look::Lines lines;
    slopes.look.lines(first + rank.y * R, lines);
    acc out[R][COLUMNS] = {}, factor[R];
    for (int key = range.begin / TILE * TILE; key < range.end; key += TILE) {
        bool any[R] = {};
        acc p[R][R], ds[R][R], sums[R], deltas[R];
        scores_of(of.q, first, of.k, key, slices, p);
        scores_of(dy, first, of.v, key, slices, ds);
        // again for every tile: registers are dearer
        slopes.lines(opaque(first) + rank.y * R, sums, deltas);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < R; ++j)
                any[j] |= slopes(lines, i, first + rank.y * R + i, key + rank.x * R + j, sums[i], deltas[i],
                                 p[i][j], ds[i][j]);
        put_weights(ds, weights);
        if constexpr (Look::HIDES) {
            shown.put(any);
            accumulate(weights, of.k, key, column, slices, out, shown);
        } else accumulate(weights, of.k, key, column, slices, out);
    }
#pragma unroll
    for (int i = 0; i < R; ++i) factor[i] = slopes.scale;
    store_result(out, factor, dq, of.q.columns, first, of.q.rows, column, of.q.columns);
}

// dk and dv of the keys `first` ..
template <class Look>
__device__ void of_keys(const Heads& of, const Matrix& dy, const Slopes<Look>& slopes, int first, int column,
                        real* dk, real* dv) {
    __shared__ __align__(16) acc slices[SLICES];
    __shared__ __align__(16) acc weights[TILE * TILE];
    const Rank rank;
    acc out_k[R][COLUMNS] = {}, out_v[R][COLUMNS] = {}, factor[R];
    for (int query = slopes.look.queries_of(first); query < of.q.rows; query += TILE) {
        if (!slopes.look.any(query, first)) continue;   // the same for all threads
        acc p[R][R], ds[R][R], sums[R], deltas[R];
        typename Look::Lines lines;
        scores_of(of.k, first, of.q, query, slices, p);
        scores_of(of.v, first, dy, query, slices, ds);
        slopes.lines(query + rank.x * R, sums, deltas);
        slopes.look.lines(query + rank.x * R, lines);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < R; ++j)
                slopes(lines, j, query + rank.x * R + j, first + rank.y * R + i, sums[j], deltas[j], p[i][j],
                       ds[i][j]);
        put_weights(p, weights);
        accumulate(weights, dy, query, column, slices, out_v);
        __syncthreads();   // the weights have been read
        put_weights(ds, weights);
        accumulate(weights, of.q, query, column, slices, out_k);
    }
#pragma unroll
    for (int i = 0; i < R; ++i) factor[i] = slopes.scale;
    store_result(out_k, factor, dk, of.k.columns, first, of.k.rows, column, of.k.columns);
#pragma unroll
    for (int i = 0; i < R; ++i) factor[i] = 1;
    store_result(out_v, factor, dv, of.v.columns, first, of.v.rows, column, of.v.columns);
}

// What a block has to do: a tile of one head, and of the results the columns from `column` on.
template <class Look> struct Task {
    i64 head;
    int tile, column;
    Heads of;
    Matrix grad;
    Slopes<Look> slopes;
    __device__ __forceinline__ Task(const Heads& of, const Look& look, const real* dy, const acc* logsum,
                                    const acc* delta, acc scale, i64 head, int tiles)
        : head(head), tile((int)(blockIdx.x % tiles)), column(blockIdx.y * WIDTH), of(of),
          grad(dy + head * of.q.rows * of.v.columns, of.v.columns, of.q.rows, of.v.columns),
          slopes{look, logsum + head * of.q.rows, delta + head * of.q.rows, scale} {}
    // The last tiles, which see most keys where only those before count, begin first
    __device__ void queries(real* dq, int tiles) const {
        of_queries(of, grad, slopes, (tiles - 1 - tile) * TILE, column, dq + head * of.q.rows * of.q.columns);
    }
    __device__ void keys(real* dk, real* dv) const {
        of_keys(of, grad, slopes, tile * TILE, column, dk + head * of.k.rows * of.k.columns,
                dv + head * of.v.rows * of.v.columns);
    }
};
