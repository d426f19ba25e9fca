// Attention of few queries, as where a text is written word by word: a tile of queries would be
// mostly empty, and one block a head leaves the machine idle. Here a block is a split of KEYS keys
// of one head and serves all its queries. A thread has a key while scores are made, a column while
// values are averaged. Splits leave a maximum, a sum and an unfinished result for each query, which
// a second kernel joins in their order.
#pragma once
#include "looks.cuh"

constexpr int KEYS = 128, QUERIES = 8;   // KEYS: threads of a block too

// bfloat16's bits, as a cache stores them; read as the type that is computed in would hold them
struct Bits {
    unsigned short bits;
};
__device__ __forceinline__ acc value(Bits b) {
    return value(rounded((acc)__int_as_float((int)((unsigned)b.bits << 16))));
}
// As of `real`: LANES of them fill no more than a packet
__device__ __forceinline__ void load_lanes(const Bits* p, int live, bool packed, acc (&v)[LANES]) {
    if (packed && live >= LANES) {
        const Packet<Bits, LANES> pack = *(const Packet<Bits, LANES>*)p;
#pragma unroll
        for (int l = 0; l < LANES; ++l) v[l] = value(pack.v[l]);
    } else {
#pragma unroll
        for (int l = 0; l < LANES; ++l) v[l] = l < live ? value(p[l]) : acc(0);
    }
}

// s[i] = scores of query i and the key at `row`; held: the queries, side by side
template <class T>
__device__ __forceinline__ void scores_of_key(const acc* held, const T* row, int features, int queries,
                                              bool packed, acc (&s)[QUERIES]) {
#pragma unroll
    for (int i = 0; i < QUERIES; ++i) s[i] = 0;
    for (int e = 0; e < features; e += LANES) {
        acc v[LANES];
        const int live = min(LANES, features - e);
        load_lanes(row + e, live, packed, v);
#pragma unroll
        for (int i = 0; i < QUERIES; ++i)
#pragma unroll
            for (int l = 0; l < LANES; ++l)
                if (i < queries && l < live) s[i] = fma(held[i * features + e + l], v[l], s[i]);
    }
}

// partial: for head, split and query top, sum and a result that is not yet divided by the sum. k and v: of the head,
// rows `k_row` and `v_row` apart; held: shared memory for the queries
template <class Look, class T>
__device__ __forceinline__ void attend_few(const Matrix& q, const T* k, const T* v, int k_row, int v_row,
                                           int values, const Look& look, acc scale, acc* held, acc* partial,
                                           int splits) {
    __shared__ acc weights[QUERIES][KEYS], slots[32];
    __shared__ bool live[KEYS];
    const int begin = (int)(blockIdx.x % splits) * KEYS, key = begin + threadIdx.x;
    const int queries = q.rows, features = q.columns, here = min(KEYS, look.keys - begin);
    for (int t = threadIdx.x; t < queries * features; t += KEYS)
        held[t] = value(q.data[(i64)(t / features) * q.stride + t % features]);
    __syncthreads();
    acc s[QUERIES];
    const bool packed = k_row % LANES == 0 && aligned(k);
    scores_of_key(held, k + (i64)min(key, look.keys - 1) * k_row, features, queries, packed, s);
    partial += (i64)blockIdx.x * queries * (values + 2);
    bool any = false;
#pragma unroll
    for (int i = 0; i < QUERIES; ++i) {
        if (i >= queries) break;
        const bool seen = look.sees(i, key);
        any |= seen;
        const acc score = seen ? s[i] * scale + look.added(i, key) : -infinity();
        const acc top = block_reduce<Max>(score, slots),
                  weight = exp(score - (top == -infinity() ? acc(0) : top));
        const acc sum = block_reduce<Sum>(weight, slots);
        weights[i][threadIdx.x] = weight;
        if (threadIdx.x == 0) {
            partial[i * (values + 2)] = top;
            partial[i * (values + 2) + 1] = sum;
        }
    }
    if (Look::HIDES) live[threadIdx.x] = any;
    __syncthreads();
    for (int j = threadIdx.x; j < values; j += KEYS) {
        acc out[QUERIES] = {};
#pragma unroll 4
        for (int n = 0; n < here; ++n) {
            if (Look::HIDES && !live[n]) continue;   // it may be NaN
            const acc x = value(v[(i64)(begin + n) * v_row + j]);
#pragma unroll
            for (int i = 0; i < QUERIES; ++i)
                if (i < queries) out[i] = fma(weights[i][n], x, out[i]);
        }
#pragma unroll
        for (int i = 0; i < QUERIES; ++i)
            if (i < queries) partial[i * (values + 2) + 2 + j] = out[i];
    }
}
