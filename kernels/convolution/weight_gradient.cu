// A convolution's gradient for its weight as an implicit matrix product (weight_gradient.cuh) on
// ordinary multiply-add units.
//
// Both operands lie along p in memory, and across it in shared memory, so that a thread reads its
// filters of one p as packets. On the way they are turned: dy passes through registers, a packet of
// a line to a load, where planes are made of whole ones; what is gathered, x, is copied by
// cp.async, value by value, BK neighbouring threads to a line, those beyond the border as zeros.
// Lines are one packet longer than the tile, so that either meets different banks. 16-bit values
// always pass through registers, where they become floats.
#include "weight_gradient.cuh"
#include "slices.cuh"
#include "tile.cuh"
#ifndef PACKETS
#define PACKETS 1   // 1: planes of dy are whole packets and dy starts at one
#endif

constexpr int LM = BM + V, LN = BN + V;            // length of a slice's lines
constexpr int LINES = THREADS / BK;                // lines that a block gathers at a time
constexpr bool DIRECT = sizeof(real) == sizeof(acc);   // single values can be copied without registers
constexpr int RESIDENT = sizeof(acc) == 4 ? 512 / THREADS : 1;   // blocks that share a multiprocessor
static_assert(THREADS % BK == 0 && BM % LINES == 0 && BN % LINES == 0 && BK % V == 0,
              "every thread gathers as much");

struct Planes {   // of dy: of `lines` planes, a slice's positions in packets
    static constexpr int ALONG = BK / V, STEP = THREADS / ALONG, COUNT = (BM + STEP - 1) / STEP;
    const real* from;
    i64 sample;
    int batch, lines;
    RealQuad held[COUNT];

    __device__ __forceinline__ Planes(const real* from, i64 sample, int batch, int lines)
        : from(from), sample(sample), batch(batch), lines(lines) {}
    static __device__ __forceinline__ int along() { return (int)threadIdx.x % ALONG * V; }
    static __device__ __forceinline__ int line(int i) { return (int)threadIdx.x / ALONG + i * STEP; }
    __device__ __forceinline__ void load(const Cursor& c) {
        const real* const here = from + c.n * sample + c.at;
        const int plane = opaque(c.plane);   // else the offsets of all lines wait in registers
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            held[i] = {};
            if (c.n < batch && line(i) < min(BM, lines))
                held[i] = *reinterpret_cast<const RealQuad*>(here + (i64)line(i) * plane);
        }
    }
    __device__ __forceinline__ void store(acc* a) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (BM % STEP != 0 && line(i) >= BM) continue;
#pragma unroll
            for (int v = 0; v < V; ++v) a[(along() + v) * LM + line(i)] = value(held[i].v[v]);
        }
    }
};

struct Gather {   // operands that are gathered: one position of every LINES-th line
    static constexpr int ROWS = PACKETS ? 0 : BM / LINES, COLUMNS = BN / LINES;
    const real *x, *dy;   // the group's first channel and the tile's first filter, of sample 0
    i64 x_sample, dy_sample;
    const Place* places;  // of the tile's columns, in shared memory
    int line, k, batch, filters;
    Walk walk;
    real left[ROWS + 1], right[COLUMNS];

    __device__ __forceinline__ Gather(const real* x, i64 x_sample, const real* dy, i64 dy_sample,
                                      const Place* places, const Window& win, int first, int batch,
                                      int filters)
        : x(x), dy(dy), x_sample(x_sample), dy_sample(dy_sample), places(places), line(threadIdx.x / BK),
          k(threadIdx.x % BK), batch(batch), filters(filters), walk(win, first + k) {}

