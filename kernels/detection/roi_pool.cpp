// roi_pool: of each region, rounded to whole pixels with both its ends, a grid of cells, each the greatest
// of its pixels, 0 of none (Girshick, 2015). NaN is the greatest. Rows are folded into one, then its
// columns; the gradient goes to the first of equal pixels, which is looked for again, regions in their order.
//
// ps_roi_pool: a cell of the grid has channels of its own, and is the mean of its pixels (Dai et al., 2016);
// a region ends before the pixel of its second corner.
//
// Cells are counted in whole numbers: a quotient in floating point may fall on the wrong side.
#include "overlap.h"
#include "regions.h"

BEGIN_KERNELS
namespace {
constexpr real FARTHEST = real(1 << 30);

// A region in whole pixels.
struct Pixels {
    i64 sample = -1, low[2] = {}, length[2] = {}, size[2] = {}, cells[2] = {};

    Pixels() = default;
    Pixels(const real* v, i64 samples, real scale, i64 ends, i64 h, i64 w, i64 oh, i64 ow)
        : size{h, w}, cells{oh, ow} {
        for (int k = 1; k < 5; ++k)
            if (!(std::fabs(v[k] * scale) < FARTHEST)) return;
        for (int axis = 0; axis < 2; ++axis) {
            low[axis] = i64(std::round(v[2 - axis] * scale));
            length[axis] = std::max(i64(std::round(v[4 - axis] * scale)) - low[axis] + ends, i64(1));
        }
        if (v[0] >= 0 && v[0] < real(samples)) sample = i64(v[0]);
    }
    i64 inside(int axis, i64 at) const { return std::min(std::max(low[axis] + at, i64(0)), size[axis]); }
    // the pixels of cell i: from begin to before end
    i64 begin(int axis, i64 i) const { return inside(axis, i * length[axis] / cells[axis]); }
    i64 end(int axis, i64 i) const {
        return inside(axis, ((i + 1) * length[axis] + cells[axis] - 1) / cells[axis]);
    }
    i64 first(int axis) const { return begin(axis, 0); }
    i64 last(int axis) const { return end(axis, cells[axis] - 1); }
    i64 area() const { return (last(0) - first(0)) * (last(1) - first(1)); }
};

struct Span {
    i64 begin, end;
    bool empty() const { return begin >= end; }
};

// Copied, as a caller may write to the regions meanwhile. The spans of a region's rows and columns of cells are
// worked out once for all channels: quotients take as long as the pixels of a small cell.
struct AllPixels {
    const i64 oh, ow;
    Scratch<Pixels> of;
    Scratch<Span> spans;
    AllPixels(In<real> regions, i64 samples, real scale, i64 ends, i64 h, i64 w, i64 oh, i64 ow)
        : oh(oh), ow(ow), of(regions.size() / 5), spans(regions.size() / 5 * (oh + ow)) {
        for (i64 k = 0; k < regions.size() / 5; ++k) {
            of[k] = Pixels(regions.data + 5 * k, samples, scale, ends, h, w, oh, ow);
            Span* const own = spans + k * (oh + ow);
            for (i64 i = 0; i < oh; ++i) own[i] = {of[k].begin(0, i), of[k].end(0, i)};
            for (i64 j = 0; j < ow; ++j) own[oh + j] = {of[k].begin(1, j), of[k].end(1, j)};
        }
    }
    const Pixels& operator[](i64 k) const { return of[k]; }
    const Span* rows(i64 k) const { return spans + k * (oh + ow); }
    const Span* columns(i64 k) const { return rows(k) + oh; }
};

M above(V a, V b) { return (a > b) | (a != a); }
V greater(V a, V b) { return above(a, b) ? a : b; }

// The greatest of rows [from, to), a vector for each of the region's columns.
void fold_rows(const Pixels& p, i64 from, i64 to, const Channels& x, const real* laid, real* folded) {
    const i64 left = p.first(1), right = p.last(1), w = p.size[1];
    if (laid) {
        for (i64 c = left; c < right; ++c) {
            V most = load(laid + (from * w + c) * LANES);
            for (i64 r = from + 1; r < to; ++r) most = greater(load(laid + (r * w + c) * LANES), most);
            store(folded + (c - left) * LANES, most);
        }
        return;
    }
    for (i64 r = from; r < to; ++r)
        for (i64 c = left; c < right; c += LANES) {
            V pixels[LANES];
            const int n = right - c < LANES ? int(right - c) : LANES;
            x.turned(r * w + c, n, pixels);
            for (int k = 0; k < n; ++k) {
                real* most = folded + (c - left + k) * LANES;
                store(most, r == from ? pixels[k] : greater(pixels[k], load(most)));
            }
        }
}
// body(pixel) for each pixel of a cell, in their order. Cells are small, so that leaving a loop of an unknown
// length takes as long as the loop: the usual lengths of a row are known.
template <int COLUMNS, class Body> void for_pixels_of(i64 w, Span row, Span column, Body body) {
    for (i64 r = row.begin; r < row.end; ++r)
        for (int c = 0; c < COLUMNS; ++c) body(r * w + column.begin + c);
}
template <class Body> void for_pixels(i64 w, Span row, Span column, Body body) {
    switch (column.end - column.begin) {
        case 1: return for_pixels_of<1>(w, row, column, body);
        case 2: return for_pixels_of<2>(w, row, column, body);
        case 3: return for_pixels_of<3>(w, row, column, body);
        case 4: return for_pixels_of<4>(w, row, column, body);
        default:
            for (i64 r = row.begin; r < row.end; ++r)
                for (i64 at = r * w + column.begin; at < r * w + column.end; ++at) body(at);
    }
}

// Of each lane, where the greatest of a cell's pixels is, the first of equal ones; `pixels` are laid out.
M first_greatest(const real* pixels, i64 w, Span row, Span column) {
    const M start = M{} + lane_int(row.begin * w + column.begin);
    const V first = load(pixels + (row.begin * w + column.begin) * LANES);
    V most = first;
    M where = start, nans = most != most;
    for_pixels(w, row, column, [&](i64 at) {
        const V v = load(pixels + at * LANES);
        const M more = v > most;
        nans |= v != v, most = more ? v : most, where = more ? M{} + lane_int(at) : where;
    });
    if (!any_lane(nans)) return where;
    most = first, where = start;
    for_pixels(w, row, column, [&](i64 at) {
        const V v = load(pixels + at * LANES);
        // NaN stays the greatest: the first of them has the gradient
        const M more = above(v, most) & (most == most);
        most = more ? v : most, where = more ? M{} + lane_int(at) : where;
    });
    return where;
}

// Each lane's gradient to the pixel of the cell that is its own: of a small cell to all of them where they are it.
void add_to(real* sums, M where, const real* given, i64 w, Span row, Span column) {
    constexpr i64 SMALL = 2 * LANES;
    if ((row.end - row.begin) * (column.end - column.begin) <= SMALL) {
        const V g = load(given);
        for_pixels(w, row, column, [&](i64 at) {
            const V sum = load(sums + at * LANES);
            store(sums + at * LANES, where == M{} + lane_int(at) ? sum + g : sum);
        });
    } else {
        for (int lane = 0; lane < LANES; ++lane) sums[i64(where[lane]) * LANES + lane] += given[lane];
    }
}
}  // namespace

