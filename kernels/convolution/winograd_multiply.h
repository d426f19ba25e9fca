// The products at one point of a Winograd convolution: M (tiles x filters) = V (tiles x channels) times U (channels x filters).
//
// V is packed in groups of P tiles, [16 channels][P][16], so that a register tile's broadcasts lie at constant distances; U is [channel][16 filters].
// Register tile: P tiles x 2 vectors of filters, up to 14 where there are 32 registers (28 accumulators), up to 6 where there are 16.
// An element of M is one chain of multiply-adds over the channels, in their order, whatever its tile's place.
#pragma once
#include "program_kernel.h"

namespace ISA::REAL_NAME {
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int GROUP = 14;
#else
constexpr int GROUP = 6;
#endif

// u and m: of the first vector; the second ones lie `u_next` and `m_next` values further.
struct Filters {
    const real* u;
    i64         u_next;
    real*       m;
    i64         m_next;
};

template <int P, int VECTORS> static __attribute__((noinline)) void multiply_group(const real* v, i64 channels, Filters f) {
    V acc[P][VECTORS] = {};
    const real *u0 = f.u, *u1 = f.u + f.u_next;
    for (i64 left = channels; left > 0; left -= BLOCK, v += P * BLOCK) {
        const i64 count = left < BLOCK ? left : BLOCK;
        #pragma GCC unroll 4
        for (i64 c = 0; c < count; ++c, u0 += BLOCK, u1 += BLOCK) {
            V w[VECTORS];
            w[0] = load(u0);
            if (VECTORS == 2) w[VECTORS - 1] = load(u1);
            #pragma GCC unroll 16
            for (int i = 0; i < P; ++i)
                #pragma GCC unroll 2
                for (int q = 0; q < VECTORS; ++q) acc[i][q] += v[i * BLOCK + c] * w[q];
        }
    }
    #pragma GCC unroll 16
    for (int i = 0; i < P; ++i)
        #pragma GCC unroll 2
        for (int q = 0; q < VECTORS; ++q) store(f.m + i * BLOCK + q * f.m_next, acc[i][q]);
}

template <int VECTORS> static inline void multiply_group(int tiles, const real* v, i64 channels, const Filters& f) {
    switch (tiles) {
#define OF(P) case P: if constexpr (P <= GROUP) multiply_group<P, VECTORS>(v, channels, f); break;
        OF(1) OF(2) OF(3) OF(4) OF(5) OF(6) OF(7) OF(8) OF(9) OF(10) OF(11) OF(12) OF(13) OF(14)
#undef OF
    }
}
}  // namespace ISA::REAL_NAME
