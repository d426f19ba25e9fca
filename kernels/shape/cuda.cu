// cat: one input is copied to its place in the result, rows of `row` units that lie `pitch`
// values apart. A thread copies a unit: 16 bytes where the rows of both begin at multiples
// of that, else a value.
#include "elementwise/broadcast.cuh"

template <int W>
__device__ __forceinline__ void copy_rows(const real* x, int units, int row, int magic, i64 pitch, real* y) {
    const bool packed = W > 1 && aligned(x) && aligned(y);
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned unit = blockIdx.x * blockDim.x + threadIdx.x; unit < units; unit += threads) {
        const unsigned r = quotient(unit, row, magic);
        const real* from = x + unit * W;
        real* to = y + r * pitch + (unit - r * row) * W;
        if (packed) {
            *(Packet<real, W>*)to = *(const Packet<real, W>*)from;
        } else {
#pragma unroll
            for (int l = 0; l < W; ++l) to[l] = from[l];
        }
    }
}

extern "C" {
__global__ void __launch_bounds__(256)
    cat_copy_packs(const real* x, int units, int row, int magic, i64 pitch, real* y) {
    copy_rows<LANES>(x, units, row, magic, pitch, y);
}
__global__ void __launch_bounds__(256)
    cat_copy_values(const real* x, int units, int row, int magic, i64 pitch, real* y) {
    copy_rows<1>(x, units, row, magic, pitch, y);
}
}
