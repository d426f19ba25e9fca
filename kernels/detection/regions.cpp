// roi_align: of each region a grid of cells, each the mean of bilinear samples that lie evenly in it
// (He et al., 2017). A sample further than a pixel outside of the map counts 0, one outside its edge.
// The place of a sample along one axis does not depend on the other, so a cell's mean is that of
// its rows of the means along columns: a list of pixels with weights for each axis and cell (taps),
// worked out once for all channels. The gradient is the transpose, a block of channels of a sample a
// task, regions in their order.
//
// roi_align_level writes the regions of one level of a pyramid and leaves the others alone, so that a
// level's map is read for its own regions only (Lin et al., 2017, equation 1).
//
// ps_roi_align: a cell of the grid has channels of its own (Dai et al., 2016); every value is read from
// one plane. Its gradient takes a plane a task.
#include "regions.h"

BEGIN_KERNELS
namespace {
constexpr real MOST_SAMPLES = 4096;   // along an axis of a cell

struct Tap {
    std::int32_t at;
    real weight;
};

// Of a region, along one axis. Places are worked out in double: in float they would be the largest
// error. How many samples a cell has follows from its size in the type of the boxes, as in torchvision.
struct Line {
    double start, step;   // of a cell
    i64 samples;
};

// Whether the region's samples can be counted, and its lines. v: sample, x1, y1, x2, y2
bool lines_of(Region& r, const real* v, const i64 (&cells)[2], double scale, i64 ratio, bool aligned,
              Line (&lines)[2]) {
    const double half = aligned ? 0.5 : 0;
    for (int axis = 0; r.right && axis < 2; ++axis) {
        const real length = !aligned && r.length[axis] < 1 ? 1 : r.length[axis], step = length / real(cells[axis]);
        if (!(std::fabs(step) < MOST_SAMPLES)) {
            r.right = false, r.sample = -1;
            continue;
        }
        const double low = double(v[2 - axis]) * scale - half, exact = double(v[4 - axis]) * scale - half - low;
        lines[axis] = {low, (!aligned && exact < 1 ? 1 : exact) / double(cells[axis]),
                       ratio > 0 ? ratio : i64(std::ceil(step))};
    }
    return r.right;
}

// The taps of the cells of a line over n pixels, those of cell i from first[i] on; returns how many.
// Samples go one way, so that one which was met before is among the last two of its cell.
template <bool STORE> i64 taps_of(const Line& line, i64 cells, i64 n, i64* first, Tap* taps) {
    i64 count = 0;
    for (i64 i = 0; i < cells; ++i) {
        i64 begin = count, last = -1, before = -1;
        auto add = [&](i64 at, real weight) {
            const i64 back = at == last ? 1 : at == before ? 2
                                                           : 0;
            if (back == 0) {
                if (STORE) taps[count] = {std::int32_t(at), weight};
                ++count, before = last, last = at;
            } else if (STORE) taps[count - back].weight += weight;
        };
        for (i64 a = 0; a < line.samples; ++a) {
            double p = line.start + (double(i) + (double(a) + 0.5) / double(line.samples)) * line.step;
            if (!(p >= -1 && p <= double(n))) continue;
            p = p < 0 ? 0 : p > double(n - 1) ? double(n - 1)
                                              : p;
            const i64 low = i64(p) < n ? i64(p) : n - 1, high = low + 1 < n ? low + 1 : low;
            const real part = real(p - double(low));
            if (line.step < 0) add(high, part), add(low, 1 - part);
            else add(low, 1 - part), add(high, part);
        }
        if (STORE) {
            first[i] = begin;
            for (i64 t = begin; t < count; ++t) taps[t].weight /= real(line.samples);
        }
    }
    if (STORE) first[cells] = count;
    return count;
}

// The taps of a region, and the columns that any of its cells takes; an x tap's `at` is a place among these.
struct Plan {
    i64 sample;
    const i64* first[2];
    const std::int32_t* columns;
    const Tap* taps[2];
    i64 column_count, left, right;   // right: behind the last
    i64 area;
};

class Plans {
    i64 cells[2], size[2], count;
    Scratch<Plan> plans;
    Scratch<real> given;
    Scratch<i64> firsts, begin;
    Scratch<Tap> taps;
    Scratch<std::int32_t> columns;

