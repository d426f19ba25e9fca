// y = act(x W' + b) with packed weights: (filters / 16, features, 16).
//
// The register tile is P rows x Q blocks of filters: input values are broadcast, weights are whole
// vectors. A result is one chain of multiply-adds from the bias in the order of the features,
// whatever tile it falls into: it depends neither on the number of rows nor on threads.
//
// Few rows are a stream of the weights, once: the fewer rows a tile has, the more blocks it reads
// side by side, so that the latency of its chains is hidden. Many rows are taken in panels whose
// copy fills half of the second-level cache: a few blocks of weights at a time pass along a panel's
// tiles, which meanwhile fetch the weights that come next and the lines of y that they will write.
// (Each store of a tile goes to another page and would wait for its line.) Where all weights stay in
// that cache, a tile meets them all and fetches the rows of the next one. Sums that are not complete
// wait in y, which loses nothing. Where there is one panel, threads share the filters alone, so that
// each weight comes from memory once. The rows of a tile are copied side by side first: their
// distance in memory, often a power of two, would put them into few sets of the cache, and as a
// constant it costs no address arithmetic.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
#if defined(__AVX512F__)
constexpr int MOST_ROWS = 14;
constexpr int most_blocks(int rows) { return rows <= 3 ? 8 : rows <= 6 ? 4 : 2; }   // 7 x 4 leave no register to x
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int MOST_ROWS = 6;
constexpr int most_blocks(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
#else
constexpr int MOST_ROWS = 3;
constexpr int most_blocks(int rows) { return rows == 1 ? 2 : 1; }
#endif
// Features of a panel, and of a piece of it that meets a block of weights. Where there are few
// registers a tile reads its weights often, and pieces are short, so that they stay in the nearest cache.
#if defined(__AVX512F__)
constexpr i64 PANEL = 1024, PIECE = 1024;
#else
constexpr i64 PANEL = 1024, PIECE = 256;
#endif
constexpr i64 PITCH = PANEL + 80;              // from one copied row to the next: a tile's meet all sets
constexpr i64 PANEL_VALUES = 128 << 10, PANEL_ROWS = 18 * MOST_ROWS;   // at most
constexpr i64 FEW_WEIGHTS = 64 << 10;          // values that stay in the second-level cache beside a tile's
constexpr i64 TILE_DEPTH = 512, TILE_WEIGHTS = 128 << 10;   // features, weights that a tile meets at a time
constexpr i64 STEP = 8, LONG = 48;             // features between two fetches; of a tile that has any
constexpr i64 SIDE = most_blocks(MOST_ROWS), MOST_LINES = MOST_ROWS * SIDE;   // a line is a block of a row

i64 least(i64 a, i64 b) { return a < b ? a : b; }
i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

struct Sums {
    const real *weight, *bias;   // of the first block; `filter` values from one block's weights to the next
    real*       y;
    i64         filter, pitch, depth, left;   // pitch: of y's rows; left: filters that are there
    bool        first, last;     // piece of the features
    int         results;         // lines of y that are fetched a step
    i64         lines = 0;       // ... and lines from `next` on, which are wanted later
    const real* next  = nullptr;
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
    const real *w = s.weight, *next = s.next;
    const i64 step = s.results || s.lines ? STEP : s.depth;
    int line = 0;
    for (i64 c = 0; c < s.depth;) {
        const i64 stop = least(c + step, s.depth);
        for (int i = 0; i < s.results && line < P * Q; ++i, ++line)
            __builtin_prefetch(y + line / Q * pitch + line % Q * BLOCK, 1);
        for (i64 i = 0; i < s.lines; ++i, next += BLOCK) __builtin_prefetch(next);
        for (; c < stop; ++c, w += BLOCK) {
            V wv[N];
            #pragma GCC unroll 32
            for (int v = 0; v < N; ++v) wv[v] = load(w + v / BV * s.filter + v % BV * LANES);
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p)
                #pragma GCC unroll 32
                for (int v = 0; v < N; ++v) acc[p][v] += x[p * PITCH + c] * wv[v];
        }
    }
    const Clamp clamp = s.last ? Clamp(e) : Clamp();
    #pragma GCC unroll 16
    for (int p = 0; p < P; ++p)
        #pragma GCC unroll 32
        for (int v = 0; v < N; ++v) store(y + p * pitch + v * LANES, clamp(acc[p][v]));
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
        s.next += ceil_div(s.depth, STEP) * s.lines * BLOCK;
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
                from + depth == features(),
                depth < LONG ? 0 : (int)(MOST_LINES * STEP / depth) + 1};
    }

    void one_row(i64 begin, i64 end) const {
        across(x.data, 1, begin, end, sums(0, begin, 0, features()), e);
    }

    // Features [from, from + depth) of rows [begin, end), as tiles read them
    void copy_rows(i64 begin, i64 end, i64 from, i64 depth, real* to) const {
        for (i64 r = begin; r < end; ++r, to += PITCH)
            std::memcpy(to, x.data + r * features() + from, depth * sizeof(real));
    }

    // Rows [row, stop), a tile after the other, for blocks [begin, end)
    void tiles(i64 row, i64 stop, i64 begin, i64 end) const {
        alignas(64) real copy[MOST_ROWS * PITCH];
        const i64 count = ceil_div(stop - row, MOST_ROWS);
        for (i64 from = 0; from < features() || from == 0; from += TILE_DEPTH) {
            const i64 depth = least(features() - from, TILE_DEPTH);
            const i64 chunk = 8 + TILE_WEIGHTS / (8 * BLOCK * (depth + 1)) * 8;
            for (i64 block = begin; block < end; block += chunk)
                for (i64 i = 0; i < count; ++i) {
                    const i64 first = row + (stop - row) * i / count;
                    const i64 last = row + (stop - row) * (i + 1) / count;
                    copy_rows(first, last, from, depth, copy);
                    Sums s = sums(first, block, from, depth);
                    if (last < stop && depth == features() && depth >= LONG) {   // the next tile's rows
                        const i64 steps = ceil_div(least(end - block, chunk), SIDE) * ceil_div(depth, STEP);
                        s.next = x.data + last * depth;
                        s.lines = ceil_div(MOST_ROWS * depth, BLOCK * steps);
                    }
                    if (count == 1) s.results = 0;   // what bounds a single tile is the stream of its weights
                    across(copy, last - first, block, least(end, block + chunk), s, e);
                }
        }
    }

    // Weights that tile i of `tiles` fetches, `steps` long: its part of `depth` features from `from` on of
    // `blocks` blocks, which are SIDE at most
    void fetch(Sums& s, i64 i, i64 tiles, i64 steps, i64 block, i64 blocks, i64 from, i64 depth) const {
        const i64 lines = ceil_div(depth, tiles / SIDE * steps + 1), done = i / SIDE * steps * lines;
        if (i % SIDE >= blocks || done >= depth) return;
        s.lines = lines;
        s.next = weight.data + ((block + i % SIDE) * features() + from + done) * BLOCK;
    }

    // Rows [row, stop), whose features [from, from + depth) were copied, for blocks [begin, end)
    void panel(const real* copy, i64 row, i64 stop, i64 from, i64 depth, i64 begin, i64 end) const {
        const i64 tiles = ceil_div(stop - row, MOST_ROWS);
        for (i64 block = begin; block < end; block += SIDE)
            for (i64 at = 0; at < depth || at == 0; at += PIECE) {
                const i64 piece = least(depth - at, PIECE);
                const bool onward = at + piece < depth;   // to more features, or to the blocks beside
                const i64 next = onward ? block : block + SIDE, next_at = onward ? at + piece : 0;
                for (i64 i = 0; i < tiles; ++i) {
                    const i64 first = (stop - row) * i / tiles, rows = (stop - row) * (i + 1) / tiles - first;
                    Sums s = sums(row + first, block, from + at, piece);
                    fetch(s, i, tiles, ceil_div(piece, STEP), next, least(end - next, SIDE), from + next_at,
                          least(depth - next_at, PIECE));
                    across(copy + first * PITCH + at, rows, block, least(end, block + SIDE), s, e);
                }
            }
    }
};
}  // namespace

