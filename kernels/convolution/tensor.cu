// Convolution and transposed convolution on tensor cores (requires sm_80): the implicit
// matrix product of cuda.cu,
//     y[m, p] = bias[m] + sum over k of weight[m, k] x[k, p],
//     m a filter, p an output position of any sample, k = (channel, tap),
// in the precisions of gemm/tensor_unit.cuh.
//
// The weight is packed as [k][m]. Slices of both operands lie in shared memory with k as lines, as
// x does in memory, so that neighbours read neighbours; turning them is left to ldmatrix. All is
// copied by cp.async but 16-bit values that are gathered: they pass through registers, two
// neighbouring positions to a thread where they make one 32-bit store.
#include "convolve.cuh"
#include "gemm/tensor_tile.cuh"
#ifndef TILE_BM   // the names that tensor_tile.cuh gives its parameters are taken
#define TILE_BM 128
#define TILE_BN 128
#define TILE_WM 64
#define TILE_WN 32
#endif
#ifndef POINTWISE
#define POINTWISE 0   // 1: the filter is 1x1, nothing is padded or skipped, planes are whole packets and x starts at one
#endif

struct Unit {
    typedef TensorTile<TILE_BM, TILE_BN, TILE_WM, TILE_WN, true, true> Sums;
    typedef real Element;
    static constexpr int ROWS = TILE_BM, COLUMNS = TILE_BN, DEPTH = DEEP, PITCH_A = Sums::PA,
                         PITCH_B = Sums::PB, THREADS = Sums::THREADS;

    static __device__ __forceinline__ void add(Sums& sums, const real* a, const real* b) { sums.add(a, b); }
    static __device__ __forceinline__ void store(const Results& to, const Sums& sums, const Window& win,
                                                 int m0, int p0, int pixels) {
        const bool pairs = win.w.apart == 1 && win.grid() == to.plane && to.plane % 2 == 0
                           && (reinterpret_cast<size_t>(to.y) & (2 * sizeof(real) - 1)) == 0;
        struct Line { i64 at, after; bool one, two; };   // of channel 0: of a pixel, and of the next
        sums.each_of_columns(
            [&](int column) {
                const int p = p0 + column;
                const Corner c = win.corner(p, pixels), next = win.corner(p + 1, pixels);
                return Line{c.n * to.sample + c.to, next.n * to.sample + next.to, p < pixels, p + 1 < pixels};
            },
            [&](const Line& line, int row, acc x, acc next) {
                const int m = m0 + row;
                if (m >= to.filters || !line.one) return;
                const i64 filter = (i64)m * to.plane;
                if (pairs) return store_pair(to, line.at + filter, m, x, next);
                to.put(line.at + filter, m, x);
                if (line.two) to.put(line.after + filter, m, next);
            });
    }
    static __device__ __forceinline__ void store_pair(const Results& to, i64 at, int m, acc x, acc next) {
        if (to.partial) *reinterpret_cast<Packet<acc, 2>*>(to.partial + at) = {{x, next}};
        else
            *reinterpret_cast<Packet<real, 2>*>(to.y + at) = {
                {rounded(x + to.shift(m)), rounded(next + to.shift(m))}};
    }
};

extern "C" {
__global__ void __launch_bounds__(256) conv_tensor_prepare(const real* weight, real* packed, int* table,
                                                           Dims shape, Dims apart, Dims d, Dims h, Dims w) {
    prepare(weight, packed, table, Shape(shape), apart, d, h, w);
}
__global__ void __launch_bounds__(Unit::THREADS, 1)
    conv_tensor(const real* __restrict__ x, const real* __restrict__ packed, const int* __restrict__ table,
                const real* __restrict__ bias, real* __restrict__ y, acc* __restrict__ partial, Dims shape,
                int tiles, Dims d, Dims h, Dims w) {
#if POINTWISE
    convolve<Unit, Copied<Unit>>(x, packed, table, bias, y, partial, Shape(shape), tiles, d, h, w);
#else
    convolve<Unit, Gathered<Unit>>(x, packed, table, bias, y, partial, Shape(shape), tiles, d, h, w);
#endif
}
}
