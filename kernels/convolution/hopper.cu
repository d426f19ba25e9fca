// Convolution of 16-bit arrays whose channels lie last, by wgmma and the Tensor Memory Accelerator:
// requires sm_90a. A matrix product
//   y[p, k] = bias[k] + sum over taps t, channels c of x[position(p, t), c] w[k, t, c]
// whose left operand is not in memory: for each tap and each 64 channels one im2col copy brings a
// tile's 128 output pixels, row by row and image by image, strided and moved by the tap, zeros on
// the padding. How a block goes about it: gemm/hopper_tile.cuh.
//
// A transposed convolution is one such convolution for each phase of its output (geometry.cuh), a
// launch each; the host turns its taps round so that the copies' shifts are positive.
// hopper_weights lays weights out as (group, filter, tap, channel), channels padded with zeros to
// whole tiles: a copy of x brings zeros there, too. With several groups it would bring the next
// group's channels, which may be infinite, so hopper.py takes only groups of whole tiles.
#include "index.cuh"
#if defined(REAL_f16) || defined(REAL_bf16)
#include "gemm/result.cuh"
#include "gemm/hopper_tile.cuh"

// Those that take part along an axis, and how many the filter has; every < 0: from the last one on.
struct Taps { int first, every, count, whole; };

__device__ __forceinline__ Taps taps(const Dims& d) { return {d[0], d[1], d[2], d[3]}; }

// sizes: groups, filters and channels of a group, tiles of channels
__device__ void pack(const real* weight, real* packed, const Dims& sizes, const Dims& apart, const Taps& h,
                     const Taps& w) {
    const int filters = sizes[1], channels = sizes[2], padded = sizes[3] * DEEP, count = h.count * w.count;
    for (GRID_STRIDE(i, (i64)sizes[0] * filters * count * padded)) {
        const int c = (int)(i % padded), tap = (int)(i / padded % count), line = (int)(i / padded / count);
        const int at = (h.first + tap / w.count * h.every) * w.whole + w.first + tap % w.count * w.every;
        const i64 from =
            (i64)(line / filters) * apart[0] + (i64)(line % filters) * apart[1] + (i64)c * apart[2] + at;
        packed[i] = c < channels ? weight[from] : rounded(0);
    }
}

// Where outputs lie along an axis: o is at + o apart of `size`, o < grid; and where they read: its
// first tap at base + o move, each next one `step` further.
struct Line { int base, move, step, taps, grid, at, apart, size; };
__device__ __forceinline__ Line line(const Dims& d) {
    return {d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]};
}

// sizes: groups, filters and channels of a group, tiles of channels, pixels, pairs
template <int BN, int STAGES>
__device__ __forceinline__ void convolve(const TensorMap& x, const TensorMap& weight, const real* bias,
                                         real* y, const Dims& sizes, const Line& h, const Line& w) {
    extern __shared__ __align__(16) char dynamic[];
    typedef HopperTile<BN, STAGES, false, false> Sums;
    const int filters = sizes[1], channels = sizes[2], deep = sizes[3], pixels = sizes[4];
    const int rows = ceil_div(pixels, BM), columns = ceil_div(filters, BN);
    const Tile tile = tile_at(blockIdx.x % (rows * columns), rows, columns);
    const int group = blockIdx.x / (rows * columns), row = tile.row * BM, column = tile.column * BN;
    const Result result{y + group * filters, nullptr, bias ? bias + group * filters : nullptr, filters,
                        sizes[5] != 0};
    if (threadIdx.x == 0) {
        prefetch(x);
        prefetch(weight);
    }
    const int ow = row % w.grid, oh = row / w.grid % h.grid, n = row / w.grid / h.grid;
    Sums::run(
        dynamic, h.taps * w.taps * deep,
        [&](char* left, char* right, int step, u64* barrier) {
            const int tap = step / deep, c = step % deep * DEEP;
            copy_pixels(left, x, group * channels + c, w.base + ow * w.move, h.base + oh * h.move, n,
                        tap % w.taps * w.step, tap / w.taps * h.step, barrier);
            Sums::Right::copy(right, weight, column, step * DEEP, group, barrier);
        },
        [&](int i) {
            const int p = row + i;
            const i64 slab = (i64)(p / w.grid / h.grid) * h.size + h.at + p / w.grid % h.grid * h.apart;
            return ResultLine{result, (slab * w.size + w.at + p % w.grid * w.apart) * sizes[0] * filters,
                              column, p < pixels};
        });
}

#define PARAMETERS \
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap weight, const real *bias, real *y, Dims sizes, Dims h, Dims w
extern "C" {
__global__ void __launch_bounds__(256)
    hopper_weights(const real* weight, real* packed, Dims sizes, Dims apart, Dims h, Dims w) {
    pack(weight, packed, sizes, apart, taps(h), taps(w));
}
__global__ void __launch_bounds__(THREADS) conv_hopper_128x64(PARAMETERS) {
    convolve<64, 4>(x, weight, bias, y, sizes, line(h), line(w));
}
__global__ void __launch_bounds__(THREADS) conv_hopper_128x128(PARAMETERS) {
    convolve<128, 6>(x, weight, bias, y, sizes, line(h), line(w));
}
__global__ void __launch_bounds__(THREADS) conv_hopper_128x256(PARAMETERS) {
    convolve<256, 4>(x, weight, bias, y, sizes, line(h), line(w));
}
}
#endif