void linear_packed(In<real> x, In<real> weight, In<real> bias, Act act, Out<real> y) {
    const Linear layer{x, weight, bias, y, Epilogue(act)};
    const i64 rows = x.dim(0), features = x.dim(1), blocks = weight.dim(0);
    const i64 work = features * BLOCK * rows + 1;   // of one block
    const i64 side = most_blocks((int)least(rows ? rows : 1, MOST_ROWS)), groups = ceil_div(blocks, side);
    const i64 grain = 1 + 40000 / (work * side);   // of groups
    if (rows <= MOST_ROWS) {
        parallel_for(rows ? groups : 0, grain, [&](i64 begin, i64 end) {
            if (rows == 1) layer.one_row(begin * side, least(blocks, end * side));
            else layer.tiles(0, rows, begin * side, least(blocks, end * side));
        });
        return;
    }
    const i64 pieces = features ? ceil_div(features, PANEL) : 1;
    i64 ranges = ceil_div(rows, least(PANEL_ROWS, PANEL_VALUES / (ceil_div(features, pieces) + 1)));
    const bool few_weights = features * blocks * BLOCK <= FEW_WEIGHTS && features <= TILE_DEPTH;
    if (!few_weights && ranges == 1) {
        Scratch<real> copy(rows * PITCH);
        for (i64 i = 0; i < pieces; ++i) {
            const i64 from = features * i / pieces, depth = features * (i + 1) / pieces - from;
            parallel_for(rows, 1 + 65536 / (depth + 1), [&](i64 begin, i64 end) {
                layer.copy_rows(begin, end, from, depth, copy + begin * PITCH);
            });
            parallel_for(groups, grain, [&](i64 begin, i64 end) {
                layer.panel(copy, 0, rows, from, depth, begin * side, least(blocks, end * side));
            });
        }
        return;
    }
    // Tasks: ranges of rows x chunks of filters, more of them where there are more threads to feed
    const i64 threads = blocks * work < 40000 ? 1 : threads_now(), wanted = threads > 1 ? 6 * threads : 1;
    const i64 chunks = least(ceil_div(wanted, ranges), ceil_div(blocks, 16));
    if (ranges * chunks < wanted) ranges = least(ceil_div(rows, MOST_ROWS), ceil_div(wanted, chunks));
    parallel_tasks(ranges * chunks, [&](i64 i) {
        const i64 range = i / chunks, chunk = i % chunks;
        const i64 row = rows * range / ranges, stop = rows * (range + 1) / ranges;
        const i64 begin = groups * chunk / chunks * side;
        const i64 end = least(blocks, groups * (chunk + 1) / chunks * side);
        if (few_weights) return layer.tiles(row, stop, begin, end);
        Scratch<real> copy((stop - row) * PITCH);
        for (i64 k = 0; k < pieces; ++k) {
            const i64 from = features * k / pieces, depth = features * (k + 1) / pieces - from;
            layer.copy_rows(row, stop, from, depth, copy);
            layer.panel(copy, row, stop, from, depth, begin, end);
        }
    });
}
END_KERNELS
