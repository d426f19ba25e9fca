// Values of any element type, as typed kernels compute with them: Stored<T> is how they lie in
// memory, and what `read` makes of one is a type with arithmetic. Half types become float, truth
// values 0 and 1 of a byte.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>
#include "typed_kernel.h"

namespace ISA::REAL_NAME {
struct Half   { std::uint16_t bits; };
struct BFloat { std::uint16_t bits; };
struct Bool   { std::uint8_t  byte; };

template <class To, class From> static inline To bits_of(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

// IEEE 754 binary16: 5 bits of exponent, 10 of fraction. Subnormal numbers are whole multiples of 2^-24.
static inline float read(Half h) {
    const std::uint32_t sign = std::uint32_t(h.bits & 0x8000) << 16, rest = h.bits & 0x7fff;
    if (rest >= 0x7c00) return bits_of<float>(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest < 0x400) return bits_of<float>(sign | bits_of<std::uint32_t>(float(rest) * 0x1p-24f));
    return bits_of<float>(sign | ((rest << 13) + (std::uint32_t(127 - 15) << 23)));
}
// To the nearest, ties to even: what is added in front of the cut carries exactly where it should.
static inline void write(Half& to, float value) {
    const std::uint32_t all = bits_of<std::uint32_t>(value), sign = all >> 16 & 0x8000,
                        size = all & 0x7fffffff;
    std::uint32_t half;
    // NaN keeps what fits of its payload
    if (size > 0x7f800000) half = 0x7e00 | (size >> 13 & 0x3ff);
    // 65520 and more
    else if (size >= 0x477ff000) half = 0x7c00;
    // float's rounding at 2^-24 is the one wanted
    else if (size < 0x38800000) half = bits_of<std::uint32_t>(bits_of<float>(size) + 0.5f) - 0x3f000000;
    else half = (size + 0xfff + (size >> 13 & 1) - (std::uint32_t(127 - 15) << 23)) >> 13;
    to.bits = std::uint16_t(sign | half);
}
static inline float read(BFloat b) { return bits_of<float>(std::uint32_t(b.bits) << 16); }
static inline void write(BFloat& to, float value) {
    const std::uint32_t all = bits_of<std::uint32_t>(value);
    to.bits = std::uint16_t((all & 0x7fffffff) > 0x7f800000 ? all >> 16 | 0x40
                                                            : (all + 0x7fff + (all >> 16 & 1)) >> 16);
}
static inline std::uint8_t read(Bool b) { return b.byte != 0; }
static inline void write(Bool& to, std::uint8_t value) { to.byte = value != 0; }
template <class T> static inline std::enable_if_t<std::is_arithmetic_v<T>, T> read(T value) { return value; }
template <class T> static inline std::enable_if_t<std::is_arithmetic_v<T>> write(T& to, T value) {
    to = value;
}

template <class T> using Value = decltype(read(T{}));   // what is computed with
template <class T> constexpr bool is_float = std::is_floating_point_v<Value<T>>;
template <class T> constexpr bool is_bool = std::is_same_v<T, Bool>;

// f(T{}) for the T that values of this type are stored as
template <class F> static inline void for_element(Element element, F f) {
    switch (element) {
        case Element::FLOAT:  return f(float{});
        case Element::DOUBLE: return f(double{});
        case Element::HALF:   return f(Half{});
        case Element::BFLOAT: return f(BFloat{});
        case Element::LONG:   return f(std::int64_t{});
        case Element::INT:    return f(std::int32_t{});
        case Element::SHORT:  return f(std::int16_t{});
        case Element::CHAR:   return f(std::int8_t{});
        case Element::ULONG:  return f(std::uint64_t{});
        case Element::UINT:   return f(std::uint32_t{});
        case Element::USHORT: return f(std::uint16_t{});
        case Element::BYTE:   return f(std::uint8_t{});
        case Element::BOOL:   return f(Bool{});
        default: return;
    }
}
// Where values are only moved, f(T{}) for a T as wide
template <class F> static inline void for_width(i64 bytes, F f) {
    switch (bytes) {
        case 1: return f(std::uint8_t{});
        case 2: return f(std::uint16_t{});
        case 4: return f(std::uint32_t{});
        case 8: return f(std::uint64_t{});
        default: return;
    }
}

// The float towards zero of a double, with its last bit set where something is cut off: rounding it
// again to a half is as one rounding.
static inline float to_odd(double value) {
    const float near = float(value);
    if (double(near) == value || value != value) return near;
    const auto bits = bits_of<std::uint32_t>(near);
    return bits_of<float>((std::fabs(double(near)) > std::fabs(value) ? bits - 1 : bits) | 1);
}

// A number as another type has it. Floats outside of a whole type's range have no value there: they
// become what x86 makes of them.
template <class To, class From> static inline Value<To> converted(From value) {
    using V = Value<To>;
    if constexpr (is_bool<To>) return value != From(0);
    else if constexpr (std::is_same_v<To, Half> && std::is_same_v<From, double>) return to_odd(value);
    else if constexpr (std::is_floating_point_v<From> && std::is_same_v<V, std::uint64_t>) {
        if (value >= From(0x1p63) && value < From(0x1p64)) return V(value);
        return V(value >= From(-0x1p63) && value < From(0x1p63) ? std::int64_t(value)
                                                                : std::numeric_limits<std::int64_t>::min());
    } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<V>) {
        if constexpr (sizeof(V) == 4 && std::is_signed_v<V>)
            return value > From(-0x1p31) - 1 && value < From(0x1p31) ? V(value)
                                                                     : std::numeric_limits<V>::min();
        else
            return V(value >= From(-0x1p63) && value < From(0x1p63)
                         ? std::int64_t(value)
                         : std::numeric_limits<std::int64_t>::min());
    } else return V(value);
}

constexpr i64 GRAIN = 16384;   // values a thread is worth waking for

// y = f(x) over contiguous values
template <class X, class Y, class F> static inline void map(const X* x, Y* y, i64 n, i64 grain, F f) {
    parallel_for(n, grain, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) write(y[i], f(read(x[i])));
    });
}

