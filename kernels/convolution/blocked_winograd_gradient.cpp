// The weight gradient of a 3x3 convolution of stride 1 by Winograd's algorithm: dw is the
// derivative of sum(dy y) with y = A^T [(G w G^T) . (B^T d B)] A (winograd_transform.h), so
//   dw = G^T [ sum over tiles of (A dy A^T) . (B^T d B) ] G,
// (m + 2)^2 multiplications a tile of m x m outputs instead of 9 m^2. At each point that is a
// matrix product, filters x channels, whose reduction runs over the tiles of all samples; both
// operands leave their transforms in the order in which the register tile reads them.
//
// An element of dw sums products of one channel of x and one of dy, so pairs of channels do not
// meet; but it errs by all values of a tile, not only by the pairs it sums. What an outlier would
// bury so, where the values that it is multiplied with are zeros, a direct gradient keeps. So a
// tile whose mean square, in x or in dy, is above OUTLIER times the geometric mean of the sample's
// pixels (the sums of squares of their channels, zeros left out), or no finite number, is left out,
// and its products are summed directly. An unevenness that large among numbers of one kind means a
// few values that decide everything; sparse gradients stay below it.
//
// Tiles are taken as many at a time as stay in cache, rows of tiles of all samples in order; sums
// grow in that order whatever the threads. Where one lot holds all tiles, the sums of some filters
// and channels at all points are made and transformed at once, and never leave the cache.
#include "blocked/layout.h"
#include "stride_two.h"
#include "winograd_cost.h"
#include "winograd_gradient.h"
#include "winograd_uneven.h"
#include "gemm/gemm.h"

BEGIN_KERNELS
namespace {
// of transformed tiles, both sides: more of them where the sums, which every lot adds to, are larger
constexpr i64 POINTS_BYTES = 2 << 20, MOST_POINTS_BYTES = 20 << 20;
constexpr real OUTLIER = 4096;           // 64^2
constexpr i64 MOST_DIRECT = 8;          // an eighth of the tiles: with more, all is done directly
constexpr double SUMS = 20;   // 16 sums written, read and transformed, in the units of winograd_cost.h

// Some samples in blocks, and how they are cut into tiles.
struct Maps {
    InMap<real> x, dy;
    i64 pad_h, pad_w, tiles_h, tiles_w;
};

// The geometric mean of `n` energies, zeros left out: a float's bits are nearly its logarithm.
real typical_energy(const real* energy, i64 n) {
    i64 bits = 0, count = 0;
    for (i64 i = 0; i < n; ++i) {
        std::int32_t b;
        std::memcpy(&b, energy + i, sizeof b);
        b &= 0x7fffffff;
        bits += b, count += b != 0;
    }
    const std::int32_t mean = count ? (std::int32_t)(bits / count) : 0;
    real typical;
    std::memcpy(&typical, &mean, sizeof typical);
    return typical;
}

// Adds to `left_out` the tiles that hold outliers: tile (i, j) is the `side` x `side` pixels of the
// map from (i step - pad_h, j step - pad_w) on.
void find_outliers(const InMap<real>& map, i64 channels, i64 side, i64 step, i64 pad_h, i64 pad_w,
                   i64 tiles_h, i64 tiles_w, std::uint8_t* left_out) {
    const i64 pitch = ceil_div(map.w, LANES) * LANES;
    Scratch<real> energy(map.n * map.h * pitch), typical(map.n);
    parallel_for(map.n * map.h, 1 + 65536 / (map.w * channels + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row)
            row_energies(map, row / map.h, row % map.h, channels, 0, map.w, energy + row * pitch);
    });
    parallel_for(map.n, 1 + 16384 / (map.h * pitch + 1), [&](i64 begin, i64 end) {
        // beyond a row's end are zeros
        for (i64 n = begin; n < end; ++n)
            typical[n] = typical_energy(energy + n * map.h * pitch, map.h * pitch);
    });
    parallel_for(map.n * tiles_h, 1 + 4096 / (tiles_w * side * side), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row)
            for (i64 tile = 0; tile < tiles_w; ++tile) {
                const i64 n = row / tiles_h, y0 = row % tiles_h * step - pad_h, x0 = tile * step - pad_w;
                real sum = 0;
                for (i64 y = clamp(y0, 0, map.h); y < clamp(y0 + side, 0, map.h); ++y)
                    for (i64 x = clamp(x0, 0, map.w); x < clamp(x0 + side, 0, map.w); ++x)
                        sum += energy[(n * map.h + y) * pitch + x];
                // also if it is NaN
                if (!(sum < INFINITE && sum <= OUTLIER * (side * side) * typical[n]))
                    left_out[row * tiles_w + tile] = 1;
            }
    });
}