    template <class Body> void for_lines(i64 samples, double scale, i64 ratio, bool aligned, Body body) {
        parallel_for(count, 16, [&](i64 from, i64 to) {
            for (i64 k = from; k < to; ++k) {
                Region r(given + 5 * k, samples, real(scale), aligned ? real(0.5) : 0, real(INFINITY));
                Line lines[2];
                lines_of(r, given + 5 * k, cells, scale, ratio, aligned, lines);
                body(k, r, lines);
            }
        });
    }
    // taps of all; the regions are copied, as a caller may write to them meanwhile
    i64 sizes(In<real> regions, i64 samples, double scale, i64 ratio, bool aligned) {
        for (i64 i = 0; i < 5 * count; ++i) given[i] = regions.data[i];
        for_lines(samples, scale, ratio, aligned, [&](i64 k, const Region& r, const Line(&lines)[2]) {
            for (int axis = 0; axis < 2; ++axis)
                begin[2 * k + axis + 1] =
                    r.right ? taps_of<false>(lines[axis], cells[axis], size[axis], nullptr, nullptr) : 0;
        });
        begin[0] = 0;
        for (i64 i = 0; i < 2 * count; ++i) begin[i + 1] += begin[i];
        return begin[2 * count];
    }

public:
    Plans(In<real> regions, i64 samples, i64 h, i64 w, i64 oh, i64 ow, double scale, i64 ratio, bool aligned)
        : cells{oh, ow}, size{h, w}, count(regions.size() / 5), plans(count), given(5 * count),
          firsts(count * (oh + ow + 2)), begin(2 * count + 1), taps(sizes(regions, samples, scale, ratio, aligned)),
          columns(begin[2 * count]) {
        for_lines(samples, scale, ratio, aligned, [&](i64 k, const Region& r, const Line(&lines)[2]) {
            Plan& p = plans[k];
            const i64* at = begin + 2 * k;
            p = {};
            p.sample = r.sample;
            if (!r.right) return;
            for (int axis = 0; axis < 2; ++axis) {
                i64* first = firsts + k * (oh + ow + 2) + axis * (oh + 1);
                taps_of<true>(lines[axis], cells[axis], size[axis], first, taps + at[axis]);
                p.first[axis] = first, p.taps[axis] = taps + at[axis];
            }
            find_columns(p, columns + at[1], taps + at[1], at[2] - at[1]);
            i64 top = h, bottom = 0;
            for (i64 i = at[0]; i < at[1]; ++i)
                top = std::min(top, i64(taps[i].at)), bottom = std::max(bottom, i64(taps[i].at) + 1);
            p.area = std::max(bottom - top, i64(0)) * (p.right - p.left);
        });
    }
    const Plan& operator[](i64 k) const { return plans[k]; }

private:
    static void find_columns(Plan& p, std::int32_t* to, Tap* own, i64 n) {
        p.columns = to;
        for (i64 i = 0; i < n; ++i) {
            const i64 m = p.column_count;
            i64 place = m;
            for (i64 back = 1; back <= 2 && back <= m; ++back)
                if (to[m - back] == own[i].at) place = m - back;
            if (place == m) to[p.column_count++] = own[i].at;
            own[i].at = std::int32_t(place);
        }
        if (!p.column_count) return;
        p.left = std::min(to[0], to[p.column_count - 1]);
        p.right = std::max(to[0], to[p.column_count - 1]) + 1;
    }
};

// The rows of a row of cells, folded: a vector for each of the region's columns.
void fold_rows(const Plan& p, i64 i, const Channels& x, const real* laid, i64 w, real* rows, real* folded) {
    const Tap *const first = p.taps[0] + p.first[0][i], *const last = p.taps[0] + p.first[0][i + 1];
    if (laid) {
        constexpr i64 TOGETHER = 4;
        for (i64 q = 0; q < p.column_count; q += TOGETHER) {
            const i64 n = std::min(TOGETHER, p.column_count - q);
            V sums[TOGETHER] = {};
            i64 at[TOGETHER];
            for (i64 k = 0; k < TOGETHER; ++k) at[k] = p.columns[q + (k < n ? k : 0)] * LANES;
            for (const Tap* tap = first; tap < last; ++tap) {
                const real* row = laid + tap->at * w * LANES;
                for (i64 k = 0; k < TOGETHER; ++k) sums[k] += tap->weight * load(row + at[k]);
            }
            for (i64 k = 0; k < n; ++k) store(folded + (q + k) * LANES, sums[k]);
        }
        return;
    }
    fill_planes(rows, (p.right - p.left) * LANES, 0);
    for (const Tap* tap = first; tap < last; ++tap)
        for (i64 c = p.left; c < p.right; c += LANES) {
            V pixels[LANES];
            const int n = p.right - c < LANES ? int(p.right - c) : LANES;
            x.turned(tap->at * w + c, n, pixels);
            for (int k = 0; k < n; ++k) {
                real* sum = rows + (c - p.left + k) * LANES;
                store(sum, load(sum) + tap->weight * pixels[k]);
            }
        }
    for (i64 q = 0; q < p.column_count; ++q) store(folded + q * LANES, load(rows + (p.columns[q] - p.left) * LANES));
}
}  // namespace

