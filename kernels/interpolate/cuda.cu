// resample: output o of an axis = sum over k of weight[k][o] x[index[k][o]], by a table of taps per
// axis (reference.py); index -1 is a tap that this output lacks, and an axis without a table stays
// as it is. The gradient has transposed tables, so that it gathers too and each value is one
// thread's sum, in the tables' order.
//
// With one, two or four taps along height and width (nearest, linear, cubic) a thread keeps its
// taps in registers and goes through planes with them. Else it reads the tables as it goes; the
// host lets axes of many taps follow each other, as their products would be too many. Threads of
// a warp are neighbours along the width: what they write and, but for strong reductions, what
// they read is contiguous.
#include "elementwise/broadcast.cuh"

template <int K> struct Taps {
    int at[K];
    acc weight[K];
    __device__ __forceinline__ Taps(const i64* index, const real* weights, int outputs, int o) {
#pragma unroll
        for (int k = 0; k < K; ++k) {
            at[k] = index ? (int)index[k * outputs + o] : o;
            weight[k] = index ? value(weights[k * outputs + o]) : acc(1);
        }
    }
};

// Block and grid: x over the places of a plane, y over planes.
template <int KH, int KW>
__device__ __forceinline__ void resample_planes(const real* x, const i64* index_h, const real* weight_h,
                                                const i64* index_w, const real* weight_w, int planes,
                                                int height, int width, int out_height, int out_width,
                                                int magic, real* y) {
    const int place = blockIdx.x * blockDim.x + threadIdx.x, places = out_height * out_width;
    if (place >= places) return;
    const int h = quotient(place, out_width, magic), w = place - h * out_width;
    const Taps<KH> down(index_h, weight_h, out_height, h);
    const Taps<KW> across(index_w, weight_w, out_width, w);
    const i64 area = (i64)height * width;
    for (int plane = blockIdx.y * blockDim.y + threadIdx.y; plane < planes; plane += gridDim.y * blockDim.y) {
        const real* from = x + plane * area;
        acc sum = 0;
#pragma unroll
        for (int i = 0; i < KH; ++i) {
            acc row = 0;
#pragma unroll
            for (int j = 0; j < KW; ++j)
                if (down.at[i] >= 0 && across.at[j] >= 0)
                    row += across.weight[j] * value(from[down.at[i] * width + across.at[j]]);
            if (down.at[i] >= 0) sum += down.weight[i] * row;
        }
        y[(i64)plane * places + place] = rounded(sum);
    }
}

// A table as it lies in memory; without an index its one tap is the output's own place.
struct Table {
    const i64* index;
    const real* weight;
    int taps, outputs;
    __device__ __forceinline__ int at(int k, int o) const { return index ? (int)index[k * outputs + o] : o; }
    __device__ __forceinline__ acc of(int k, int o) const {
        return index ? value(weight[k * outputs + o]) : acc(1);
    }
};

extern "C" {
__global__ void __launch_bounds__(256)
    resample_1_1(const real* x, const i64* ih, const real* wh, const i64* iw, const real* ww, int planes,
                 int height, int width, int out_height, int out_width, int magic, real* y) {
    resample_planes<1, 1>(x, ih, wh, iw, ww, planes, height, width, out_height, out_width, magic, y);
}
__global__ void __launch_bounds__(256)
    resample_1_2(const real* x, const i64* ih, const real* wh, const i64* iw, const real* ww, int planes,
                 int height, int width, int out_height, int out_width, int magic, real* y) {
    resample_planes<1, 2>(x, ih, wh, iw, ww, planes, height, width, out_height, out_width, magic, y);
}
__global__ void __launch_bounds__(256)
    resample_2_1(const real* x, const i64* ih, const real* wh, const i64* iw, const real* ww, int planes,
                 int height, int width, int out_height, int out_width, int magic, real* y) {
    resample_planes<2, 1>(x, ih, wh, iw, ww, planes, height, width, out_height, out_width, magic, y);
}
__global__ void __launch_bounds__(256)
    resample_2_2(const real* x, const i64* ih, const real* wh, const i64* iw, const real* ww, int planes,
                 int height, int width, int out_height, int out_width, int magic, real* y) {
    resample_planes<2, 2>(x, ih, wh, iw, ww, planes, height, width, out_height, out_width, magic, y);
}
__global__ void __launch_bounds__(256)
    resample_4_4(const real* x, const i64* ih, const real* wh, const i64* iw, const real* ww, int planes,
                 int height, int width, int out_height, int out_width, int magic, real* y) {
    resample_planes<4, 4>(x, ih, wh, iw, ww, planes, height, width, out_height, out_width, magic, y);
}

// in and out: (planes, D, H, W) of x and of y; taps: of depth, height and width
__global__ void __launch_bounds__(256)
    resample_any(const real* x, const i64* id, const real* wd, const i64* ih, const real* wh, const i64* iw,
                 const real* ww, const __grid_constant__ Dims in, const __grid_constant__ Dims out,
                 const __grid_constant__ Dims magic, const __grid_constant__ Dims taps, int total, real* y) {
    const Table deep = {id, wd, taps[0], out[1]}, down = {ih, wh, taps[1], out[2]},
                across = {iw, ww, taps[2], out[3]};
    for (GRID_STRIDE(unit, total)) {
        const unsigned p = quotient((unsigned)unit, out[3], magic[3]), q = quotient(p, out[2], magic[2]),
                       plane = quotient(q, out[1], magic[1]);
        const int w = (unsigned)unit - p * out[3], h = p - q * out[2], d = q - plane * out[1];
        acc sum = 0;
        for (int a = 0; a < deep.taps; ++a) {
            const int xd = deep.at(a, d);
            if (xd < 0) continue;
            acc slab = 0;
            for (int b = 0; b < down.taps; ++b) {
                const int xh = down.at(b, h);
                if (xh < 0) continue;
                const real* from = x + (((i64)plane * in[1] + xd) * in[2] + xh) * in[3];
                acc row = 0;
                for (int c = 0; c < across.taps; ++c) {
                    const int xw = across.at(c, w);
                    if (xw >= 0) row += across.of(c, w) * value(from[xw]);
                }
                slab += down.of(b, h) * row;
            }
            sum += deep.of(a, d) * slab;
        }
        y[unit] = rounded(sum);
    }
}
}
