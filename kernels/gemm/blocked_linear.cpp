// y = act(x W' + b) with packed weights: (filters / 16, features, 16).
//
// With one row this is a stream of the weights, once: a thread reads several blocks of filters side by side, so that several streams are in
// flight. With more rows the same pass serves a register tile of rows. A result is the sum of four chains over every fourth feature, joined in
// one order, for any number of rows and threads.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
constexpr int CHAINS = 4;
#if defined(__AVX512F__)
constexpr int MOST_ROWS = 6;
#elif defined(__AVX2__)
constexpr int MOST_ROWS = 1;
#else
constexpr int MOST_ROWS = 1;
#endif

// ROWS rows from `x` against one block of filters
template <int ROWS> void linear_tile(const real* x, i64 features, const real* w, const real* bias, const Epilogue& e, real (*out)[BLOCK]) {
    for (int part = 0; part < BLOCK; part += LANES) {
        V acc[ROWS][CHAINS] = {};
        i64 c = 0;
        for (; c + CHAINS <= features; c += CHAINS)
            #pragma GCC unroll 4
            for (int j = 0; j < CHAINS; ++j) {
                const V wv = load(w + (c + j) * BLOCK + part);
                #pragma GCC unroll 8
                for (int r = 0; r < ROWS; ++r) acc[r][j] += x[r * features + c + j] * wv;
            }
        for (; c < features; ++c) {
            const V wv = load(w + c * BLOCK + part);
            for (int r = 0; r < ROWS; ++r) acc[r][0] += x[r * features + c] * wv;
        }
        for (int r = 0; r < ROWS; ++r) {
            const V sum = (acc[r][0] + acc[r][1]) + (acc[r][2] + acc[r][3]);
            store(out[r] + part, e.clamp(bias ? sum + load(bias + part) : sum));
        }
    }
    for (int r = 0; r < ROWS; ++r) e.finish(out[r], BLOCK);
}

using Tile = void (*)(const real*, i64, const real*, const real*, const Epilogue&, real (*)[BLOCK]);
template <int... R> Tile tile_of(i64 rows, std::integer_sequence<int, R...>) {
    static constexpr Tile table[] = {linear_tile<R + 1>...};
    return table[rows - 1];
}
}  // namespace

void linear_packed(In<real> x, In<real> weight, In<real> bias, i64 activation, double a, double b, Out<real> y) {
    const Epilogue e(activation, a, b);
    const i64 rows = x.dim(0), features = x.dim(1), filters = y.dim(1);
    parallel_for(weight.dim(0), 1 + 40000 / (features * BLOCK * rows + 1), [&](i64 begin, i64 end) {
        alignas(64) real out[MOST_ROWS][BLOCK];
        for (i64 block = begin; block < end; ++block) {
            const real* w = weight.data + block * features * BLOCK;
            const i64 count = filters - block * BLOCK < BLOCK ? filters - block * BLOCK : BLOCK;
            for (i64 first = 0, tiles = (rows + MOST_ROWS - 1) / MOST_ROWS, i = 0; i < tiles; ++i) {
                const i64 last = rows * (i + 1) / tiles;
                tile_of(last - first, std::make_integer_sequence<int, MOST_ROWS>{})(x.data + first * features, features, w,
                                                                                  bias ? bias.data + block * BLOCK : nullptr, e, out);
                for (i64 r = first; r < last; ++r) std::memcpy(y.data + r * filters + block * BLOCK, out[r - first], count * sizeof(real));
                first = last;
            }
        }
    });
}
END_KERNELS