// mine(k): whether a region is of this call.
template <class Mine>
static void align(const View<const real>& x, In<real> regions, double scale, i64 ratio, bool aligned,
                  const View<real>& y, Mine mine) {
    const i64 channels = x.dim(1), h = x.dim(2), w = x.dim(3), oh = y.dim(2), ow = y.dim(3), cells = oh * ow;
    const Plans plans(regions, x.dim(0), h, w, oh, ow, scale, ratio, aligned);
    for_blocks(
        x, y.dim(0), [&](i64 k) { return mine(k) ? plans[k].sample : -1; }, [&](i64 k) { return plans[k].area; },
        [&](const Channels& own, const real* laid, i64 c, i64 k) {
            if (!mine(k)) return;
            const Plan& p = plans[k];
            real* to = y.data + (k * channels + c) * cells;
            if (p.sample < 0) return fill_planes(to, own.count * cells, real(__builtin_nan("")));
            Scratch<real> folded(p.column_count * LANES), rows(laid ? 0 : (p.right - p.left) * LANES),
                found(cells * LANES);
            for (i64 i = 0; i < oh; ++i) {
                fold_rows(p, i, own, laid, w, rows, folded);
                for (i64 j = 0; j < ow; ++j) {
                    V sum{};
                    for (i64 t = p.first[1][j]; t < p.first[1][j + 1]; ++t)
                        sum += p.taps[1][t].weight * load(folded + i64(p.taps[1][t].at) * LANES);
                    store(found + (i * ow + j) * LANES, sum);
                }
            }
            store_planes(found, cells, own.count, to);
        });
}

template <class Mine>
static void align_backward(In<real> g, In<real> regions, double scale, i64 ratio, bool aligned, const View<real>& dx,
                           Mine mine) {
    const i64 channels = dx.dim(1), h = dx.dim(2), w = dx.dim(3), oh = g.dim(2), ow = g.dim(3), cells = oh * ow;
    const Plans plans(regions, dx.dim(0), h, w, oh, ow, scale, ratio, aligned);
    const i64 blocks = (channels + LANES - 1) / LANES;
    parallel_tasks(dx.dim(0) * blocks, [&](i64 task) {
        const i64 n = task / blocks, c = task % blocks * LANES;
        const int count = channels - c < LANES ? int(channels - c) : LANES;
        Scratch<real> sums(h * w * LANES), given(cells * LANES), spread(w * LANES);
        fill_planes(sums, h * w * LANES, 0);
        for (i64 k = 0; k < g.dim(0); ++k) {
            const Plan& p = plans[k];
            if (p.sample != n || !mine(k)) continue;
            Channels{g.data + (k * channels + c) * cells, cells, count}.lay_out(given);
            for (i64 i = 0; i < oh; ++i) {
                fill_planes(spread, p.column_count * LANES, 0);
                for (i64 j = 0; j < ow; ++j) {
                    const V own = load(given + (i * ow + j) * LANES);
                    for (i64 t = p.first[1][j]; t < p.first[1][j + 1]; ++t) {
                        real* sum = spread + i64(p.taps[1][t].at) * LANES;
                        store(sum, load(sum) + p.taps[1][t].weight * own);
                    }
                }
                for (i64 t = p.first[0][i]; t < p.first[0][i + 1]; ++t) {
                    real* const row = sums + p.taps[0][t].at * w * LANES;
                    const real weight = p.taps[0][t].weight;
                    for (i64 q = 0; q < p.column_count; ++q) {
                        real* sum = row + p.columns[q] * LANES;
                        store(sum, load(sum) + weight * load(spread + q * LANES));
                    }
                }
            }
        }
        store_planes(sums, h * w, count, dx.data + (n * channels + c) * h * w);
    });
}

