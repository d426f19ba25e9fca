// Attention of few queries within spans of keys, with numbers by distance: a step of decoding beside a cache, whose
// keys and values are of the queries' type or bfloat16's bits. few.cu joins what the splits leave.
#include "attention/few.cuh"

extern __shared__ __align__(16) acc held[];

extern "C" {
__global__ void __launch_bounds__(KEYS)
    attention_few_within(const real* q, const real* k, const real* v, const i64* begin, const i64* end,
                         const real* distance, const __grid_constant__ Dims lead,
                         const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                         const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                         const __grid_constant__ Dims ss, const __grid_constant__ Dims ds, int causal,
                         acc scale, acc* partial, int splits) {
    const i64 head = blockIdx.x / splits;
    const Matrix own(of_head(q, lead, qs, head), qs[lead.n], sizes[0], sizes[2]);
    attend_few(own, of_head(k, lead, ks, head, sizes[4]), of_head(v, lead, vs, head, sizes[5]), ks[lead.n],
               vs[lead.n], sizes[3], Within(begin, end, distance, lead, sizes, ss, ds, causal, head), scale,
               held, partial, splits);
}

__global__ void __launch_bounds__(KEYS)
    attention_few_stored(const real* q, const Bits* k, const Bits* v, const i64* begin, const i64* end,
                         const real* distance, const __grid_constant__ Dims lead,
                         const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                         const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                         const __grid_constant__ Dims ss, const __grid_constant__ Dims ds, int causal,
                         acc scale, acc* partial, int splits) {
    const i64 head = blockIdx.x / splits;
    const Matrix own(of_head(q, lead, qs, head), qs[lead.n], sizes[0], sizes[2]);
    attend_few(own, of_head(k, lead, ks, head, sizes[4]), of_head(v, lead, vs, head, sizes[5]), ks[lead.n],
               vs[lead.n], sizes[3], Within(begin, end, distance, lead, sizes, ss, ds, causal, head), scale,
               held, partial, splits);
}

// to = the numbers that bits stand for, where queries are more than few
__global__ void __launch_bounds__(256) attention_widen(const Bits* from, real* to, i64 n) {
    for (GRID_STRIDE(i, n)) to[i] = rounded(value(from[i]));
}
}
