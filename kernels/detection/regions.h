// What kernels of regions share. Of each region a few rows and columns of pixels count, so a grid of
// cells is filled in two steps: the rows of a row of cells are folded into one, then its columns into
// cells. Vectors run over channels. Where the regions of a sample cover its map more than once, a
// block of channels is laid out with the channels last and serves all of them; else the pixels of a
// row are turned in registers as they are read. Either way a value is one chain of the same operations.
//
// A region that is not finite, too large to count its samples or of a sample that is none gives NaN, and
// no gradient: what is known before a run is refused by Python.
#pragma once
#include <algorithm>
#include <cmath>
#include "kernel.h"

namespace ISA::REAL_NAME {
namespace {
struct Region {
    i64 sample = -1;
    real low[2], length[2];   // along y and x: where it begins, and what it measures
    bool right = false;
    // v: sample, x1, y1, x2, y2
    Region(const real* v, i64 samples, real scale, real half, real most) {
        for (int axis = 0; axis < 2; ++axis) {
            low[axis] = v[2 - axis] * scale - half;
            length[axis] = v[4 - axis] * scale - half - low[axis];
            if (!(std::fabs(low[axis]) < most && std::fabs(length[axis]) < most)) return;
        }
        right = v[0] >= 0 && v[0] < real(samples);
        if (right) sample = i64(v[0]);
    }
};

constexpr int FEW = LANES > 4 ? 2 : 0;   // pixels less than a vector, which are copied one by one

// Channels [c, c + count) of a sample, count at most LANES.
struct Channels {
    const real* x;
    i64 plane;
    int count;
    // `n` pixels from `pixel` on, a vector of channels each
    void turned(i64 pixel, int n, V (&rows)[LANES]) const {
        for (int r = 0; r < LANES; ++r)
            rows[r] = r >= count ? V{} : n == LANES ? load(x + r * plane + pixel)
                                                    : load(x + r * plane + pixel, n);
        interleave(rows);
    }
    void lay_out(real* to) const {
        for (i64 p = 0; p < plane; p += LANES) {
            V rows[LANES];
            const int n = plane - p < LANES ? int(plane - p) : LANES;
            if (n <= FEW) {   // turning takes as long for one as for all
                for (int i = 0; i < n; ++i)
                    for (int r = 0; r < LANES; ++r) to[(p + i) * LANES + r] = r < count ? x[r * plane + p + i] : 0;
                return;
            }
            turned(p, n, rows);
            for (int i = 0; i < n; ++i) store(to + (p + i) * LANES, rows[i]);
        }
    }
};

// `values` vectors of channels to planes of `values`.
inline void store_planes(const real* from, i64 values, int count, real* to) {
    for (i64 p = 0; p < values; p += LANES) {
        V rows[LANES];
        const int n = values - p < LANES ? int(values - p) : LANES;
        if (n <= FEW) {
            for (int r = 0; r < count; ++r)
                for (int i = 0; i < n; ++i) to[r * values + p + i] = from[(p + i) * LANES + r];
            return;
        }
        for (int i = 0; i < LANES; ++i) rows[i] = i < n ? load(from + (p + i) * LANES) : V{};
        interleave(rows);
        for (int r = 0; r < count; ++r) {
            if (n == LANES) store(to + r * values + p, rows[r]);
            else store(to + r * values + p, rows[r], n);
        }
    }
}

constexpr i64 MOST_LAID_OUT = 32 << 20;   // bytes of a block of channels

// Calls body(block of channels laid out, or null, sample, block, regions [first, last)) so that every
// region meets every block once.
template <class RegionOf, class AreaOf, class Body>
void for_blocks(const View<const real>& x, i64 regions, RegionOf sample_of, AreaOf area_of, Body body) {
    const i64 samples = x.dim(0), blocks = (x.dim(1) + LANES - 1) / LANES, plane = x.dim(2) * x.dim(3);
    struct Task {
        i64 sample, block, first, last;   // block < 0: all of them
    };
    Scratch<i64> area(samples);
    for (i64 n = 0; n < samples; ++n) area[n] = 0;
    for (i64 k = 0; k < regions; ++k)
        if (sample_of(k) >= 0) area[sample_of(k)] += area_of(k);
    const i64 parts = blocks * samples > 0 && blocks * samples < 8 ? 8 / (blocks * samples) : 1;
    Scratch<Task> tasks(samples * blocks * parts + regions);
    i64 count = 0;
    const auto laid_out = [&](i64 n) {
        return area[n] >= plane && times(plane, LANES * sizeof(real)) <= MOST_LAID_OUT;
    };
    for (i64 n = 0; n < samples; ++n) {
        if (!laid_out(n)) continue;
        const i64 own = area[n] / plane < parts ? area[n] / plane : parts;
        for (i64 block = 0; block < blocks; ++block)
            for (i64 p = 0; p < own; ++p) tasks[count++] = {n, block, regions * p / own, regions * (p + 1) / own};
    }
    for (i64 k = 0; k < regions; ++k)
        if (sample_of(k) < 0 || !laid_out(sample_of(k))) tasks[count++] = {sample_of(k), -1, k, k + 1};
    parallel_tasks(count, [&](i64 number) {
        const Task& t = tasks[number];
        Scratch<real> laid(t.block < 0 ? 0 : plane * LANES);
        for (i64 block = t.block < 0 ? 0 : t.block; block < (t.block < 0 ? blocks : t.block + 1); ++block) {
            const i64 c = block * LANES, left = x.dim(1) - c;
            const Channels own{x.data + ((t.sample < 0 ? 0 : t.sample) * x.dim(1) + c) * plane, plane,
                               left < LANES ? int(left) : LANES};
            if (t.block >= 0) own.lay_out(laid);
            for (i64 k = t.first; k < t.last; ++k)
                if (sample_of(k) == t.sample) body(own, t.block >= 0 ? laid.data : nullptr, c, k);
        }
    });
}

inline void fill_planes(real* to, i64 values, real value) {
    for_vectors(values, [&](i64 i, auto lanes) { lanes.store(to + i, splat(value)); });
}
}  // namespace
}  // namespace ISA::REAL_NAME
