// Attention of few queries with a mask that lies in memory, or with none; and what joins splits of keys.
#include "attention/few.cuh"

extern __shared__ __align__(16) acc held[];

extern "C" {
__global__ void __launch_bounds__(KEYS)
    attention_few(const real* q, const real* k, const real* v, const real* mask,
                  const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes,
                  const __grid_constant__ Dims qs, const __grid_constant__ Dims ks,
                  const __grid_constant__ Dims vs, const __grid_constant__ Dims ms, int causal, acc scale,
                  acc* partial, int splits) {
    const Heads of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, blockIdx.x / splits);
    attend_few(of.q, of.k.data, of.v.data, of.k.stride, of.v.stride, of.v.columns,
               Masked{of.mask, sizes[0], sizes[1], causal != 0}, scale, held, partial, splits);
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
