// Attention with a mask that lies in memory, or with none.
#include "attention/attend.cuh"

// Blocks: tiles of queries of every head, times slabs of the result. The last tiles, which see
// most keys, begin first.
extern "C" __global__ void __launch_bounds__(256)
    attention_forward(const real* q, const real* k, const real* v, const real* mask,
                      const __grid_constant__ Dims lead, const __grid_constant__ Dims sizes,
                      const __grid_constant__ Dims qs, const __grid_constant__ Dims ks,
                      const __grid_constant__ Dims vs, const __grid_constant__ Dims ms,
                      const __grid_constant__ Dims ys, int causal, acc scale, real* y, acc* logsum,
                      int tiles) {
    const i64 head = blockIdx.x / tiles;
    const int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * TILE;
    const Heads of(q, k, v, mask, lead, sizes, qs, ks, vs, ms, head);
    attend(of, Masked{of.mask, sizes[0], sizes[1], causal != 0}, head, first, blockIdx.y * WIDTH, scale,
           const_cast<real*>(of_head(y, lead, ys, head)), ys[lead.n], logsum);
}
