// A convolution's gradient for its weight on tensor cores (requires sm_80): the implicit matrix
// product of weight_gradient.cuh,
//     dw[m, k] = sum over p of dy[m, p] x[k, p],
// in the precisions of gemm/tensor_unit.cuh.
//
// Both operands lie along p in memory and stay so in shared memory: ldmatrix gives them to the
// tensor cores as they are. All that can be is copied by cp.async while the slice before is
// multiplied: 16 bytes at a time where planes are made of whole packets (dy; x of a 1x1
// filter), else value by value, those beyond the border as zeros. Copies have no 2 bytes, so
// 16-bit values that are gathered pass through registers, two neighbouring positions to a
// thread, which are one store.
#include "weight_gradient.cuh"
#include "slices.cuh"
#include "gemm/tensor_tile.cuh"
#ifndef TILE_BM   // the names that tensor_tile.cuh gives its parameters are taken
#define TILE_BM 64
#define TILE_BN 128
#define TILE_WM 32
#define TILE_WN 32
#endif
#ifndef PACKETS
#define PACKETS 1   // 1: planes of dy are whole packets and dy starts at one; 2: also those of x, the filter is 1x1 and nothing is padded or
                    // skipped; 0: neither
#endif

#ifndef THREE_PRODUCTS
#define THREE_PRODUCTS 0
#endif

typedef TensorTile<TILE_BM, TILE_BN, TILE_WM, TILE_WN, false, false> Sums;
constexpr int THREADS = Sums::THREADS, PITCH = Sums::PA;
constexpr bool DIRECT = sizeof(real) >= 4;                  // single values can be copied without registers
// positions a thread gathers side by side, threads along a line
constexpr int W = DIRECT ? 1 : 2, ALONG = DEEP / W;
constexpr int LINES = THREADS / ALONG;                      // lines the block gathers at a time
// Two blocks share a multiprocessor where 128 registers a thread are enough.
constexpr int RESIDENT = sizeof(real) == 8 || THREE_PRODUCTS || (!DIRECT && !PACKETS) ? 1 : 2;
static_assert(TILE_BM % LINES == 0 && TILE_BN % LINES == 0 && TILE_BM * DEEP / LANES % THREADS == 0,
              "every thread copies as much");

// The line of thread v of those that gather: neighbours in a warp are so far apart that they fill
// the banks between them.
__device__ __forceinline__ int gathered_line(int v) {
    constexpr int APART = sizeof(real) == 8 ? 2 : 4;
    static_assert(APART * PITCH * sizeof(real) % 128 == 64 && LINES % (2 * APART) == 0,
                  "half of all banks further");
    const int u = v / ALONG;
    return u / (2 * APART) * (2 * APART) + u % 2 * APART + u / 2 % APART;
}

__device__ __forceinline__ int place_of_packet() {   // in a slice, of those that this thread copies
    int line, along;
    spread_packets(threadIdx.x, line, along);
    return along;
}

// `lines` planes, of which a slice's positions are copied in packets into SIDE lines of a tile.
template <int SIDE> struct Planes {
    const real* from;
    i64 sample;
    int batch, lines;
    __device__ __forceinline__ void fetch(real* tile, const Cursor& c) const {
        const real* const here = from + c.n * sample + c.at;
        const int plane = opaque(c.plane);   // else the offsets of all lines wait in registers
#pragma unroll
        for (int i = 0; i < SIDE * DEEP / LANES / THREADS; ++i) {
            int line, along;
            spread_packets(threadIdx.x + i * THREADS, line, along);
            const bool wanted = c.n < batch && line < lines;
            cp_async16(tile + line * PITCH + along, wanted ? here + (i64)line * plane : from, wanted);
        }
    }
};

// Operands that are gathered: W positions of every LINES-th line.
struct Gather {
    static constexpr int ROWS = PACKETS ? 0 : TILE_BM / LINES, COLUMNS = TILE_BN / LINES;
    const real *x, *dy;   // the group's first channel and the tile's first filter, of sample 0
    i64 x_sample, dy_sample;
    const Place* places;  // of the tile's columns
    int line, along, batch, filters;
    Walk walk;
    Packet<real, W> left[ROWS + 1], right[COLUMNS];

    __device__ __forceinline__ Gather(const real* x, i64 x_sample, const real* dy, i64 dy_sample,
                                      const Place* places, const Window& win, int first, int batch,
                                      int filters)
        : x(x), dy(dy), x_sample(x_sample), dy_sample(dy_sample), places(places),
          line(gathered_line(threadIdx.x)), along((int)threadIdx.x % ALONG * W), batch(batch),
          filters(filters), walk(win, first + along) {}

