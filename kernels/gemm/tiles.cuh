// What the matrix products share: the order in which blocks take tiles, and what becomes of a finished sum.
#pragma once
#include "real.cuh"

__device__ __forceinline__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

struct Tile { int row, column; };

// Tile `index` of rows x columns. Blocks that run at the same time take columns of BAND tiles side
// by side, so that what they read of both operands stays in the second-level cache.
__device__ __forceinline__ Tile tile_at(int index, int rows, int columns) {
    constexpr int BAND = 8;
    const int band = index / (BAND * columns), within = index % (BAND * columns);
    const int height = min(BAND, rows - band * BAND);
    return {band * BAND + within % height, within / height};
}

// The numbers are launch.py's ACTIVATIONS. A macro, not an argument: a switch, unrolled with every
// store of a tile, would be most of a kernel's instructions.
#ifndef ACTIVATION
#define ACTIVATION 0
#endif
__device__ __forceinline__ acc activated(acc x) {
#if ACTIVATION == 1
    return x < 0 ? (acc)0 : x;   // relu; NaN stays
#elif ACTIVATION == 2
    return x * (acc)0.5 * (1 + erf(x * (acc)0.70710678118654752));   // gelu
#elif ACTIVATION == 3
    return x / (1 + exp(-x));   // silu
#else
    return x;
#endif
}
