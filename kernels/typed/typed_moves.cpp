// Values of any type moved from place to place: views made contiguous, concatenation,
// gathering and scattering.
#include "copy_run.h"
#include "element.h"
#include "indices.h"
#include "strided_copy.h"

BEGIN_KERNELS
void strided_move(InAny x, Dims strides, OutAny y) {
    const i64 bytes = size_of(y.element);
    for (int axis = 0; axis < strides.n; ++axis) strides.v[axis] *= bytes;
    pyops_strided_copy(x.as<const char>(), y.shape, strides.v, y.ndim, bytes, y.as<char>(), int(threads_now()));
}

void roll(InAny x, Dims shape, Dims shift, OutAny y) {
    const int last = shape.n - 1;
    const i64 bytes = size_of(y.element), width = shape[last] * bytes, moved = shift[last] * bytes;
    const i64 rows = width ? y.size() * bytes / width : 0;
    parallel_for(rows, 1 + 4 * GRAIN / (width + 32), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            i64 from = 0, step = 1;   // the row of x that comes here
            for (i64 axis = last - 1, left = row; axis >= 0; --axis) {
                const i64 n = shape[(int)axis], at = left % n - shift[(int)axis];
                from += (at < 0 ? at + n : at) * step;
                step *= n, left /= n;
            }
            char* const to = y.as<char>() + row * width;
            copy_run(to + moved, x.as<const char>() + from * width, width - moved);
            copy_run(to, x.as<const char>() + (from + 1) * width - moved, moved);
        }
    });
}

void cat_move(InAny x, i64 width, i64 pitch, i64 offset, OutAny y) {
    const i64 bytes = size_of(y.element), rows = width ? x.size() / width : 0;
    parallel_for(rows, 1 + GRAIN / (width + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row)
            copy_run(y.as<char>() + (row * pitch + offset) * bytes,
                     x.as<const char>() + row * width * bytes, width * bytes);
    });
}

void take(InAny x, In<i64> index, i64 outer, i64 n, i64 inner, bool wrap, OutAny y) {
    constexpr i64 AHEAD = 2, MOST = 4096, LINE = 64;   // slices that are fetched ahead, and bytes of each
    const i64 count = index.size(), bytes = inner * size_of(y.element);
    constexpr i64 ONE_THREAD = 1 << 15;
    // values, not slices: indices are looked at once
    if (inner == 1 && bytes <= 8 && (outer > 1 || count <= ONE_THREAD)) {
        Scratch<i64> places(count);
        for (i64 i = 0; i < count; ++i) places[i] = place_of(index.data + i, n, wrap);
        for_width(bytes, [&](auto value) {
            using T = decltype(value);
            const T* const from = x.as<const T>();
            T* const to = y.as<T>();
            const i64* const at = places;
            parallel_for(outer, 1 + GRAIN / (count + 1), [=](i64 begin, i64 end) {
                for (i64 o = begin; o < end; ++o)
                    for (i64 i = 0; i < count; ++i) to[o * count + i] = from[o * n + at[i]];
            });
        });
        return;
    }
    const i64 fetched = bytes < MOST ? bytes : MOST;
    parallel_for(outer * count, 1 + 4 * GRAIN / (bytes + 32), [&](i64 begin, i64 end) {
        char* to = y.as<char>() + begin * bytes;
        for (i64 t = begin, at = begin % count, o = begin / count; t < end; at = 0, ++o) {
            const char* const from = x.as<const char>() + o * n * bytes;
            const i64 stop = end - t < count - at ? at + end - t : count;
            for (; at < stop; ++at, ++t, to += bytes) {
                if (bytes >= 4 * LINE && at + AHEAD < stop)
                    if (const i64 next = read_once(index.data + at + AHEAD); next >= 0 && next < n)
                        for (i64 i = 0; i < fetched; i += LINE) __builtin_prefetch(from + next * bytes + i);
                copy_run(to, from + place_of(index.data + at, n, wrap) * bytes, bytes);
            }
        }
    });
}

