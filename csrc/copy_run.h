// A run of bytes copied where it is short: a call of memcpy costs more than some bytes, and glibc's
// takes up to twice as long for some kilobytes as a plain loop.
#pragma once
#include <cstdint>
#include <cstring>

// Of 128 bytes and more, by the widest registers that the CPU has for it: kernels that all sets share
// are compiled for none of them.
void pyops_copy_some(char* to, const char* from, std::int64_t n);

template <int N> static inline void copy_ends(char* to, const char* from, std::int64_t n) {   // N <= n <= 2 N
    char first[N], last[N];
    std::memcpy(first, from, N), std::memcpy(last, from + n - N, N);
    std::memcpy(to, first, N), std::memcpy(to + n - N, last, N);
}

static inline void copy_run(void* target, const void* source, std::int64_t n) {
    char* const       to   = static_cast<char*>(target);
    const char* const from = static_cast<const char*>(source);
    if (n > 4096) std::memcpy(to, from, n);
    else if (n >= 256) pyops_copy_some(to, from, n);
    else if (n >= 64) {
        for (std::int64_t i = 0; i + 64 <= n; i += 64) std::memcpy(to + i, from + i, 64);
        std::memcpy(to + n - 64, from + n - 64, 64);
    } else if (n >= 32) copy_ends<32>(to, from, n);
    else if (n >= 16) copy_ends<16>(to, from, n);
    else if (n >= 8) copy_ends<8>(to, from, n);
    else if (n >= 4) copy_ends<4>(to, from, n);
    else for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];
}
