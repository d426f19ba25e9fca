// Attention of the keys that lie within a span of each query's own, with numbers that are added by distance: no
// mask lies in memory, and tiles that no query sees are passed by.
#define COLUMNS 4   // one form: heads are seldom wider than 64, and a wider one has slabs
#include "attention/attend.cuh"

// Blocks: tiles of queries of every head, times slabs of the result, as in cuda.cu. ss: strides of begin and end;
// ds: of distance
extern "C" __global__ void __launch_bounds__(256)
    attention_within(const real* q, const real* k, const real* v, const i64* begin, const i64* end,
                     const real* distance, const __grid_constant__ Dims lead,
                     const __grid_constant__ Dims sizes, const __grid_constant__ Dims qs,
                     const __grid_constant__ Dims ks, const __grid_constant__ Dims vs,
                     const __grid_constant__ Dims ss, const __grid_constant__ Dims ds,
                     const __grid_constant__ Dims ys, int causal, acc scale, real* y, acc* logsum,
                     int tiles) {
    const i64 head = blockIdx.x / tiles;
    const int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * TILE;
    const Heads of(q, k, v, nullptr, lead, sizes, qs, ks, vs, vs, head);
    attend(of, Within(begin, end, distance, lead, sizes, ss, ds, causal, head), head, first,
           blockIdx.y * WIDTH, scale, const_cast<real*>(of_head(y, lead, ys, head)), ys[lead.n], logsum);
}