void roi_align(In<real> x, In<real> regions, double scale, i64 ratio, bool aligned, Out<real> y) {
    align(x, regions, scale, ratio, aligned, y, [](i64) { return true; });
}

void roi_align_backward(In<real> g, In<real> regions, double scale, i64 ratio, bool aligned, Out<real> dx) {
    align_backward(g, regions, scale, ratio, aligned, dx, [](i64) { return true; });
}

// A level outside of 0 .. last counts as the nearest.
static auto of_level(In<i64> levels, i64 level, i64 last) {
    return [from = levels.data, level, last](i64 k) { return std::clamp(from[k], i64(0), last) == level; };
}

void roi_align_level(In<real> x, In<real> regions, In<i64> levels, i64 level, i64 last, double scale, i64 ratio,
                     bool aligned, Out<real> y) {
    align(x, regions, scale, ratio, aligned, y, of_level(levels, level, last));
}

void roi_align_level_backward(In<real> g, In<real> regions, In<i64> levels, i64 level, i64 last, double scale,
                              i64 ratio, bool aligned, Out<real> dx) {
    align_backward(g, regions, scale, ratio, aligned, dx, of_level(levels, level, last));
}

void ps_roi_align(In<real> x, In<real> regions, double scale, i64 ratio, Out<real> y) {
    const i64 c_out = y.dim(1), h = x.dim(2), w = x.dim(3), oh = y.dim(2), ow = y.dim(3), cells = oh * ow;
    const Plans plans(regions, x.dim(0), h, w, oh, ow, scale, ratio, true);
    parallel_tasks(y.dim(0), [&](i64 k) {
        const Plan& p = plans[k];
        for (i64 c = 0; c < c_out; ++c)
            for (i64 i = 0; i < oh; ++i)
                for (i64 j = 0; j < ow; ++j) {
                    const i64 cell = (c * oh + i) * ow + j;
                    real sum = p.sample < 0 ? real(__builtin_nan("")) : 0;
                    if (p.sample >= 0) {
                        const real* plane = x.data + (p.sample * c_out * cells + cell) * h * w;
                        for (i64 s = p.first[0][i]; s < p.first[0][i + 1]; ++s) {
                            const real* row = plane + p.taps[0][s].at * w;
                            real along = 0;
                            for (i64 t = p.first[1][j]; t < p.first[1][j + 1]; ++t)
                                along += p.taps[1][t].weight * row[p.columns[p.taps[1][t].at]];
                            sum += p.taps[0][s].weight * along;
                        }
                    }
                    y.data[k * c_out * cells + cell] = sum;
                }
    });
}

void ps_roi_align_backward(In<real> g, In<real> regions, double scale, i64 ratio, Out<real> dx) {
    const i64 h = dx.dim(2), w = dx.dim(3), oh = g.dim(2), ow = g.dim(3), planes = dx.dim(1);
    const Plans plans(regions, dx.dim(0), h, w, oh, ow, scale, ratio, true);
    parallel_tasks(dx.dim(0) * planes, [&](i64 task) {
        const i64 n = task / planes, cell = task % planes, i = cell / ow % oh, j = cell % ow;
        real* const plane = dx.data + task * h * w;
        fill_planes(plane, h * w, 0);
        for (i64 k = 0; k < g.dim(0); ++k) {
            const Plan& p = plans[k];
            if (p.sample != n) continue;
            const real own = g.data[k * planes + cell];
            for (i64 s = p.first[0][i]; s < p.first[0][i + 1]; ++s)
                for (i64 t = p.first[1][j]; t < p.first[1][j + 1]; ++t)
                    plane[p.taps[0][s].at * w + p.columns[p.taps[1][t].at]] +=
                        own * (p.taps[0][s].weight * p.taps[1][t].weight);
        }
    });
}
END_KERNELS
