// A view made contiguous by all threads: rows of neighbours are moved as they are; where rows of
// the result are columns of the view, tiles are turned, so that each line of memory is read once
// and written once.
#include "strided_copy.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include "copy_run.h"
#include "team.h"

namespace {
using i64 = std::int64_t;

struct Axis { i64 n, from, to; };   // its strides of the view and of the result, in bytes

constexpr int MOST_AXES = 64;      // NumPy's own limit
constexpr i64 LINES = 128;         // bytes: two lines, which memory fetches together
constexpr i64 PIECE = 64 << 10;    // bytes worth waking a thread for: about 10 us

struct Copy {
    const char* from;
    char*       to;
    Axis        axes[MOST_AXES];
    int         count = 0;
    i64         size;   // bytes of a value, or of a run of neighbours that is moved as one

    i64 values() const {
        i64 n = 1;
        for (int axis = 0; axis < count; ++axis) n *= axes[axis].n;
        return n;
    }
};

// Axes of one place are left out, neighbouring ones that are one walk joined, and short rows of
// neighbours are values of their own.
Copy simplest(const char* from, const i64* shape, const i64* strides, int axes, i64 size, char* to) {
    Copy copy{from, to, {}, 0, size};
    i64  pitch = size;
    Axis reversed[MOST_AXES];
    int  n = 0;
    for (int axis = axes - 1; axis >= 0; --axis) {
        if (shape[axis] != 1) {
            if (n && strides[axis] == reversed[n - 1].from * reversed[n - 1].n) reversed[n - 1].n *= shape[axis];
            else reversed[n++] = {shape[axis], strides[axis], pitch};
        }
        pitch *= shape[axis];
    }
    int first = 0;
    if (n > 1 && reversed[0].from == size)
        if (const i64 run = reversed[0].n * size; run == 2 || run == 4 || run == 8) copy.size = run, first = 1;
    for (int axis = n - 1; axis >= first; --axis) copy.axes[copy.count++] = reversed[axis];
    return copy;
}

// Where an index of the first `count` axes lies in the view and in the result, and how to walk on.
class Walk {
    const Axis* axes;
    int         count;
    i64         at[MOST_AXES];

public:
    i64 from = 0, to = 0;
    Walk(const Axis* axes, int count, i64 index) : axes(axes), count(count) {
        for (int axis = count - 1; axis >= 0; --axis) {
            at[axis] = index % axes[axis].n;
            index /= axes[axis].n;
            from += at[axis] * axes[axis].from;
            to += at[axis] * axes[axis].to;
        }
    }
    void next() {
        for (int axis = count - 1; axis >= 0; --axis) {
            from += axes[axis].from, to += axes[axis].to;
            if (++at[axis] < axes[axis].n) return;
            at[axis] = 0;
            from -= axes[axis].n * axes[axis].from, to -= axes[axis].n * axes[axis].to;
        }
    }
};

template <class Body> void in_parts(int threads, i64 n, i64 bytes, Body body) {
    struct Job { Body& body; i64 n, parts; };
    i64 parts = std::min({bytes / PIECE, n, i64(4) * threads});
    if (threads <= 1 || parts <= 1) return body(0, n);
    Job job{body, n, parts};
    pyops_team(std::min(i64(threads), parts), int(parts), [](void* context, i64 t) {
        const Job& j = *static_cast<const Job*>(context);
        j.body(j.n * t / j.parts, j.n * (t + 1) / j.parts);
    }, &job);
}

template <class T> void spread(const char* from, i64 step, i64 n, char* to) {
    const auto move = [](char* to, const char* from) { std::memcpy(to, from, sizeof(T)); };
    for (; n >= 4; n -= 4, from += 4 * step, to += 4 * sizeof(T))
        move(to, from), move(to + sizeof(T), from + step), move(to + 2 * sizeof(T), from + 2 * step),
            move(to + 3 * sizeof(T), from + 3 * step);
    for (; n > 0; --n, from += step, to += sizeof(T)) move(to, from);
}

template <class T> void rows(const Copy& copy, int threads) {
    const Axis row = copy.count ? copy.axes[copy.count - 1] : Axis{1, sizeof(T), sizeof(T)};
    const int  outer = std::max(copy.count - 1, 0);
    const i64  count = copy.values() / row.n;
    in_parts(threads, count, copy.values() * i64(sizeof(T)), [&](i64 begin, i64 end) {
        Walk walk(copy.axes, outer, begin);
        for (i64 i = begin; i < end; ++i, walk.next()) {
            const char* from = copy.from + walk.from;
            char* const to = copy.to + walk.to;
            if (row.from == sizeof(T)) copy_run(to, from, row.n * sizeof(T));
            else spread<T>(from, row.from, row.n, to);
        }
    });
}

template <class T, int BYTES> struct VectorOf;
template <class T> struct VectorOf<T, 16> { typedef T type __attribute__((vector_size(16))); };
template <class T> struct VectorOf<T, 64> { typedef T type __attribute__((vector_size(64))); };

// Squares of LANES values are turned in registers: after as many rounds as LANES has bits, in each
// of which vector i meets vector i + LANES / 2, rows are columns. Inlined into functions for CPUs with such vectors.
#define INLINED __attribute__((always_inline)) inline
template <class T, int BYTES> struct Square {
    static constexpr int LANES = BYTES / sizeof(T);
    typedef typename VectorOf<T, BYTES>::type V;

    template <int HALF> static INLINED V interleaved(const V& a, const V& b) {
        V mask{};
        #pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) mask[i] = T(HALF * LANES / 2 + i / 2 + i % 2 * LANES);
        return __builtin_shuffle(a, b, mask);
    }
    static INLINED void turn(const char* from, i64 pitch, char* to, i64 out_pitch) {
        V v[LANES], w[LANES];
        #pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) std::memcpy(&v[i], from + i * pitch, sizeof(V));
        #pragma GCC unroll 4
        for (int round = 1; round < LANES; round *= 2) {
            #pragma GCC unroll 16
            for (int i = 0; i < LANES / 2; ++i) {
                w[2 * i]     = interleaved<0>(v[i], v[i + LANES / 2]);
                w[2 * i + 1] = interleaved<1>(v[i], v[i + LANES / 2]);
            }
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) v[i] = w[i];
        }
        #pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) std::memcpy(to + i * out_pitch, &v[i], sizeof(V));
    }
};

