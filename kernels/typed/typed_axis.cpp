// Along one axis, arrays of any type (outer, n, inner): sums and extremes of whole numbers, places
// of extremes, running sums, the first of an order.
#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include "element.h"

BEGIN_KERNELS
namespace {
// which wraps
template <class V> using Sum = std::conditional_t<std::is_floating_point_v<V>, double, std::uint64_t>;

constexpr int TILE = 64;
// f(t, width, place of its first value): results t to t + width, whose values lie side by side in
// each of the axis's n rows
template <class F> void tiles(i64 outer, i64 n, i64 inner, F f) {
    parallel_for(outer * inner, 1 + GRAIN / (n + 1), [&](i64 begin, i64 end) {
        for (i64 t = begin; t < end;) {
            const i64 at = t % inner, width = std::min({i64(TILE), inner - at, end - t});
            f(t, int(width), t / inner * n * inner + at);
            t += width;
        }
    });
}

// y = f(what is kept so far, value, its place) along the axis, from `start` on
template <class T, class Kept, class F>
void fold(const InAny& x, i64 outer, i64 n, i64 inner, const OutAny& y, Kept start, F f) {
    tiles(outer, n, inner, [&](i64 t, int width, i64 first) {
        const T* from = x.as<const T>() + first;
        Kept kept[TILE];
        std::fill(kept, kept + width, start);
        if (width == 1) {
            Kept one = start;   // in a register
            if (inner == 1)
                for (i64 i = 0; i < n; ++i) one = f(one, read(from[i]), i);
            else
                for (i64 i = 0; i < n; ++i) one = f(one, read(from[i * inner]), i);
            kept[0] = one;
        } else {
            for (i64 i = 0; i < n; ++i, from += inner)
                for (int c = 0; c < width; ++c) kept[c] = f(kept[c], read(from[c]), i);
        }
        for (int c = 0; c < width; ++c) write(y.as<T>()[t + c], converted<T>(kept[c]));
    });
}
// Whether a comes before b where the greatest come first (or the least): NaN is greater than all numbers.
template <class V> bool before(V a, V b, bool largest) {
    if constexpr (std::is_floating_point_v<V>) {
        if (a != a || b != b) return largest ? a != a && b == b : a == a && b != b;
    }
    return largest ? a > b : a < b;
}
}  // namespace

void whole_sum(InAny x, i64 outer, i64 n, i64 inner, OutAny y) {
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        fold<T>(x, outer, n, inner, y, Sum<Value<T>>(0),
                [](auto kept, Value<T> v, i64) { return kept + Sum<Value<T>>(v); });
    });
}

void whole_prod(InAny x, i64 outer, i64 n, i64 inner, OutAny y) {
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        fold<T>(x, outer, n, inner, y, Sum<Value<T>>(1),
                [](auto kept, Value<T> v, i64) { return kept * Sum<Value<T>>(v); });
    });
}

#define EXTREME(name, least, largest)                                                                                                                   \
    void name(InAny x, i64 outer, i64 n, i64 inner, OutAny y) {                                                                                         \
        for_element(x.element, [&](auto element) {                                                                                                      \
            using T = decltype(element);                                                                                                                \
            using V = Value<T>;                                                                                                                         \
            fold<T>(x, outer, n, inner, y, V(least), [](V kept, V v, i64) { return v != v || (kept == kept && before(v, kept, largest)) ? v : kept; }); \
        });                                                                                                                                             \
    }
EXTREME(any_max,
        is_bool<T>                    ? V(0)
        : std::is_floating_point_v<V> ? -std::numeric_limits<V>::infinity()
                                      : std::numeric_limits<V>::lowest(),
        true)
EXTREME(any_min,
        is_bool<T>                    ? V(1)
        : std::is_floating_point_v<V> ? std::numeric_limits<V>::infinity()
                                      : std::numeric_limits<V>::max(),
        false)