constexpr i64 STRIP = 256;
// An operand of a row that is the same along it, as often as a strip is long
template <class X> struct Same {
    X values[STRIP];
    const X* of(const X* x, i64 n) {
        std::fill(values, values + n, *x);
        return values;
    }
};

// y = f(inputs...) over arrays that broadcast: as kernels/elementwise/broadcast.h has it, an
// innermost stride is 1 or 0. What stands still along a row is laid side by side once for it, so that
// one loop over values side by side serves all.
template <class Y, class F, std::size_t... K, class... X>
static inline void broadcast_each(const Dims& shape, Y* y, F f, const Dims* strides,
                                  std::index_sequence<K...>, const X*... x) {
    const int last = shape.n - 1;
    i64 rows = 1;
    for (int axis = 0; axis < last; ++axis) rows *= shape[axis];
    const i64 width = shape[last];
    const i64 steps[] = {strides[K][last]...};
    const bool dense = ((steps[K] == 1) && ...);
    const i64 strip = dense ? width : width < STRIP ? width
                                                    : STRIP;
    if (!rows || !width) return;
    if (dense && rows == 1)
        return parallel_for(width, GRAIN, [&](i64 begin, i64 end) {
            const auto from = std::make_tuple(x...);   // bytes that are written might be the closure's
            Y* const to = y;
            for (i64 i = begin; i < end; ++i) write(to[i], f(read(std::get<K>(from)[i])...));
        });
    parallel_for(rows, 1 + GRAIN / (width + 1), [&](i64 begin, i64 end) {
        std::tuple<Same<X>...> same;
        for (i64 row = begin; row < end; ++row) {
            i64 at[sizeof...(X)] = {}, left = row;
            for (int axis = last - 1; axis >= 0; --axis) {
                const i64 i = left % shape[axis];
                left /= shape[axis];
                ((at[K] += i * strides[K][axis]), ...);
            }
            const auto from = std::make_tuple(
                (steps[K] ? x + at[K] : std::get<K>(same).of(x + at[K], strip))...);
            for (i64 first = 0; first < width; first += strip) {
                const i64 n = width - first < strip ? width - first : strip;
                Y* const to = y + row * width + first;
                const auto here = std::make_tuple((std::get<K>(from) + first * steps[K])...);
                for (i64 i = 0; i < n; ++i) write(to[i], f(read(std::get<K>(here)[i])...));
            }
        }
    });
}
template <class Y, class F, class... X>
static inline void broadcast(const Dims& shape, Y* y, F f, const Dims (&strides)[sizeof...(X)],
                             const X*... x) {
    broadcast_each(shape, y, f, strides, std::index_sequence_for<X...>{}, x...);
}

enum class Of { ALL, WHOLE, FLOATS };   // which types a kernel is for; others are not compiled

// y = f(a, b) of arrays that broadcast; Y is the type of results, void for that of a
template <class Y, Of types, class F>
static inline void two(const InAny& a, const InAny& b, const Dims& shape, const Dims& sa, const Dims& sb,
                       const OutAny& y, F f) {
    for_element(a.element, [&](auto element) {
        using T = decltype(element);
        using To = std::conditional_t<std::is_void_v<Y>, T, Y>;
        const Dims strides[] = {sa, sb};
        if constexpr (types == Of::ALL || is_float<T> == (types == Of::FLOATS))
            broadcast(
                shape, y.as<To>(), [&](Value<T> p, Value<T> q) { return Value<To>(f(p, q)); }, strides,
                a.as<const T>(), b.as<const T>());
    });
}

// y = f(x), of x's type
template <Of types, class F> static inline void one(const InAny& x, const OutAny& y, i64 grain, F f) {
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        if constexpr (types == Of::ALL || is_float<T> == (types == Of::FLOATS))
            map(x.as<const T>(), y.as<T>(), y.size(), grain, [&](Value<T> v) { return Value<T>(f(v, T{})); });
    });
}

// Whole numbers wrap: sums of unsigned ones do, and a small type's are sums of int
template <class V> using Unsigned = std::make_unsigned_t<std::conditional_t<(sizeof(V) < 4), int, V>>;
}  // namespace ISA::REAL_NAME
