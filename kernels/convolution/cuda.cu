// Convolution and transposed convolution as an implicit matrix product:
//     y[m, p] = bias[m] + sum over k of weight[m, k] x[k, p],
//     m a filter, p an output position of any sample, k = (channel, tap).
//
// The matrix x[k, p] is never stored: blocks gather its tiles from the input, out of which
// positions beyond the border come as zeros. conv_prepare writes the weight as [k][m], zero beyond
// its edges, so that its tiles are copied by cp.async without a check, and a table of what each k
// adds to an output's input position, so that the inner loop divides nothing. Slices are
// double-buffered (convolve.cuh): one is multiplied while the next is copied. Where there are too
// few tiles to fill the device, k is cut in `splits` parts whose results split_sum adds.
#include "convolve.cuh"
#include "tile.cuh"
#ifndef POINTWISE
#define POINTWISE 0   // 1: the filter is 1x1, nothing is padded or skipped, planes are whole packets and x starts at one
#endif
// Two blocks of the largest float tile share a multiprocessor if they keep to 128 registers a
// thread; with half types they would spill.
constexpr int RESIDENT = sizeof(real) == 4 ? 512 / THREADS : 1;

struct Unit {
    static constexpr int ROWS = BM, COLUMNS = BN, DEPTH = BK, PITCH_A = BM, PITCH_B = BN, THREADS = ::THREADS;
    typedef acc Element;
    typedef Tile Sums;

    static __device__ __forceinline__ void add(Tile& tile, const acc* a, const acc* b) {
        tile.multiply<BM, BN>(a, b);
    }
    static __device__ __forceinline__ void store(const Results& to, const Tile& tile, const Window& win,
                                                 int m0, int p0, int pixels) {
        const bool packets =
            win.w.apart == 1 && win.grid() == to.plane && to.plane % V == 0 && packet_aligned(to.y);
#pragma unroll
        for (int j = 0; j < TN; j += V) {
            const int p = p0 + tile.column(j);
            if (p >= pixels) continue;
            if (packets) store_packets(to, tile, j, p / to.plane * to.sample + p % to.plane, m0);
            else store_each(to, tile, j, win, m0, p, pixels);
        }
    }
    static __device__ __forceinline__ void store_packets(const Results& to, const Tile& tile, int j, i64 at,
                                                         int m0) {
#pragma unroll
        for (int i = 0; i < TM; ++i) {
            const int m = m0 + tile.row(i);
            if (m >= to.filters) continue;
            if (to.partial) store_packet(to.partial + at + (i64)m * to.plane, &tile.sum[i][j], acc(0));
            else store_packet(to.y + at + (i64)m * to.plane, &tile.sum[i][j], to.shift(m));
        }
    }
    static __device__ __forceinline__ void store_each(const Results& to, const Tile& tile, int j,
                                                      const Window& win, int m0, int p, int pixels) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (p + v >= pixels) continue;
            const Corner c = win.corner(p + v, pixels);
            const i64 at = c.n * to.sample + c.to;
#pragma unroll
            for (int i = 0; i < TM; ++i) {
                const int m = m0 + tile.row(i);
                if (m < to.filters) to.put(at + (i64)m * to.plane, m, tile.sum[i][j + v]);
            }
        }
    }
};

extern "C" {
__global__ void __launch_bounds__(256) conv_prepare(const real* weight, acc* packed, int* table, Dims shape,
                                                    Dims apart, Dims d, Dims h, Dims w) {
    prepare(weight, packed, table, Shape(shape), apart, d, h, w);
}
__global__ void __launch_bounds__(THREADS, RESIDENT)
    conv_gemm(const real* __restrict__ x, const acc* __restrict__ packed, const int* __restrict__ table,
              const real* __restrict__ bias, real* __restrict__ y, acc* __restrict__ partial, Dims shape,
              int tiles, Dims d, Dims h, Dims w) {
#if POINTWISE
    convolve<Unit, Copied<Unit>>(x, packed, table, bias, y, partial, Shape(shape), tiles, d, h, w);
#else
    convolve<Unit, Gathered<Unit>>(x, packed, table, bias, y, partial, Shape(shape), tiles, d, h, w);
#endif
}
}
