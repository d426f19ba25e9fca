// Convolution and transposed convolution on tensor cores (requires sm_80): the implicit matrix product of cuda.cu,
//     y[m, p] = bias[m] + sum over k of weight[m, k] x[k, p],   m a filter, p an output position of any sample, k = (channel, tap),
// in the precisions of gemm/tensor_unit.cuh.
//
// The weight is packed as [k][m] and copied by cp.async; tiles of x are gathered through registers while the tile before is multiplied, two
// neighbouring positions to a thread where they make one 32-bit store. Both lie in shared memory with k as lines, as x does in memory, so
// that neighbours read neighbours; turning them is left to ldmatrix. A 1x1 filter's tiles of x are copied by cp.async too.
#include "packed.cuh"
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

typedef TensorTile<TILE_BM, TILE_BN, TILE_WM, TILE_WN, true, true> Sums;
constexpr int THREADS = Sums::THREADS;

__device__ __forceinline__ void fetch_weights(real* a, const real* packed, int cols) {
    constexpr int LINE = TILE_BM / LANES;
    static_assert(DEEP * LINE % THREADS == 0, "every thread copies as much");
#pragma unroll
    for (int i = 0; i < DEEP * LINE / THREADS; ++i) {
        const int v = threadIdx.x + i * THREADS, k = v / LINE, m = v % LINE * LANES;
        cp_async16(a + k * Sums::PA + m, packed + (i64)k * cols + m, true);
    }
}

// A tile of gathered input on its way through registers: `load` asks for it, `store` puts it into shared memory.
struct Gathered {   // a thread keeps to W neighbouring output positions
    static constexpr int W = sizeof(real) == 2 ? 2 : 1, LINE = TILE_BN / W, STEP_K = THREADS / LINE, COUNT = DEEP / STEP_K;
    static_assert(THREADS % LINE == 0 && DEEP % STEP_K == 0, "every thread gathers as much");
    Corner corner[W];
    const real* from[W];
    Packet<real, W> held[COUNT];

    __device__ __forceinline__ Gathered(const real* x, const Window& win, i64 sample, int p0, int pixels) {
#pragma unroll
        for (int w = 0; w < W; ++w) {
            corner[w] = win.corner(p0 + (int)threadIdx.x % LINE * W + w, pixels);
            from[w] = x + corner[w].n * sample + corner[w].at;
        }
    }
    __device__ __forceinline__ void load(const Window& win, const Place* table, int k0, int, real*) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const Place p = table[k0 + (int)threadIdx.x / LINE + i * STEP_K];
#pragma unroll
            for (int w = 0; w < W; ++w) {
                held[i].v[w] = rounded(0);
                if (win.inside(corner[w], p)) held[i].v[w] = from[w][p.at];
            }
        }
    }
    __device__ __forceinline__ void store(real* b) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i)
            *reinterpret_cast<Packet<real, W>*>(b + ((int)threadIdx.x / LINE + i * STEP_K) * Sums::PB + (int)threadIdx.x % LINE * W) = held[i];
    }
};

struct Copied {   // 1x1: k is the channel, and neighbours of a plane stay neighbours; nothing passes through registers
    static constexpr int LINE = TILE_BN / LANES, STEP_K = THREADS / LINE, COUNT = DEEP / STEP_K;
    static_assert(THREADS % LINE == 0 && COUNT > 0 && DEEP % STEP_K == 0, "every thread copies as much");
    const real* from;
    int plane;
    bool used;

    __device__ __forceinline__ Copied(const real* x, const Window& win, i64 sample, int p0, int pixels) : plane(win.grid()) {
        const int p = p0 + (int)threadIdx.x % LINE * LANES;
        used = p < pixels;
        from = x + (used ? p / plane * sample + p % plane : 0);
    }
    __device__ __forceinline__ void load(const Window&, const Place*, int k0, int channels, real* b) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int line = (int)threadIdx.x / LINE + i * STEP_K;
            const bool inside = used && k0 + line < channels;
            cp_async16(b + line * Sums::PB + (int)threadIdx.x % LINE * LANES, from + (inside ? (i64)(k0 + line) * plane : 0), inside);
        }
    }
    __device__ __forceinline__ void store(real*) const {}
};

struct Output {   // of one group: results with their bias, or a part of the sum
    real* y;
    acc* partial;
    const real* bias;
    i64 sample;
    int plane, filters;

