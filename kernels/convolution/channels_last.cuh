// What the kernels for arrays whose channels lie last (N, D, H, W, C) share: a thread takes PACK
// neighbouring channels of the result, read and written as one access, so that threads next to each
// other coalesce whatever the size of the image.
//
// Outputs are channels o, o + 1, ...; with MANY = 0 each has the input channel of the same
// number (depthwise), else a group has several channels or filters and output o sums over its
// group's, c = 0, 1, ...
#pragma once
#include "geometry.cuh"
#ifndef PACK
#define PACK 1
#endif
#ifndef MANY
#define MANY 0
#endif
#ifndef ROWS
#define ROWS 1
#endif
#ifndef KH   // height of the filter, if it is compiled in, and the vertical stride
#define KH 0
#define SH 1
#endif
typedef Packet<real, PACK> Values;
constexpr int REACH = KH > 0 ? (ROWS - 1) * SH + KH : 1;   // input rows that a strip of outputs sees

__device__ __forceinline__ void read(const real* from, acc (&v)[PACK]) {
    const Values p = *reinterpret_cast<const Values*>(from);
#pragma unroll
    for (int l = 0; l < PACK; ++l) v[l] = value(p.v[l]);
}

// The input channels of a thread's outputs.
struct Lanes {
#if MANY
    int at[PACK];
    __device__ __forceinline__ Lanes(int o, int channels, int filters) {
#pragma unroll
        for (int l = 0; l < PACK; ++l) at[l] = (o + l) / filters * channels;
    }
    __device__ __forceinline__ void load(const real* pixel, int c, acc (&v)[PACK]) const {
#pragma unroll
        for (int l = 0; l < PACK; ++l) v[l] = value(pixel[at[l] + c]);
    }
#else
    int at;
    __device__ __forceinline__ Lanes(int o, int, int) : at(o) {}
    __device__ __forceinline__ void load(const real* pixel, int, acc (&v)[PACK]) const {
        read(pixel + at, v);
    }
#endif
    __device__ __forceinline__ void load_or_zero(bool inside, const real* pixel, int c,
                                                 acc (&v)[PACK]) const {
        if (inside) {
            load(pixel, c, v);
            return;
        }
#pragma unroll
        for (int l = 0; l < PACK; ++l) v[l] = 0;
    }
};

__device__ __forceinline__ bool within(int at, int size) { return (unsigned)at < (unsigned)size; }

// A strip's place: sample, plane, first of ROWS output rows below each other, column.
struct StripPlace { int n, d, h, w; };
__device__ __forceinline__ StripPlace strip_place(const Window& win, int strip) {
    const int strips = (win.h.grid + ROWS - 1) / ROWS;
    const int w = strip % win.w.grid, line = strip / win.w.grid, slab = line / strips;
    return {slab / win.d.grid, slab % win.d.grid, line % strips * ROWS, w};
}
