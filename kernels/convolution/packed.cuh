// What the convolutions that are matrix products (cuda.cu, tensor.cu) have in common: how a launch
// is described, and the weight packed for it, as acc or as real.
#pragma once
#include "geometry.cuh"
#ifndef PHASES
#define PHASES 0      // 1: a transposed convolution
#endif

struct Shape {   // of one launch, for all of its phases and groups
    int batch, channels, filters;   // of one group
    int groups, rows, cols, splits;
    __device__ __forceinline__ Shape(const Dims& s)
        : batch(s[0]), channels(s[1]), filters(s[2]), groups(s[3]), rows(s[4]), cols(s[5]), splits(s[6]) {}
};

__device__ __forceinline__ Window window(const AxisSizes& d, const AxisSizes& h, const AxisSizes& w,
                                         int phase) {
    return PHASES ? phase_window(d, h, w, phase) : forward_window(d, h, w);
}

// packed[phase][group][k][m] and table[phase][k]. A block turns 32 x 32 weights; weight's strides
// are in `apart`: group, filter, channel.
template <class P>
__device__ void prepare(const real* weight, P* packed, int* table, Shape s, const Dims& apart,
                        const AxisSizes& d, const AxisSizes& h, const AxisSizes& w) {
    __shared__ acc turn[32][33];
    const int tiles = (s.rows + 31) / 32, k0 = blockIdx.x % tiles * 32, m0 = blockIdx.y * 32;
    const int set = blockIdx.x / tiles, group = set % s.groups, phase = set / s.groups;
    const Window win = window(d, h, w, phase);
    const int taps = win.taps(), k = k0 + threadIdx.x;
    const bool used = k < s.channels * taps;
    const int channel = used ? k / taps : 0, tap = used ? k % taps : 0;
    if (blockIdx.y == 0 && group == 0 && threadIdx.y == 0 && k < s.rows)
        reinterpret_cast<Place*>(table)[(i64)phase * s.rows + k] =
            used ? win.place(channel, tap) : Place{0, FAR, FAR, FAR};
    const real* from =
        weight + (i64)group * apart[0] + (used ? (i64)channel * apart[2] + win.filter_tap(tap) : 0);
    for (int i = threadIdx.y; i < 32; i += 8)
        turn[i][threadIdx.x] = used && m0 + i < s.filters ? value(from[(i64)(m0 + i) * apart[1]]) : acc(0);
    __syncthreads();
    P* to = packed + (i64)set * s.rows * s.cols + m0 + threadIdx.x;
    for (int i = threadIdx.y; i < 32 && k0 + i < s.rows; i += 8)
        to[(i64)(k0 + i) * s.cols] = (P)turn[threadIdx.x][i];
}

// Word by word: a copy of the whole would be one access wider than any there is.
__device__ __forceinline__ void keep(const Window& win, Window* kept) {
#pragma unroll
    for (int i = 0; i < (int)(sizeof(Window) / sizeof(int)); ++i)
        reinterpret_cast<int*>(kept)[i] = reinterpret_cast<const int*>(&win)[i];
}
