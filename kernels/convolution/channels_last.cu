// y[n, p, o] = bias[o] + sum over c, taps of x[n, position(p, tap), channel(o, c)] w[o, c, tap]
// where channels lie last and a group has so few channels and filters that it is bound by memory:
// depthwise convolution above all.
//
// A thread computes PACK channels of ROWS outputs below each other. For each column of the
// filter it reads the column's weights once and walks down the input: a packet is read once and
// used by all outputs of the strip that it meets. Neighbouring threads take the next channels,
// then the next columns, whose reads of the same input meet in the first-level cache. The
// filter's height (KH) and the vertical stride (SH) are compiled in, its width is not; KH = 0
// takes any filter, also a dilated one.
//
// A transposed convolution is one such convolution for each phase of its output (geometry.cuh),
// whose taps a whole strip shares: strips are outputs `stride` apart. Weights come as
// channels_last_weights leaves them, c by taps by outputs, so that they, too, are packets.
#include "channels_last.cuh"
// blocks that share a multiprocessor, and its registers
constexpr int RESIDENT = REACH > 10 || (MANY && KH * PACK > 24) ? 1 : 2;

struct Problem {
    const real *x, *weight, *bias;
    real* y;
    int channels, filters, outputs, inputs;   // of a group; of a pixel of y, of x
};

struct Strip {
    acc sum[ROWS][PACK] = {};

    __device__ __forceinline__ void add(int row, const acc (&v)[PACK], const acc (&f)[PACK]) {
#pragma unroll
        for (int l = 0; l < PACK; ++l) sum[row][l] = fma(v[l], f[l], sum[row][l]);
    }

#if KH > 0
    // One column of the filter: `image` is the input's plane, h its row of the strip's first tap,
    // `weight` the column's first.
    __device__ __forceinline__ void column(const Problem& p, const Lanes& lanes, const Window& win,
                                           const real* image, const real* weight, int c, int h, int w) {
        acc f[KH][PACK];
#pragma unroll
        for (int j = 0; j < KH; ++j) read(weight + (i64)j * win.w.taps * p.outputs, f[j]);
        const int line = win.w.in * p.inputs;
        const real* pixel = image + (i64)h * line + w * p.inputs;
#pragma unroll
        for (int r = 0; r < REACH; ++r, pixel += line) {
            acc v[PACK];
            lanes.load_or_zero(within(h + r, win.h.in), pixel, c, v);
#pragma unroll
            for (int t = 0; t < ROWS; ++t)
                if (r - t * SH >= 0 && r - t * SH < KH) add(t, v, f[r - t * SH]);
        }
    }
#endif
    // One tap.
    __device__ __forceinline__ void tap(const Problem& p, const Lanes& lanes, const Window& win,
                                        const real* image, const real* weight, int c, int h, int w) {
        acc f[PACK];
        read(weight, f);
#pragma unroll
        for (int t = 0; t < ROWS; ++t) {
            const int row = h + t * win.h.move;
            if (!within(row, win.h.in)) continue;
            acc v[PACK];
            lanes.load(image + ((i64)row * win.w.in + w) * p.inputs, c, v);
            add(t, v, f);
        }
    }
    __device__ __forceinline__ void store(const Problem& p, const Window& win, const StripPlace& at, int o) {
        acc shift[PACK] = {};
        if (p.bias) read(p.bias + o, shift);
        const i64 plane = (i64)at.n * win.d.out + win.d.at + at.d * win.d.apart;
        const int column = win.w.at + at.w * win.w.apart;
#pragma unroll
        for (int t = 0; t < ROWS; ++t) {
            if (at.h + t >= win.h.grid) break;
            Values result;
#pragma unroll
            for (int l = 0; l < PACK; ++l) result.v[l] = rounded(sum[t][l] + shift[l]);
            const i64 pixel = (plane * win.h.out + win.h.at + (at.h + t) * win.h.apart) * win.w.out + column;
            *reinterpret_cast<Values*>(p.y + pixel * p.outputs + o) = result;
        }
    }
};