namespace {
// The first (or last) place of the greatest (or least); a NaN counts as the most extreme.
template <class T>
void places(const InAny& x, i64 outer, i64 n, i64 inner, bool last, bool largest, Out<i64> y) {
    using V = Value<T>;
    const auto replaces = [=](V v, V best) {
        const bool ordered = best == best, better = ordered & ((v != v) | (largest ? v > best : v < best));
        return better | (last & ((v == best) | ((v != v) & !ordered)));
    };
    tiles(outer, n, inner, [&](i64 t, int width, i64 first) {
        const T* from = x.as<const T>() + first;
        i64 at[TILE] = {};
        V best[TILE];
        for (int c = 0; c < width; ++c) best[c] = n ? read(from[c]) : V(0);
        for (i64 i = 1; i < n; ++i) {
            from += inner;
            for (int c = 0; c < width; ++c) {
                const V v = read(from[c]);
                const bool now = replaces(v, best[c]);
                at[c] = now ? i : at[c];
                best[c] = now ? v : best[c];
            }
        }
        std::copy(at, at + width, y.data + t);
    });
}
}  // namespace
void any_argmax(InAny x, i64 outer, i64 n, i64 inner, bool last, Out<i64> y) {
    for_element(x.element,
                [&](auto element) { places<decltype(element)>(x, outer, n, inner, last, true, y); });
}
void any_argmin(InAny x, i64 outer, i64 n, i64 inner, bool last, Out<i64> y) {
    for_element(x.element,
                [&](auto element) { places<decltype(element)>(x, outer, n, inner, last, false, y); });
}

namespace {
constexpr int LINES = 4;   // at once: each is a chain of sums, which one core makes several of in the same time

// Of `COUNT` lines that begin at from[...], their elements `step` apart
template <int COUNT, class T, class F>
void running_lines(const T* x, T* y, const i64 (&from)[LINES], i64 n, i64 step, bool exclusive, int start, F join) {
    using S = Sum<Value<T>>;
    S kept[COUNT];
    for (S& each : kept) each = S(start);
    for (i64 i = 0; i < n; ++i)
        #pragma GCC unroll 4
        for (int line = 0; line < COUNT; ++line) {
            const i64 at = from[line] + i * step;
            const S next = join(kept[line], S(read(x[at])));
            write(y[at], converted<T>(exclusive ? kept[line] : next));
            kept[line] = next;
        }
}

template <class F>
void running(const InAny& x, i64 outer, i64 n, i64 inner, bool exclusive, bool reverse, const OutAny& y,
             int start, F join) {
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        parallel_for(outer * inner, 1 + GRAIN / (n + 1), [&](i64 begin, i64 end) {
            const i64 step = reverse ? -inner : inner;
            const T* in = x.as<const T>();
            T* out = y.as<T>();
            for (i64 t = begin; t < end; t += LINES) {
                i64 from[LINES] = {};
                for (i64 line = 0; line < LINES && t + line < end; ++line)
                    from[line] = ((t + line) / inner * n + (reverse ? n - 1 : 0)) * inner + (t + line) % inner;
                if (t + LINES <= end) {
                    running_lines<LINES>(in, out, from, n, step, exclusive, start, join);
                    continue;
                }
                for (i64 line = 0; line < end - t; ++line) {
                    const i64 one[LINES] = {from[line]};
                    running_lines<1>(in, out, one, n, step, exclusive, start, join);
                }
            }
        });
    });
}
}  // namespace
void cumsum(InAny x, i64 outer, i64 n, i64 inner, bool exclusive, bool reverse, OutAny y) {
    running(x, outer, n, inner, exclusive, reverse, y, 0, [](auto a, auto b) { return a + b; });
}
void cumprod(InAny x, i64 outer, i64 n, i64 inner, bool exclusive, bool reverse, OutAny y) {
    running(x, outer, n, inner, exclusive, reverse, y, 1, [](auto a, auto b) { return a * b; });
}

namespace {
// A line of values, `step` apart, and which of two comes first: the greater (or lesser), of equal ones
// the first.
template <class T> struct Line {
    const T* from;
    i64 step;
    bool largest;
    auto operator[](i64 i) const { return read(from[i * step]); }
    bool operator()(i64 a, i64 b) const {
        const auto p = (*this)[a], q = (*this)[b];
        return before(p, q, largest) || (!before(q, p, largest) && a < b);
    }
};

// Whether none of 16 values, side by side, may come before `worst`; a NaN may.
template <class T, class V> bool none_before(const T* from, V worst, bool largest) {
    if constexpr (std::is_same_v<T, float>) {
        typedef float        Four __attribute__((vector_size(16)));
        typedef std::int32_t Told __attribute__((vector_size(16)));
        const Four limit = {worst, worst, worst, worst};
        Told none = ~Told{};
        #pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            Four v;
            std::memcpy(&v, from + 4 * k, sizeof v);
            none &= largest ? v <= limit : v >= limit;
        }
        std::uint64_t halves[2];
        std::memcpy(halves, &none, sizeof none);
        return (halves[0] & halves[1]) == ~std::uint64_t(0);
    } else {
        bool none = true;
        #pragma GCC unroll 16
        for (int k = 0; k < 16; ++k) {
            const V v = read(from[k]);
            none &= largest ? v <= worst : v >= worst;
        }
        return none;
    }
}

