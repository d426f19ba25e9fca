// Attention of few queries, as where a text is written word by word: a tile of queries would be
// mostly empty, and one block a head leaves the machine idle. Here a block is a split of KEYS keys
// of one head and serves all its queries. A thread has a key while scores are made, a column while
// values are averaged. Splits leave a maximum, a sum and an unfinished result for each query, which
// a second kernel joins in their order.
#include "tiles.cuh"

constexpr int KEYS = 128, QUERIES = 8;   // KEYS: threads of a block too

extern __shared__ __align__(16) acc held[];   // the queries, side by side

// s[i] = scores of query i and the key at `row`
__device__ __forceinline__ void scores_of_key(const real* row, int features, int queries, bool packed,
                                              acc (&s)[QUERIES]) {
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

extern "C" {
// partial: for head, split and query top, sum and a result that is not yet divided by the sum
__global__ void __launch_bounds__(KEYS)
    attention_few(const real* q, const real* k, const real* v, const real* mask,
                  const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes,
                  const __grid_constant__ Dims qs, const __grid_constant__ Dims ks,
                  const __grid_constant__ Dims vs, const __grid_constant__ Dims ms, int causal, acc scale,
                  acc* partial, int splits) {
    __shared__ acc weights[QUERIES][KEYS], slots[32];
    const i64 head = blockIdx.x / splits;
    const int begin = (int)(blockIdx.x % splits) * KEYS, key = begin + threadIdx.x;
    const Heads of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head);
    const int queries = of.q.rows, features = of.q.columns, values = of.v.columns,
              here = min(KEYS, of.k.rows - begin);
    for (int t = threadIdx.x; t < queries * features; t += KEYS)
        held[t] = value(of.q.data[(i64)(t / features) * of.q.stride + t % features]);
    __syncthreads();
    acc s[QUERIES];
    scores_of_key(of.k.data + (i64)min(key, of.k.rows - 1) * of.k.stride, features, queries, of.k.packed, s);
    partial += (i64)blockIdx.x * queries * (values + 2);
#pragma unroll
    for (int i = 0; i < QUERIES; ++i) {
        if (i >= queries) break;
        const bool seen = key < of.k.rows && (!causal || key <= i);
        const acc score = seen ? s[i] * scale + of.mask(i, key) : -infinity();
        const acc top = block_reduce<Max>(score, slots),
                  weight = exp(score - (top == -infinity() ? acc(0) : top));
        const acc sum = block_reduce<Sum>(weight, slots);
        weights[i][threadIdx.x] = weight;
        if (threadIdx.x == 0) {
            partial[i * (values + 2)] = top;
            partial[i * (values + 2) + 1] = sum;
        }
    }
    __syncthreads();
    for (int j = threadIdx.x; j < values; j += KEYS) {
        acc out[QUERIES] = {};
#pragma unroll 4
        for (int n = 0; n < here; ++n) {
            const acc x = value(of.v.data[(i64)(begin + n) * of.v.stride + j]);
#pragma unroll
            for (int i = 0; i < QUERIES; ++i)
                if (i < queries) out[i] = fma(weights[i][n], x, out[i]);
        }
#pragma unroll
        for (int i = 0; i < QUERIES; ++i)
            if (i < queries) partial[i * (values + 2) + 2 + j] = out[i];
    }
}

// A block a query
__global__ void __launch_bounds__(KEYS)
    attention_join(const acc* partial, const __grid_constant__ Dims lead, const __grid_constant__ Dims ys,
                   int queries, int values, int splits, real* y, acc* logsum) {
    const i64 head = blockIdx.x / queries;
    const int q = (int)(blockIdx.x % queries);
    const i64 step = (i64)queries * (values + 2);
    partial += head * splits * step + q * (values + 2);
    real* line = const_cast<real*>(of_head(y, lead, ys, head)) + (i64)q * ys[lead.n];
    acc top = -infinity(), sum = 0;
    for (int p = 0; p < splits; ++p) top = larger(top, partial[p * step]);
    const bool none = top == -infinity();
    const acc base = none ? acc(0) : top;
    for (int p = 0; p < splits; ++p) sum += partial[p * step + 1] * exp(partial[p * step] - base);
    if (threadIdx.x == 0) logsum[blockIdx.x] = none ? infinity() : top + log(sum);
    const acc share = none ? acc(0) : acc(1) / sum;
    for (int j = threadIdx.x; j < values; j += KEYS) {
        acc out = 0;
        for (int p = 0; p < splits; ++p) out += partial[p * step + 2 + j] * exp(partial[p * step] - base);
        line[j] = rounded(out * share);
    }
}
}