void roi_pool(In<real> x, In<real> regions, double scale, Out<real> y) {
    const i64 channels = x.dim(1), oh = y.dim(2), ow = y.dim(3), cells = oh * ow;
    const AllPixels all(regions, x.dim(0), real(scale), 1, x.dim(2), x.dim(3), oh, ow);
    for_blocks(
        x, y.dim(0), [&](i64 k) { return all[k].sample; }, [&](i64 k) { return all[k].area(); },
        [&](const Channels& own, const real* laid, i64 c, i64 k) {
            const Pixels& p = all[k];
            real* to = y.data + (k * channels + c) * cells;
            if (p.sample < 0) return fill_planes(to, own.count * cells, real(__builtin_nan("")));
            const i64 left = p.first(1);
            Scratch<real> folded((p.last(1) - left) * LANES), found(cells * LANES);
            for (i64 i = 0; i < oh; ++i) {
                const Span row = all.rows(k)[i];
                if (!row.empty()) fold_rows(p, row.begin, row.end, own, laid, folded);
                for (i64 j = 0; j < ow; ++j) {
                    const Span column = all.columns(k)[j];
                    const bool some = !row.empty() && !column.empty();
                    V most = some ? load(folded + (column.begin - left) * LANES) : V{};
                    for (i64 at = column.begin + 1; some && at < column.end; ++at)
                        most = greater(load(folded + (at - left) * LANES), most);
                    store(found + (i * ow + j) * LANES, most);
                }
            }
            store_planes(found, cells, own.count, to);
        });
}