namespace {
// f(flat place in the indices, place of the value meant) for each index, in order; f.four(place, at, four of
// them) of values at + those.
template <class F>
void along(In<i64> index, const Dims& strides, i64 n, i64 step, bool wrap, i64 begin, i64 end, F f) {
    const int last = index.ndim - 1;
    const i64 width = last >= 0 ? index.dim(last) : 1, pitch = last >= 0 ? strides[last] : 0;
    for (i64 t = begin; t < end;) {   // the rest of a row
        i64 at = t % width * pitch, left = t / width;
        for (int axis = last - 1; axis >= 0; --axis) {
            at += left % index.dim(axis) * strides[axis];
            left /= index.dim(axis);
        }
        const i64 rest = width - t % width, stop = rest < end - t ? t + rest : end;
        if (pitch == 0 && step == 1) {   // along the last axis
            const i64 before = wrap ? n : 0;
            for (i64 places[4]; t + 4 <= stop; t += 4) {
                bool wrong = false;
                #pragma GCC unroll 4
                for (int k = 0; k < 4; ++k) {
                    const i64 given = read_once(index.data + t + k);
                    places[k] = given + (given >> 63 & before);
                    wrong |= std::uint64_t(places[k]) >= std::uint64_t(n);
                }
                if (wrong) break;   // one by one, which says where
                f.four(t, at, places);
            }
            for (; t < stop; ++t) f(t, at + place_of(index.data + t, n, wrap));
        } else
            for (; t < stop; ++t, at += pitch) f(t, at + place_of(index.data + t, n, wrap) * step);
    }
}

template <class T> struct Take {
    const T* from;
    T*       to;
    void operator()(i64 t, i64 at) const { to[t] = from[at]; }
    void four(i64 t, i64 at, const i64 (&places)[4]) const {
        const T* const p = from + at;
        const T a = p[places[0]], b = p[places[1]], c = p[places[2]], d = p[places[3]];
        T* const four = to + t;
        four[0] = a, four[1] = b, four[2] = c, four[3] = d;
    }
};
template <class T, class Join> struct Put {
    const T* given;
    T*       to;
    Join     join;
    void operator()(i64 t, i64 at) const { write(to[at], Value<T>(join(read(to[at]), read(given[t])))); }
    void four(i64 t, i64 at, const i64 (&places)[4]) const {
        #pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) (*this)(t + k, at + places[k]);
    }
};

// f(begin, end) for ranges of indices, in order for each thread: those that may name one place, along an
// axis of stride 0, are one thread's.
template <class F> void share_out(In<i64> index, const Dims& strides, F f) {
    constexpr i64 WIDE = 256;   // columns behind that axis for a thread
    i64 lead = 1, inner = 1;
    int axis = 0;
    for (; axis < index.ndim && (strides[axis] || index.dim(axis) == 1); ++axis) lead *= index.dim(axis);
    for (int a = axis + 1; a < index.ndim; ++a) inner *= index.dim(a);
    const i64 length = axis < index.ndim ? index.dim(axis) : 1, pieces = (inner + WIDE - 1) / WIDE;
    const i64 each = length * (inner < WIDE ? inner : WIDE);
    parallel_for(lead * pieces, 1 + GRAIN / 4 / (each + 1), [&](i64 begin, i64 end) {
        if (pieces == 1) return f(begin * length * inner, end * length * inner);
        for (i64 task = begin; task < end; ++task) {
            const i64 first = task % pieces * WIDE, last = first + WIDE < inner ? first + WIDE : inner;
            for (i64 i = 0; i < length; ++i) {
                const i64 row = (task / pieces * length + i) * inner;
                f(row + first, row + last);
            }
        }
    });
}

// Puts in order, so that of values that meet the last one stays, or all are joined, whatever
// the number of threads.
template <class Join>
void put_along_with(const InAny& values, In<i64> index, const Dims& strides, i64 n, i64 step, bool wrap,
                    const OutAny& y, Join join) {
    for_element(y.element, [&](auto element) {
        using T = decltype(element);
        const T* const given = values.as<const T>();
        T* const to = y.as<T>();
        share_out(index, strides, [&](i64 begin, i64 end) {
            along(index, strides, n, step, wrap, begin, end, Put<T, Join>{given, to, join});
        });
    });
}

struct Last {
    template <class V> V operator()(V, V given) const { return given; }
};
struct Sum {
    template <class V> V operator()(V kept, V given) const {
        if constexpr (std::is_floating_point_v<V>) return kept + given;
        else return V(std::uint64_t(kept) + std::uint64_t(given));
    }
};
struct Product {
    template <class V> V operator()(V kept, V given) const {
        if constexpr (std::is_floating_point_v<V>) return kept * given;
        else return V(std::uint64_t(kept) * std::uint64_t(given));
    }
};
// NaN stays, as torch and NumPy have it
struct Greatest {
    template <class V> V operator()(V kept, V given) const {
        return kept != kept || kept > given ? kept : given;
    }
};
struct Least {
    template <class V> V operator()(V kept, V given) const {
        return kept != kept || kept < given ? kept : given;
    }
};
i64 block_of(const i64* index, const Dims& sizes, bool wrap) {
    i64 at = 0;
    for (int axis = 0; axis < sizes.n; ++axis)
        at = at * sizes[axis] + place_of(index + axis, sizes[axis], wrap);
    return at;
}

i64 blocks_in(const Dims& sizes) {
    i64 n = 1;
    for (int axis = 0; axis < sizes.n; ++axis) n *= sizes[axis];
    return n;
}

template <class Join>
void put_blocks_with(const InAny& values, In<i64> index, const Dims& sizes, i64 batch, i64 inner, bool wrap,
                     const OutAny& y, Join join) {
    const i64 count = batch && sizes.n ? index.size() / sizes.n / batch : 0, all = blocks_in(sizes);
    // in order, where one place is named twice: each thread has columns of its own
    constexpr i64 COLUMNS = 512;
    for_element(y.element, [&](auto element) {
        using T = decltype(element);
        const i64 pieces = std::max<i64>(1, (inner + COLUMNS - 1) / COLUMNS);   // one where all that counts is places
        parallel_for(pieces, 1 + GRAIN / (batch * count * COLUMNS + 1), [&](i64 begin, i64 end) {
            const i64 first = begin * COLUMNS, last = std::min(inner, end * COLUMNS);
            for (i64 t = 0; t < batch * count; ++t) {
                T* const to =
                    y.as<T>() + (t / count * all + block_of(index.data + t * sizes.n, sizes, wrap)) * inner;
                const T* const from = values.as<const T>() + t * inner;
                if constexpr (std::is_same_v<Join, Last>)
                    std::copy(from + first, from + last, to + first);
                else
                    for (i64 i = first; i < last; ++i) write(to[i], Value<T>(join(read(to[i]), read(from[i]))));
            }
        });
    });
}
}  // namespace