    __device__ __forceinline__ void put(i64 at, int m, acc x) const {
        if (partial) partial[at] = x;
        else y[at] = rounded(x + (bias ? value(bias[m]) : acc(0)));
    }
    __device__ __forceinline__ void put_pair(i64 at, int m, acc x, acc next) const {
        const acc shift = bias && !partial ? value(bias[m]) : acc(0);
        if (partial) *reinterpret_cast<Packet<acc, 2>*>(partial + at) = {{x, next}};
        else *reinterpret_cast<Packet<real, 2>*>(y + at) = {{rounded(x + shift), rounded(next + shift)}};
    }
    __device__ __forceinline__ void store(const Sums& sums, const Window& win, int m0, int p0, int pixels) const {
        const bool pairs = win.w.apart == 1 && win.grid() == plane && plane % 2 == 0
                           && (reinterpret_cast<size_t>(y) & (2 * sizeof(real) - 1)) == 0;
        sums.each([&](int row, int column, acc x, acc next) {
            const int m = m0 + row, p = p0 + column;
            if (m >= filters || p >= pixels) return;
            if (pairs) {
                put_pair(p / plane * sample + p % plane + (i64)m * plane, m, x, next);
                return;
            }
            const Corner c = win.corner(p, pixels);
            put(c.n * sample + c.to + (i64)m * plane, m, x);
            if (p + 1 >= pixels) return;
            const Corner after = win.corner(p + 1, pixels);
            put(after.n * sample + after.to + (i64)m * plane, m, next);
        });
    }
};

// Block: filter tile fastest, so that blocks which run together gather the same input; then position tile, split, group, phase.
template <class Input> __device__ __forceinline__ void product(const real* x, const real* packed, const int* places, Output out, const Shape& s,
                                                               int tiles, const AxisSizes& sd, const AxisSizes& sh, const AxisSizes& sw) {
    __shared__ __align__(16) real a[2][Sums::SIZE_A], b[2][Sums::SIZE_B];
    int id = blockIdx.x;
    const int m0 = id % (s.cols / TILE_BM) * TILE_BM;
    id /= s.cols / TILE_BM;
    const int p0 = id % tiles * TILE_BN;
    id /= tiles;
    const int split = id % s.splits, set = id / s.splits, group = set % s.groups, phase = set / s.groups;
    const Window win = window(sd, sh, sw, phase);
    const int pixels = s.batch * win.grid();
    if (p0 >= pixels) return;   // phases differ in size

    const int slices = (s.channels * win.taps() + DEEP - 1) / DEEP, each = (slices + s.splits - 1) / s.splits;
    const int begin = split * each, end = min(slices, begin + each), channels = s.groups * s.channels;
    const Place* table = reinterpret_cast<const Place*>(places) + (i64)phase * s.rows;
    packed += (i64)set * s.rows * s.cols + m0;
    __shared__ Window kept;   // until results are stored: the loop has no registers for it
    if (threadIdx.x == 0) keep(win, &kept);
    Input input(x + (i64)group * s.channels * win.inputs(), win, (i64)channels * win.inputs(), p0, pixels);
    const auto fetch = [&](int slice, int slot) {
        fetch_weights(a[slot], packed + (i64)slice * DEEP * s.cols, s.cols);
        input.load(win, table, slice * DEEP, s.channels, b[slot]);
        cp_async_commit();
    };
    Sums sums;
    if (begin < end) {
        fetch(begin, 0);
        input.store(b[0]);
        cp_async_wait<0>();
    }
    __syncthreads();
    for (int slice = begin, now = 0; slice < end; ++slice, now ^= 1) {
        const bool more = slice + 1 < end;
        if (more) fetch(slice + 1, now ^ 1);
        sums.add(a[now], b[now]);
        if (more) input.store(b[now ^ 1]);
        cp_async_wait<0>();
        __syncthreads();
    }
    out.plane = kept.outputs();
    out.filters = s.filters;
    out.sample = (i64)s.groups * s.filters * out.plane;
    out.y += (i64)group * s.filters * out.plane;
    if (out.partial) out.partial += split * (s.batch * out.sample) + (i64)group * s.filters * out.plane;
    if (out.bias) out.bias += group * s.filters;
    out.store(sums, kept, m0, p0, pixels);
}

extern "C" {
__global__ void __launch_bounds__(256) conv_tensor_prepare(const real* weight, real* packed, int* table, Dims shape, Dims apart, Dims d, Dims h,
                                                           Dims w) {
    prepare(weight, packed, table, Shape(shape), apart, d, h, w);
}
__global__ void __launch_bounds__(THREADS, 1) conv_tensor(const real* __restrict__ x, const real* __restrict__ packed, const int* __restrict__ table,
                                                       const real* __restrict__ bias, real* __restrict__ y, acc* __restrict__ partial,
                                                       Dims shape, int tiles, Dims d, Dims h, Dims w) {
#if POINTWISE
    product<Copied>(x, packed, table, {y, partial, bias, 0, 0, 0}, Shape(shape), tiles, d, h, w);
#else
    product<Gathered>(x, packed, table, {y, partial, bias, 0, 0, 0}, Shape(shape), tiles, d, h, w);
#endif
}
}
