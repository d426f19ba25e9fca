// The products at one point of a Winograd convolution: M (tiles x filters) = V (tiles x channels)
// times U (channels x filters).
//
// V is packed in groups of P tiles, [16 channels][P][16], so that a register tile's broadcasts lie
// at constant distances; U is [channel][16 filters]. Register tile: P tiles x 2 vectors of filters,
// up to 14 where there are 32 registers (28 accumulators), up to 6 where there are 16.
// An element of M is one chain of multiply-adds over the channels, in their order,
// whatever its tile's place.
#pragma once
#include "program_kernel.h"

namespace ISA::REAL_NAME {
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int GROUP = 14;
#else
constexpr int GROUP = 6;
#endif

// Groups of equally many tiles, one behind the other in V and in M.
struct Groups {
    const real* v;
    i64         v_next;        // values from a group to the next
    i64         count;
    i64         v_block = 0;   // from a block of channels to the next, if others than of a group lie between
};

// u and m: of the first vector; the second ones lie `u_next` and `m_next` values further.
// `ahead`: the filters that are needed next, those of second vectors `ahead_second` values further, of which
// each group fetches `ahead_next` bytes a channel. `more`: sums go on from what m holds.
struct Filters {
    const real* u;
    i64         u_next;
    real*       m;
    i64         m_next;
    const char* ahead;
    i64         ahead_second, ahead_next;
    bool        more = false;
};

// One channel: v of the P tiles, and where its vectors of filters are.
template <int P, int VECTORS>
static inline __attribute__((always_inline)) void multiply_channel(V (&acc)[P][VECTORS], const real* v,
                                                                   const real* const (&u)[2]) {
    V w[VECTORS];
    #pragma GCC unroll 2
    for (int q = 0; q < VECTORS; ++q) w[q] = load(u[q]);
    #pragma GCC unroll 16
    for (int i = 0; i < P; ++i)
        #pragma GCC unroll 2
        for (int q = 0; q < VECTORS; ++q) acc[i][q] += v[i * BLOCK] * w[q];
}

// While a group is multiplied, its share of the filters ahead is fetched into L2: where these come
// from memory, that spreads the traffic evenly.
template <int P, int VECTORS>
static __attribute__((noinline)) void multiply_groups(const Groups& g, i64 channels, const Filters& f) {
    const char* ahead = f.ahead;
    real*       m     = f.m;
    const i64   v_block = g.v_block ? g.v_block : P * BLOCK;
    for (i64 group = 0; group < g.count; ++group, m += P * BLOCK) {
        V acc[P][VECTORS] = {};
        if (f.more)
            #pragma GCC unroll 16
            for (int i = 0; i < P; ++i)
                #pragma GCC unroll 2
                for (int q = 0; q < VECTORS; ++q) acc[i][q] = load(m + i * BLOCK + q * f.m_next);
        const real *v = g.v + group * g.v_next, *u[2] = {f.u, f.u + f.u_next};
        const auto next_channel = [&](int c) {
            multiply_channel(acc, v + c, u);
            __builtin_prefetch(ahead, 0, 2);
            if (VECTORS * LANES > BLOCK) __builtin_prefetch((const real*)ahead + f.ahead_second, 0, 2);
            ahead += f.ahead_next, u[0] += BLOCK, u[1] += BLOCK;
        };
        i64 left = channels;
        for (; left >= BLOCK; left -= BLOCK, v += v_block)
            #pragma GCC unroll 4
            for (int c = 0; c < BLOCK; ++c) next_channel(c);
        for (i64 c = 0; c < left; ++c) next_channel(c);
        #pragma GCC unroll 16
        for (int i = 0; i < P; ++i)
            #pragma GCC unroll 2
            for (int q = 0; q < VECTORS; ++q) store(m + i * BLOCK + q * f.m_next, acc[i][q]);
    }
}

template <int VECTORS>
static inline void multiply_groups(int tiles, const Groups& g, i64 channels, const Filters& f) {
    switch (tiles) {
#define OF(P) case P: if constexpr (P <= GROUP) multiply_groups<P, VECTORS>(g, channels, f); break;
        OF(1) OF(2) OF(3) OF(4) OF(5) OF(6) OF(7) OF(8) OF(9) OF(10) OF(11) OF(12) OF(13) OF(14)
#undef OF
    }
}
}  // namespace ISA::REAL_NAME
