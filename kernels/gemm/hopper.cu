// C = act(A B + bias) for 16-bit types, by wgmma and the Tensor Memory Accelerator: requires
// sm_90a. What tensor.cu computes, in the same order along the reduction, with a quarter of its
// instructions: a product of 64 x 256 x 16 is one, and a tile's copy is another. How a block goes
// about it: hopper_tile.cuh. Operands stay as they lie in memory; C is guarded when it is stored.
#include "index.cuh"
#if defined(REAL_f16) || defined(REAL_bf16)
#include "result.cuh"
#include "hopper_tile.cuh"

// sizes: rows of C, columns, depth; whether A, and B, are more than one matrix. c_layout: pairs
template <int BN, int STAGES, bool TA, bool TB>
__device__ __forceinline__ void product(const TensorMap& a, const TensorMap& b, const real* bias, real* c,
                                        const Dims& sizes, const Dims& c_layout) {
    extern __shared__ __align__(16) char dynamic[];
    typedef HopperTile<BN, STAGES, TA, !TB> Sums;
    const int m = sizes[0], n = sizes[1], rows = ceil_div(m, BM), columns = ceil_div(n, BN);
    const Tile tile = tile_at(blockIdx.x % (rows * columns), rows, columns);
    const int index = blockIdx.x / (rows * columns), row = tile.row * BM, column = tile.column * BN;
    const Result result{c + (i64)index * m * n, nullptr, bias, n, c_layout[0] != 0};
    if (threadIdx.x == 0) {
        prefetch(a);
        prefetch(b);
    }
    Sums::run(
        dynamic, ceil_div(sizes[2], DEEP),
        [&](char* left, char* right, int step, u64* barrier) {
            Sums::Left::copy(left, a, row, step * DEEP, sizes[3] ? index : 0, barrier);
            Sums::Right::copy(right, b, column, step * DEEP, sizes[4] ? index : 0, barrier);
        },
        [&](int i) { return ResultLine{result, (i64)(row + i) * n, column, row + i < m}; });
}

#define PARAMETERS \
    const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, const real *bias, real *c, Dims sizes, Dims c_layout
#define ARGUMENTS a, b, bias, c, sizes, c_layout
extern "C" {
__global__ void __launch_bounds__(THREADS) hopper_128x128_nn(PARAMETERS) {
    product<128, 6, false, false>(ARGUMENTS);
}
__global__ void __launch_bounds__(THREADS) hopper_128x128_nt(PARAMETERS) {
    product<128, 6, false, true>(ARGUMENTS);
}
__global__ void __launch_bounds__(THREADS) hopper_128x128_tn(PARAMETERS) {
    product<128, 6, true, false>(ARGUMENTS);
}
__global__ void __launch_bounds__(THREADS) hopper_128x128_tt(PARAMETERS) {
    product<128, 6, true, true>(ARGUMENTS);
}
__global__ void __launch_bounds__(THREADS) hopper_128x256_nn(PARAMETERS) {
    product<256, 4, false, false>(ARGUMENTS);
}
__global__ void __launch_bounds__(THREADS) hopper_128x256_nt(PARAMETERS) {
    product<256, 4, false, true>(ARGUMENTS);
}
__global__ void __launch_bounds__(THREADS) hopper_128x256_tn(PARAMETERS) {
    product<256, 4, true, false>(ARGUMENTS);
}
__global__ void __launch_bounds__(THREADS) hopper_128x256_tt(PARAMETERS) {
    product<256, 4, true, true>(ARGUMENTS);
}
}
#endif
