// Attention whose weights are dropped by random numbers that are made where a weight is: as many as weights, and
// none in memory.
#define COLUMNS 4   // one form: heads are seldom wider than 64, and a wider one has slabs
#include "attention/attend.cuh"

// Blocks: tiles of queries of every head, times slabs of the result, as in cuda.cu
extern "C" __global__ void __launch_bounds__(256)
    attention_dropped(const real* q, const real* k, const real* v, const real* mask,
                      const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes,
                      const __grid_constant__ Dims qs, const __grid_constant__ Dims ks,
                      const __grid_constant__ Dims vs, const __grid_constant__ Dims ms,
                      const __grid_constant__ Dims ys, int causal, acc scale, i64 seed, i64 threshold,
                      acc keep, real* y, acc* logsum, int tiles) {
    const i64 head = blockIdx.x / tiles;
    const int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * TILE;
    const Heads of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head);
    const Dropped look{{of.mask, sizes[0], sizes[1], causal != 0},
                       (u64)head * sizes[0] * sizes[1],
                       (u64)seed,
                       threshold,
                       keep};
    attend(of, look, head, first, blockIdx.y * WIDTH, scale, const_cast<real*>(of_head(y, lead, ys, head)),
           ys[lead.n], logsum);
}
