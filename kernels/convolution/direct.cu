// Convolution where a group has so few channels and filters that a matrix product's tiles would be
// mostly empty: depthwise convolution above all, which is bound by what it reads and writes.
//
// direct: neighbouring threads take neighbouring columns, so that reads and writes coalesce
// whatever the alignment, and each thread computes a strip of ROWS outputs below each other: an
// input value is read once and used by all of the strip's outputs that it meets. The filter's
// height and width (KH, KW) and the vertical stride (SH) are compiled in, so that its weights and
// the strip stay in registers; KH = 0 takes any filter, also a dilated one. `flip` walks the filter
// backwards: a transposed convolution of stride 1.
// direct_transposed: any transposed convolution; each thread gathers one output from
// the taps that meet it.
#include "geometry.cuh"
#ifndef ROWS
#define ROWS 1
#endif
#ifndef KH
#define KH 0
#define KW 0
#define SH 1
#endif
// Blocks that share a multiprocessor: left to itself the compiler asks for all of a strip's input
// at once, and for the registers it takes. The larger the filter in registers, the fewer.
constexpr int THREADS = 128, FILTER = KH * KW * sizeof(acc) / 4;
constexpr int RESIDENT = FILTER == 0    ? 8
                         : FILTER <= 9  ? (SH == 1 ? 6 : 5)
                         : FILTER <= 25 ? 4
                         : FILTER <= 40 ? 3
                                        : 2;

struct Group {   // what an output sums over
    const real *x, *weight;
    int channels, plane;       // plane: of x
    int apart;                 // elements from a channel's filter to the next one's
};

struct Strip {
    acc sum[ROWS];
    int h, w;          // input position of the first output's first tap
    int height, width; // of the input

#if KH > 0
    // All of a filter's KH x KW taps of one slab; the input's rows one after the other.
    __device__ __forceinline__ void add(const real* x, const real* weight, bool flip, const AxisSizes&,
                                        const AxisSizes&) {
        acc f[KH * KW];
#pragma unroll
        for (int t = 0; t < KH * KW; ++t) f[t] = value(weight[flip ? KH * KW - 1 - t : t]);
        x += h * width + w;
#pragma unroll
        for (int r = 0; r < (ROWS - 1) * SH + KH; ++r, x += width) {
            const bool row = (unsigned)(h + r) < (unsigned)height;
#pragma unroll
            for (int j = 0; j < KW; ++j) {
                const acc v = row && (unsigned)(w + j) < (unsigned)width ? value(x[j]) : acc(0);
#pragma unroll
                for (int t = 0; t < ROWS; ++t)
                    if (r - t * SH >= 0 && r - t * SH < KH) sum[t] = fma(v, f[(r - t * SH) * KW + j], sum[t]);
            }
        }
    }
#else
    __device__ __forceinline__ void add(const real* x, const real* weight, bool flip, const AxisSizes& sh,
                                        const AxisSizes& sw) {
        const int last = sh[0] * sw[0] - 1;
        for (int i = 0; i < sh[0]; ++i)
#pragma unroll 1
            for (int j = 0; j < sw[0]; ++j) {
                const int at = w + j * sw[3], t = i * sw[0] + j;
                const acc f = value(weight[flip ? last - t : t]);
                if ((unsigned)at >= (unsigned)width) continue;
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    const int row = h + r * sh[1] + i * sh[3];
                    if ((unsigned)row < (unsigned)height) sum[r] = fma(value(x[row * width + at]), f, sum[r]);
                }
            }
    }
#endif
};

struct Sizes {
    int channels, filters, groups, flip;
    i64 group, filter, channel;   // weight's strides
    __device__ __forceinline__ Sizes(const Dims& s, const Dims& apart)
        : channels(s[0]), filters(s[1]), groups(s[2]), flip(s[3]), group(apart[0]), filter(apart[1]),
          channel(apart[2]) {}
    // What output plane `plane` (sample, group, filter) sums over.
    __device__ __forceinline__ Group of(int plane, const real* x, const real* weight, int inputs) const {
        const int m = plane % filters, rest = plane / filters, g = rest % groups, n = rest / groups;
        return {x + ((i64)n * groups + g) * channels * inputs, weight + g * group + m * filter, channels,
                inputs, (int)channel};
    }
    __device__ __forceinline__ acc shift(const real* bias, int plane) const {
        return bias ? value(bias[plane % (filters * groups)]) : acc(0);
    }
};

