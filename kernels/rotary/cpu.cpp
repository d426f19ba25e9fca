// Rotary embedding: pairs (a, b) of features become (a cos - b sin, b cos + a sin), or with `back` the
// gradient of that, turned the other way. Pairs are features i and i + `pairs`, or, interleaved,
// 2 i and 2 i + 1; features from 2 `pairs` on are copied.
#include "kernel.h"

BEGIN_KERNELS

namespace {
struct Turn {
    V cos, sin;
    V first(V a, V b) const { return a * cos - b * sin; }
    V second(V a, V b) const { return b * cos + a * sin; }
};

void halves(const real* x, const real* cos, const real* sin, real sign, i64 pairs, real* y) {
    for_vectors(pairs, [&](i64 i, auto lanes) {
        const Turn turn{lanes.load(cos + i), lanes.load(sin + i) * sign};
        const V a = lanes.load(x + i), b = lanes.load(x + pairs + i);
        lanes.store(y + i, turn.first(a, b));
        lanes.store(y + pairs + i, turn.second(a, b));
    });
}

template <int... I> V odd_lanes(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// LANES pairs lie in two vectors, of which the second may begin behind the last value
void neighbours(const real* x, const real* cos, const real* sin, real sign, i64 pairs, real* y) {
    for_vectors(pairs, [&](i64 i, auto lanes) {
        const int here = 2 * lanes.count < LANES ? 2 * lanes.count : LANES, there = 2 * lanes.count - here;
        const Turn turn{lanes.load(cos + i), lanes.load(sin + i) * sign};
        const V low = load(x + 2 * i, here), high = there ? load(x + 2 * i + LANES, there) : V{};
        const V a = even_lanes(low, high), b = odd_lanes(low, high, EveryLane{});
        const V first = turn.first(a, b), second = turn.second(a, b);
        store(y + 2 * i, zip_low(first, second), here);
        if (there) store(y + 2 * i + LANES, zip_high(first, second), there);
    });
}
}  // namespace

void rotary(In<real> x, In<real> cos, In<real> sin, Dims shape, Dims x_strides, Dims table_strides, i64 features,
            i64 pairs, bool interleaved, bool back, Out<real> y) {
    i64 rows = 1;
    for (int a = 0; a < shape.n; ++a) rows *= shape[a];
    const real sign = back ? -1 : 1;
    parallel_for(rows, 1 + 16384 / (features + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            i64 rest = row, from = 0, table = 0;
            for (int a = shape.n - 1; a >= 0; --a) {
                const i64 i = rest % shape[a];
                rest /= shape[a];
                from += i * x_strides[a];
                table += i * table_strides[a];
            }
            const real* xr = x.data + from;
            real*       yr = y.data + row * features;
            (interleaved ? neighbours : halves)(xr, cos.data + table, sin.data + table, sign, pairs, yr);
            std::memcpy(yr + 2 * pairs, xr + 2 * pairs, (features - 2 * pairs) * sizeof(real));
        }
    });
}

END_KERNELS
