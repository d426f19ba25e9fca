// y = act(x W' + b) with packed weights: (filters / 16, features, 16).
//
// The register tile is P rows x Q blocks of filters: input values are broadcast, weights are whole
// vectors. A result is one chain of multiply-adds from the bias in the order of the features,
// whatever tile it falls into: it depends neither on the number of rows nor on threads.
//
// Few rows are a stream of the weights, once: the fewer rows a tile has, the more blocks it reads
// side by side, so that the latency of its chains is hidden. Many rows meet a chunk of weights
// (DEPTH features x CHUNK blocks) that stays in the second-level cache; sums that are not complete
// wait in y, which loses nothing. Between the two, all rows fit into the second-level cache, and
// threads share the filters alone, so that each weight still comes from memory once. The rows of a
// tile are copied side by side first: their distance in memory, often a power of two, would put them
// into few sets of the cache, and as a constant it costs no address arithmetic.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
#if defined(__AVX512F__)
constexpr int MOST_ROWS = 14;
constexpr int most_blocks(int rows) { return rows <= 3 ? 8 : rows <= 7 ? 4 : 2; }
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int MOST_ROWS = 6;
constexpr int most_blocks(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
#else
constexpr int MOST_ROWS = 3;
constexpr int most_blocks(int rows) { return rows == 1 ? 2 : 1; }
#endif
constexpr i64 DEPTH = 512, PITCH = DEPTH + 16;   // features of a chunk, and from one copied row to the next
constexpr i64 CHUNK = 16;                        // blocks of filters of a chunk
constexpr i64 RANGE = 18 * MOST_ROWS;            // rows of a task
constexpr i64 FEW_VALUES = 128 << 10;            // of all rows: half of a second-level cache

i64 least(i64 a, i64 b) { return a < b ? a : b; }
i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

struct Sums {
    const real *weight, *bias;   // of the first block; `filter` values from one block's weights to the next
    real*       y;
    i64         filter, pitch, depth, left;   // pitch: of y's rows; left: filters that are there
    bool        first, last;     // piece of the features
};

// P rows from `x` against Q blocks of filters
template <int P, int Q> void linear_tile(const real* x, const Sums& s, const Epilogue& e) {
    constexpr int N = Q * BV;
    alignas(64) real edge[P][Q * BLOCK];   // where the last block is not whole
    const bool ragged = s.left < Q * BLOCK;
    real* const y = ragged ? edge[0] : s.y;
    const i64 pitch = ragged ? Q * BLOCK : s.pitch;
    V acc[P][N];
    if (s.first) {
        #pragma GCC unroll 32
        for (int v = 0; v < N; ++v) {
            const V start = s.bias ? load(s.bias + v * LANES) : V{};
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p) acc[p][v] = start;
        }
    } else {
        if (ragged)
            for (int p = 0; p < P; ++p) std::memcpy(edge[p], s.y + p * s.pitch, s.left * sizeof(real));
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p)
            #pragma GCC unroll 32
            for (int v = 0; v < N; ++v) acc[p][v] = load(y + p * pitch + v * LANES);
    }
    const real* w = s.weight;
    for (i64 c = 0; c < s.depth; ++c, w += BLOCK) {
        V wv[N];
        #pragma GCC unroll 32
        for (int v = 0; v < N; ++v) wv[v] = load(w + v / BV * s.filter + v % BV * LANES);
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p)
            #pragma GCC unroll 32
            for (int v = 0; v < N; ++v) acc[p][v] += x[p * PITCH + c] * wv[v];
    }
    #pragma GCC unroll 16
    for (int p = 0; p < P; ++p)
        #pragma GCC unroll 32
        for (int v = 0; v < N; ++v) store(y + p * pitch + v * LANES, s.last ? e.clamp(acc[p][v]) : acc[p][v]);
    if (s.last)
        for (int p = 0; p < P; ++p) e.finish(y + p * pitch, Q * BLOCK);
    if (ragged)
        for (int p = 0; p < P; ++p) std::memcpy(s.y + p * s.pitch, edge[p], s.left * sizeof(real));
}

using Tile = void (*)(const real*, const Sums&, const Epilogue&);
template <int P, int Q> constexpr Tile tile_if() {
    if constexpr (Q <= most_blocks(P)) return linear_tile<P, Q>;
    else return nullptr;
}
template <int Q, int... P> Tile tile_of(i64 rows, std::integer_sequence<int, P...>) {
    static constexpr Tile table[] = {tile_if<P + 1, Q>()...};
    return table[rows - 1];
}

// All blocks [begin, end) for one tile of rows: as many at a time as its registers hold
void across(const real* x, i64 rows, i64 begin, i64 end, Sums s, const Epilogue& e) {
    constexpr auto all = std::make_integer_sequence<int, MOST_ROWS>{};
    const int most = most_blocks((int)rows);
    for (i64 block = begin; block < end;) {
        int q = most;
        while (q > end - block) q /= 2;
        (q == 8   ? tile_of<8>(rows, all)
         : q == 4 ? tile_of<4>(rows, all)
         : q == 2 ? tile_of<2>(rows, all)
                  : tile_of<1>(rows, all))(x, s, e);
        block += q;
        s.weight += q * s.filter;
        s.y += q * BLOCK;
        s.left -= q * BLOCK;
        if (s.bias) s.bias += q * BLOCK;
    }
}