// The result's rows run along the last axis, the view's neighbours along `near`.
template <class T, int BYTES>
INLINED void tile_by(const char* from, char* to, const Axis& near, i64 nears, const Axis& last, i64 lasts) {
    constexpr i64 SIZE = sizeof(T), LANES = Square<T, BYTES>::LANES;
    const bool neighbours = near.from == SIZE;
    for (i64 l = 0, k; l < lasts; l += LANES) {
        const i64 wide = std::min(LANES, lasts - l);
        for (k = 0; neighbours && wide == LANES && k + LANES <= nears; k += LANES)
            Square<T, BYTES>::turn(from + k * SIZE + l * last.from, last.from, to + k * near.to + l * SIZE, near.to);
        for (; k < nears; ++k)
            for (i64 i = l; i < l + wide; ++i)
                std::memcpy(to + k * near.to + i * SIZE, from + k * near.from + i * last.from, SIZE);
    }
}

template <class T> void tile(const char* from, char* to, const Axis& near, i64 nears, const Axis& last, i64 lasts) {
    tile_by<T, 16>(from, to, near, nears, last, lasts);
}
#if defined(__x86_64__)
template <class T>
__attribute__((target("avx512f"))) void wide_tile(const char* from, char* to, const Axis& near, i64 nears,
                                                  const Axis& last, i64 lasts) {
    tile_by<T, 64>(from, to, near, nears, last, lasts);
}
const bool wide = __builtin_cpu_supports("avx512f");
#endif
template <class T> auto tile_here() {
#if defined(__x86_64__)
    if constexpr (sizeof(T) >= 4)
        if (wide) return &wide_tile<T>;
#endif
    return &tile<T>;
}

template <class T> void tiles(Copy copy, int near, int threads) {
    const Axis across = copy.axes[near], last = copy.axes[copy.count - 1];
    copy.count -= 1;
    std::copy(copy.axes + near + 1, copy.axes + copy.count, copy.axes + near);
    copy.count -= 1;
    constexpr i64 WIDE = LINES / sizeof(T), LONG = 64 * WIDE;
    const i64 strips = (across.n + WIDE - 1) / WIDE, chunks = (last.n + LONG - 1) / LONG;
    const i64 tasks = copy.values() * strips * chunks;
    const auto move = tile_here<T>();
    in_parts(threads, tasks, copy.values() * across.n * last.n * i64(sizeof(T)), [&](i64 begin, i64 end) {
        for (i64 task = begin; task < end; ++task) {
            const i64  k = task % strips * WIDE, first = task / strips % chunks * LONG;
            const Walk walk(copy.axes, copy.count, task / strips / chunks);
            const i64  nears = std::min(WIDE, across.n - k), stop = std::min(last.n, first + LONG);
            for (i64 l = first; l < stop; l += WIDE)
                move(copy.from + walk.from + k * across.from + l * last.from,
                        copy.to + walk.to + k * across.to + l * i64(sizeof(T)), across, nears, last,
                     std::min(WIDE, stop - l));
        }
    });
}

template <class T> void moved(const Copy& copy, int threads) {
    if (copy.count > 1) {
        const Axis& last = copy.axes[copy.count - 1];
        int         near = -1;
        for (int axis = copy.count - 2; axis >= 0; --axis) {
            const i64 step = std::abs(copy.axes[axis].from);
            if (step && step < std::abs(last.from) && (near < 0 || step < std::abs(copy.axes[near].from))) near = axis;
        }
        if (near >= 0 && last.n >= 4 && copy.axes[near].n >= 4) return tiles<T>(copy, near, threads);
    }
    rows<T>(copy, threads);
}
}  // namespace

void pyops_strided_copy(const char* from, const i64* shape, const i64* strides, int axes, i64 size, char* to,
                        int threads) {
    const Copy copy = simplest(from, shape, strides, axes, size, to);
    if (!copy.values()) return;
    switch (copy.size) {
        case 1: return moved<std::uint8_t>(copy, threads);
        case 2: return moved<std::uint16_t>(copy, threads);
        case 4: return moved<std::uint32_t>(copy, threads);
        default: return moved<std::uint64_t>(copy, threads);
    }
}
