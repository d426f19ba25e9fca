// The random numbers of dropout: Philox 4x32-10 (Salmon et al. 2011), a keyed hash of a counter, so that
// number i of a seed is known without those before it. A block of 64 numbers is word 0 of 16 counters,
// then word 1, 2 and 3.
#pragma once
#include "kernel.h"

BEGIN_KERNELS

using u32 = std::uint32_t;
using u64 = std::uint64_t;
constexpr i64 DRAWN = 64, COUNTERS = 16;   // numbers and counters of a block
constexpr int PAIR_LANES = VECTOR_BYTES / 8;
typedef u64 Pairs __attribute__((vector_size(VECTOR_BYTES)));          // a 32-bit word in each 64-bit lane
typedef u32 Words __attribute__((vector_size(VECTOR_BYTES / 2)));

// Full products of the low halves.
static inline Pairs low_products(Pairs a, u64 b) {
#if defined(__AVX512F__)
    return (Pairs)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64((long long)b));
#elif defined(__AVX2__)
    return (Pairs)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x((long long)b));
#elif defined(__x86_64__)
    return (Pairs)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x((long long)b));
#else
    return (a & 0xFFFFFFFFu) * b;
#endif
}

// The numbers of block `block`. The lanes' upper halves gather rubbish where that is harmless:
// products read the low ones only.
static void random_block(i64 block, u64 seed, u32* numbers) {
    for (int part = 0; part < COUNTERS; part += PAIR_LANES) {
        Pairs counter{};
        for (int l = 0; l < PAIR_LANES; ++l) counter[l] = u64(block * COUNTERS + part + l);
        Pairs c0 = counter, c1 = counter >> 32, c2{}, c3{};
        u32   k0 = (u32)seed, k1 = (u32)(seed >> 32);
        #pragma GCC unroll 10
        for (int round = 0; round < 10; ++round) {
            const Pairs p0 = low_products(c0, 0xD2511F53u), p1 = low_products(c2, 0xCD9E8D57u);
            c0 = (p1 >> 32) ^ c1 ^ (u64)k0;
            c1 = p1;
            c2 = (p0 >> 32) ^ c3 ^ (u64)k1;
            c3 = p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        const Pairs c[4] = {c0, c1, c2, c3};
        for (int w = 0; w < 4; ++w) {
            const Words narrow = __builtin_convertvector(c[w], Words);
            std::memcpy(numbers + w * COUNTERS + part, &narrow, sizeof narrow);
        }
    }
}

// All ones where numbers[0 .. LANES) are at least the threshold; past the end of a block they are unused.
typedef std::make_unsigned_t<lane_int> lane_uint;
typedef lane_uint U __attribute__((vector_size(VECTOR_BYTES)));
static inline M at_least(const u32* numbers, u64 threshold) {
    typedef u32 Narrow __attribute__((vector_size(LANES * 4)));
    Narrow n;
    std::memcpy(&n, numbers, sizeof n);
    return (M)(__builtin_convertvector(n, U) >= (lane_uint)threshold);
}

END_KERNELS