    // One value on its way: into the tile, or into `held`.
    static __device__ __forceinline__ void take(real* to, real& held, const real* from, const real* any,
                                                bool wanted) {
        if constexpr (DIRECT) cp_async_value(to, wanted ? from : any, wanted);
        else {
            held = rounded(0);
            if (wanted) held = *from;
        }
    }
    __device__ __forceinline__ void fetch(const Window& win, real* a, real* b) {
        Corner c[W];
        const real *rows[W], *columns[W];
        bool used[W];
        Walk at = walk;
#pragma unroll
        for (int w = 0; w < W; ++w) {
            used[w] = at.n < batch;
            c[w] = at.corner(win, used[w]);
            rows[w] = dy + c[w].n * dy_sample + c[w].to, columns[w] = x + c[w].n * x_sample + c[w].at;
            if (w + 1 < W) at.go_on(win, 1);
        }
        walk.go_on(win, DEEP);
        const int plane = opaque(win.outputs()), to = line * PITCH + along;
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
            for (int w = 0; w < W; ++w)
                take(a + to + w + i * LINES * PITCH, left[i].v[w], rows[w] + (i64)(line + i * LINES) * plane,
                     dy, used[w] && line + i * LINES < filters);
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) {
            const Place p = places[line + i * LINES];
#pragma unroll
            for (int w = 0; w < W; ++w)
                take(b + to + w + i * LINES * PITCH, right[i].v[w], columns[w] + p.at, x,
                     win.inside(c[w], p));
        }
    }
    template <int COUNT> __device__ __forceinline__ void put(real* tile, const Packet<real, W>* held) const {
#pragma unroll
        for (int i = 0; i < COUNT; ++i)
            *reinterpret_cast<Packet<real, W>*>(tile + (line + i * LINES) * PITCH + along) = held[i];
    }
    __device__ __forceinline__ void store(real* a, real* b) const {
        if constexpr (!DIRECT) {
            put<ROWS>(a, left);
            put<COLUMNS>(b, right);
        }
    }
};

template <class T>
__device__ __forceinline__ void store(const Sums& sums, T* to, int m0, int k0, int filters, int columns) {
    const bool pairs = columns % 2 == 0 && (reinterpret_cast<size_t>(to) & (2 * sizeof(T) - 1)) == 0;
    sums.each([&](int row, int column, acc x, acc next) {
        const int m = m0 + row, k = k0 + column;
        if (m >= filters || k >= columns) return;
        T* const at = to + (i64)m * columns + k;
        if (pairs) *reinterpret_cast<Packet<T, 2>*>(at) = {{(T)x, (T)next}};
        else {
            at[0] = (T)x;
            if (k + 1 < columns) at[1] = (T)next;
        }
    });
}

__device__ __forceinline__ void gradient(const real* x, const real* dy, real* dw, acc* partial,
                                         const Shape& s, const Window& win) {
    __shared__ __align__(16) real a[2][Sums::SIZE_A], b[2][Sums::SIZE_B];
    const Block<TILE_BM, TILE_BN, DEEP> block(s, win, blockIdx.x);
    const i64 x_sample = (i64)s.groups * s.channels * win.inputs(),
              dy_sample = (i64)s.groups * s.filters * win.outputs();
    const int first = block.begin * DEEP, filters = s.filters - block.m0;
    x += (i64)block.group * s.channels * win.inputs();
    dy += ((i64)block.group * s.filters + block.m0) * win.outputs();
    Sums sums;
    const auto add = [&](int slot) { sums.add(a[slot], b[slot]); };
#if PACKETS
    const Planes<TILE_BM> left{dy, dy_sample, s.batch, filters};
    Cursor cursor(first + place_of_packet(), win.outputs());
#endif
#if PACKETS == 2
    const Planes<TILE_BN> right{x + (i64)block.k0 * win.inputs(), x_sample, s.batch, s.channels - block.k0};
    double_buffered(block.begin, block.end, [&](int, int slot) {
        left.fetch(a[slot], cursor);
        right.fetch(b[slot], cursor);
        cursor.go_on(DEEP);
    }, [](int) {}, add);
#else
    __shared__ __align__(16) Place places[TILE_BN];
    find_places<TILE_BN, THREADS>(win, block.k0, block.columns, places);
    Gather gather(x, x_sample, dy, dy_sample, places, win, first, s.batch, filters);
    double_buffered(block.begin, block.end, [&](int, int slot) {
#if PACKETS
        left.fetch(a[slot], cursor);
        cursor.go_on(DEEP);
#endif
        gather.fetch(win, a[slot], b[slot]);
    }, [&](int slot) { gather.store(a[slot], b[slot]); }, add);
#endif
    // once more: the loop has no registers to keep it in
    const Block<TILE_BM, TILE_BN, DEEP> done(s, win, opaque(blockIdx.x));
    const i64 at = done.results(s, partial != nullptr);
    if (partial) store(sums, partial + at, done.m0, done.k0, s.filters, done.columns);
    else store(sums, dw + at, done.m0, done.k0, s.filters, done.columns);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    conv_weight_gradient_tensor(const real* __restrict__ x, const real* __restrict__ dy,
                                real* __restrict__ dw, acc* __restrict__ partial, Dims shape, Dims d, Dims h,
                                Dims w) {
    gradient(x, dy, dw, partial, Shape(shape), forward_window(d, h, w));
}