// The transformed tiles of rows [first, last) of tiles: (point, block, tile, 16), x's and dy's.
struct Points {
    i64 first, last, tiles, x_point, dy_point;
    real *x, *dy;
};

// A row of tiles of one block of x ...
template <int TILE, int TAPS> void transform_x(const Maps& maps, const Points& p, i64 row, i64 block) {
    constexpr i64 RUN = STRIP / TILE;
    const i64 n = row / maps.tiles_h, down = row % maps.tiles_h;
    const Plane plane{maps.x.at(n, block), maps.x.h, maps.x.w};
    i64 place[RUN];
    for (i64 across = 0; across < maps.tiles_w; across += RUN) {
        const i64 count = at_most(maps.tiles_w - across, RUN);
        for (i64 i = 0; i < count; ++i)
            place[i] = (block * p.tiles + (row - p.first) * maps.tiles_w + across + i) * BLOCK;
        transform_tiles<TILE, TAPS>(plane, down * TILE - maps.pad_h, across * TILE - maps.pad_w, place, count, p.x,
                                    p.x_point);
    }
}

// ... and of dy, which ends where its plane does.
template <int TILE, int TAPS> void transform_dy(const Maps& maps, const Points& p, i64 row, i64 block) {
    constexpr int SIDE = TILE + TAPS - 1;
    const i64 n = row / maps.tiles_h, top = row % maps.tiles_h * TILE, h = maps.dy.h - top, width = maps.dy.w;
    const real* plane = maps.dy.at(n, block) + top * width * BLOCK;
    for (i64 across = 0; across < maps.tiles_w; ++across) {
        const i64 w = width - across * TILE;
        real* to = p.dy + (block * p.tiles + (row - p.first) * maps.tiles_w + across) * BLOCK;
        for (int part = 0; part < BLOCK; part += LANES) {
            const real* from = plane + across * TILE * BLOCK + part;
            V columns[SIDE][TILE];   // A dy
            #pragma GCC unroll 4
            for (int j = 0; j < TILE; ++j) {
                V y[TILE], m[SIDE];
                #pragma GCC unroll 4
                for (int i = 0; i < TILE; ++i)
                    y[i] = i < h && j < w ? load(from + (i * width + j) * BLOCK) : V{};
                transform_gradient<TILE, TAPS>(y, m);
                #pragma GCC unroll 8
                for (int i = 0; i < SIDE; ++i) columns[i][j] = m[i];
            }
            #pragma GCC unroll 8
            for (int i = 0; i < SIDE; ++i) {
                V m[SIDE];
                transform_gradient<TILE, TAPS>(columns[i], m);
                #pragma GCC unroll 8
                for (int j = 0; j < SIDE; ++j) store(to + (i * SIDE + j) * p.dy_point + part, m[j]);
            }
        }
    }
}

// Tiles that are left out get zeros on both sides: row `row` of tiles, in all blocks.
void clear(const Points& p, i64 points, i64 row, i64 tiles_w, i64 in_blocks, i64 out_blocks,
           const std::uint8_t* left_out) {
    for (i64 tile = 0; tile < tiles_w; ++tile) {
        if (!left_out[row * tiles_w + tile]) continue;
        const i64 at = (row - p.first) * tiles_w + tile;
        for (i64 point = 0; point < points; ++point) {
            for (i64 block = 0; block < in_blocks; ++block)
                std::memset(p.x + point * p.x_point + (block * p.tiles + at) * BLOCK, 0,
                            BLOCK * sizeof(real));
            for (i64 block = 0; block < out_blocks; ++block)
                std::memset(p.dy + point * p.dy_point + (block * p.tiles + at) * BLOCK, 0,
                            BLOCK * sizeof(real));
        }
    }
}