constexpr i64 FEW = 16;   // places that are kept in order while a line is read

// The `count` (up to FEW) places of [begin, end) that come first, in order, or all of them; returns how many.
template <class T> i64 first_few(const Line<T>& line, i64 begin, i64 end, i64 count, i64* kept) {
    auto values = std::array<Value<T>, FEW>{};
    i64  some   = 0;
    const auto put = [&](i64 i) {   // in front of what it comes before; the last one, if there is no room, goes
        const Value<T> v = line[i];
        i64 at = some < count ? some++ : count - 1;
        for (; at > 0 && before(v, values[at - 1], line.largest); --at)
            values[at] = values[at - 1], kept[at] = kept[at - 1];
        values[at] = v, kept[at] = i;
    };
    i64 i = begin;
    for (; i < end && some < count; ++i) put(i);
    while (i < end) {
        if (line.step == 1 && i + 16 <= end && none_before(line.from + i, values[count - 1], line.largest)) {
            i += 16;
            continue;
        }
        for (const i64 stop = i + 16 < end ? i + 16 : end; i < stop; ++i)
            if (before(line[i], values[count - 1], line.largest)) put(i);
    }
    return some;
}

// The `count` places of [begin, end) that come first, in any order, in `kept` with room for `room` > count;
// returns how many there are. What comes behind the worst of `count` that were seen is passed over.
template <class T> i64 first_of(const Line<T>& line, i64 begin, i64 end, i64 count, i64 room, i64* kept) {
    if (count <= FEW) return first_few(line, begin, end, count, kept);
    i64 some = 0;
    bool full = false;
    auto worst = line[begin];
    const auto shrink = [&] {
        std::nth_element(kept, kept + count - 1, kept + some, line);
        some = count, full = true, worst = line[kept[count - 1]];
    };
    for (i64 i = begin; i < end; ++i) {
        if (full && !before(line[i], worst, line.largest)) continue;
        kept[some++] = i;
        if (some == room) shrink();
    }
    if (some > count) shrink();
    return some;
}
}  // namespace

namespace {
// A value of up to 32 bits as a whole number, less where it comes earlier: the greatest first, or the least.
// NaN is greater than all numbers, and both zeros are one.
template <class T> std::uint32_t rank_of(const T& value, bool largest) {
    const auto v = read(value);
    std::uint32_t rank;
    if constexpr (std::is_floating_point_v<std::remove_const_t<decltype(v)>>) {
        const std::uint32_t bits = v == 0 ? 0 : bits_of<std::uint32_t>(float(v));
        rank = v != v ? ~0u : bits >> 31 ? ~bits : bits | 1u << 31;
    } else if constexpr (std::is_signed_v<std::remove_const_t<decltype(v)>>) {
        rank = std::uint32_t(std::int32_t(v)) ^ 1u << 31;
    } else rank = std::uint32_t(v);
    return largest ? ~rank : rank;
}

// Ranks in the upper halves, sorted digit by digit from the lowest: what is equal keeps its order. Returns
// which of the two holds the result.
std::uint64_t* sorted_by_digits(std::uint64_t* from, std::uint64_t* to, i64 n) {
    constexpr int DIGITS = 4, VALUES = 256;
    std::uint32_t counts[DIGITS][VALUES] = {};
    for (i64 i = 0; i < n; ++i)
        for (int d = 0; d < DIGITS; ++d) ++counts[d][from[i] >> (32 + 8 * d) & 255];
    for (int d = 0; d < DIGITS; ++d) {
        const int shift = 32 + 8 * d;
        if (counts[d][from[0] >> shift & 255] == n) continue;   // all have one digit there
        std::uint32_t place = 0;
        for (std::uint32_t& count : counts[d]) place += std::exchange(count, place);
        for (i64 i = 0; i < n; ++i) to[counts[d][from[i] >> shift & 255]++] = from[i];
        std::swap(from, to);
    }
    return from;
}

// Places of a whole line in order, by (rank, place) as one number each; `room` holds two lines.
template <class T> const std::uint64_t* order_of(const Line<T>& line, i64 n, std::uint64_t* room) {
    constexpr i64 FEW = 64;   // counting digits takes as long as comparing so many
    for (i64 i = 0; i < n; ++i)
        room[i] = std::uint64_t(rank_of(line.from[i * line.step], line.largest)) << 32 | std::uint64_t(i);
    if (n > FEW) return sorted_by_digits(room, room + n, n);
    std::sort(room, room + n);
    return room;
}
constexpr i64 MOST_PLACES = i64(1) << 32;
}  // namespace

