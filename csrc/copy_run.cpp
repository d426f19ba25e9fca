#include "copy_run.h"
#if defined(__x86_64__)
#include <immintrin.h>

namespace {
__attribute__((target("avx"))) void copy_wide(char* to, const char* from, std::int64_t n) {
    for (std::int64_t i = 0;; i += 128) {
        if (i + 128 > n) i = n - 128;   // the last ones again, with what is left
        const __m256i a = _mm256_loadu_si256((const __m256i*)(from + i)),
                      b = _mm256_loadu_si256((const __m256i*)(from + i + 32)),
                      c = _mm256_loadu_si256((const __m256i*)(from + i + 64)),
                      d = _mm256_loadu_si256((const __m256i*)(from + i + 96));
        _mm256_storeu_si256((__m256i*)(to + i), a), _mm256_storeu_si256((__m256i*)(to + i + 32), b);
        _mm256_storeu_si256((__m256i*)(to + i + 64), c), _mm256_storeu_si256((__m256i*)(to + i + 96), d);
        if (i + 128 >= n) return;
    }
}
}  // namespace

void pyops_copy_some(char* to, const char* from, std::int64_t n) {
    if (__builtin_cpu_supports("avx")) copy_wide(to, from, n);
    else std::memcpy(to, from, n);
}
#else
void pyops_copy_some(char* to, const char* from, std::int64_t n) { std::memcpy(to, from, n); }
#endif
