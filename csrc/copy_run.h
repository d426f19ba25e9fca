// A run of bytes copied where it is short: a call of memcpy costs more than some bytes, and glibc's
// takes up to twice as long for some kilobytes as a plain loop.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

template <int N> static inline void copy_ends(char* to, const char* from, std::int64_t n) {   // N <= n <= 2 N
    char first[N], last[N];
    std::memcpy(first, from, N), std::memcpy(last, from + n - N, N);
    std::memcpy(to, first, N), std::memcpy(to + n - N, last, N);
}

#if defined(__x86_64__)
// n >= 128, whatever set the file is compiled for
__attribute__((target("avx"), noinline)) static void copy_wide(char* to, const char* from, std::int64_t n) {
    const auto move = [](char* to, const char* from) __attribute__((target("avx"))) {
        const __m256i a = _mm256_loadu_si256((const __m256i*)from), b = _mm256_loadu_si256((const __m256i*)(from + 32)),
                      c = _mm256_loadu_si256((const __m256i*)(from + 64)),
                      d = _mm256_loadu_si256((const __m256i*)(from + 96));
        _mm256_storeu_si256((__m256i*)to, a), _mm256_storeu_si256((__m256i*)(to + 32), b);
        _mm256_storeu_si256((__m256i*)(to + 64), c), _mm256_storeu_si256((__m256i*)(to + 96), d);
    };
    for (std::int64_t i = 0; i + 128 <= n; i += 128) move(to + i, from + i);
    move(to + n - 128, from + n - 128);
}
static inline bool copies_wide() { return __builtin_cpu_supports("avx"); }
#else
static inline void copy_wide(char* to, const char* from, std::int64_t n) { std::memcpy(to, from, n); }
static inline bool copies_wide() { return false; }
#endif

static inline void copy_run(void* target, const void* source, std::int64_t n) {
    char* const       to   = static_cast<char*>(target);
    const char* const from = static_cast<const char*>(source);
    if (n > 4096) std::memcpy(to, from, n);
    else if (n >= 256 && copies_wide()) copy_wide(to, from, n);
    else if (n >= 64) {
        for (std::int64_t i = 0; i + 64 <= n; i += 64) std::memcpy(to + i, from + i, 64);
        std::memcpy(to + n - 64, from + n - 64, 64);
    } else if (n >= 32) copy_ends<32>(to, from, n);
    else if (n >= 16) copy_ends<16>(to, from, n);
    else if (n >= 8) copy_ends<8>(to, from, n);
    else if (n >= 4) copy_ends<4>(to, from, n);
    else for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];
}
