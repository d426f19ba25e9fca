// A block's work in the convolutions that are matrix products (cuda.cu, tensor.cu): which results
// are its own, how slices of both operands come into shared memory, and the loop over them. What
// multiplies the slices is a Unit of the including file:
//   ROWS x COLUMNS, DEPTH    results of a block, filters by positions, and terms in a slice
//   PITCH_A, PITCH_B         elements from one line of a slice to the next; lines lie along filters and positions
//   THREADS, Element, Sums   of a block; in shared memory; in registers, with Unit::add(sums, a, b)
//                            and Unit::store(results, sums, ...)
#pragma once
#include "packed.cuh"
#include "slices.cuh"

template <class A, class B> constexpr bool SAME = false;
template <class A> constexpr bool SAME<A, A> = true;

template <class Unit>
__device__ __forceinline__ void fetch_weights(typename Unit::Element* a, const typename Unit::Element* packed,
                                              int cols) {
    constexpr int WIDTH = 16 / sizeof(typename Unit::Element), LINE = Unit::ROWS / WIDTH,
                  COUNT = Unit::DEPTH * LINE;
#pragma unroll
    for (int i = 0; i < (COUNT + Unit::THREADS - 1) / Unit::THREADS; ++i) {
        const int v = threadIdx.x + i * Unit::THREADS, k = v / LINE, m = v % LINE * WIDTH;
        if (COUNT % Unit::THREADS == 0 || v < COUNT)
            cp_async16(a + k * Unit::PITCH_A + m, packed + (i64)k * cols + m, true);
    }
}

// A slice of the input: `load` asks for it, by asynchronous copies if elements can be moved so and
// need no conversion, else into registers, which `store` puts into shared memory. Gathered: any
// filter; a thread keeps to W neighbouring output positions, 32 bits of elements at least.
template <class Unit> struct Gathered {
    typedef typename Unit::Element Element;
    static constexpr bool DIRECT = SAME<Element, real> && sizeof(real) >= 4;
    static constexpr int W = sizeof(Element) == 2 ? 2 : 1, LINE = Unit::COLUMNS / W,
                         STEP = Unit::THREADS / LINE, COUNT = Unit::DEPTH / STEP;
    static_assert(Unit::THREADS % LINE == 0 && Unit::DEPTH % STEP == 0, "every thread gathers as much");
    Corner corner[W];
    const real* from[W];
    Packet<real, W> held[COUNT];

    static __device__ __forceinline__ int line(int i) { return (int)threadIdx.x / LINE + i * STEP; }
    static __device__ __forceinline__ int column() { return (int)threadIdx.x % LINE * W; }
    __device__ __forceinline__ Gathered(const real* x, const Window& win, i64 sample, int p0, int pixels) {
#pragma unroll
        for (int w = 0; w < W; ++w) {
            corner[w] = win.corner(p0 + column() + w, pixels);
            from[w] = x + corner[w].n * sample + corner[w].at;
        }
    }
    __device__ __forceinline__ void load(const Window& win, const Place* table, int k0, int, Element* b) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const Place p = table[k0 + line(i)];
#pragma unroll
            for (int w = 0; w < W; ++w) {
                const bool inside = win.inside(corner[w], p);
                if constexpr (DIRECT)
                    cp_async_value(b + line(i) * Unit::PITCH_B + column(),
                                   inside ? from[w] + p.at : reinterpret_cast<const real*>(table), inside);
                else {
                    held[i].v[w] = rounded(0);
                    if (inside) held[i].v[w] = from[w][p.at];
                }
            }
        }
    }
    __device__ __forceinline__ void store(Element* b) const {
        if constexpr (!DIRECT) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                Packet<Element, W> q;
#pragma unroll
                for (int w = 0; w < W; ++w) q.v[w] = (Element)held[i].v[w];
                *reinterpret_cast<Packet<Element, W>*>(b + line(i) * Unit::PITCH_B + column()) = q;
            }
        }
    }
};