void roi_pool_backward(In<real> g, In<real> x, In<real> regions, double scale, Out<real> dx) {
    const i64 channels = x.dim(1), h = x.dim(2), w = x.dim(3), oh = g.dim(2), ow = g.dim(3), cells = oh * ow;
    const AllPixels all(regions, x.dim(0), real(scale), 1, h, w, oh, ow);
    const i64 blocks = (channels + LANES - 1) / LANES;
    parallel_tasks(x.dim(0) * blocks, [&](i64 task) {
        const i64 n = task / blocks, c = task % blocks * LANES;
        const int count = channels - c < LANES ? int(channels - c) : LANES;
        Scratch<real> pixels(h * w * LANES), sums(h * w * LANES), given(cells * LANES);
        Channels{x.data + (n * channels + c) * h * w, h * w, count}.lay_out(pixels);
        fill_planes(sums, h * w * LANES, 0);
        for (i64 k = 0; k < g.dim(0); ++k) {
            if (all[k].sample != n) continue;
            Channels{g.data + (k * channels + c) * cells, cells, count}.lay_out(given);
            for (i64 i = 0; i < oh; ++i)
                for (i64 j = 0; j < ow; ++j) {
                    const Span row = all.rows(k)[i], column = all.columns(k)[j];
                    if (row.empty() || column.empty()) continue;
                    const M where = first_greatest(pixels, w, row, column);
                    add_to(sums, where, given + (i * ow + j) * LANES, w, row, column);
                }
        }
        store_planes(sums, h * w, count, dx.data + (n * channels + c) * h * w);
    });
}

void ps_roi_pool(In<real> x, In<real> regions, double scale, Out<real> y) {
    const i64 c_out = y.dim(1), h = x.dim(2), w = x.dim(3), oh = y.dim(2), ow = y.dim(3), cells = oh * ow;
    const AllPixels all(regions, x.dim(0), real(scale), 0, h, w, oh, ow);
    parallel_tasks(y.dim(0), [&](i64 k) {
        const Pixels& p = all[k];
        for (i64 cell = 0; cell < c_out * cells; ++cell) {
            const Span row = all.rows(k)[cell / ow % oh], column = all.columns(k)[cell % ow];
            real sum = p.sample < 0 ? real(__builtin_nan("")) : 0;
            if (p.sample >= 0) {
                const real* plane = x.data + (p.sample * c_out * cells + cell) * h * w;
                for (i64 r = row.begin; r < row.end; ++r)
                    for (i64 at = column.begin; at < column.end; ++at) sum += plane[r * w + at];
                if (!row.empty() && !column.empty())
                    sum /= real((row.end - row.begin) * (column.end - column.begin));
            }
            y.data[k * c_out * cells + cell] = sum;
        }
    });
}

void ps_roi_pool_backward(In<real> g, In<real> regions, double scale, Out<real> dx) {
    const i64 h = dx.dim(2), w = dx.dim(3), oh = g.dim(2), ow = g.dim(3), planes = dx.dim(1);
    const AllPixels all(regions, dx.dim(0), real(scale), 0, h, w, oh, ow);
    parallel_tasks(dx.dim(0) * planes, [&](i64 task) {
        const i64 n = task / planes, cell = task % planes;
        real* const plane = dx.data + task * h * w;
        fill_planes(plane, h * w, 0);
        for (i64 k = 0; k < g.dim(0); ++k) {
            if (all[k].sample != n) continue;
            const Span row = all.rows(k)[cell / ow % oh], column = all.columns(k)[cell % ow];
            const real share = g.data[k * planes + cell] / real((row.end - row.begin) * (column.end - column.begin));
            for (i64 r = row.begin; r < row.end; ++r)
                for (i64 at = column.begin; at < column.end; ++at) plane[r * w + at] += share;
        }
    });
}
END_KERNELS
