// Along one axis, arrays of any type (outer, n, inner): running sums, the first of an order.
#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include "element.h"
#include "short_order.h"

BEGIN_KERNELS
namespace {
// which wraps
template <class V> using Sum = std::conditional_t<std::is_floating_point_v<V>, double, std::uint64_t>;

// Whether a comes before b where the greatest come first (or the least): NaN is greater than all numbers.
template <class V> bool before(V a, V b, bool largest) {
    if constexpr (std::is_floating_point_v<V>) {
        if (a != a || b != b) return largest ? a != a && b == b : a == a && b != b;
    }
    return largest ? a > b : a < b;
}
}  // namespace

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
    const std::uint32_t turn = largest ? ~0u : 0;
    if constexpr (std::is_floating_point_v<std::remove_const_t<decltype(v)>>) {
        const std::uint32_t bits = v == 0 ? 0 : bits_of<std::uint32_t>(float(v));
        const std::uint32_t rank = bits ^ (std::uint32_t(std::int32_t(bits) >> 31) | 1u << 31);
        return (v != v ? ~0u : rank) ^ turn;
    } else if constexpr (std::is_signed_v<std::remove_const_t<decltype(v)>>) {
        return std::uint32_t(std::int32_t(v)) ^ 1u << 31 ^ turn;
    } else return std::uint32_t(v) ^ turn;
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
    if (n <= pyops_counted()) {
        alignas(64) std::uint32_t keys[MOST_COUNTED], rank[MOST_COUNTED];
        for (i64 i = 0; i < n; ++i) keys[i] = rank_of(line.from[i * line.step], line.largest);
        for (i64 i = n; i < (n + 15) / 16 * 16; ++i) keys[i] = 0;
        pyops_count_before(keys, int(n), rank);
        for (i64 i = 0; i < n; ++i) room[rank[i]] = std::uint64_t(i);
        return room;
    }
    for (i64 i = 0; i < n; ++i)
        room[i] = std::uint64_t(rank_of(line.from[i * line.step], line.largest)) << 32 | std::uint64_t(i);
    return sorted_by_digits(room, room + n, n);
}

// The `count` first of a long line in order, as order_of has them: what comes behind an element of a sample, which
// more than `count` should come before, is left out first. Null where fewer do. `room` holds two lines.
template <class T> const std::uint64_t* first_by_sample(const Line<T>& line, i64 n, i64 count, std::uint64_t* room) {
    constexpr int SAMPLE = 64;
    alignas(64) std::uint32_t keys[SAMPLE], rank[SAMPLE];
    const double share = double(count) / double(n) * SAMPLE;
    const int    limit = int(share + 3 * std::sqrt(share)) + 1;
    if (limit >= SAMPLE) return nullptr;
    for (int i = 0; i < SAMPLE; ++i)
        keys[i] = rank_of(line.from[(2 * i + 1) * n / (2 * SAMPLE) * line.step], line.largest);
    pyops_count_before(keys, SAMPLE, rank);
    const std::uint32_t last = keys[std::find(rank, rank + SAMPLE, std::uint32_t(limit)) - rank];
    i64 some = 0;
    for (i64 first = 0; first < n; first += STRIP) {
        const int many = int(n - first < STRIP ? n - first : STRIP);
        std::uint32_t ranks[STRIP];
        const T* const from = line.from + first * line.step;
        const i64 step = line.step;
        const bool largest = line.largest;
        if (step == 1)
            for (int i = 0; i < many; ++i) ranks[i] = rank_of(from[i], largest);
        else
            for (int i = 0; i < many; ++i) ranks[i] = rank_of(from[i * step], largest);
        some += pyops_keep_up_to(ranks, many, last, std::uint64_t(first), room + some);
    }
    if (some < count) return nullptr;
    return sorted_by_digits(room, room + n, some);
}

// Values of 64 bits: a rank as rank_of has it, and the place
struct Ranked { std::uint64_t rank, place; };
template <class T> std::uint64_t wide_rank_of(const T& value, bool largest) {
    const auto v = read(value);
    std::uint64_t rank;
    if constexpr (std::is_floating_point_v<std::remove_const_t<decltype(v)>>) {
        const std::uint64_t bits = v == 0 ? 0 : bits_of<std::uint64_t>(double(v));
        rank = v != v ? ~std::uint64_t(0) : bits >> 63 ? ~bits : bits | std::uint64_t(1) << 63;
    } else if constexpr (std::is_signed_v<std::remove_const_t<decltype(v)>>) {
        rank = std::uint64_t(std::int64_t(v)) ^ std::uint64_t(1) << 63;
    } else rank = std::uint64_t(v);
    return largest ? ~rank : rank;
}
// The same for these; whole numbers that lie close together differ in few digits
template <class T> const Ranked* wide_order_of(const Line<T>& line, i64 n, Ranked* room) {
    constexpr int DIGITS = 8, VALUES = 256;
    Ranked *from = room, *to = room + n;
    std::uint64_t differs = 0;
    for (i64 i = 0; i < n; ++i) {
        from[i] = {wide_rank_of(line.from[i * line.step], line.largest), std::uint64_t(i)};
        differs |= from[i].rank ^ from[0].rank;
    }
    for (int d = 0; d < DIGITS; ++d) {
        const int shift = 8 * d;
        if (!(differs >> shift & 255)) continue;
        std::uint32_t counts[VALUES] = {}, place = 0;
        for (i64 i = 0; i < n; ++i) ++counts[from[i].rank >> shift & 255];
        for (std::uint32_t& count : counts) place += std::exchange(count, place);
        for (i64 i = 0; i < n; ++i) to[counts[from[i].rank >> shift & 255]++] = from[i];
        std::swap(from, to);
    }
    return from;
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
            // the results of line t: at(i) is the place of the i-th
            const auto put = [&](i64 t, auto at) {
                const T* const from = line(t).from;
                const i64 first = t / inner * count * inner + t % inner;
                T* const values = y.as<T>() + first;
                i64* const places = index.data + first;
                if (inner == 1)
                    for (i64 i = 0; i < count; ++i) values[i] = from[at(i)], places[i] = at(i);
                else
                    for (i64 i = 0; i < count; ++i) values[i * inner] = from[at(i) * inner], places[i * inner] = at(i);
            };
            if constexpr (sizeof(T) <= 4) {
                if (n < MOST_PLACES && (all || (count > FEW && n > 4 * count))) {
                    parallel_for(lines, 1 + GRAIN / (4 * n + 1), [&](i64 begin, i64 end) {
                        Scratch<std::uint64_t> places(2 * n);
                        for (i64 t = begin; t < end; ++t) {
                            const Line<T> own = line(t);
                            if (const std::uint64_t* const order = all ? order_of(own, n, places)
                                                                       : first_by_sample(own, n, count, places)) {
                                put(t, [=](i64 i) { return i64(order[i] & 0xffffffff); });
                                continue;
                            }
                            Scratch<i64> kept(room);
                            ordered(t, kept, first_of(own, 0, n, count, room, kept.data));
                        }
                    });
                    return;
                }
            } else if (all && n > FEW && n < MOST_PLACES) {
                parallel_for(lines, 1 + GRAIN / (8 * n + 1), [&](i64 begin, i64 end) {
                    Scratch<Ranked> places(2 * n);
                    for (i64 t = begin; t < end; ++t) {
                        const Ranked* const order = wide_order_of(line(t), n, places);
                        put(t, [=](i64 i) { return i64(order[i].place); });
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
