// C = act(A B + bias) for 16-bit types, by wgmma and the Tensor Memory Accelerator: requires sm_90a. What tensor.cu computes, in the same
// order along the reduction, with a quarter of its instructions: a product of 64 x 256 x 16 is one, and a tile's copy is another.
//
// Warps 0-3 of a block are the producer (of them one thread): it keeps STAGES tiles of both operands on their way to shared memory. Warps
// 4-7 and 8-11 are the consumers, two halves of the tile's 128 rows. A slot has two barriers: `full` ends a phase when its bytes have
// arrived, `empty` when all eight consumer warps have multiplied them. Operands stay as they lie in memory: what is contiguous, the reduction (K-major) or
// the rows (MN-major), is a flag of the product. Outside of a matrix copies deliver zeros; C is guarded when it is stored.
#include "index.cuh"
#include "tiles.cuh"
#include "hopper.cuh"

#if defined(REAL_f16) || defined(REAL_bf16)
constexpr int BM = 128, DEEP = 64, STEP = 16;   // a tile's rows; the reduction it holds, a line of the swizzle; that of a product
constexpr int PRODUCER = 128, CONSUMERS = 256;   // threads
static_assert(DEEP * sizeof(real) == LINE_BYTES, "a line of the swizzle is the reduction of a tile");
constexpr int BOX_BYTES = 64 * LINE_BYTES;   // 64 rows by DEEP, either way

// ROWS rows (or columns of B) by DEEP as a tile in shared memory: boxes of 64 rows, one after the other.
template <int ROWS, bool MN> struct Operand {
    static constexpr int BYTES = ROWS * LINE_BYTES;

    // MN-major boxes are 64 rows wide, for that is all that a line holds; K-major ones are as high as the tile (hopper.py).
    static __device__ __forceinline__ void copy(char* to, const TensorMap& map, int row, int depth, int index, u64* barrier) {
        if (MN) {
#pragma unroll
            for (int i = 0; i < ROWS / 64; ++i) copy_box(to + i * BOX_BYTES, map, row + i * 64, depth, index, barrier);
        } else {
            copy_box(to, map, depth, row, index, barrier);
        }
    }
    // From the tile's row `first`, a multiple of 64, on, and from STEP `step` of the reduction on. That is 32 bytes further along a line, where the
    // swizzle, which goes by the address, holds, or 16 lines further.
    static __device__ __forceinline__ u64 at(const char* tile, int first, int step) {
        return descriptor(tile + first / 64 * BOX_BYTES + step * STEP * (MN ? LINE_BYTES : (int)sizeof(real)), MN ? BOX_BYTES : 16, PATTERN_BYTES);
    }
};

struct Result {
    real* c;
    const real* bias;
    int m, n, activation;
    bool pairs;   // two neighbours of C are one aligned access

    __device__ __forceinline__ void write(int row, int column, acc x, acc next) const {
        if (row >= m || column >= n) return;
        const i64 at = (i64)row * n + column;
        const bool both = column + 1 < n;
        if (bias) x += value(bias[column]), next += both ? value(bias[column + 1]) : 0;
        const Packet<real, 2> p = {{rounded(activated(x, activation)), rounded(activated(next, activation))}};
        if (pairs) *reinterpret_cast<Packet<real, 2>*>(c + at) = p;
        else {
            c[at] = p.v[0];
            if (both) c[at + 1] = p.v[1];
        }
    }
};

// sizes: rows of C, columns, depth; whether A, and B, are more than one matrix. c_layout: pairs, activation
template <int BN, int STAGES, bool TA, bool TB>
__device__ __forceinline__ void product(const TensorMap& a, const TensorMap& b, const real* bias, real* c, const Dims& sizes, const Dims& c_layout) {
    typedef Operand<BM, TA> Left;
    typedef Operand<BN, !TB> Right;
    constexpr int STAGE = Left::BYTES + Right::BYTES;
    extern __shared__ char dynamic[];
    __shared__ u64 full[STAGES], empty[STAGES];
    char* const tiles = dynamic + (-shared_address(dynamic) & (PATTERN_BYTES - 1));   // hopper.py asks for as much more
    const int m = sizes[0], n = sizes[1], steps = ceil_div(sizes[2], DEEP), rows = ceil_div(m, BM), columns = ceil_div(n, BN);
    const Tile tile = tile_at(blockIdx.x % (rows * columns), rows, columns);
    const int index = blockIdx.x / (rows * columns);

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; ++i) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], CONSUMERS / 32);
        }
        barrier_init_fence();
    }
    __syncthreads();

    if (threadIdx.x < PRODUCER) {
        if (threadIdx.x != 0) return;
        prefetch(a);
        prefetch(b);
        for (int step = 0; step < steps; ++step) {
            const int slot = step % STAGES;
            char* const to = tiles + slot * STAGE;
            barrier_wait(&empty[slot], step / STAGES & 1 ^ 1);   // at first at once
            barrier_expect(&full[slot], STAGE);
            Left::copy(to, a, tile.row * BM, step * DEEP, sizes[3] ? index : 0, &full[slot]);
            Right::copy(to + Left::BYTES, b, tile.column * BN, step * DEEP, sizes[4] ? index : 0, &full[slot]);
        }
        return;
    }

    const int group = __shfl_sync(0xffffffff, (int)threadIdx.x / 128, 0);   // so that the compiler knows it to be one for the warp
    const int thread = threadIdx.x % 128, first = (group - 1) * 64;   // of a warpgroup; of the tile's rows
    float d[BN / 2] = {};
    for (int step = 0; step < steps; ++step) {
        const int slot = step % STAGES;
        const char* const from = tiles + slot * STAGE;
        barrier_wait(&full[slot], step / STAGES & 1);
        pin(d);
        product_fence();
#pragma unroll
        for (int i = 0; i < DEEP / STEP; ++i)
            warpgroup_product<TA, !TB>(d, Left::at(from, first, i), Right::at(from + Left::BYTES, 0, i));
        product_commit();
        product_wait<1>();   // for the step before this one: its slot is free
        pin(d);
        if (step > 0 && thread % 32 == 0) barrier_arrive(&empty[(step - 1) % STAGES]);
    }
    product_wait<0>();
    pin(d);

    const Result result{c + (i64)index * m * n, bias, m, n, c_layout[1], c_layout[0] != 0};
    const int row = tile.row * BM + first + thread / 32 * 16 + thread % 32 / 4, column = tile.column * BN + thread % 4 * 2;
#pragma unroll
    for (int j = 0; j < BN / 8; ++j) {
        result.write(row, column + j * 8, d[4 * j], d[4 * j + 1]);
        result.write(row + 8, column + j * 8, d[4 * j + 2], d[4 * j + 3]);
    }
}

#define PARAMETERS \
    const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, const real *bias, real *c, Dims sizes, Dims c_layout
#define ARGUMENTS a, b, bias, c, sizes, c_layout
#define ENTRY(bn, stages, name, ta, tb) \
    __global__ void __launch_bounds__(PRODUCER + CONSUMERS) hopper_128x##bn##_##name(PARAMETERS) { product<bn, stages, ta, tb>(ARGUMENTS); }
extern "C" {
ENTRY(128, 6, nn, false, false)
ENTRY(128, 6, nt, false, true)
ENTRY(128, 6, tn, true, false)
ENTRY(128, 6, tt, true, true)
ENTRY(256, 4, nn, false, false)
ENTRY(256, 4, nt, false, true)
ENTRY(256, 4, tn, true, false)
ENTRY(256, 4, tt, true, true)
}
#endif