template <bool COLUMNS>
__device__ __forceinline__ void convolve(const Problem& p, const Window& win, int samples, int id) {
    const int packets = p.outputs / PACK, o = id % packets * PACK, strips = (win.h.grid + ROWS - 1) / ROWS;
    if (id / packets >= samples * win.d.grid * strips * win.w.grid) return;
    const StripPlace at = strip_place(win, id / packets);
    const Lanes lanes(o, p.channels, p.filters);
    const int d = win.d.base + at.d * win.d.move, h = win.h.base + at.h * win.h.move,
              w = win.w.base + at.w * win.w.move;
    const int whole = win.d.kernel * win.h.kernel * win.w.kernel;
    Strip strip;
    for (int c = 0; c < p.channels; ++c)
        for (int i = 0; i < win.d.taps; ++i) {
            const int plane = d + i * win.d.shift;
            if (!within(plane, win.d.in)) continue;
            const real* image = p.x + ((i64)at.n * win.d.in + plane) * win.h.in * win.w.in * p.inputs;
            const real* weight = p.weight + (i64)c * whole * p.outputs + o;
#pragma unroll 1
            for (int k = 0; k < win.w.taps; ++k) {
                const int column = w + k * win.w.shift;
                if (!within(column, win.w.in)) continue;
#if KH > 0
                if (COLUMNS) {
                    strip.column(p, lanes, win, image, weight + (i64)(i * KH * win.w.taps + k) * p.outputs, c,
                                 h, column);
                    continue;
                }
#endif
#pragma unroll 1
                for (int j = 0; j < win.h.taps; ++j)
                    strip.tap(p, lanes, win, image,
                              weight + (i64)win.filter_tap((i * win.h.taps + j) * win.w.taps + k) * p.outputs,
                              c, h + j * win.h.shift, column);
            }
        }
    strip.store(p, win, at, o);
}

// sizes: samples, channels and filters of a group, groups, blocks a phase; flip: the filter turned round
__device__ __forceinline__ Problem problem(const real* x, const real* weight, const real* bias, real* y,
                                           const Dims& sizes) {
    return {x, weight, bias, y, sizes[1], sizes[2], sizes[2] * sizes[3], sizes[1] * sizes[3]};
}

// packed[c][tap][output] = weight[group][filter][c][tap], whose strides are `apart`
__device__ void pack(const real* weight, real* packed, const Dims& sizes, int taps, const Dims& apart,
                     int flip) {
    const int filters = sizes[2], outputs = filters * sizes[3];
    for (GRID_STRIDE(i, (i64)sizes[1] * taps * outputs)) {
        const int o = (int)(i % outputs), row = (int)(i / outputs), tap = row % taps, c = row / taps;
        packed[i] = weight[(i64)(o / filters) * apart[0] + (i64)(o % filters) * apart[1] + (i64)c * apart[2] +
                           (flip ? taps - 1 - tap : tap)];
    }
}

extern "C" {
__global__ void __launch_bounds__(256)
    channels_last_weights(const real* weight, real* packed, Dims sizes, int taps, Dims apart, int flip) {
    pack(weight, packed, sizes, taps, apart, flip);
}
__global__ void __launch_bounds__(256, RESIDENT)
    conv_channels_last(const real* __restrict__ x, const real* __restrict__ weight,
                       const real* __restrict__ bias, real* __restrict__ y, Dims sizes, Dims d, Dims h,
                       Dims w) {
    convolve<(KH > 0)>(problem(x, weight, bias, y, sizes), forward_window(d, h, w), sizes[0],
                       (int)thread_index());
}
__global__ void __launch_bounds__(256, 2)
    conv_channels_last_transposed(const real* __restrict__ x, const real* __restrict__ weight,
                                  const real* __restrict__ bias, real* __restrict__ y, Dims sizes, Dims d,
                                  Dims h, Dims w) {
    const int phase = blockIdx.x / sizes[4], block = blockIdx.x % sizes[4];
    convolve<false>(problem(x, weight, bias, y, sizes), phase_window(d, h, w, phase), sizes[0],
                    block * (int)blockDim.x + (int)threadIdx.x);
}
}
