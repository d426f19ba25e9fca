// Features of regions: roi_align and roi_pool, and their position-sensitive forms, in which cell (i, j) of
// channel c reads the input's channel (c oh + i) ow + j; their gradients.
//
// A thread makes one value. Where a region's samples or pixels lie is worked out in double, in the order of
// reference.py, and of an axis alone: a sample's weight is a product of a row's and a column's. Gradients are
// gathered: every pixel adds, region after region and cell after cell, what those that read it give, so that
// the order of a sum is always one. The host cannot look at regions that lie on a device: one that is not
// finite, of no sample, or too far away gives NaN, and takes part in no gradient.
#include "index.cuh"

constexpr double MOST_SAMPLES = 4096, FARTHEST = 1 << 30;   // as in pyops/ops/regions.py

struct Shape {   // of maps (n, channels, height, width), and of results (regions, planes, oh, ow)
    int n, channels, height, width, planes, oh, ow;
    __device__ __forceinline__ explicit Shape(const Dims& s)
        : n(s[0]), channels(s[1]), height(s[2]), width(s[3]), planes(s[4]), oh(s[5]), ow(s[6]) {}
    __device__ __forceinline__ i64 pixel(int sample, int channel) const {
        return ((i64)sample * channels + channel) * height * width;
    }
};

// Of one axis: where samples lie, or which pixels.
struct Axis {
    double first, length;
    int cells, samples, size;   // size: pixels of the map
    i64 low, extent;            // whole pixels, of the region

    __device__ __forceinline__ double at(int cell, int sample) const {
        return first + (cell + (sample + 0.5) / samples) * length / cells;
    }
    __device__ __forceinline__ int begin(int cell) const { return inside(low + cell * extent / cells); }
    __device__ __forceinline__ int end(int cell) const {
        return inside(low + ((cell + 1) * extent + cells - 1) / cells);
    }
    __device__ __forceinline__ int inside(i64 at) const { return (int)min(max(at, (i64)0), (i64)size); }
};

// A sample between two pixels of an axis; beyond the map's edge it is 0 of both.
struct Tap {
    int low, high;
    acc to_low, to_high;
    __device__ __forceinline__ Tap(double at, int size) : low(0), high(0), to_low(0), to_high(0) {
        if (at < -1 || at > size) return;
        at = min(max(at, 0.0), size - 1.0);
        low = (int)at;
        high = min(low + 1, size - 1);
        to_high = acc(at - low);
        to_low = acc(1 - (at - low));
    }
    __device__ __forceinline__ acc of(int pixel) const {
        return (low == pixel ? to_low : acc(0)) + (high == pixel ? to_high : acc(0));
    }
};

__device__ __forceinline__ double away_from_zero(double v) {
    return v < 0 ? -floor(0.5 - v) : floor(v + 0.5);
}

struct Region {
    Axis h, w;
    int sample;
    bool valid;
    // aligned: pixels have their centres at a half; ends: the pixel of the second corner belongs to it
    __device__ __forceinline__ Region(const real* r, const Shape& s, double scale, int ratio, bool aligned,
                                      bool ends) {
        const double half = aligned ? 0.5 : 0;
        const double x1 = (double)value(r[1]) * scale, y1 = (double)value(r[2]) * scale,
                     x2 = (double)value(r[3]) * scale, y2 = (double)value(r[4]) * scale;
        const double of = (double)value(r[0]);
        h = axis(y1, y2, half, s.oh, s.height, ratio, aligned, ends);
        w = axis(x1, x2, half, s.ow, s.width, ratio, aligned, ends);
        valid = of >= 0 && of < s.n && near(x1) && near(y1) && near(x2) && near(y2);
        sample = valid ? (int)of : 0;
    }
    static __device__ __forceinline__ bool near(double v) { return fabs(v) < FARTHEST; }   // false for NaN
    static __device__ __forceinline__ Axis axis(double from, double to, double half, int cells, int size,
                                                int ratio, bool aligned, bool ends) {
        Axis a;
        a.first = from - half;
        a.length = to - half - a.first;
        if (!aligned) a.length = fmax(a.length, 1.0);
        a.cells = cells;
        a.size = size;
        const double own = ceil(a.length / cells);
        a.samples = ratio > 0 ? ratio : own > 0 && own <= MOST_SAMPLES ? (int)own : 0;
        const bool whole = near(from) && near(to);
        a.low = whole ? (i64)away_from_zero(from) : 0;
        a.extent = whole ? max((i64)away_from_zero(to) - a.low + (ends ? 1 : 0), (i64)1) : 1;
        return a;
    }
    __device__ __forceinline__ acc share() const { return acc(1) / max(h.samples * w.samples, 1); }
    // The share of pixel (y, x) in cell (i, j), but for what all samples are divided by
    static __device__ __forceinline__ acc weight(const Axis& a, int cell, int pixel) {
        acc sum = 0;
        for (int r = 0; r < a.samples; ++r) sum += Tap(a.at(cell, r), a.size).of(pixel);
        return sum;
    }
};

