// The order of a few keys by counting: how many come before each. No branch depends on a key, and keys are
// compared a vector at a time.
#pragma once
#include <cstdint>

constexpr int MOST_COUNTED = 128;   // keys

// rank[i]: how many of `n` keys are less than keys[i], or equal and before it. keys and rank have room for a
// multiple of 16.
void pyops_count_before(const std::uint32_t* keys, int n, std::uint32_t* rank);
// Up to so many, counting is faster here than sorting digits
int pyops_counted();
// Keys up to `last` in order, as key << 32 | first + place; returns how many.
int pyops_keep_up_to(const std::uint32_t* keys, int n, std::uint32_t last, std::uint64_t first, std::uint64_t* kept);
