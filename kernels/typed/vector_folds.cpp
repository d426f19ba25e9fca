// Along one axis, arrays of any type (outer, n, inner): sums, products and extremes of whole numbers, and places
// of extremes.
#include <algorithm>
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

// What f keeps of values side by side: whole numbers may be taken in any order, a vector's lanes apart.
template <class T, class Kept, class F> Kept of_row(const T* from, i64 n, Kept start, F f) {
    constexpr int MANY = 128 / sizeof(Kept) < 16 ? 16 : 128 / sizeof(Kept);
    Kept kept[MANY];
    std::fill(kept, kept + MANY, start);
    i64 i = 0;
    for (; i + MANY <= n; i += MANY)
        for (int c = 0; c < MANY; ++c) kept[c] = f(kept[c], read(from[i + c]));
    for (Kept each : kept) start = f(start, each);
    for (; i < n; ++i) start = f(start, read(from[i]));
    return start;
}

// y = f(what is kept so far, value) along the axis, from `start` on
template <class T, class Kept, class F>
void fold(const InAny& x, i64 outer, i64 n, i64 inner, const OutAny& y, Kept start, F f) {
    tiles(outer, n, inner, [&](i64 t, int width, i64 first) {
        const T* from = x.as<const T>() + first;
        Kept kept[TILE];
        std::fill(kept, kept + width, start);
        if (width == 1 && inner == 1 && !is_float<T>) kept[0] = of_row(from, n, start, f);
        else if (width == 1) {
            Kept one = start;   // in a register
            for (i64 i = 0; i < n; ++i) one = f(one, read(from[i * inner]));
            kept[0] = one;
        } else {
            for (i64 i = 0; i < n; ++i, from += inner)
                for (int c = 0; c < width; ++c) kept[c] = f(kept[c], read(from[c]));
        }
        for (int c = 0; c < width; ++c) write(y.as<T>()[t + c], converted<T>(kept[c]));
    });
}
}  // namespace

void whole_sum(InAny x, i64 outer, i64 n, i64 inner, OutAny y) {
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        fold<T>(x, outer, n, inner, y, Sum<Value<T>>(0),
                [](auto kept, auto v) { return kept + Sum<Value<T>>(v); });
    });
}

void whole_prod(InAny x, i64 outer, i64 n, i64 inner, OutAny y) {
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        fold<T>(x, outer, n, inner, y, Sum<Value<T>>(1),
                [](auto kept, auto v) { return kept * Sum<Value<T>>(v); });
    });
}

namespace {
// Of floats NaN comes before all
struct Greatest {
    template <class V> V operator()(V kept, V v) const {
        return v != v || v > kept ? (kept == kept ? v : kept) : kept;
    }
    template <class T> static Value<T> start() {
        using Limits = std::numeric_limits<Value<T>>;
        return is_bool<T> ? Value<T>(0) : is_float<T> ? Value<T>(-Limits::infinity()) : Limits::lowest();
    }
};
struct Least {
    template <class V> V operator()(V kept, V v) const {
        return v != v || v < kept ? (kept == kept ? v : kept) : kept;
    }
    template <class T> static Value<T> start() {
        using Limits = std::numeric_limits<Value<T>>;
        return is_bool<T> ? Value<T>(1) : is_float<T> ? Limits::infinity() : Limits::max();
    }
};
template <class Extreme> void extremes(const InAny& x, i64 outer, i64 n, i64 inner, const OutAny& y) {
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        fold<T>(x, outer, n, inner, y, Extreme::template start<T>(), Extreme{});
    });
}
}  // namespace
void any_max(InAny x, i64 outer, i64 n, i64 inner, OutAny y) { extremes<Greatest>(x, outer, n, inner, y); }
void any_min(InAny x, i64 outer, i64 n, i64 inner, OutAny y) { extremes<Least>(x, outer, n, inner, y); }

namespace {
// The first (or last) place of a value in a row that has it.
template <class T> i64 place_in(const T* from, i64 n, Value<T> value, bool last) {
    constexpr i64 MANY = 64;
    const auto has = [&](const T* at, i64 count) {
        unsigned char any = 0;
        for (i64 c = 0; c < count; ++c) any |= read(at[c]) == value;
        return any != 0;
    };
    const i64 blocks = (n + MANY - 1) / MANY;
    for (i64 k = 0; k < blocks; ++k) {
        const i64 first = (last ? blocks - 1 - k : k) * MANY, count = std::min(MANY, n - first);
        if (!has(from + first, count)) continue;
        for (i64 c = 0; c < count; ++c)
            if (const i64 at = first + (last ? count - 1 - c : c); read(from[at]) == value) return at;
    }
    return 0;
}

// The first (or last) place of the greatest (or least); a NaN counts as the most extreme.
template <class T>
void places(const InAny& x, i64 outer, i64 n, i64 inner, bool last, bool largest, Out<i64> y) {
    using V = Value<T>;
    if constexpr (!is_float<T>)
        if (inner == 1)
            return parallel_for(outer, 1 + GRAIN / (n + 1), [&](i64 begin, i64 end) {
                for (i64 t = begin; t < end; ++t) {
                    const T* const from = x.as<const T>() + t * n;
                    const V best = largest ? of_row(from, n, Greatest::start<T>(), Greatest{})
                                           : of_row(from, n, Least::start<T>(), Least{});
                    y.data[t] = place_in(from, n, best, last);
                }
            });
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
END_KERNELS