struct Place { int region, plane, i, j; };   // of a result

__device__ __forceinline__ Place place(i64 t, const Shape& s) {
    const i64 row = t / s.ow, above = row / s.oh;
    const int region = (int)(above / s.planes);
    return {region, (int)(above - (i64)region * s.planes), (int)(row - above * s.oh), (int)(t - row * s.ow)};
}

template <bool CELLS> __device__ __forceinline__ int channel(const Place& p, const Shape& s) {
    return CELLS ? (p.plane * s.oh + p.i) * s.ow + p.j : p.plane;
}

// Whether the region is of this level; without levels all are.
__device__ __forceinline__ bool of_level(const i64* levels, int region, int level, int last) {
    return !levels || (int)min(max(levels[region], (i64)0), (i64)last) == level;
}

template <bool CELLS>
__device__ __forceinline__ void align(const real* x, const real* regions, const i64* levels, int level,
                                      int last, const Shape& s, double scale, int ratio, bool aligned,
                                      real* y, i64 values) {
    for (GRID_STRIDE(t, values)) {
        const Place p = place(t, s);
        if (!of_level(levels, p.region, level, last)) continue;
        const Region region(regions + (i64)p.region * 5, s, scale, ratio, aligned, false);
        const real* map = x + s.pixel(region.sample, channel<CELLS>(p, s));
        acc sum = 0;
        for (int r = 0; r < region.h.samples; ++r) {
            const Tap row(region.h.at(p.i, r), s.height);
            const real *upper = map + (i64)row.low * s.width, *lower = map + (i64)row.high * s.width;
            for (int c = 0; c < region.w.samples; ++c) {
                const Tap column(region.w.at(p.j, c), s.width);
                sum += row.to_low * (column.to_low * value(upper[column.low]) +
                                     column.to_high * value(upper[column.high])) +
                       row.to_high * (column.to_low * value(lower[column.low]) +
                                      column.to_high * value(lower[column.high]));
            }
        }
        y[t] = rounded(region.valid ? sum * region.share() : not_a_number());
    }
}

// g is of the results, dx of the maps
template <bool CELLS>
__device__ __forceinline__ void align_gradient(const real* g, const real* regions, int count,
                                               const i64* levels, int level, int last, const Shape& s,
                                               double scale, int ratio, bool aligned, real* dx, i64 values) {
    for (GRID_STRIDE(t, values)) {
        const i64 row = t / s.width, plane = row / s.height;
        const int x = (int)(t - row * s.width), y = (int)(row - plane * s.height),
                  sample = (int)(plane / s.channels), own = (int)(plane - (i64)sample * s.channels);
        const int cell = CELLS ? own % (s.oh * s.ow) : 0, of = CELLS ? own / (s.oh * s.ow) : own;
        acc sum = 0;
        for (int k = 0; k < count; ++k) {
            if (!of_level(levels, k, level, last)) continue;
            const Region region(regions + (i64)k * 5, s, scale, ratio, aligned, false);
            if (!region.valid || region.sample != sample) continue;
            const real* from = g + ((i64)k * s.planes + of) * s.oh * s.ow;
            const int first = CELLS ? cell / s.ow : 0, end = CELLS ? first + 1 : s.oh;
            acc read = 0;
            for (int i = first; i < end; ++i) {
                const acc of_row = Region::weight(region.h, i, y);
                if (of_row == 0) continue;
                const int left = CELLS ? cell % s.ow : 0, right = CELLS ? left + 1 : s.ow;
                for (int j = left; j < right; ++j) {
                    const acc of_column = Region::weight(region.w, j, x);
                    if (of_column != 0) read += of_row * of_column * value(from[i * s.ow + j]);
                }
            }
            sum += read * region.share();
        }
        dx[t] = rounded(sum);
    }
}

// Calls give(result, greatest pixel of its cell, where it lies): 0 and -1 where there is none.
template <class Give>
__device__ __forceinline__ void greatest(const real* x, const real* regions, const Shape& s, double scale,
                                         i64 values, Give give) {
    for (GRID_STRIDE(t, values)) {
        const Place p = place(t, s);
        const Region region(regions + (i64)p.region * 5, s, scale, 1, false, true);
        const real* map = x + s.pixel(region.sample, p.plane);
        acc best = 0;
        int at = -1;
        for (int r = region.h.begin(p.i); r < region.h.end(p.i); ++r)
            for (int c = region.w.begin(p.j); c < region.w.end(p.j); ++c) {
                const acc v = value(map[r * s.width + c]);
                if (at < 0 || v > best || (v != v && best == best)) {
                    best = v;
                    at = r * s.width + c;
                }
            }
        give(t, region.valid ? best : not_a_number(), region.valid ? at : -1);
    }
}

