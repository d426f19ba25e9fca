// A Winograd layer on maps: from the pixels of tiles to V, from M to the result, and which tiles are uneven
// (winograd_uneven.h). How tiles are shared out among threads is for blocked_winograd.cpp and
// blocked_winograd_grouped.cpp.
#pragma once
#include "winograd_batch.h"
#include "winograd_uneven.h"

namespace ISA::REAL_NAME {
struct Job {
    InMap<real> x, residual;
    OutMap<real> y;
    SquareFilters filters;
    const real *u, *bias;           // u: null where threads make it
    i64 channels, in_blocks, pad_h, pad_w;
    i64 rows, columns;              // of the result before pooling, as far as it is used
    i64 tiles_h, tiles_w, tiles;    // tiles: of all samples
    bool pool;
    Epilogue epilogue;
};

// Where a tile lies
struct TileAt {
    i64 n, down, across;
    TileAt(const Job& job, i64 tile)
        : n(tile / job.tiles_w / job.tiles_h), down(tile / job.tiles_w % job.tiles_h), across(tile % job.tiles_w) {}
    void next(const Job& job) {
        if (++across < job.tiles_w) return;
        across = 0;
        if (++down < job.tiles_h) return;
        down = 0, ++n;
    }
};

// V of tiles [first, last) of the batch, of one block of channels.
template <int TILE, int TAPS>
static void make_v(const Job& job, const Batch& batch, i64 block, i64 first, i64 last, real* v) {
    constexpr i64 RUN = STRIP / TILE;
    i64 place[RUN];
    while (first < last) {
        const TileAt at(job, batch.begin + first);
        const i64 n = at_most(at_most(last - first, job.tiles_w - at.across), RUN);
        find_places(batch, job.in_blocks, block, first, n, place);
        transform_tiles<TILE, TAPS>({job.x.at(at.n, block), job.x.h, job.x.w}, at.down * TILE - job.pad_h,
                                    at.across * TILE - job.pad_w, place, n, v, batch.v_point(job.in_blocks));
        first += n;
    }
}

// Which tiles [first, last) of the batch are uneven, by what these channels hold.
template <int TILE, int TAPS>
static void mark_uneven(const Job& job, ChannelRange channels, const Batch& batch, i64 first, i64 last,
                        std::uint8_t* uneven) {
    Energies<TILE, TAPS> seen;
    while (first < last) {
        const TileAt at(job, batch.begin + first);
        const i64 n = at_most(at_most(last - first, job.tiles_w - at.across), STRIP / TILE);
        find_uneven<TILE, TAPS>(job.x, channels,
                                {at.n, at.down * TILE - job.pad_h, at.across * TILE - job.pad_w, n,
                                 job.rows - at.down * TILE, job.columns - at.across * TILE},
                                seen, uneven + first);
        first += n;
    }
}

static inline void pool_tile(const real* from, i64 side, real* to) {
    for (i64 i = 0; i < side / 2; ++i)
        for (i64 j = 0; j < side / 2; ++j)
            for (int part = 0; part < BLOCK; part += LANES) {
                const real *top = from + (2 * i * side + 2 * j) * BLOCK + part, *bottom = top + side * BLOCK;
                store(to + (i * (side / 2) + j) * BLOCK + part,
                      pool_max(pool_max(load(top), load(top + BLOCK)),
                               pool_max(load(bottom), load(bottom + BLOCK))));
            }
}

static inline void copy_rows(const real* from, i64 from_row, i64 rows, i64 values, real* to, i64 to_row) {
    for (i64 i = 0; i < rows; ++i)
        for (i64 k = 0; k < values; k += LANES) store(to + i * to_row + k, load(from + i * from_row + k));
}

// Where a tile of a block of filters goes, and how much of it there is.
template <int TILE, int TAPS> struct TilePlace : TileAt {
    i64 rows, columns, y_row;
    const real *bias, *residual;
    real* y;

    TilePlace(const Job& job, const TileAt& tile, i64 block) : TileAt(tile) {
        rows = at_most(TILE, job.rows - down * TILE), columns = at_most(TILE, job.columns - across * TILE),
        y_row = job.y.w * BLOCK;
        const i64 scale = job.pool ? 2 : 1,
                  offset = (down * TILE / scale * job.y.w + across * TILE / scale) * BLOCK;
        bias = job.bias ? job.bias + block * BLOCK : nullptr;
        residual = job.residual ? job.residual.at(n, block) + offset : nullptr;
        y = job.y.at(n, block) + offset;
    }
};

// The buffers of a tile that is not written straight to y: its results, and what is added to them
// or what they are pooled to.
template <int TILE, int TAPS> struct WholeTile {
    static constexpr i64 ROW = TILE * BLOCK;
    alignas(64) real values[TILE * ROW], other[TILE * ROW] = {};
    explicit WholeTile(const TilePlace<TILE, TAPS>& p) {
        if (p.residual) copy_rows(p.residual, p.y_row, p.rows, p.columns * BLOCK, other, ROW);
    }
    void put(const Job& job, const TilePlace<TILE, TAPS>& p) {
        const i64 scale = job.pool ? 2 : 1;
        if (job.pool) pool_tile(values, TILE, other);
        copy_rows(job.pool ? other : values, ROW / scale, p.rows / scale, p.columns / scale * BLOCK, p.y,
                  p.y_row);
    }
};

// A tile of a block of filters from its points to y. By way of a buffer if it reaches beyond y, or
// if its activation runs on what was stored.
template <int TILE, int TAPS>
static void make_y(const Job& job, const TileAt& tile, i64 block, const real* m, i64 m_point) {
    const TilePlace<TILE, TAPS> p(job, tile, block);
    const real *bias = p.bias, *residual = p.residual;
    real* y = p.y;
    const i64 y_row = p.y_row;
    if (p.rows == TILE && p.columns == TILE && job.epilogue.kind == Activation::CLAMP) {
        if (job.pool) finish_tile<TILE, TAPS, POOLED>(m, m_point, bias, nullptr, 0, job.epilogue, y, y_row);
        else if (residual)
            finish_tile<TILE, TAPS, WITH_RESIDUAL>(m, m_point, bias, residual, y_row, job.epilogue, y, y_row);
        else finish_tile<TILE, TAPS, PLAIN>(m, m_point, bias, nullptr, 0, job.epilogue, y, y_row);
        return;
    }
    constexpr i64 ROW = WholeTile<TILE, TAPS>::ROW;
    WholeTile<TILE, TAPS> whole(p);
    if (residual)
        finish_tile<TILE, TAPS, WITH_RESIDUAL>(m, m_point, bias, whole.other, ROW, job.epilogue, whole.values, ROW);
    else finish_tile<TILE, TAPS, PLAIN>(m, m_point, bias, nullptr, 0, job.epilogue, whole.values, ROW);
    job.epilogue.finish(whole.values, TILE * ROW);
    whole.put(job, p);
}
}  // namespace ISA::REAL_NAME
