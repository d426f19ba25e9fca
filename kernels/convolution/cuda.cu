// Convolution and transposed convolution as an implicit matrix product:
//     y[m, p] = bias[m] + sum over k of weight[m, k] x[k, p],   m a filter, p an output position of any sample, k = (channel, tap).
//
// The matrix x[k, p] is never stored: blocks gather its tiles from the input, out of which positions beyond the border come as zeros.
// conv_prepare writes the weight as [k][m], zero beyond its edges, so that its tiles are copied by cp.async without a check, and a table
// of what each k adds to an output's input position, so that the inner loop divides nothing. Slices are double-buffered: one is multiplied
// while the next is fetched. Where there are too few tiles to fill the device, k is cut in `splits` parts whose results split_sum adds.
#include "packed.cuh"
#include "ptx.cuh"
#include "tile.cuh"
#ifndef POINTWISE
#define POINTWISE 0   // 1: the filter is 1x1, nothing is padded or skipped, and planes are whole packets
#endif
// Two blocks of the largest float tile share a multiprocessor if they keep to 128 registers a thread; with half types they would spill.
constexpr int RESIDENT = sizeof(real) == 4 ? 512 / THREADS : 1;

// Copies BK lines of BM weights into shared memory, behind what is computed meanwhile.
__device__ __forceinline__ void fetch_weights(acc* a, const acc* packed, int cols) {
    for (int i = threadIdx.x; i < BK * BM / V; i += THREADS) {
        const int k = i / (BM / V), m = i % (BM / V) * V;
        cp_async16(a + k * BM + m, packed + (i64)k * cols + m, true);
    }
    cp_async_commit();
}

// A slice of gathered input on its way through registers: `load` asks for it, `store` puts it into shared memory.
struct Gathered {   // a thread keeps to one output position
    static_assert(THREADS % BN == 0 && BK % (THREADS / BN) == 0, "every thread gathers as much");
    static constexpr int STEP = THREADS / BN, COUNT = BK / STEP;
    Corner corner;
    const real* from;
    real held[COUNT];

    __device__ __forceinline__ Gathered(const real* x, const Window& win, i64 sample, int p0, int pixels) {
        corner = win.corner(p0 + (int)threadIdx.x % BN, pixels);
        from = x + corner.n * sample + corner.at;
    }
    __device__ __forceinline__ void load(const Window& win, const Place* table, int k0, int) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const Place p = table[k0 + (int)threadIdx.x / BN + i * STEP];
            held[i] = rounded(0);
            if (win.inside(corner, p)) held[i] = from[p.at];
        }
    }
    __device__ __forceinline__ void store(acc* b) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) b[((int)threadIdx.x / BN + i * STEP) * BN + (int)threadIdx.x % BN] = value(held[i]);
    }
};

struct Copied {   // 1x1: k is the channel, and V neighbours of a plane stay neighbours
    static constexpr int LINE = BN / V, COUNT = BK * LINE / THREADS, STEP = THREADS / LINE;
    static_assert(COUNT > 0 && BK * LINE % THREADS == 0, "every thread copies as much");
    const real* from;
    int plane;
    bool used, aligned;
    RealQuad held[COUNT];

    __device__ __forceinline__ Copied(const real* x, const Window& win, i64 sample, int p0, int pixels) : plane(win.grid()) {
        const int p = p0 + (int)threadIdx.x % LINE * V;
        used = p < pixels;
        aligned = packet_aligned(x);
        from = x + (used ? p / plane * sample + p % plane : 0);
    }
    __device__ __forceinline__ void load(const Window&, const Place*, int k0, int channels) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int k = k0 + (int)threadIdx.x / LINE + i * STEP;
            const real* at = from + (i64)k * plane;
            const bool inside = used && k < channels;
            if (inside && aligned) held[i] = *reinterpret_cast<const RealQuad*>(at);
            else {
#pragma unroll
                for (int v = 0; v < V; ++v) held[i].v[v] = inside ? at[v] : rounded(0);
            }
        }
    }
    __device__ __forceinline__ void store(acc* b) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            Quad q;
#pragma unroll
            for (int v = 0; v < V; ++v) q.v[v] = value(held[i].v[v]);
            *reinterpret_cast<Quad*>(b + ((int)threadIdx.x / LINE + i * STEP) * BN + (int)threadIdx.x % LINE * V) = q;
        }
    }
};

struct Output {   // of one group: results with their bias, or a part of the sum
    real* y;
    acc* partial;
    const real* bias;
    i64 sample;
    int plane, filters;

