#include "short_order.h"
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {
typedef std::int32_t Four __attribute__((vector_size(16)));
typedef std::int32_t Eight __attribute__((vector_size(32)));
// Keys with their highest bit turned compare as signed numbers
template <class Keys>
__attribute__((always_inline)) inline void count_before(const std::uint32_t* keys, int n, std::uint32_t* rank) {
    constexpr int BYTES = sizeof(Keys), LANES = BYTES / 4;
    const auto splat = [](std::uint32_t key) { return Keys{} + std::int32_t(key ^ 1u << 31); };
    Keys places;
    for (int i = 0; i < LANES; ++i) places[i] = i;
    for (int first = 0; first < n; first += LANES) {
        Keys own, before{};
        std::memcpy(&own, keys + first, BYTES);
        own ^= splat(0);
        const int last = first + LANES < n ? first + LANES : n;
        for (int j = 0; j < first; ++j) before -= splat(keys[j]) <= own;
        for (int j = first; j < last; ++j) {
            const Keys key = splat(keys[j]);
            before -= (key < own) | ((key == own) & (j - first < places));
        }
        for (int j = last; j < n; ++j) before -= splat(keys[j]) < own;
        std::memcpy(rank + first, &before, BYTES);
    }
}

// written whether or not it stays
int keep_up_to(const std::uint32_t* keys, int begin, int n, std::uint32_t last, std::uint64_t first,
               std::uint64_t* kept) {
    int some = 0;
    for (int i = begin; i < n; ++i) {
        kept[some] = std::uint64_t(keys[i]) << 32 | (first + std::uint64_t(i));
        some += keys[i] <= last;
    }
    return some;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) int keep_by_16(const std::uint32_t* keys, int n, std::uint32_t last,
                                                  std::uint64_t first, std::uint64_t* kept) {
    const __m512i limit = _mm512_set1_epi32(int(last));
    int some = 0, i = 0;
    for (; i + 16 <= n; i += 16)
        for (unsigned left = _mm512_cmple_epu32_mask(_mm512_loadu_si512(keys + i), limit); left; left &= left - 1) {
            const int at = i + __builtin_ctz(left);
            kept[some++] = std::uint64_t(keys[at]) << 32 | (first + std::uint64_t(at));
        }
    return some + keep_up_to(keys, i, n, last, first, kept + some);
}
__attribute__((target("avx2"))) void count_by_8(const std::uint32_t* keys, int n, std::uint32_t* rank) {
    count_before<Eight>(keys, n, rank);
}
__attribute__((target("avx512f"))) void count_by_16(const std::uint32_t* keys, int n, std::uint32_t* rank) {
    const __m512i one = _mm512_set1_epi32(1);
    for (int first = 0; first < n; first += 16) {
        const __m512i own = _mm512_loadu_si512(keys + first);
        __m512i before = _mm512_setzero_si512(), other = before;   // two chains of sums
        const int last = first + 16 < n ? first + 16 : n;
        for (int j = 0; j < first; j += 2) {   // first is even
            before = _mm512_mask_add_epi32(before, _mm512_cmple_epu32_mask(_mm512_set1_epi32(int(keys[j])), own),
                                           before, one);
            other = _mm512_mask_add_epi32(other, _mm512_cmple_epu32_mask(_mm512_set1_epi32(int(keys[j + 1])), own),
                                          other, one);
        }
        for (int j = first; j < last; ++j) {
            const __m512i key = _mm512_set1_epi32(int(keys[j]));
            const __mmask16 behind = __mmask16(0xfffeu << (j - first));
            const __mmask16 less = _mm512_cmplt_epu32_mask(key, own),
                            equal = _mm512_mask_cmpeq_epu32_mask(behind, key, own);
            before = _mm512_mask_add_epi32(before, __mmask16(less | equal), before, one);
        }
        int j = last;
        for (; j + 2 <= n; j += 2) {
            before = _mm512_mask_add_epi32(before, _mm512_cmplt_epu32_mask(_mm512_set1_epi32(int(keys[j])), own),
                                           before, one);
            other = _mm512_mask_add_epi32(other, _mm512_cmplt_epu32_mask(_mm512_set1_epi32(int(keys[j + 1])), own),
                                          other, one);
        }
        if (j < n)
            before = _mm512_mask_add_epi32(before, _mm512_cmplt_epu32_mask(_mm512_set1_epi32(int(keys[j])), own),
                                           before, one);
        _mm512_storeu_si512(rank + first, _mm512_add_epi32(before, other));
    }
}
#endif
using Count = void (*)(const std::uint32_t*, int, std::uint32_t*);
struct Way { Count count; int most; };
Way way() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return {count_by_16, MOST_COUNTED};
    if (__builtin_cpu_supports("avx2")) return {count_by_8, MOST_COUNTED};
#endif
    return {count_before<Four>, 64};
}
const Way chosen = way();
}  // namespace

void pyops_count_before(const std::uint32_t* keys, int n, std::uint32_t* rank) { chosen.count(keys, n, rank); }
int pyops_keep_up_to(const std::uint32_t* keys, int n, std::uint32_t last, std::uint64_t first, std::uint64_t* kept) {
#if defined(__x86_64__)
    if (chosen.count == count_by_16) return keep_by_16(keys, n, last, first, kept);
#endif
    return keep_up_to(keys, 0, n, last, first, kept);
}
int pyops_counted() { return chosen.most; }
