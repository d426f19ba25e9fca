// The windows of a pooling op: which inputs of an axis each output covers, and which outputs cover an input.
#pragma once
#include "index.cuh"

// Inputs first, first + dilation, ..., `count` of them; or outputs first, first + 1, ...
struct Taps { int first, count; };

// A kernel of 0 means adaptive: output i covers inputs floor(i in / out) .. ceil((i + 1) in / out) - 1.
struct Axis {
    int in, out, kernel, stride, padding, dilation;

    __device__ __forceinline__ bool adaptive() const { return kernel == 0; }
    static __device__ __forceinline__ int share(int i, int of, int to) { return (int)((i64)i * of / to); }
    static __device__ __forceinline__ int share_up(int i, int of, int to) {
        return (int)(((i64)i * of + to - 1) / to);
    }

    __device__ __forceinline__ Taps taps(int o) const {
        if (adaptive()) {
            const int s = share(o, in, out);
            return {s, share_up(o + 1, in, out) - s};
        }
        const int s = o * stride - padding, skipped = s < 0 ? (dilation - 1 - s) / dilation : 0;
        const int fitting = s < in ? (in - 1 - s) / dilation + 1 : 0;
        return {s + skipped * dilation, min(fitting, kernel) - skipped};
    }
    // With dilation, also some that step over input i.
    __device__ __forceinline__ Taps covering(int i) const {
        if (adaptive()) {
            const int s = share(i, out, in);
            return {s, share_up(i + 1, out, in) - s};
        }
        const int at = i + padding, reach = (kernel - 1) * dilation + 1,
                  s = at < reach ? 0 : (at - reach) / stride + 1;
        return {s, min(at / stride + 1, out) - s};
    }
    // Elements of the window that are on the input or on its padding.
    __device__ __forceinline__ int on_padded(int o) const {
        if (adaptive()) return taps(o).count;
        const int s = o * stride - padding;
        return min(s + kernel, in + padding) - s;
    }
};

struct Place { int plane, d, h, w; };

struct Pool {
    Axis d, h, w;
    __device__ __forceinline__ Pool(const Dims& in, const Dims& out, const Dims& kernel, const Dims& stride,
                                    const Dims& padding, const Dims& dilation)
        : d{in[0], out[0], kernel[0], stride[0], padding[0], dilation[0]},
          h{in[1], out[1], kernel[1], stride[1], padding[1], dilation[1]},
          w{in[2], out[2], kernel[2], stride[2], padding[2], dilation[2]} {}
    __device__ __forceinline__ int in_size() const { return d.in * h.in * w.in; }
    __device__ __forceinline__ int out_size() const { return d.out * h.out * w.out; }

    static __device__ __forceinline__ Place place(int t, int depth, int height, int width) {
        const int row = t / width, slice = row / height, plane = slice / depth;
        return {plane, slice - plane * depth, row - slice * height, t - row * width};
    }
    __device__ __forceinline__ Place output(int t) const { return place(t, d.out, h.out, w.out); }
    __device__ __forceinline__ Place input(int t) const { return place(t, d.in, h.in, w.in); }
};

// Of one output: the taps of three axes as positions in the plane.
struct Covered {
    Taps d, h, w;
    int start, step_d, step_h, step_w;
    __device__ __forceinline__ Covered(const Pool& p, Place o)
        : d(p.d.taps(o.d)), h(p.h.taps(o.h)), w(p.w.taps(o.w)),
          start((d.first * p.h.in + h.first) * p.w.in + w.first), step_d(p.d.dilation * p.h.in * p.w.in),
          step_h(p.h.dilation * p.w.in), step_w(p.w.dilation) {}

    // use(position), in the order of memory
    template <class Use> __device__ __forceinline__ void each(Use use) const {
#pragma unroll 1
        for (int i = 0; i < d.count; ++i)
#pragma unroll 1
            for (int j = 0; j < h.count; ++j) {
                const int row = start + i * step_d + j * step_h;
#pragma unroll 2
                for (int k = 0; k < w.count; ++k) use(row + k * step_w);
            }
    }
    // those that are a lane's, 32 apart
    template <class Use> __device__ __forceinline__ void each_of_lane(int lane, Use use) const {
        const int count = d.count * h.count * w.count;
        for (int t = lane; t < count; t += 32) {
            const int row = t / w.count, slice = row / h.count;
            use(start + slice * step_d + (row - slice * h.count) * step_h + (t - row * w.count) * step_w);
        }
    }
};