__device__ void strip(const real* x, const real* weight, const real* bias, real* y, int count, const Sizes& s,
                      const AxisSizes& sd, const AxisSizes& sh, const AxisSizes& sw) {
    const i64 id = thread_index();
    if (id >= count) return;
    const int strips = (sh[5] + ROWS - 1) / ROWS, inputs = sd[4] * sh[4] * sw[4];
    const int ow = (int)id % sw[5], line = (int)id / sw[5], oh = line % strips * ROWS, slab = line / strips;
    const int od = slab % sd[5], plane = slab / sd[5], face = sh[0] * sw[0];
    const Group g = s.of(plane, x, weight, inputs);
    Strip strip;
    strip.h = oh * sh[1] - sh[2], strip.w = ow * sw[1] - sw[2], strip.height = sh[4], strip.width = sw[4];
    const acc shift = s.shift(bias, plane);
#pragma unroll
    for (int r = 0; r < ROWS; ++r) strip.sum[r] = shift;
    for (int c = 0; c < g.channels; ++c)
#pragma unroll 1   // else some compilers take several steps at once, and more registers than there are
        for (int t = 0; t < sd[0]; ++t) {
            const int d = od * sd[1] - sd[2] + t * sd[3];
            if ((unsigned)d >= (unsigned)sd[4]) continue;
            strip.add(g.x + (i64)c * g.plane + d * sh[4] * sw[4],
                      g.weight + c * g.apart + (s.flip ? sd[0] - 1 - t : t) * face, s.flip, sh, sw);
        }
    y += (((i64)plane * sd[5] + od) * sh[5] + oh) * sw[5] + ow;
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
        if (oh + r < sh[5]) y[r * sw[5]] = rounded(strip.sum[r]);
}

// the taps of one axis that meet an output: first, first + every, ...; the input position falls by
// `fall` from one to the next
struct Meeting {
    int first, every, at, fall;
    __device__ __forceinline__ Meeting(const AxisSizes& a, int o) : every(a[6]), fall(a[7]) {
        const int reach = o + a[2];
        for (first = 0; first < every && (reach - first * a[3]) % a[1] != 0;) ++first;
        if (first == every) first = a[0];   // none
        at = (reach - first * a[3]) / a[1];
    }
};

__device__ acc gather(const Group& g, const Meeting& d, const Meeting& h, const Meeting& w,
                      const AxisSizes& sd, const AxisSizes& sh, const AxisSizes& sw) {
    acc sum = 0;
    for (int c = 0; c < g.channels; ++c) {
        const real *x = g.x + (i64)c * g.plane, *weight = g.weight + c * g.apart;
        for (int i = d.first, id = d.at; i < sd[0]; i += d.every, id -= d.fall)
            for (int j = h.first, ih = h.at; j < sh[0]; j += h.every, ih -= h.fall)
                for (int k = w.first, iw = w.at; k < sw[0]; k += w.every, iw -= w.fall)
                    if ((unsigned)id < (unsigned)sd[4] && (unsigned)ih < (unsigned)sh[4] &&
                        (unsigned)iw < (unsigned)sw[4])
                        sum = fma(value(x[(id * sh[4] + ih) * sw[4] + iw]),
                                  value(weight[(i * sh[0] + j) * sw[0] + k]), sum);
    }
    return sum;
}

__device__ void transposed(const real* x, const real* weight, const real* bias, real* y, int count,
                           const Sizes& s, const AxisSizes& sd, const AxisSizes& sh, const AxisSizes& sw) {
    const i64 id = thread_index();
    if (id >= count) return;
    const int ow = (int)id % sw[5], line = (int)id / sw[5], oh = line % sh[5], slab = line / sh[5],
              od = slab % sd[5], plane = slab / sd[5];
    const Group g = s.of(plane, x, weight, sd[4] * sh[4] * sw[4]);
    y[id] = rounded(gather(g, Meeting(sd, od), Meeting(sh, oh), Meeting(sw, ow), sd, sh, sw) +
                    s.shift(bias, plane));
}

extern "C" {
__global__ void __launch_bounds__(THREADS, RESIDENT)
    conv_direct(const real* __restrict__ x, const real* __restrict__ weight, const real* __restrict__ bias,
                real* __restrict__ y, int count, Dims sizes, Dims apart, Dims d, Dims h, Dims w) {
    strip(x, weight, bias, y, count, Sizes(sizes, apart), d, h, w);
}
__global__ void __launch_bounds__(256, 4)
    conv_direct_transposed(const real* __restrict__ x, const real* __restrict__ weight,
                           const real* __restrict__ bias, real* __restrict__ y, int count, Dims sizes,
                           Dims apart, Dims d, Dims h, Dims w) {
    transposed(x, weight, bias, y, count, Sizes(sizes, apart), d, h, w);
}
}