    __device__ __forceinline__ void store(const Tile& tile, const Window& win, int m0, int p0, int pixels) const {
        const bool packets = win.w.apart == 1 && win.grid() == plane && plane % V == 0 && packet_aligned(y);
#pragma unroll
        for (int j = 0; j < TN; j += V) {
            const int p = p0 + tile.column(j);
            if (p >= pixels) continue;
            if (packets) store_packets(tile, j, p / plane * sample + p % plane, m0);
            else store_each(tile, j, win, m0, p, pixels);
        }
    }
    __device__ __forceinline__ void store_packets(const Tile& tile, int j, i64 at, int m0) const {
#pragma unroll
        for (int i = 0; i < TM; ++i) {
            const int m = m0 + tile.row(i);
            if (m >= filters) continue;
            if (partial) store_packet(partial + at + (i64)m * plane, &tile.sum[i][j], acc(0));
            else store_packet(y + at + (i64)m * plane, &tile.sum[i][j], bias ? value(bias[m]) : acc(0));
        }
    }
    __device__ __forceinline__ void store_each(const Tile& tile, int j, const Window& win, int m0, int p, int pixels) const {
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (p + v >= pixels) continue;
            const Corner c = win.corner(p + v, pixels);
            const i64 at = c.n * sample + c.to;
#pragma unroll
            for (int i = 0; i < TM; ++i) {
                const int m = m0 + tile.row(i);
                if (m >= filters) continue;
                if (partial) partial[at + (i64)m * plane] = tile.sum[i][j + v];
                else y[at + (i64)m * plane] = rounded(tile.sum[i][j + v] + (bias ? value(bias[m]) : acc(0)));
            }
        }
    }
};

// Block: filter tile fastest, so that blocks which run together gather the same input; then position tile, split, group, phase.
template <class Input> __device__ void gemm(const real* x, const acc* packed, const int* places, Output out, const Shape& s, int tiles,
                                            const AxisSizes& sd, const AxisSizes& sh, const AxisSizes& sw) {
    __shared__ __align__(16) acc a[2][BK * BM], b[2][BK * BN];
    int id = blockIdx.x;
    const int m0 = id % (s.cols / BM) * BM;
    id /= s.cols / BM;
    const int p0 = id % tiles * BN;
    id /= tiles;
    const int split = id % s.splits, set = id / s.splits, group = set % s.groups, phase = set / s.groups;
    const Window win = window(sd, sh, sw, phase);
    const int pixels = s.batch * win.grid();
    if (p0 >= pixels) return;   // phases differ in size

    const int slices = (s.channels * win.taps() + BK - 1) / BK, each = (slices + s.splits - 1) / s.splits;
    const int begin = split * each, end = min(slices, begin + each), channels = s.groups * s.channels;
    const Place* table = reinterpret_cast<const Place*>(places) + (i64)phase * s.rows;
    packed += (i64)set * s.rows * s.cols + m0;
    __shared__ Window kept;   // a phase's, until its results are stored: the loop has no registers for it
    if (PHASES && threadIdx.x == 0) keep(win, &kept);
    Input input(x + (i64)group * s.channels * win.inputs(), win, (i64)channels * win.inputs(), p0, pixels);
    Tile tile;
    if (begin < end) {
        fetch_weights(a[0], packed + (i64)begin * BK * s.cols, s.cols);
        input.load(win, table, begin * BK, s.channels);
        input.store(b[0]);
        cp_async_wait<0>();
    }
    __syncthreads();
    for (int slice = begin, now = 0; slice < end; ++slice, now ^= 1) {
        const bool more = slice + 1 < end;
        if (more) {
            fetch_weights(a[now ^ 1], packed + (i64)(slice + 1) * BK * s.cols, s.cols);
            input.load(win, table, (slice + 1) * BK, s.channels);
        }
        tile.multiply<BM, BN>(a[now], b[now]);
        if (more) input.store(b[now ^ 1]);
        cp_async_wait<0>();
        __syncthreads();
    }
    const Window& at = PHASES ? kept : win;
    out.plane = at.outputs();
    out.filters = s.filters;
    out.sample = (i64)s.groups * s.filters * out.plane;
    out.y += (i64)group * s.filters * out.plane;
    if (out.partial) out.partial += split * (s.batch * out.sample) + (i64)group * s.filters * out.plane;
    if (out.bias) out.bias += group * s.filters;
    out.store(tile, at, m0, p0, pixels);
}

extern "C" {
__global__ void __launch_bounds__(256) conv_prepare(const real* weight, acc* packed, int* table, Dims shape, Dims apart, Dims d, Dims h, Dims w) {
    prepare(weight, packed, table, Shape(shape), apart, d, h, w);
}
__global__ void __launch_bounds__(THREADS, RESIDENT) conv_gemm(const real* __restrict__ x, const acc* __restrict__ packed, const int* __restrict__ table,
                                                     const real* __restrict__ bias, real* __restrict__ y, acc* __restrict__ partial,
                                                     Dims shape, int tiles, Dims d, Dims h, Dims w) {
#if POINTWISE
    gemm<Copied>(x, packed, table, {y, partial, bias, 0, 0, 0}, Shape(shape), tiles, d, h, w);
#else
    gemm<Gathered>(x, packed, table, {y, partial, bias, 0, 0, 0}, Shape(shape), tiles, d, h, w);
#endif
}
}
