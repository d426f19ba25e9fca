// Indices that kernels check themselves, because only a run has them.
#pragma once
#include "view.h"

// Throws std::out_of_range, Python's IndexError. Compiled once: kernels share no templates of the
// library's between instruction sets.
[[noreturn]] void pyops_refuse_index(i64 index, i64 n);

namespace ISA::REAL_NAME {
// The index, from the front, of one of n; `wrap`: it may be counted from the end. Read once, so
// that what was checked is what is used.
static inline i64 place_of(const i64* index, i64 n, bool wrap) {
    const i64 given = read_once(index), i = given + (given >> 63 & (wrap ? n : 0));
    if (std::uint64_t(i) >= std::uint64_t(n)) pyops_refuse_index(given, n);   // one branch
    return i;
}
}  // namespace ISA::REAL_NAME
