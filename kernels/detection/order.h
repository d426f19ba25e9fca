// Scores in order, for the kernels that suppress boxes: best first, of equal ones the first in the array, NaN
// last. Few are sorted by comparing; many digit by digit from the lowest, which keeps the order of what is equal.
#pragma once
#include <algorithm>
#include <cstring>
#include "kernel.h"
#include "simd.h"

namespace ISA::REAL_NAME {
namespace {
// A score and its place in an array of them.
struct Pair {
    real score;
    lane_int place;
};
bool better(const Pair& a, const Pair& b) {
    if (a.score > b.score) return true;
    if (a.score < b.score) return false;
    const bool unknown = a.score != a.score;
    return unknown == (b.score != b.score) ? a.place < b.place : !unknown;
}

// The bits of whole numbers as many as a score has, less where it is better; both zeros are one.
struct Rank {
    using Bits = std::make_unsigned_t<lane_int>;
    static constexpr int DIGITS = sizeof(Bits), VALUES = 256;
    static Bits of(real score) {
        constexpr Bits SIGN = Bits(1) << (8 * sizeof(Bits) - 1);
        if (score != score) return ~Bits(0);
        Bits bits;
        const real value = score + 0;   // -0 + 0 = 0
        std::memcpy(&bits, &value, sizeof bits);
        return bits & SIGN ? bits : ~bits & ~SIGN;
    }
};

// Pairs whose places need not rise; `room` for as many.
void sort_best_first(Pair* pairs, i64 n, Pair* room) {
    constexpr i64 FEW = 128;   // counting digits takes as long as comparing so many
    if (n < FEW) return std::sort(pairs, pairs + n, better);
    bool rising = true;
    for (i64 i = 1; i < n && rising; ++i) rising = pairs[i - 1].place < pairs[i].place;
    std::uint32_t counts[2 * Rank::DIGITS][Rank::VALUES] = {};
    const auto digit = [](const Pair& pair, int d) {
        const Rank::Bits bits = d < Rank::DIGITS ? Rank::Bits(pair.place) : Rank::of(pair.score);
        return bits >> 8 * (d % Rank::DIGITS) & 255;
    };
    const int first = rising ? Rank::DIGITS : 0;
    for (i64 i = 0; i < n; ++i)
        for (int d = first; d < 2 * Rank::DIGITS; ++d) ++counts[d][digit(pairs[i], d)];
    Pair *from = pairs, *to = room;
    for (int d = first; d < 2 * Rank::DIGITS; ++d) {
        if (counts[d][digit(from[0], d)] == n) continue;   // all have one digit there
        std::uint32_t place = 0;
        for (std::uint32_t& count : counts[d]) place += std::exchange(count, place);
        for (i64 i = 0; i < n; ++i) to[counts[d][digit(from[i], d)]++] = from[i];
        std::swap(from, to);
    }
    if (from != pairs) std::copy(from, from + n, pairs);
}

// Pairs in order, sorted as far as they are asked for.
class Ordered {
    Pair *at, *sorted, *const end;
    i64 batch = 256;

public:
    Ordered(Pair* begin, Pair* end) : at(begin), sorted(begin), end(end) {}
    // the same, sorted at once: most will be asked for; `room` for as many
    Ordered(Pair* begin, Pair* end, Pair* room) : at(begin), sorted(end), end(end) {
        sort_best_first(begin, end - begin, room);
    }
    const Pair* next() {
        if (at == end) return nullptr;
        if (at == sorted) {
            sorted = end - at > 2 * batch ? at + batch : end;
            if (sorted != end) std::nth_element(at, sorted, end, better);
            std::sort(at, sorted, better);
            batch *= 4;
        }
        return at++;
    }
};
}  // namespace
}  // namespace ISA::REAL_NAME
