// The gradient of attention whose weights are dropped (dropped.cu): what was dropped is made again.
#define COLUMNS 4   // one form: heads are seldom wider than 64, and a wider one has slabs
#include "attention/slopes.cuh"

extern "C" {
__global__ void __launch_bounds__(256, 2)
    attention_dropped_dq(const real* dy, const real* q, const real* k, const real* v, const real* mask,
                         const acc* logsum, const acc* delta, const __grid_constant__ Dims lead,
                         const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                         const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                         const __grid_constant__ Dims ms, int causal, acc scale, i64 seed, i64 threshold,
                         acc keep, real* dq, int tiles) {
    const i64 head = blockIdx.x / tiles;
    const Heads of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head);
    const Dropped look{{of.mask, sizes[0], sizes[1], causal != 0},
                       (u64)head * sizes[0] * sizes[1],
                       (u64)seed,
                       threshold,
                       keep};
    const Task task(of, look, dy, logsum, delta, scale, head, tiles);
    task.queries(dq, tiles);
}

__global__ void __launch_bounds__(256, 1)
    attention_dropped_dkv(const real* dy, const real* q, const real* k, const real* v, const real* mask,
                          const acc* logsum, const acc* delta, const __grid_constant__ Dims lead,
                          const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                          const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                          const __grid_constant__ Dims ms, int causal, acc scale, i64 seed, i64 threshold,
                          acc keep, real* dk, real* dv, int tiles) {
    const i64 head = blockIdx.x / tiles;
    const Heads of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head);
    const Dropped look{{of.mask, sizes[0], sizes[1], causal != 0},
                       (u64)head * sizes[0] * sizes[1],
                       (u64)seed,
                       threshold,
                       keep};
    const Task task(of, look, dy, logsum, delta, scale, head, tiles);
    task.keys(dk, dv);
}
}