// The `count` greatest (or least) along the axis in order, the first of equal ones first. Of a long line
// each part finds its own first ones, and these are put in order: the order of values and places is total,
// so the parts do not show.
void top(InAny x, i64 outer, i64 n, i64 inner, i64 count, bool largest, OutAny y, Out<i64> index) {
    if (count == 0 || outer * inner * n == 0) return;
    constexpr i64 PART = 1 << 16, MOST_PARTS = 32;
    const i64 lines = outer * inner, room = 4 * count + 64;
    const i64 parts = std::clamp(n / std::max(PART, 4 * room), i64(1), MOST_PARTS);
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        const auto line = [&](i64 t) {
            return Line<T>{x.as<const T>() + t / inner * n * inner + t % inner, inner, largest};
        };
        const auto ordered = [&](i64 t, i64* order, i64 some) {
            const Line<T> own = line(t);
            if (count < some) std::nth_element(order, order + count, order + some, own);
            std::sort(order, order + count, own);
            for (i64 i = 0; i < count; ++i) {
                const i64 to = (t / inner * count + i) * inner + t % inner;
                y.as<T>()[to] = own.from[order[i] * inner];
                index.data[to] = order[i];
            }
        };
        if (parts == 1 || lines >= MOST_PARTS) {
            const bool all = n <= 2 * room && (count > FEW || n <= 2 * count);
            if constexpr (sizeof(T) <= 4)
                if (all && n < MOST_PLACES) {
                    parallel_for(lines, 1 + GRAIN / (4 * n + 1), [&](i64 begin, i64 end) {
                        Scratch<std::uint64_t> places(2 * n);
                        for (i64 t = begin; t < end; ++t) {
                            const Line<T> own = line(t);
                            const std::uint64_t* const order = order_of(own, n, places);
                            for (i64 i = 0; i < count; ++i) {
                                const i64 to = (t / inner * count + i) * inner + t % inner,
                                          at = i64(order[i] & 0xffffffff);
                                y.as<T>()[to] = own.from[at * inner];
                                index.data[to] = at;
                            }
                        }
                    });
                    return;
                }
            parallel_for(lines, 1 + GRAIN / (8 * n + 1), [&](i64 begin, i64 end) {
                Scratch<i64> order(all ? n : room);
                for (i64 t = begin; t < end; ++t) {
                    if (all) std::iota(order.data, order.data + n, i64(0));
                    ordered(t, order, all ? n : first_of(line(t), 0, n, count, room, order.data));
                }
            });
            return;
        }
        Scratch<i64> kept(lines * parts * room), some(lines * parts);
        parallel_for(lines * parts, 1 + GRAIN / (n / parts), [&](i64 begin, i64 end) {
            for (i64 p = begin; p < end; ++p) {
                const i64 part = p % parts;
                some[p] = first_of(line(p / parts), n * part / parts, n * (part + 1) / parts, count, room,
                                   kept.data + p * room);
            }
        });
        parallel_for(lines, 1 + GRAIN / (8 * count * parts), [&](i64 begin, i64 end) {
            for (i64 t = begin; t < end; ++t) {
                i64* first = kept.data + t * parts * room;
                i64 together = some[t * parts];
                for (i64 part = 1; part < parts; ++part) {
                    const i64* from = first + part * room;
                    std::copy(from, from + some[t * parts + part], first + together);
                    together += some[t * parts + part];
                }
                ordered(t, first, together);
            }
        });
    });
}
END_KERNELS