    // One value on its way: into the tile, or into `held`.
    static __device__ __forceinline__ void take(acc* to, real& held, const real* from, const real* any,
                                                bool wanted) {
        if constexpr (DIRECT) cp_async_value(reinterpret_cast<real*>(to), wanted ? from : any, wanted);
        else {
            held = rounded(0);
            if (wanted) held = *from;
        }
    }
    __device__ __forceinline__ void load(const Window& win, acc* a, acc* b) {
        const bool used = walk.n < batch;
        const Corner c = walk.corner(win, used);
        const real *rows = dy + c.n * dy_sample + c.to, *columns = x + c.n * x_sample + c.at;
        const int plane = opaque(win.outputs());   // else the offsets of all lines wait in registers
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
            take(a + k * LM + line + i * LINES, left[i], rows + (i64)(line + i * LINES) * plane, dy,
                 used && line + i * LINES < filters);
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) {
            const Place p = places[line + i * LINES];
            take(b + k * LN + line + i * LINES, right[i], columns + p.at, x, win.inside(c, p));
        }
        walk.go_on(win, BK);
    }
    __device__ __forceinline__ void store(acc* a, acc* b) const {
        if constexpr (!DIRECT) {
#pragma unroll
            for (int i = 0; i < ROWS; ++i) a[k * LM + line + i * LINES] = value(left[i]);
#pragma unroll
            for (int i = 0; i < COLUMNS; ++i) b[k * LN + line + i * LINES] = value(right[i]);
        }
    }
};

template <class T>
__device__ __forceinline__ void store(const Tile& tile, T* to, int m0, int k0, int filters, int columns,
                                      bool packets) {
#pragma unroll
    for (int i = 0; i < TM; ++i) {
        const int m = m0 + tile.row(i);
        if (m >= filters) continue;
        T* line = to + (i64)m * columns;
#pragma unroll
        for (int j = 0; j < TN; j += V) {
            const int k = k0 + tile.column(j);
            if (packets && k < columns) store_packet(line + k, &tile.sum[i][j], acc(0));
            if (packets) continue;
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (k + v < columns) line[k + v] = (T)tile.sum[i][j + v];
        }
    }
}

__device__ __forceinline__ void gradient(const real* x, const real* dy, real* dw, acc* partial,
                                         const Shape& s, const Window& win) {
    __shared__ __align__(16) acc a[2][BK * LM], b[2][BK * LN];
    __shared__ __align__(16) Place places[BN];
    const Block<BM, BN, BK> block(s, win, blockIdx.x);
    const i64 x_sample = (i64)s.groups * s.channels * win.inputs(),
              dy_sample = (i64)s.groups * s.filters * win.outputs();
    const int first = block.begin * BK, filters = s.filters - block.m0;
    x += (i64)block.group * s.channels * win.inputs();
    dy += ((i64)block.group * s.filters + block.m0) * win.outputs();
    Tile tile;
    find_places<BN, THREADS>(win, block.k0, block.columns, places);
    Gather gather(x, x_sample, dy, dy_sample, places, win, first, s.batch, filters);
    Planes left(dy, dy_sample, s.batch, filters);
    Cursor cursor(first + left.along(), win.outputs());
    double_buffered(
        block.begin, block.end,
        [&](int, int slot) {
            gather.load(win, a[slot], b[slot]);
            if (!PACKETS) return;
            left.load(cursor);
            cursor.go_on(BK);
        },
        [&](int slot) {
            gather.store(a[slot], b[slot]);
            if (PACKETS) left.store(a[slot]);
        },
        [&](int slot) { tile.multiply<LM, LN>(a[slot], b[slot]); });
    // once more: the loop has no registers to keep it in
    const Block<BM, BN, BK> done(s, win, opaque(blockIdx.x));
    const bool packets = done.columns % V == 0 && packet_aligned(dw);
    const i64 at = done.results(s, partial != nullptr);
    if (partial) store(tile, partial + at, done.m0, done.k0, s.filters, done.columns, packets);
    else store(tile, dw + at, done.m0, done.k0, s.filters, done.columns, packets);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    conv_weight_gradient(const real* __restrict__ x, const real* __restrict__ dy, real* __restrict__ dw,
                         acc* __restrict__ partial, Dims shape, Dims d, Dims h, Dims w) {
    gradient(x, dy, dw, partial, Shape(shape), forward_window(d, h, w));
}