// sum (block of channels, tap, 16) of filter k += dy x over the outputs of one tile, whose first is
// (top, left); outside the image x is 0.
template <int TILE, int TAPS>
void add_products(const Maps& maps, i64 n, i64 top, i64 left, i64 k, i64 in_blocks, real* sum) {
    const real* dy = maps.dy.at(n, k / BLOCK) + k % BLOCK;
    for (i64 block = 0; block < in_blocks; ++block, sum += TAPS * TAPS * BLOCK) {
        const real* x = maps.x.at(n, block);
        for (int tap = 0; tap < TAPS * TAPS; ++tap)
            for (i64 i = top; i < at_most(top + TILE, maps.dy.h); ++i)
                for (i64 j = left; j < at_most(left + TILE, maps.dy.w); ++j) {
                    const i64 h = i - maps.pad_h + tap / TAPS, w = j - maps.pad_w + tap % TAPS;
                    const bool inside = h >= 0 && h < maps.x.h && w >= 0 && w < maps.x.w;
                    const real* from = inside ? x + (h * maps.x.w + w) * BLOCK : zero_row;
                    const real g = dy[(i * maps.dy.w + j) * BLOCK];
                    for (int part = 0; part < BLOCK; part += LANES)
                        store(sum + tap * BLOCK + part,
                              load(sum + tap * BLOCK + part) + g * load(from + part));
                }
    }
}

// sums (filters x channels, `row` values a row) += or, if not `begun`, = dy^T x over `tiles` tiles:
// ROWS filters, NV vectors of channels at x[v].
template <int NV>
void multiply(const real* dy, const real* const (&x)[VECTORS], i64 tiles, bool begun, real* sums, i64 row) {
    V acc[ROWS][NV];
    #pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[i][v] = begun ? load(sums + i * row + v * LANES) : V{};
    for (i64 t = 0; t < tiles; ++t, dy += BLOCK) {
        V b[NV];
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) b[v] = load(x[v] + t * BLOCK);
        #pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i)
            #pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[i][v] += dy[i] * b[v];
    }
    #pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) store(sums + i * row + v * LANES, acc[i][v]);
}

// One point: vectors [first, first + count) of channels (count at most VECTORS) and filters [k, last).
// sums: of the first of both.
void multiply_point(const Points& p, i64 point, i64 first, int count, i64 k, i64 last, bool begun, real* sums,
                    i64 row) {
    const real* x[VECTORS];
    for (int v = 0; v < VECTORS; ++v) {
        const i64 at = first + (v < count ? v : 0);
        x[v] = p.x + point * p.x_point + at / BV * p.tiles * BLOCK + at % BV * LANES;
    }
    const auto run = count == 3 ? multiply<3> : count == 2 ? multiply<2>
                                                           : multiply<1>;
    for (; k < last; k += ROWS, sums += ROWS * row)
        run(p.dy + point * p.dy_point + k / BLOCK * p.tiles * BLOCK + k % BLOCK, x, p.tiles, begun, sums, row);
}

// dw of filter k at the channels of a block, from their sums at all points and, unless that is
// null, those of tiles left out.
template <int TILE, int TAPS> void finish(const real* sums, i64 point, i64 channels, const real* direct, real* dw) {
    constexpr int SIDE = TILE + TAPS - 1;
    constexpr Winograd<TILE, TAPS> winograd;
    double g[SIDE][TAPS];
    for (int i = 0; i < SIDE; ++i) winograd.filter_row(i, g[i]);
    real taps[TAPS * TAPS][BLOCK];
    for (int part = 0; part < BLOCK; part += LANES) {
        V rows[TAPS][SIDE] = {};   // G^T sums
        for (int i = 0; i < SIDE; ++i)
            for (int j = 0; j < SIDE; ++j) {
                const V sum = load(sums + (i * SIDE + j) * point + part);
                for (int r = 0; r < TAPS; ++r) rows[r][j] += real(g[i][r]) * sum;
            }
        for (int r = 0; r < TAPS; ++r)
            for (int s = 0; s < TAPS; ++s) {
                V tap{};
                for (int j = 0; j < SIDE; ++j) tap += real(g[j][s]) * rows[r][j];
                store(taps[r * TAPS + s] + part, tap);
            }
    }
    for (i64 c = 0; c < channels; ++c)
        for (int tap = 0; tap < TAPS * TAPS; ++tap)
            dw[c * (TAPS * TAPS) + tap] = direct ? taps[tap][c] + direct[tap * BLOCK + c] : taps[tap][c];
}

