// A block's tile of a product of 16-bit operands by wgmma and the Tensor Memory
// Accelerator, 128 rows by BN columns (see hopper.cu, and convolution/hopper.cu for
// operands that are no matrices in memory).
//
// Warps 0-3 of a block are the producer (of them one thread): it keeps STAGES tiles of both
// operands on their way to shared memory. Warps 4-7 and 8-11 are the consumers, two halves of the
// tile's rows. A slot has two barriers: `full` ends a phase when its bytes have arrived, `empty`
// when all eight consumer warps have multiplied them. What is contiguous in a tile, the reduction
// (K-major) or the rows (MN-major), is a flag of the product. Where there is nothing in memory
// copies deliver zeros.
#pragma once
#include "tiles.cuh"
#include "hopper.cuh"

// a tile's rows; the reduction it holds, a line of the swizzle; that of a product
constexpr int BM = 128, DEEP = 64, STEP = 16;
constexpr int PRODUCER = 128, CONSUMERS = 256, THREADS = PRODUCER + CONSUMERS;
static_assert(DEEP * sizeof(real) == LINE_BYTES, "a line of the swizzle is the reduction of a tile");
constexpr int BOX_BYTES = 64 * LINE_BYTES;   // 64 rows by DEEP, either way

// ROWS rows (or columns of B) by DEEP as a tile in shared memory: boxes of 64 rows, one after the other.
template <int ROWS, bool MN> struct Operand {
    static constexpr int BYTES = ROWS * LINE_BYTES;

    // From a matrix. MN-major boxes are 64 rows wide, for that is all that a line holds; K-major
    // ones are as high as the tile (hopper.py).
    static __device__ __forceinline__ void copy(char* to, const TensorMap& map, int row, int depth, int index,
                                                u64* barrier) {
        if (MN) {
#pragma unroll
            for (int i = 0; i < ROWS / 64; ++i)
                copy_box(to + i * BOX_BYTES, map, row + i * 64, depth, index, barrier);
        } else {
            copy_box(to, map, depth, row, index, barrier);
        }
    }
    // From the tile's row `first`, a multiple of 64, on, and from STEP `step` of the reduction
    // on. That is 32 bytes further along a line, where the swizzle, which goes by the address,
    // holds, or 16 lines further.
    static __device__ __forceinline__ u64 at(const char* tile, int first, int step) {
        return descriptor(tile + first / 64 * BOX_BYTES + step * STEP * (MN ? LINE_BYTES : (int)sizeof(real)),
                          MN ? BOX_BYTES : 16, PATTERN_BYTES);
    }
};

template <int BN, int STAGES, bool MN_A, bool MN_B> struct HopperTile {
    typedef Operand<BM, MN_A> Left;
    typedef Operand<BN, MN_B> Right;
    static constexpr int STAGE = Left::BYTES + Right::BYTES;

    // Sums over `steps` tiles of the reduction: load(left, right, step, barrier) starts the copies
    // of one, STAGE bytes in all, and store(row) is what takes that row's sums: (column, x, next), two
    // neighbouring columns at a time. dynamic: STAGES * STAGE + PATTERN_BYTES bytes of shared memory.
    template <class Load, class Store>
    static __device__ __forceinline__ void run(char* dynamic, int steps, Load load, Store store) {
        __shared__ u64 full[STAGES], empty[STAGES];
        char* const tiles = dynamic + (-shared_address(dynamic) & (PATTERN_BYTES - 1));
        if (threadIdx.x == 0) {
            for (int i = 0; i < STAGES; ++i) {
                barrier_init(&full[i], 1);
                barrier_init(&empty[i], CONSUMERS / 32);
            }
            barrier_init_fence();
        }
        __syncthreads();
        if (threadIdx.x >= PRODUCER) consume(tiles, steps, full, empty, store);
        else if (threadIdx.x == 0) produce(tiles, steps, full, empty, load);
    }

    template <class Load>
    static __device__ __forceinline__ void produce(char* tiles, int steps, u64* full, u64* empty, Load load) {
        for (int step = 0; step < steps; ++step) {
            const int slot = step % STAGES;
            char* const to = tiles + slot * STAGE;
            barrier_wait(&empty[slot], step / STAGES & 1 ^ 1);   // at first at once
            barrier_expect(&full[slot], STAGE);
            load(to, to + Left::BYTES, step, &full[slot]);
        }
    }

    template <class Store>
    static __device__ __forceinline__ void consume(const char* tiles, int steps, u64* full, u64* empty,
                                                   Store store) {
        // so that the compiler knows it to be one for the warp
        const int group = __shfl_sync(0xffffffff, (int)threadIdx.x / 128, 0);
        // of a warpgroup; of the tile's rows
        const int thread = threadIdx.x % 128, first = (group - 1) * 64;
        float d[BN / 2] = {};
        for (int step = 0; step < steps; ++step) {
            const int slot = step % STAGES;
            const char* const from = tiles + slot * STAGE;
            barrier_wait(&full[slot], step / STAGES & 1);
            pin(d);
            product_fence();
#pragma unroll
            for (int i = 0; i < DEEP / STEP; ++i)
                warpgroup_product<MN_A, MN_B>(d, Left::at(from, first, i),
                                              Right::at(from + Left::BYTES, 0, i));
            product_commit();
            product_wait<1>();   // for the step before this one: its slot is free
            pin(d);
            if (step > 0 && thread % 32 == 0) barrier_arrive(&empty[(step - 1) % STAGES]);
        }
        product_wait<0>();
        pin(d);
        const int row = first + thread / 32 * 16 + thread % 32 / 4, column = thread % 4 * 2;
        const auto upper = store(row), lower = store(row + 8);
#pragma unroll
        for (int j = 0; j < BN / 8; ++j) {
            upper(column + j * 8, d[4 * j], d[4 * j + 1]);
            lower(column + j * 8, d[4 * j + 2], d[4 * j + 3]);
        }
    }
};
