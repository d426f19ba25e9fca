// The random numbers of dropout: Philox 4x32-10 (Salmon et al. 2011), a keyed hash of a counter; a block of 64
// numbers is word 0 of 16 counters, then word 1, 2 and 3. The same as on the CPU (philox.h).
#pragma once
#include "real.cuh"

typedef unsigned long long u64;
constexpr int COUNTERS = 16, NUMBERS = 64;

struct Words {
    unsigned w[4];
};

__device__ __forceinline__ Words philox(u64 counter, u64 seed) {
    unsigned c0 = (unsigned)counter, c1 = (unsigned)(counter >> 32), c2 = 0, c3 = 0, k0 = (unsigned)seed,
             k1 = (unsigned)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const u64 p0 = (u64)c0 * 0xD2511F53u, p1 = (u64)c2 * 0xCD9E8D57u;
        c0 = (unsigned)(p1 >> 32) ^ c1 ^ k0;
        c1 = (unsigned)p1;
        c2 = (unsigned)(p0 >> 32) ^ c3 ^ k1;
        c3 = (unsigned)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

__device__ __forceinline__ unsigned number_of(u64 place, u64 seed) {
    const Words words = philox(place / NUMBERS * COUNTERS + place % COUNTERS, seed);
    const unsigned word = place / COUNTERS % 4;
    return word == 0 ? words.w[0] : word == 1 ? words.w[1] : word == 2 ? words.w[2] : words.w[3];
}
