// What convolution and transposed convolution have in common on a device: both read, for an output
// at grid position o and a tap j, the input at base + o move + j shift along every axis.
//
// conv has one such grid. A transposed convolution has one for every phase of the output (the
// positions phase, phase + stride, ...): only taps first, first + every, ... of the filter meet a
// phase, and there input positions step by one. So nothing is scattered, and no multiplication by
// the zeros of a dilated input is done.
#pragma once
#include "index.cuh"

// An axis as the host hands it over: kernel, stride, padding, dilation, input size, output size,
// and for phases: every = stride / gcd of stride and dilation, shift = every dilation / stride.
typedef Dims AxisSizes;

struct Axis {
    int taps, first, every;        // taps of the filter that take part
    int base, move, shift;         // input position = base + o move + j shift
    int grid, at, apart;           // output position = at + o apart, o < grid
    int kernel, in, out;
};

__device__ __forceinline__ Axis forward_axis(const AxisSizes& a) {
    return {a[0], 0, 1, -a[2], a[1], a[3], a[5], 0, 1, a[0], a[4], a[5]};
}

__device__ __forceinline__ Axis phase_axis(const AxisSizes& a, int phase) {
    const int kernel = a[0], stride = a[1], every = a[6], reach = phase + a[2];
    int first = 0;
    while (first < every && (reach - first * a[3]) % stride != 0) ++first;
    const int taps = first < every && first < kernel ? (kernel - first + every - 1) / every : 0;
    const int grid = phase < a[5] ? (a[5] - phase + stride - 1) / stride : 0;
    return {taps,   first, every, taps ? (reach - first * a[3]) / stride : 0, 1, -a[7], grid, phase, stride,
            kernel, a[4],  a[5]};
}

constexpr int FAR = -(1 << 29);   // a position outside of any input, whatever is added to it

// Where an output (n, o) reads its first tap, relative to its sample, and where it writes.
struct Corner { int n, at, d, h, w, to; };
// What a row of the product (channel, tap) adds to that.
struct alignas(16) Place { int at, d, h, w; };

struct Window {
    Axis d, h, w;
    __device__ __forceinline__ int taps() const { return d.taps * h.taps * w.taps; }
    __device__ __forceinline__ int grid() const { return d.grid * h.grid * w.grid; }
    __device__ __forceinline__ int inputs() const { return d.in * h.in * w.in; }
    __device__ __forceinline__ int outputs() const { return d.out * h.out * w.out; }

    __device__ __forceinline__ Corner corner(int n, int od, int oh, int ow) const {
        const int id = d.base + od * d.move, ih = h.base + oh * h.move, iw = w.base + ow * w.move;
        const int to = ((d.at + od * d.apart) * h.out + h.at + oh * h.apart) * w.out + w.at + ow * w.apart;
        return {n, (id * h.in + ih) * w.in + iw, id, ih, iw, to};
    }
    // Of the pixel'th output of all samples in order; one beyond them reads nothing but zeros.
    __device__ __forceinline__ Corner corner(int pixel, int pixels) const {
        if (pixel >= pixels) return {0, 0, FAR, FAR, FAR, 0};
        const int ow = pixel % w.grid, line = pixel / w.grid, oh = line % h.grid, slab = line / h.grid;
        return corner(slab / d.grid, slab % d.grid, oh, ow);
    }
    __device__ __forceinline__ Place place(int channel, int tap) const {
        const int jw = tap % w.taps, rest = tap / w.taps, jh = rest % h.taps, jd = rest / h.taps;
        const int pd = jd * d.shift, ph = jh * h.shift, pw = jw * w.shift;
        return {channel * inputs() + (pd * h.in + ph) * w.in + pw, pd, ph, pw};
    }
    // Index of the tap'th tap that takes part, in the whole filter.
    __device__ __forceinline__ int filter_tap(int tap) const {
        const int jw = tap % w.taps, rest = tap / w.taps, jh = rest % h.taps, jd = rest / h.taps;
        return ((d.first + jd * d.every) * h.kernel + h.first + jh * h.every) * w.kernel + w.first +
               jw * w.every;
    }
    __device__ __forceinline__ bool inside(const Corner& c, const Place& p) const {
        return (unsigned)(c.d + p.d) < (unsigned)d.in && (unsigned)(c.h + p.h) < (unsigned)h.in &&
               (unsigned)(c.w + p.w) < (unsigned)w.in;
    }
};

__device__ __forceinline__ Window forward_window(const AxisSizes& d, const AxisSizes& h, const AxisSizes& w) {
    return {forward_axis(d), forward_axis(h), forward_axis(w)};
}
__device__ __forceinline__ Window phase_window(const AxisSizes& d, const AxisSizes& h, const AxisSizes& w,
                                               int phase) {
    const int pw = phase % w[1], rest = phase / w[1];
    return {phase_axis(d, rest / h[1]), phase_axis(h, rest % h[1]), phase_axis(w, pw)};
}