struct Linear {
    In<real> x, weight, bias;
    Out<real> y;
    Epilogue e;
    i64 features() const { return x.dim(1); }
    i64 filters() const { return y.dim(1); }

    Sums sums(i64 row, i64 block, i64 from, i64 depth) const {
        return {weight.data + (block * features() + from) * BLOCK,
                bias ? bias.data + block * BLOCK : nullptr,
                y.data + row * filters() + block * BLOCK,
                features() * BLOCK,
                filters(),
                depth,
                filters() - block * BLOCK,
                from == 0,
                from + depth == features()};
    }

    void one_row(i64 begin, i64 end) const {
        across(x.data, 1, begin, end, sums(0, begin, 0, features()), e);
    }

    i64 pieces() const { return features() ? ceil_div(features(), DEPTH) : 1; }   // of the features

    // Rows [begin, end) of all pieces of the features, as tiles read them
    void copy_rows(i64 begin, i64 end, real* to) const {
        for (i64 piece = 0; piece < pieces(); ++piece)
            for (i64 r = begin; r < end; ++r)
                std::memcpy(to + (piece * x.dim(0) + r) * PITCH, x.data + r * features() + piece * DEPTH,
                            least(features() - piece * DEPTH, DEPTH) * sizeof(real));
    }

    // All rows, copied before, for blocks [begin, end)
    void copied_rows(const real* copy, i64 begin, i64 end) const {
        const i64 all = x.dim(0), tiles = ceil_div(all, MOST_ROWS), side = most_blocks(MOST_ROWS);
        for (i64 block = begin; block < end; block += side)
            for (i64 piece = 0; piece < pieces(); ++piece) {
                const i64 from = piece * DEPTH, depth = least(features() - from, DEPTH);
                for (i64 i = 0; i < tiles; ++i) {
                    const i64 first = all * i / tiles, rows = all * (i + 1) / tiles - first;
                    across(copy + (piece * all + first) * PITCH, rows, block, least(end, block + side),
                           sums(first, block, from, depth), e);
                }
            }
    }

    // Rows [row, stop) for blocks [begin, end)
    void many_rows(i64 row, i64 stop, i64 begin, i64 end) const {
        alignas(64) real copy[MOST_ROWS * PITCH];
        for (i64 from = 0; from < features() || from == 0; from += DEPTH) {
            const i64 depth = least(features() - from, DEPTH), tiles = ceil_div(stop - row, MOST_ROWS);
            for (i64 block = begin; block < end; block += CHUNK)
                for (i64 i = 0; i < tiles; ++i) {
                    const i64 first = row + (stop - row) * i / tiles,
                              rows = row + (stop - row) * (i + 1) / tiles - first;
                    for (i64 r = 0; r < rows; ++r)
                        std::memcpy(copy + r * PITCH, x.data + (first + r) * features() + from,
                                    depth * sizeof(real));
                    across(copy, rows, block, least(end, block + CHUNK), sums(first, block, from, depth), e);
                }
        }
    }
};
}  // namespace

void linear_packed(In<real> x, In<real> weight, In<real> bias, Act act, Out<real> y) {
    const Linear layer{x, weight, bias, y, Epilogue(act)};
    const i64 rows = x.dim(0), blocks = weight.dim(0), work = x.dim(1) * BLOCK * rows + 1;   // of one block
    if (rows <= MOST_ROWS) {
        const i64 side = most_blocks((int)(rows ? rows : 1)), groups = ceil_div(blocks, side);
        parallel_for(rows ? groups : 0, 1 + 40000 / (work * side), [&](i64 begin, i64 end) {
            if (rows == 1) layer.one_row(begin * side, least(blocks, end * side));
            else layer.many_rows(0, rows, begin * side, least(blocks, end * side));
        });
        return;
    }
    if (blocks * work < 40000) return layer.many_rows(0, rows, 0, blocks);
    if (rows * x.dim(1) <= FEW_VALUES && x.dim(1) >= 32) {
        Scratch<real> copy(layer.pieces() * rows * PITCH);
        parallel_for(rows, 1 + 65536 / x.dim(1), [&](i64 begin, i64 end) { layer.copy_rows(begin, end, copy); });
        const i64 side = most_blocks(MOST_ROWS), groups = ceil_div(blocks, side);
        parallel_for(groups, 1 + 40000 / (work * side), [&](i64 begin, i64 end) {
            layer.copied_rows(copy, begin * side, least(blocks, end * side));
        });
        return;
    }
    // Tasks: ranges of rows x chunks of filters, more of them where there are more threads to feed
    const i64 chunks = ceil_div(blocks, CHUNK), wanted = 3 * threads_now();
    i64 ranges = ceil_div(rows, RANGE);
    if (threads_now() > 1 && ranges * chunks < wanted)
        ranges = least(ceil_div(rows, MOST_ROWS), ceil_div(wanted, chunks));
    parallel_tasks(ranges * chunks, [&](i64 i) {
        const i64 range = i / chunks, chunk = i % chunks;
        layer.many_rows(rows * range / ranges, rows * (range + 1) / ranges, blocks * chunk / chunks,
                        blocks * (chunk + 1) / chunks);
    });
}
END_KERNELS