extern "C" {
__global__ void __launch_bounds__(256, 2)
    roi_align(const real* x, const real* regions, const i64* levels, int level, int last, Dims shape,
              double scale, int ratio, int aligned, real* y, i64 values) {
    align<false>(x, regions, levels, level, last, Shape(shape), scale, ratio, aligned != 0, y, values);
}
__global__ void __launch_bounds__(256, 2)
    ps_roi_align(const real* x, const real* regions, Dims shape, double scale, int ratio, real* y,
                 i64 values) {
    align<true>(x, regions, nullptr, 0, 0, Shape(shape), scale, ratio, true, y, values);
}
__global__ void __launch_bounds__(256, 2)
    roi_align_backward(const real* g, const real* regions, int count, const i64* levels, int level, int last,
                       Dims shape, double scale, int ratio, int aligned, real* dx, i64 values) {
    align_gradient<false>(g, regions, count, levels, level, last, Shape(shape), scale, ratio, aligned != 0,
                          dx, values);
}
__global__ void __launch_bounds__(256, 2)
    ps_roi_align_backward(const real* g, const real* regions, int count, Dims shape, double scale, int ratio,
                          real* dx, i64 values) {
    align_gradient<true>(g, regions, count, nullptr, 0, 0, Shape(shape), scale, ratio, true, dx, values);
}

__global__ void __launch_bounds__(256, 2)
    roi_pool(const real* x, const real* regions, Dims shape, double scale, real* y, i64 values) {
    greatest(x, regions, Shape(shape), scale, values, [&](i64 t, acc best, int) { y[t] = rounded(best); });
}
__global__ void __launch_bounds__(256, 2)
    roi_pool_chosen(const real* x, const real* regions, Dims shape, double scale, int* chosen, i64 values) {
    greatest(x, regions, Shape(shape), scale, values, [&](i64 t, acc, int at) { chosen[t] = at; });
}
__global__ void __launch_bounds__(256, 2)
    ps_roi_pool(const real* x, const real* regions, Dims shape, double scale, real* y, i64 values) {
    const Shape s(shape);
    for (GRID_STRIDE(t, values)) {
        const Place p = place(t, s);
        const Region region(regions + (i64)p.region * 5, s, scale, 1, false, false);
        const real* map = x + s.pixel(region.sample, channel<true>(p, s));
        const int top = region.h.begin(p.i), bottom = region.h.end(p.i), left = region.w.begin(p.j),
                  right = region.w.end(p.j);
        acc sum = 0;
        for (int r = top; r < bottom; ++r)
            for (int c = left; c < right; ++c) sum += value(map[r * s.width + c]);
        const acc pixels = acc(max(bottom - top, 0)) * acc(max(right - left, 0));
        y[t] = rounded(!region.valid ? not_a_number() : pixels > 0 ? sum / pixels : acc(0));
    }
}
// Of both: a pixel adds the cells in which it was chosen, or its share of those that it lies in.
__global__ void __launch_bounds__(256, 2)
    roi_pool_backward(const real* g, const int* chosen, const real* regions, int count, Dims shape,
                      double scale, real* dx, i64 values) {
    const Shape s(shape);
    for (GRID_STRIDE(t, values)) {
        const i64 row = t / s.width, plane = row / s.height;
        const int x = (int)(t - row * s.width), y = (int)(row - plane * s.height),
                  sample = (int)(plane / s.channels), own = (int)(plane - (i64)sample * s.channels);
        acc sum = 0;
        for (int k = 0; k < count; ++k) {
            const Region region(regions + (i64)k * 5, s, scale, 1, false, true);
            if (!region.valid || region.sample != sample) continue;
            const i64 first = ((i64)k * s.planes + own) * s.oh * s.ow;
            for (int i = 0; i < s.oh; ++i) {
                if (y < region.h.begin(i) || y >= region.h.end(i)) continue;
                for (int j = 0; j < s.ow; ++j)
                    if (chosen[first + i * s.ow + j] == y * s.width + x) sum += value(g[first + i * s.ow + j]);
            }
        }
        dx[t] = rounded(sum);
    }
}
__global__ void __launch_bounds__(256, 2)
    ps_roi_pool_backward(const real* g, const real* regions, int count, Dims shape, double scale, real* dx,
                         i64 values) {
    const Shape s(shape);
    for (GRID_STRIDE(t, values)) {
        const i64 row = t / s.width, plane = row / s.height;
        const int x = (int)(t - row * s.width), y = (int)(row - plane * s.height),
                  sample = (int)(plane / s.channels), own = (int)(plane - (i64)sample * s.channels);
        const int cell = own % (s.oh * s.ow), of = own / (s.oh * s.ow), i = cell / s.ow, j = cell % s.ow;
        acc sum = 0;
        for (int k = 0; k < count; ++k) {
            const Region region(regions + (i64)k * 5, s, scale, 1, false, false);
            if (!region.valid || region.sample != sample) continue;
            const int top = region.h.begin(i), bottom = region.h.end(i), left = region.w.begin(j),
                      right = region.w.end(j);
            if (y < top || y >= bottom || x < left || x >= right) continue;
            sum += value(g[((i64)k * s.planes + of) * s.oh * s.ow + cell]) /
                   (acc(bottom - top) * acc(right - left));
        }
        dx[t] = rounded(sum);
    }
}
}