template <int TILE, int TAPS> class Sum {
    static constexpr i64 POINTS = (TILE + TAPS - 1) * (TILE + TAPS - 1);
    const Gradient3x3& g;
    const i64 in_blocks, out_blocks, row, point, tiles_h, tiles_w, all_rows, rows_together;
    const bool at_once;   // one lot
    // direct: of tiles left out, (filter, block of channels, tap, 16)
    Scratch<real> sums, x_points, dy_points, direct;
    bool begun = false;
    i64 direct_tiles = 0, added = 0;   // added: rows of tiles

public:
    Sum(const Gradient3x3& g)
        : g(g), in_blocks(blocks_of(g.xs.c)), out_blocks(blocks_of(g.ys.c)), row(in_blocks * BLOCK),
          point(odd_lines(out_blocks * BLOCK * in_blocks)), tiles_h(ceil_div(g.ys.h, TILE)),
          tiles_w(ceil_div(g.ys.w, TILE)), all_rows(g.xs.n * tiles_h),
          rows_together(clamp(clamp(2 * POINTS * point * (i64)sizeof(real), POINTS_BYTES, MOST_POINTS_BYTES) /
                                  (POINTS * (in_blocks + out_blocks) * BLOCK * (i64)sizeof(real) * tiles_w),
                              1, all_rows)),
          at_once(rows_together == all_rows), sums(at_once ? 0 : POINTS * point),
          x_points(POINTS * odd_lines(in_blocks * rows_together * tiles_w)),
          dy_points(POINTS * odd_lines(out_blocks * rows_together * tiles_w)),
          direct(g.ys.c * in_blocks * TAPS * TAPS * BLOCK) {}

    // False if too many tiles hold outliers.
    bool add(InMap<real> x, InMap<real> dy) {
        const Maps maps{x, dy, g.pad_h, g.pad_w, tiles_h, tiles_w};
        Scratch<std::uint8_t> left_out(x.n * tiles_h * tiles_w);
        std::memset(left_out, 0, x.n * tiles_h * tiles_w);
        find_outliers(x, g.xs.c, TILE + TAPS - 1, TILE, g.pad_h, g.pad_w, tiles_h, tiles_w, left_out);
        find_outliers(dy, g.ys.c, TILE, TILE, 0, 0, tiles_h, tiles_w, left_out);
        if (!add_directly(maps, left_out)) return false;
        if (at_once) {
            transform(maps, left_out, 0, x.n * tiles_h, all_points(), added);
            added += x.n * tiles_h;
            return true;
        }
        for (i64 first = 0; first < x.n * tiles_h; first += rows_together) {
            const i64 last = at_most(first + rows_together, x.n * tiles_h), rows = last - first,
                      tiles = rows * tiles_w;
            const Points p{
                first, last, tiles, odd_lines(in_blocks * tiles), odd_lines(out_blocks * tiles),
                x_points, dy_points};
            transform(maps, left_out, first, last, p, 0);
            const i64 vectors = in_blocks * BV, parts = ceil_div(vectors, VECTORS);
            parallel_for(POINTS * parts, 1, [&](i64 begin, i64 end) {
                for (i64 i = begin; i < end; ++i) {
                    // of nearly equal width
                    const i64 at = vectors * (i % parts) / parts, to = vectors * (i % parts + 1) / parts;
                    multiply_point(p, i / parts, at, (int)(to - at), 0, out_blocks * BLOCK, begun,
                                   sums + i / parts * point + at * LANES, row);
                }
            });
            begun = true;
        }
        return true;
    }

    void write() const {
        if (at_once) return write_at_once();
        parallel_for(g.ys.c * in_blocks, 32, [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i) {
                const i64 k = i / in_blocks, c = i % in_blocks * BLOCK;
                finish<TILE, TAPS>(sums + k * row + c, point, at_most(g.xs.c - c, BLOCK),
                                   direct_tiles ? direct + i * TAPS * TAPS * BLOCK : nullptr,
                                   g.dw + (k * g.xs.c + c) * TAPS * TAPS);
            }
        });
    }

