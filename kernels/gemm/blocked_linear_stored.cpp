// y = act(x W' + b) for few rows of x, with weights stored in fewer bits: as int8, a scale a filter, or
// as bfloat16 (uint16, the upper half of a float). They are packed as (filters / 16, features, 16).
//
// Few rows take the time of reading the weights, so fewer bytes are less time. They are widened to
// floats in registers; products and sums are floats, one chain in the order of the features, whatever
// the rows and threads, and a filter's scale multiplies the sum. A tile is P rows x Q blocks of filters.
// With AVX-512 VNNI int8 weights are not widened (stored_digits.h).
// Many rows multiply the whole filters: widen_packed makes them, for linear_packed.
#include "blocked/epilogue.h"
#include "gemm/stored_digits.h"
#include "widen.h"

BEGIN_KERNELS
namespace {
#if defined(__AVX512F__)
constexpr int MOST_ROWS = 4;
constexpr int most_blocks(int rows) { return rows <= 2 ? 8 : 4; }
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int MOST_ROWS = 4;
constexpr int most_blocks(int rows) { return rows == 1 ? 4 : rows == 2 ? 2
                                                                       : 1; }
#else
constexpr int MOST_ROWS = 2;
constexpr int most_blocks(int rows) { return rows == 1 ? 2 : 1; }
#endif

i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

// a b + c rounded once where the set can, in every tile: left to itself, the compiler does so in some
inline V times_plus(V a, V b, V c) {
#if defined(__AVX512F__)
    return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

struct Same {
    alignas(64) real v[8 * BLOCK];
    constexpr Same(real value) : v() {
        for (real& x : v) x = value;
    }
};
constexpr Same ONES(1), ZEROS(0);

// Filters from one block on: w, factors and bias of it; y: of the first row
template <class T> struct Filters {
    const T* w;
    const real *scale, *bias;
    i64 features, left, pitch;   // left: filters that are there; pitch: of y's rows
    real* y;
    Filters from(i64 block) const {
        const i64 k = block * BLOCK;
        const real *by = scale ? scale + k : nullptr, *start = bias ? bias + k : nullptr;
        return {w + k * features, by, start, features, left - k, pitch, y + k};
    }
};

// A row's sums become its results
template <int Q, class T> void put(const V (&acc)[Q * BV], const Filters<T>& f, const Epilogue& e, real* y) {
    const real *const scale = f.scale ? f.scale : ONES.v, *const bias = f.bias ? f.bias : ZEROS.v;
    alignas(64) real row[Q * BLOCK];
    const Clamp clamp(e);
    #pragma GCC unroll 32
    for (int v = 0; v < Q * BV; ++v)
        store(row + v * LANES, clamp(times_plus(acc[v], load(scale + v * LANES), load(bias + v * LANES))));
    e.finish(row, Q * BLOCK);
    std::memcpy(y, row, (f.left < Q * BLOCK ? f.left : Q * BLOCK) * sizeof(real));
}

template <int P, int Q, class T> void stored_tile(const real* x, const Filters<T>& f, const Epilogue& e) {
    constexpr int N = Q * BV;
    const i64 block = f.features * BLOCK;
    V acc[P][N] = {};
    const T* w = f.w;
    for (i64 c = 0; c < f.features; ++c, w += BLOCK)
        #pragma GCC unroll 32
        for (int v = 0; v < N; ++v) {
            const V wv = widen(w + v / BV * block + v % BV * LANES);
            #pragma GCC unroll 4
            for (int p = 0; p < P; ++p) acc[p][v] += x[p * f.features + c] * wv;
        }
    #pragma GCC unroll 4
    for (int p = 0; p < P; ++p) put<Q>(acc[p], f, e, f.y + p * f.pitch);
}

// The same of one block, by digits of the rows from r on
template <int P> void digits_tile(const Digits& x, i64 r, const Filters<s8>& f, const Epilogue& e) {
    alignas(64) real sums[P * BLOCK];
    digit_sums<P>(x, r, f.w, f.features, sums);
    for (int p = 0; p < P; ++p) {
        V acc[BV];
        for (int v = 0; v < BV; ++v) acc[v] = load(sums + p * BLOCK + v * LANES);
        put<1>(acc, f, e, f.y + p * f.pitch);
    }
}

template <int P, class T> void across(const real* x, i64 begin, i64 end, const Filters<T>& f, const Epilogue& e) {
    for (i64 block = begin; block < end;) {
        int q = most_blocks(P);
        while (q > end - block) q /= 2;
        const Filters<T> from = f.from(block);
        if (q == 1) stored_tile<P, 1>(x, from, e);
        if constexpr (most_blocks(P) >= 2)
            if (q == 2) stored_tile<P, 2>(x, from, e);
        if constexpr (most_blocks(P) >= 4)
            if (q == 4) stored_tile<P, 4>(x, from, e);
        if constexpr (most_blocks(P) >= 8)
            if (q == 8) stored_tile<P, 8>(x, from, e);
        block += q;
    }
}

template <int P>
void across_digits(const Digits& x, i64 r, i64 begin, i64 end, const Filters<s8>& f, const Epilogue& e) {
    for (i64 block = begin; block < end; ++block) digits_tile<P>(x, r, f.from(block), e);
}

// Rows [0, rows) and the blocks of a group, which stays in the cache meanwhile
template <class T>
void group_of(const real* x, i64 rows, i64 first, i64 last, const Filters<T>& all, const Epilogue& e) {
    for (i64 r = 0; r < rows;) {
        Filters<T> of = all;
        of.y += r * of.pitch;
        const real* from = x + r * of.features;
        const i64 some = rows - r < MOST_ROWS ? rows - r : MOST_ROWS;
        if (some == 1) across<1>(from, first, last, of, e);
        if (some == 2) across<2>(from, first, last, of, e);
        if constexpr (MOST_ROWS >= 3)
            if (some == 3) across<3>(from, first, last, of, e);
        if constexpr (MOST_ROWS >= 4)
            if (some == 4) across<4>(from, first, last, of, e);
        r += some;
    }
}

// The same by digits, but for rows that have none
void group_of(const real* x, const Digits& digits, i64 rows, i64 first, i64 last, const Filters<s8>& all,
              const Epilogue& e) {
    for (i64 r = 0; r < rows;) {
        Filters<s8> of = all;
        of.y += r * of.pitch;
        i64 some = 0;
        while (some < 4 && r + some < rows && digits.step[r + some] != 0) ++some;
        if (some == 0) group_of(x + r * of.features, 1, first, last, of, e);
        if (some == 1) across_digits<1>(digits, r, first, last, of, e);
        if (some == 2) across_digits<2>(digits, r, first, last, of, e);
        if (some == 3) across_digits<3>(digits, r, first, last, of, e);
        if (some == 4) across_digits<4>(digits, r, first, last, of, e);
        r += some ? some : 1;
    }
}

template <class T>
void stored(In<real> x, const T* weight, i64 blocks, In<real> scale, In<real> bias, const Epilogue& e,
            Out<real> y) {
    const i64 rows = x.dim(0), features = x.dim(1), side = most_blocks(1), groups = ceil_div(blocks, side);
    const Filters<T> all{weight, scale.data, bias.data, features, y.dim(1), y.dim(1), y.data};
    const i64 grain = 1 + 40000 / (features * BLOCK * side * rows + 1);
    const auto last = [&](i64 group) { return (group + 1) * side < blocks ? (group + 1) * side : blocks; };
    if constexpr (std::is_same_v<T, s8>)
        if (by_digits(features)) {
            const i64 width = ceil_div(features, BLOCK) * BLOCK;
            Scratch<std::uint8_t> planes(rows * 3 * width);
            Scratch<real>         step(rows);
            const Digits          digits{planes, step, width};
            for (i64 r = 0; r < rows; ++r) take_apart(x.data + r * features, features, digits, r);
            parallel_for(groups, grain, [&](i64 begin, i64 end) {
                for (i64 group = begin; group < end; ++group)
                    group_of(x.data, digits, rows, group * side, last(group), all, e);
            });
            return;
        }
    parallel_for(groups, grain, [&](i64 begin, i64 end) {
        for (i64 group = begin; group < end; ++group) group_of(x.data, rows, group * side, last(group), all, e);
    });
}

template <class T> void widen_all(const T* weight, i64 blocks, i64 features, In<real> scale, real* to) {
    parallel_for(blocks, 1 + 4000 / (features + 1), [&](i64 begin, i64 end) {
        for (i64 block = begin; block < end; ++block) {
            V by[BV];
            for (int v = 0; v < BV; ++v) by[v] = scale ? load(scale.data + block * BLOCK + v * LANES) : splat(1);
            for (i64 i = block * features; i < (block + 1) * features; ++i)
                for (int v = 0; v < BV; ++v)
                    store(to + i * BLOCK + v * LANES, widen(weight + i * BLOCK + v * LANES) * by[v]);
        }
    });
}
}  // namespace

void linear_stored(In<real> x, InAny weight, In<real> scale, In<real> bias, Act act, Out<real> y) {
    const Epilogue e(act);
    if (weight.element == Element::CHAR) stored(x, weight.as<const s8>(), weight.dim(0), scale, bias, e, y);
    else stored(x, weight.as<const u16>(), weight.dim(0), scale, bias, e, y);
}

void widen_packed(InAny weight, In<real> scale, Out<real> packed) {
    const i64 blocks = weight.dim(0), features = weight.dim(1);
    if (weight.element == Element::CHAR) widen_all(weight.as<const s8>(), blocks, features, scale, packed.data);
    else widen_all(weight.as<const u16>(), blocks, features, scale, packed.data);
}
END_KERNELS
