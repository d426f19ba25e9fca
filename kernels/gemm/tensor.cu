// C = act(A B + bias) on tensor cores (requires sm_80), for batches of matrices in any of the four
// transpositions; precisions: tensor_unit.cuh.
//
// Operands go from memory to shared memory by cp.async, several tiles ahead of the product, in the
// order in which they lie in memory: transposition is left to ldmatrix, or costs nothing. Any size
// will do: what lies outside arrives as zeros. Rows that do not start at multiples of 16 bytes are
// copied value by value.
//
// A result is summed in the order of the reduction, whatever the tile, so it does not depend on the
// batch. Only where A is transposed, as for the gradient of weights, where the batch itself is
// reduced over, the reduction may be cut into pieces that gemm_join adds.
#include "index.cuh"
#include "result.cuh"
#include "tensor_tile.cuh"

struct Operand {
    const real* data;
    int rows, pitch;   // rows: what is not reduced over; pitch: from one stored line to the next
    bool packets;
};

// SIDE rows from `first` on, DEEP of the reduction from k on and before end.
template <int SIDE, bool BY_ROWS, int PITCH, int THREADS> struct Copy {
    static constexpr int LINE = BY_ROWS ? SIDE : DEEP;

    template <int W, class F>
    static __device__ __forceinline__ void each(const Operand& m, int first, int k, int end, F f) {
        constexpr int COUNT = SIDE * DEEP / W;
        static_assert(COUNT % THREADS == 0, "each thread copies as many packets");
        first = opaque(first);   // else the addresses of all packets wait in registers
#pragma unroll (W * sizeof(real) < 16 ? 4 : COUNT / THREADS)
        for (int i = 0; i < COUNT / THREADS; ++i) {
            const int v = threadIdx.x + i * THREADS;
            int line = v / (LINE / W), along = v % (LINE / W) * W;
            if (!BY_ROWS && W == LANES) spread_packets(v, line, along);
            const int row = first + (BY_ROWS ? along : line), depth = k + (BY_ROWS ? line : along);
            // neighbours that are there
            const int left = BY_ROWS ? (depth < end ? m.rows - row : 0) : row < m.rows ? end - depth : 0;
            f(line * PITCH + along, BY_ROWS ? (i64)depth * m.pitch + row : (i64)row * m.pitch + depth, left);
        }
    }
    // Values that are copied through registers go to shared memory four bytes at a time, as wide as a bank.
    static __device__ __forceinline__ void run(real* tile, const Operand& m, int first, int k, int end) {
        constexpr int W = sizeof(real) == 2 ? 2 : 1;
        if (m.packets)
            each<LANES>(m, first, k, end, [&](int to, i64 from, int left) {
                cp_async16(tile + to, m.data + (left > 0 ? from : 0), left > 0);
            });
        else
            each<W>(m, first, k, end, [&](int to, i64 from, int left) {
                if (sizeof(real) == 4) {
                    cp_async4(tile + to, m.data + (left > 0 ? from : 0), left > 0);
                    return;
                }
                Packet<real, W> p;
#pragma unroll
                for (int i = 0; i < W; ++i) p.v[i] = i < left ? m.data[from + i] : rounded(0);
                *reinterpret_cast<Packet<real, W>*>(tile + to) = p;
            });
    }
};

// sizes: rows of C, columns, depth, batch, pieces of the reduction, depth of a piece. a_layout,
// b_layout: pitch, packets, more than one matrix. c_layout: pairs
template <int BM, int BN, int WM, int WN, int STAGES, bool TA, bool TB>
__device__ __forceinline__ void product(const real* a, const real* b, const real* bias, real* c, acc* partial,
                                        const Dims& sizes, const Dims& a_layout, const Dims& b_layout,
                                        const Dims& c_layout) {
    typedef TensorTile<BM, BN, WM, WN, TA, !TB> Sums;
    extern __shared__ __align__(16) real tiles[];
    const int m = sizes[0], n = sizes[1], depth = sizes[2], rows = ceil_div(m, BM), columns = ceil_div(n, BN),
              count = rows * columns;
    const int piece = blockIdx.x / count % sizes[4], from = piece * sizes[5],
              end = min(depth, from + sizes[5]);
    const i64 index = blockIdx.x / count / sizes[4], size = (i64)m * n;
    const Tile tile = tile_at(blockIdx.x % count, rows, columns);
    const Operand left{a + (a_layout[2] ? index * m * depth : 0), m, a_layout[0], a_layout[1] != 0};
    const Operand right{b + (b_layout[2] ? index * n * depth : 0), n, b_layout[0], b_layout[1] != 0};
    Sums sums;
    pipeline<STAGES>(
        ceil_div(end - from, DEEP),
        [&](int slot, int step) {
            real* const to = tiles + slot * Sums::STAGE;
            Copy<BM, TA, Sums::PA, Sums::THREADS>::run(to, left, tile.row * BM, from + step * DEEP, end);
            Copy<BN, !TB, Sums::PB, Sums::THREADS>::run(to + Sums::SIZE_A, right, tile.column * BN,
                                                        from + step * DEEP, end);
        },
        [&](int slot) { sums.add(tiles + slot * Sums::STAGE, tiles + slot * Sums::STAGE + Sums::SIZE_A); });
    const Result result{c + index * size,
                        // no pieces of others
                        TA && partial ? partial + ((i64)piece * sizes[3] + index) * size : nullptr,
                        bias,
                        n,
                        c_layout[0] != 0};
    sums.each([&](int i, int j, acc x, acc next) {
        const int row = tile.row * BM + i;
        if (row < m) result.write((i64)row * n, tile.column * BN + j, x, next);
    });
}

#define PARAMETERS \
    const real *a, const real *b, const real *bias, real *c, acc *partial, Dims sizes, Dims a_layout, Dims b_layout, Dims c_layout
#define ARGUMENTS a, b, bias, c, partial, sizes, a_layout, b_layout, c_layout
// Three products take more registers than the compiler gives unasked.
#if THREE_PRODUCTS
#define SMALL __launch_bounds__(128, 3)
#else
#define SMALL __launch_bounds__(128)
#endif
extern "C" {
__global__ void __launch_bounds__(256) tensor_128x128_nn(PARAMETERS) {
    product<128, 128, 64, 32, 3, false, false>(ARGUMENTS);
}
__global__ void __launch_bounds__(256) tensor_128x128_nt(PARAMETERS) {
    product<128, 128, 64, 32, 3, false, true>(ARGUMENTS);
}
__global__ void __launch_bounds__(256) tensor_128x128_tn(PARAMETERS) {
    product<128, 128, 64, 32, 3, true, false>(ARGUMENTS);
}
__global__ void __launch_bounds__(256) tensor_128x128_tt(PARAMETERS) {
    product<128, 128, 64, 32, 3, true, true>(ARGUMENTS);
}
__global__ void SMALL tensor_64x64_nn(PARAMETERS) {
    product<64, 64, 32, 32, 4, false, false>(ARGUMENTS);
}
__global__ void SMALL tensor_64x64_nt(PARAMETERS) {
    product<64, 64, 32, 32, 4, false, true>(ARGUMENTS);
}
__global__ void SMALL tensor_64x64_tn(PARAMETERS) {
    product<64, 64, 32, 32, 4, true, false>(ARGUMENTS);
}
__global__ void SMALL tensor_64x64_tt(PARAMETERS) {
    product<64, 64, 32, 32, 4, true, true>(ARGUMENTS);
}
}
