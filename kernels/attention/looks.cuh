// What queries see of the keys, what is added to their scores, and what their weights are multiplied with: the
// three rows of attention differ in this alone. R queries at a time, which `lines` prepares.
#pragma once
#include "dropout/philox.cuh"
#include "tiles.cuh"

struct Span {
    int begin, end;
};

// A mask that lies in memory, or none
struct Masked {
    static constexpr bool HIDES = false;   // whether keys that nobody sees may hold anything
    Mask mask;
    int queries, keys;
    bool causal;
    struct Lines {};
    __device__ __forceinline__ void lines(int, Lines&) const {}
    __device__ __forceinline__ bool seen(const Lines&, int, int q, int k) const {
        return q < queries && k < keys && (!causal || k <= q);
    }
    __device__ __forceinline__ bool sees(int q, int k) const { return seen({}, 0, q, k); }
    __device__ __forceinline__ acc added(int q, int k) const { return mask(q, k); }
    __device__ __forceinline__ acc kept(int, int) const { return 1; }
    // The keys that some of the queries `first` .. see
    __device__ __forceinline__ Span keys_of(int first) const {
        return {0, causal ? min(keys, first + TILE) : keys};
    }
    // The first tile of queries that may see the keys `first` ..; all behind it may
    __device__ __forceinline__ int queries_of(int first) const { return causal ? first : 0; }
    __device__ __forceinline__ bool any(int, int) const { return true; }
};

// No part of what calls it: sixteen at once would take a thread's registers
__device__ __attribute__((noinline)) unsigned number_of_weight(u64 place, u64 seed) {
    return number_of(place, seed);
}

// The same, and weights are dropped: those whose random number is below the threshold
struct Dropped : Masked {
    u64 place, seed;   // the number of the head's first weight
    i64 threshold;
    acc keep;
    __device__ __forceinline__ acc kept(int q, int k) const {
        return (i64)number_of_weight(place + (u64)q * keys + k, seed) >= threshold ? keep : acc(0);
    }
};

// Keys begin .. end - 1 of each query, where that is said, and numbers by distance
struct Within {
    static constexpr bool HIDES = true;
    const i64 *begin, *end;
    i64 step;   // of either, from one query to the next
    const real* distance;
    int queries, keys;
    bool causal;
    struct Lines {
        int from[R], to[R];
    };
    __device__ __forceinline__ Within(const i64* begin, const i64* end, const real* distance,
                                      const Dims& lead, const Dims& sizes, const Dims& ss, const Dims& ds,
                                      int causal, i64 head)
        : begin(of_head(begin, lead, ss, head)), end(of_head(end, lead, ss, head)), step(ss[lead.n]),
          distance(of_head(distance, lead, ds, head)), queries(sizes[0]), keys(sizes[1]),
          causal(causal != 0) {}
    __device__ __forceinline__ int inside(i64 key) const {
        return key < 0 ? 0 : key < keys ? (int)key : keys;
    }
    __device__ __forceinline__ Span span(int q) const {
        if (q >= queries) return {0, 0};
        const int last = end ? inside(end[q * step]) : keys;
        return {begin ? inside(begin[q * step]) : 0, causal ? min(last, q + 1) : last};
    }
    __device__ __forceinline__ void lines(int q, Lines& l) const {
#pragma unroll
        for (int i = 0; i < R; ++i) {
            const Span own = span(q + i);
            l.from[i] = own.begin, l.to[i] = own.end;
        }
    }
    __device__ __forceinline__ bool seen(const Lines& l, int i, int, int k) const {
        return k >= l.from[i] && k < l.to[i];
    }
    __device__ __forceinline__ bool sees(int q, int k) const {
        const Span own = span(q);
        return k >= own.begin && k < own.end;
    }
    __device__ __forceinline__ acc added(int q, int k) const {
        return distance ? value(distance[k - q + queries - 1]) : acc(0);
    }
    __device__ __forceinline__ acc kept(int, int) const { return 1; }
    // Every warp finds the same
    __device__ __forceinline__ Span keys_of(int first) const {
        Span all{keys, 0};
        for (int q = first + (threadIdx.x & 31); q < first + TILE; q += 32) {
            const Span own = span(q);
            if (own.begin < own.end) all = {min(all.begin, own.begin), max(all.end, own.end)};
        }
#pragma unroll
        for (int step = 16; step > 0; step >>= 1)
            all = {min(all.begin, __shfl_xor_sync(WARP, all.begin, step)),
                   max(all.end, __shfl_xor_sync(WARP, all.end, step))};
        return all;
    }
    __device__ __forceinline__ int queries_of(int first) const { return causal ? first : 0; }
    // Whether some of the queries `query` .. see some of the keys `key` ..
    __device__ __forceinline__ bool any(int query, int key) const {
        const Span of = keys_of(query);
        return of.begin < key + TILE && of.end > key;
    }
};

// Which keys of a tile some query of a tile sees: R bits of each thread's keys, joined by warps. What the others
// hold, such as NaN, must not meet a weight, though it be 0.
struct Shown {
    unsigned keys[8][R];   // by warps, then a key of R; a bit each 16
    // before the barrier in `accumulate`
    __device__ __forceinline__ void put(const bool (&any)[R]) {
#pragma unroll
        for (int j = 0; j < R; ++j) {
            const unsigned lanes = __ballot_sync(WARP, any[j]);
            if ((threadIdx.x & 31) == 0) keys[threadIdx.x >> 5][j] = lanes | lanes >> 16;
        }
    }
    __device__ __forceinline__ bool operator()(int key) const {
        unsigned found = 0;
#pragma unroll
        for (int w = 0; w < 8; ++w) found |= keys[w][key % R];
        return found >> key / R & 1;
    }
};