template <class Unit> struct Copied {   // 1x1: k is the channel, and neighbours of a plane stay neighbours
    typedef typename Unit::Element Element;
    static constexpr bool DIRECT = SAME<Element, real>;
    static constexpr int W = 16 / sizeof(Element), LINE = Unit::COLUMNS / W, STEP = Unit::THREADS / LINE,
                         COUNT = Unit::DEPTH / STEP;
    static_assert(Unit::THREADS % LINE == 0 && COUNT > 0 && Unit::DEPTH % STEP == 0,
                  "every thread copies as much");
    const real* from;
    int plane;
    bool used;
    Packet<real, W> held[COUNT];

    static __device__ __forceinline__ int line(int i) { return (int)threadIdx.x / LINE + i * STEP; }
    static __device__ __forceinline__ int column() { return (int)threadIdx.x % LINE * W; }
    __device__ __forceinline__ Copied(const real* x, const Window& win, i64 sample, int p0, int pixels)
        : plane(win.grid()) {
        const int p = p0 + column();
        used = p < pixels;
        from = x + (used ? p / plane * sample + p % plane : 0);
    }
    __device__ __forceinline__ void load(const Window&, const Place*, int k0, int channels, Element* b) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int k = k0 + line(i);
            const bool inside = used && k < channels;
            const real* const at = from + (inside ? (i64)k * plane : 0);
            if constexpr (DIRECT) cp_async16(b + line(i) * Unit::PITCH_B + column(), at, inside);
            else {
                held[i] = {};
                if (inside) held[i] = *reinterpret_cast<const Packet<real, W>*>(at);
            }
        }
    }
    __device__ __forceinline__ void store(Element* b) const {
        if constexpr (!DIRECT) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                Packet<Element, W> q;
#pragma unroll
                for (int w = 0; w < W; ++w) q.v[w] = (Element)held[i].v[w];
                *reinterpret_cast<Packet<Element, W>*>(b + line(i) * Unit::PITCH_B + column()) = q;
            }
        }
    }
};

struct Results {   // of one group: with their bias, or a part of their sums
    real* y;
    acc* partial;
    const real* bias;
    i64 sample;
    int plane, filters;

    __device__ __forceinline__ Results(real* y, acc* partial, const real* bias, const Shape& s,
                                       const Window& win, int group, int split)
        : y(y), partial(partial), bias(bias), sample((i64)s.groups * s.filters * win.outputs()),
          plane(win.outputs()), filters(s.filters) {
        const i64 first = (i64)group * s.filters * plane;
        this->y += first;
        if (partial) this->partial += split * (s.batch * sample) + first;
        if (bias) this->bias += group * s.filters;
    }
    __device__ __forceinline__ acc shift(int m) const { return bias ? value(bias[m]) : acc(0); }
    __device__ __forceinline__ void put(i64 at, int m, acc x) const {
        if (partial) partial[at] = x;
        else y[at] = rounded(x + shift(m));
    }
};

// Which block this is: filter tile fastest, so that blocks which run together gather the same
// input; then position tile, split, group, phase.
template <class Unit> struct Block {
    int m0, p0, split, set, group, phase;
    __device__ __forceinline__ Block(const Shape& s, int tiles, int id) {
        m0 = id % (s.cols / Unit::ROWS) * Unit::ROWS;
        id /= s.cols / Unit::ROWS;
        p0 = id % tiles * Unit::COLUMNS;
        id /= tiles;
        split = id % s.splits, set = id / s.splits, group = set % s.groups, phase = set / s.groups;
    }
};

template <class Unit, class Input>
__device__ __forceinline__ void convolve(const real* x, const typename Unit::Element* packed,
                                         const int* places, const real* bias, real* y, acc* partial,
                                         const Shape& s, int tiles, const AxisSizes& sd, const AxisSizes& sh,
                                         const AxisSizes& sw) {
    __shared__ __align__(16) typename Unit::Element a[2][Unit::DEPTH * Unit::PITCH_A],
        b[2][Unit::DEPTH * Unit::PITCH_B];
    const Block<Unit> block(s, tiles, blockIdx.x);
    const Window win = window(sd, sh, sw, block.phase);
    const int pixels = s.batch * win.grid();
    if (block.p0 >= pixels) return;   // phases differ in size

    const int slices = (s.channels * win.taps() + Unit::DEPTH - 1) / Unit::DEPTH,
              each = (slices + s.splits - 1) / s.splits;
    const int begin = block.split * each, end = min(slices, begin + each), channels = s.groups * s.channels;
    const Place* const table = reinterpret_cast<const Place*>(places) + (i64)block.phase * s.rows;
    packed += (i64)block.set * s.rows * s.cols + block.m0;
    __shared__ Window kept;   // until results are stored: the loop has no registers for it
    if (threadIdx.x == 0) keep(win, &kept);
    Input input(x + (i64)block.group * s.channels * win.inputs(), win, (i64)channels * win.inputs(), block.p0,
                pixels);
    typename Unit::Sums sums;
    double_buffered(
        begin, end,
        [&](int slice, int slot) {
            fetch_weights<Unit>(a[slot], packed + (i64)slice * Unit::DEPTH * s.cols, s.cols);
            input.load(win, table, slice * Unit::DEPTH, s.channels, b[slot]);
        },
        [&](int slot) { input.store(b[slot]); }, [&](int slot) { Unit::add(sums, a[slot], b[slot]); });
    const Block<Unit> done(s, tiles, opaque(blockIdx.x));   // once more, for the same reason
    Unit::store(Results(y, partial, bias, s, kept, done.group, done.split), sums, kept, done.m0, done.p0,
                s.batch * kept.grid());
}