private:
    Points all_points() const {
        const i64 tiles = all_rows * tiles_w;
        return {0, all_rows, tiles, odd_lines(in_blocks * tiles), odd_lines(out_blocks * tiles), x_points, dy_points};
    }

    // Rows [first, last) of tiles of the maps, which are rows `to` and on of p.
    void transform(const Maps& maps, const std::uint8_t* left_out, i64 first, i64 last, Points p, i64 to) {
        bool any = false;
        for (i64 i = first * tiles_w; i < last * tiles_w; ++i) any = any || left_out[i];
        const i64 rows = last - first;
        p.first = first - to;
        parallel_for(rows * (in_blocks + out_blocks), 1 + 64 / tiles_w, [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i) {
                const i64 block = i / rows, at = first + i % rows;
                if (block < in_blocks) transform_x<TILE, TAPS>(maps, p, at, block);
                else transform_dy<TILE, TAPS>(maps, p, at, block - in_blocks);
            }
        });
        for (i64 row = first; any && row < last; ++row)
            clear(p, POINTS, row, tiles_w, in_blocks, out_blocks, left_out);
    }

    void write_at_once() const {
        constexpr i64 WIDE = VECTORS > BV ? VECTORS / BV : 1, ROW = WIDE * BLOCK, POINT = ROWS * ROW;
        const Points p = all_points();
        const i64 strips = ceil_div(in_blocks, WIDE), pieces = clamp(ceil_div(8, strips), 1, out_blocks);
        parallel_for(strips * pieces, 1, [&](i64 begin, i64 end) {
            Scratch<real> made(POINTS * POINT);
            for (i64 at = begin; at < end; ++at) {
                const i64 block = at / pieces * WIDE, blocks = at_most(WIDE, in_blocks - block), vectors = blocks * BV,
                          piece = at % pieces;
                for (i64 k = out_blocks * piece / pieces * BLOCK; k < out_blocks * (piece + 1) / pieces * BLOCK;
                     k += ROWS)
                    write_some(p, block, blocks, vectors, k, made);
            }
        });
    }

    // dw of filters k ... k + ROWS - 1 at `blocks` blocks of channels.
    void write_some(const Points& p, i64 block, i64 blocks, i64 vectors, i64 k, real* made) const {
        constexpr i64 WIDE = VECTORS > BV ? VECTORS / BV : 1, ROW = WIDE * BLOCK, POINT = ROWS * ROW;
        for (i64 point = 0; point < POINTS; ++point)
            for (i64 v = 0; v < vectors; v += VECTORS)
                multiply_point(p, point, block * BV + v, (int)at_most(VECTORS, vectors - v), k, k + ROWS, false,
                               made + point * POINT + v * LANES, ROW);
        for (i64 i = 0; i < ROWS && k + i < g.ys.c; ++i)
            for (i64 b = block; b < block + blocks; ++b) {
                const i64 c = b * BLOCK;
                finish<TILE, TAPS>(made + i * ROW + (b - block) * BLOCK, POINT, at_most(g.xs.c - c, BLOCK),
                                   direct_tiles ? direct + ((k + i) * in_blocks + b) * TAPS * TAPS * BLOCK : nullptr,
                                   g.dw + ((k + i) * g.xs.c + c) * TAPS * TAPS);
            }
    }

    bool add_directly(const Maps& maps, const std::uint8_t* left_out) {
        i64 count = 0;
        for (i64 i = 0; i < maps.x.n * tiles_h * tiles_w; ++i) count += left_out[i];
        if (!count) return true;
        if ((direct_tiles + count) * MOST_DIRECT > g.xs.n * tiles_h * tiles_w &&
            direct_tiles + count > MOST_DIRECT)
            return false;
        const bool fresh = !direct_tiles;
        direct_tiles += count;
        parallel_for(g.ys.c, 1, [&](i64 begin, i64 end) {
            for (i64 k = begin; k < end; ++k) {
                real* sum = direct + k * in_blocks * TAPS * TAPS * BLOCK;
                if (fresh) std::memset(sum, 0, in_blocks * TAPS * TAPS * BLOCK * sizeof(real));
                for (i64 i = 0; i < maps.x.n * tiles_h * tiles_w; ++i)
                    if (left_out[i])
                        add_products<TILE, TAPS>(maps, i / tiles_w / tiles_h, i / tiles_w % tiles_h * TILE,
                                                 i % tiles_w * TILE, k, in_blocks, sum);
            }
        });
        return true;
    }
};

i64 samples_together(const Extent& xs, const Extent& ys) {
    const i64 sample = (blocks_of(xs.c) * xs.spatial() + blocks_of(ys.c) * ys.spatial()) * BLOCK;
    return clamp(MAPS_BYTES / (sample * (i64)sizeof(real)), 1, xs.n);
}