void take_along(InAny x, In<i64> index, Dims strides, i64 n, i64 step, bool wrap, OutAny y) {
    for_width(size_of(y.element), [&](auto value) {
        using T = decltype(value);
        parallel_for(index.size(), GRAIN / 4, [&](i64 begin, i64 end) {
            const T* const from = x.as<const T>();
            T* const to = y.as<T>();
            along(index, strides, n, step, wrap, begin, end, Take<T>{from, to});
        });
    });
}

void take_blocks(InAny x, In<i64> index, Dims sizes, i64 batch, i64 inner, bool wrap, OutAny y) {
    const i64 count = batch && sizes.n ? index.size() / sizes.n / batch : 0, all = blocks_in(sizes),
              bytes = inner * size_of(y.element);
    parallel_for(batch * count, 1 + 4 * GRAIN / (bytes + 32), [&](i64 begin, i64 end) {
        for (i64 t = begin; t < end; ++t) {
            const i64 from = t / count * all + block_of(index.data + t * sizes.n, sizes, wrap);
            copy_run(y.as<char>() + t * bytes, x.as<const char>() + from * bytes, bytes);
        }
    });
}

#define PUT(ending, Join)                                                                                         \
    void put_along##ending(InAny values, In<i64> index, Dims strides, i64 n, i64 step, bool wrap, OutAny y) {     \
        put_along_with(values, index, strides, n, step, wrap, y, Join{});                                         \
    }                                                                                                             \
    void put_blocks##ending(InAny values, In<i64> index, Dims sizes, i64 batch, i64 inner, bool wrap, OutAny y) { \
        put_blocks_with(values, index, sizes, batch, inner, wrap, y, Join{});                                     \
    }
PUT(, Last)
PUT(_add, Sum)
PUT(_mul, Product)
PUT(_max, Greatest)
PUT(_min, Least)

void take_along_backward(InAny g, In<i64> index, Dims strides, i64 n, i64 step, bool wrap, OutAny dx) {
    parallel_for(dx.bytes(), 1 << 18, [&](i64 begin, i64 end) { std::memset(dx.as<char>() + begin, 0, end - begin); });
    put_along_with(g, index, strides, n, step, wrap, dx, Sum{});
}

// Slices are added in order, each thread to columns of its own.
void take_backward(InAny g, In<i64> index, i64 outer, i64 n, i64 inner, bool wrap, OutAny dx) {
    const i64 count = index.size(), total = outer * n * inner;
    constexpr i64 COLUMNS = 256;
    const i64 pieces = (inner + COLUMNS - 1) / COLUMNS;
    for_element(dx.element, [&](auto element) {
        using T = decltype(element);
        T* const to = dx.as<T>();
        const T* const from = g.as<const T>();
        parallel_for(total, 4 * GRAIN, [&](i64 begin, i64 end) { std::fill(to + begin, to + end, T{}); });
        parallel_for(outer * pieces, 1 + GRAIN / (count * COLUMNS + 1), [&](i64 begin, i64 end) {
            for (i64 piece = begin; piece < end; ++piece) {
                const i64 o = piece / pieces, first = piece % pieces * COLUMNS;
                const i64 width = inner - first < COLUMNS ? inner - first : COLUMNS;
                for (i64 t = 0; t < count; ++t) {
                    T* const sum = to + (o * n + place_of(index.data + t, n, wrap)) * inner + first;
                    const T* const given = from + (o * count + t) * inner + first;
                    for (i64 i = 0; i < width; ++i)
                        write(sum[i], Value<T>(Sum{}(read(sum[i]), read(given[i]))));
                }
            }
        });
    });
}
END_KERNELS
