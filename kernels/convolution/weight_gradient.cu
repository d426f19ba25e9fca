// A convolution's gradient for its weight as an implicit matrix product:
//     dw[m, k] = sum over p of dy[m, p] x[k, p],   m a filter, k = (channel, tap), p an output position of any sample.
//
// The sum runs over far more terms than there are results, so p is cut in `splits` parts, each a block's own; split_sum adds them in order.
// Both operands lie along p: BK neighbouring threads read BK neighbours of one line, and store them across a slice in shared memory whose
// lines are one packet longer than the tile, so that those stores meet different banks.
#include "geometry.cuh"
#include "tile.cuh"

constexpr int LM = BM + V, LN = BN + V;            // length of a slice's lines
constexpr int LINES = THREADS / BK;                // lines that a block reads at a time
constexpr int RESIDENT = sizeof(acc) == 4 ? 512 / THREADS : 1;   // blocks that share a multiprocessor
static_assert(THREADS % BK == 0 && BM % LINES == 0 && BN % LINES == 0, "every thread reads as much");

struct Walk {   // an output position that goes on by BK
    int n, d, h, w;
    __device__ __forceinline__ Walk(const Window& win, int pixel) {
        w = pixel % win.w.grid;
        const int line = pixel / win.w.grid, slab = line / win.h.grid;
        h = line % win.h.grid, d = slab % win.d.grid, n = slab / win.d.grid;
    }
    __device__ __forceinline__ void go_on(const Window& win) {
        for (w += BK; w >= win.w.grid; w -= win.w.grid)
            if (++h == win.h.grid) {
                h = 0;
                if (++d == win.d.grid) d = 0, ++n;
            }
    }
};

struct Operands {   // one slice on its way through registers
    static constexpr int ROWS = BM / LINES, COLUMNS = BN / LINES;
    real left[ROWS], right[COLUMNS];
    const Place* places;   // of the tile's columns, in shared memory
    int line, k;

    __device__ __forceinline__ Operands(const Place* places) : places(places), line(threadIdx.x / BK), k(threadIdx.x % BK) {}
    // dy: the first filter's plane of sample 0, of which `filters` are left.
    __device__ __forceinline__ void load(const Window& win, const Walk& at, bool used, const real* x, i64 x_sample, const real* dy,
                                         i64 dy_sample, int filters) {
        const Corner c = used ? win.corner(at.n, at.d, at.h, at.w) : Corner{0, 0, FAR, FAR, FAR, 0};
        const real *a = dy + c.n * dy_sample + c.to, *b = x + c.n * x_sample + c.at;
        const int plane = win.outputs();
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            left[i] = rounded(0);
            if (used && line + i * LINES < filters) left[i] = a[(i64)(line + i * LINES) * plane];
        }
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) {
            right[i] = rounded(0);
            const Place p = places[line + i * LINES];
            if (win.inside(c, p)) right[i] = b[p.at];
        }
    }
    __device__ __forceinline__ void store(acc* a, acc* b) const {
#pragma unroll
        for (int i = 0; i < ROWS; ++i) a[k * LM + line + i * LINES] = value(left[i]);
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) b[k * LN + line + i * LINES] = value(right[i]);
    }
};

__device__ void find_places(const Window& win, int k0, int columns, Place* places) {
    for (int i = threadIdx.x; i < BN; i += THREADS) {
        const int k = k0 + i;
        places[i] = k < columns ? win.place(k / win.taps(), k % win.taps()) : Place{0, FAR, 0, 0};
    }
    __syncthreads();
}

struct Shape {   // of one group
    int batch, channels, filters, groups, splits;
    __device__ __forceinline__ Shape(const Dims& s) : batch(s[0]), channels(s[1]), filters(s[2]), groups(s[3]), splits(s[4]) {}
};

template <class T> __device__ __forceinline__ void store(const Tile& tile, T* to, int m0, int k0, int filters, int columns, bool packets) {
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

__device__ void gradient(const real* x, const real* dy, real* dw, acc* partial, const Shape& s, const AxisSizes& sd, const AxisSizes& sh,
                         const AxisSizes& sw) {
    __shared__ __align__(16) acc a[2][BK * LM], b[2][BK * LN];
    __shared__ __align__(16) Place places[BN];
    const Window win = forward_window(sd, sh, sw);
    const int columns = s.channels * win.taps(), row_tiles = (s.filters + BM - 1) / BM, column_tiles = (columns + BN - 1) / BN;
    int id = blockIdx.x;
    const int m0 = id % row_tiles * BM;
    id /= row_tiles;
    const int k0 = id % column_tiles * BN;
    id /= column_tiles;
    const int group = id % s.groups, split = id / s.groups;
    const int pixels = s.batch * win.grid(), slices = (pixels + BK - 1) / BK, each = (slices + s.splits - 1) / s.splits;
    const int begin = min(slices, split * each), end = min(slices, begin + each);
    const i64 x_sample = (i64)s.groups * s.channels * win.inputs(), dy_sample = (i64)s.groups * s.filters * win.outputs();
    x += (i64)group * s.channels * win.inputs();
    dy += ((i64)group * s.filters + m0) * win.outputs();

    find_places(win, k0, columns, places);
    Tile tile;
    Operands next(places);
    int pixel = begin * BK + next.k;
    Walk at(win, pixel);
    if (begin < end) {
        next.load(win, at, pixel < pixels, x, x_sample, dy, dy_sample, s.filters - m0);
        next.store(a[0], b[0]);
        __syncthreads();
    }
    for (int slice = begin, now = 0; slice < end; ++slice, now ^= 1) {
        const bool more = slice + 1 < end;
        if (more) {
            pixel += BK;
            at.go_on(win);
            next.load(win, at, pixel < pixels, x, x_sample, dy, dy_sample, s.filters - m0);
        }
        tile.multiply<LM, LN>(a[now], b[now]);
        if (more) next.store(a[now ^ 1], b[now ^ 1]);
        __syncthreads();
    }
    const i64 of_group = (i64)s.filters * columns;
    const bool packets = columns % V == 0 && packet_aligned(dw);
    if (partial) store(tile, partial + ((i64)split * s.groups + group) * of_group, m0, k0, s.filters, columns, packets);
    else store(tile, dw + group * of_group, m0, k0, s.filters, columns, packets);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) conv_weight_gradient(const real* __restrict__ x, const real* __restrict__ dy,
                                                                           real* __restrict__ dw, acc* __restrict__ partial, Dims shape,
                                                                           Dims d, Dims h, Dims w) {
    gradient(x, dy, dw, partial, Shape(shape), d, h, w);
}