// lay(n, count): samples n, n + 1, ... of x, (count, C, H, W).
template <int TILE, int TAPS, class Lay> bool run(const Gradient3x3& g, Lay lay) {
    const Extent &xs = g.xs, &ys = g.ys;
    const i64 x_sample = blocks_of(xs.c) * xs.spatial() * BLOCK,
              y_sample = blocks_of(ys.c) * ys.spatial() * BLOCK, together = samples_together(xs, ys);
    Scratch<real> x(together * x_sample), dy(together * y_sample);
    Sum<TILE, TAPS> sum(g);
    for (i64 n = 0; n < xs.n; n += together) {
        const i64 count = at_most(xs.n - n, together), x_shape[] = {count, xs.c, xs.h, xs.w},
                  dy_shape[] = {count, ys.c, ys.h, ys.w};
        to_blocked({lay(n, count), x_shape, 4},
                   {x, count, blocks_of(xs.c), xs.h, xs.w, x_sample});
        to_blocked({g.dy + n * ys.c * ys.spatial(), dy_shape, 4},
                   {dy, count, blocks_of(ys.c), ys.h, ys.w, y_sample});
        if (!sum.add({x, count, blocks_of(xs.c), xs.h, xs.w, x_sample},
                     {dy, count, blocks_of(ys.c), ys.h, ys.w, y_sample}))
            return false;
    }
    sum.write();
    return true;
}

double cost(const Gradient3x3& g, i64 tile, i64 taps, double transform) {
    const double in = blocks_of(g.xs.c), out = blocks_of(g.ys.c), side = tile + taps - 1,
                 tiles = g.xs.n * ceil_div(g.ys.h, tile) * ceil_div(g.ys.w, tile),
                 lines = side * side * g.xs.c * out;
    return MULTIPLY * tiles * lines + transform * tiles * (in + out) / 2 + SUMS * lines +
           COPY * (g.xs.n * g.xs.spatial() * in + g.xs.n * g.ys.spatial() * out);
}
}  // namespace

i64 winograd_tile(const Gradient3x3& g) {
    if (!__atomic_load_n(&pyops_winograd, __ATOMIC_RELAXED) || g.xs.c < BLOCK || g.ys.c < BLOCK) return 0;
    return best_tile(9. * g.xs.n * g.ys.spatial() * g.xs.c * blocks_of(g.ys.c),
                     [&](i64 tile) { return cost(g, tile, 3, TRANSFORM[tile / 4]); });
}

bool winograd_gradient(const Gradient3x3& g, i64 tile) {
    const auto there = [&](i64 n, i64) { return g.x + n * g.xs.c * g.xs.spatial(); };
    return tile == 2 ? run<2, 3>(g, there) : run<4, 3>(g, there);
}

bool winograd_stride_two_gradient(const StrideTwoGradient& g) {
    constexpr i64 TAPS = 4;   // 2x2, of a filter's 4x4
    const Extent half = halved(g.xs, g.ys);
    if (!__atomic_load_n(&pyops_winograd, __ATOMIC_RELAXED) || half.c < BLOCK || g.ys.c < BLOCK) return false;
    const double direct = double(TAPS) * g.ys.n * g.ys.spatial() * half.c * blocks_of(g.ys.c);
    Gradient3x3 on_parts{nullptr, g.dy, nullptr, half, g.ys, 0, 0};
    if (cost(on_parts, 4, 2, TRANSFORM_2X2) + COPY * half.n * half.spatial() * blocks_of(half.c) > GAIN * direct)
        return false;
    const i64 C = g.xs.c, together = samples_together(half, g.ys);
    Scratch<real> parts(together * half.c * half.spatial()), dw(g.ys.c * half.c * TAPS);
    on_parts.dw = dw;
    const auto lay = [&](i64 n, i64 count) {
        take_apart(g.x + n * C * g.xs.spatial(), g.xs, count, g.pad_h, g.pad_w, half.h, half.w, parts);
        return (const real*)parts;
    };
    if (!run<4, 2>(on_parts, lay)) return false;
    parallel_for(g.ys.c, 1 + 4096 / C, [&](i64 begin, i64 end) {
        for (i64 k = begin; k < end; ++k)
            for (i64 c = 0; c < C; ++c) {
                real* to = g.dw + (k * C + c) * 4 * TAPS;
                for (i64 a = 0; a < 2; ++a)
                    for (i64 b = 0; b < 2; ++b) {
                        const real* from = dw + (k * half.c + (2 * a + b) * C + c) * TAPS;
                        real* taps = to + 4 * a + b;
                        taps[0] = from[0], taps[2] = from[1], taps[8] = from[2], taps[10] = from[3];
                    }
            }
    });
    return true;
}
END_KERNELS
