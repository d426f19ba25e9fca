// The gradient of attention with a mask that lies in memory, or with none.
#include "attention/slopes.cuh"

extern "C" {
__global__ void __launch_bounds__(256, 2)
    attention_dq(const real* dy, const real* q, const real* k, const real* v, const real* mask,
                 const acc* logsum, const acc* delta, const __grid_constant__ Dims lead,
                 const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                 const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                 const __grid_constant__ Dims ms, int causal, acc scale, real* dq, int tiles) {
    const i64 head = blockIdx.x / tiles;
    const Heads of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head);
    const Masked look{of.mask, sizes[0], sizes[1], causal != 0};
    const Task task(of, look, dy, logsum, delta, scale, head, tiles);
    task.queries(dq, tiles);
}

__global__ void __launch_bounds__(256, 1)
    attention_dkv(const real* dy, const real* q, const real* k, const real* v, const real* mask,
                  const acc* logsum, const acc* delta, const __grid_constant__ Dims lead,
                  const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                  const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                  const __grid_constant__ Dims ms, int causal, acc scale, real* dk, real* dv, int tiles) {
    const i64 head = blockIdx.x / tiles;
    const Heads of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head);
    const Masked look{of.mask, sizes[0], sizes[1], causal != 0};
    const Task task(of, look, dy, logsum, delta, scale, head, tiles);
    task.keys(dk, dv);
}
}
