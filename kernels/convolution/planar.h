// Convolution with few filters or channels a group (depthwise, multipliers, LeNet): straight from
// planes, vectors along rows of outputs. A strip of input rows is copied once into a zero-padded
// buffer, split into in_stride.w interleaved sub-rows, so that every tap at every output is one
// unaligned load, whatever the stride, dilation and padding. Filters are taken up to ROWS at a
// time to share the loads.
#pragma once
#include "gathered.h"
#include "geometry.h"
#include "gemm/gemm.h"

namespace ISA::REAL_NAME {
// Vectors of outputs held in registers beside FILTERS filters, from one row or several.
template <int FILTERS> constexpr int span() { return FILTERS == ROWS ? VECTORS : ROWS == 8 ? 4 : 2; }

struct Strip {
    i64 depths, rows, phases, pitch;          // [channel][depth of a tap][row][phase][pitch]
    // columns of a phase that taps of valid outputs read; beyond lies rubbish, read but not stored
    i64 filled;
    i64 left, first_d, first_h;               // padding before a row; the smallest offsets among taps
    i64 row() const { return phases * pitch; }
    i64 plane() const { return depths * rows * row(); }
};

struct TapRange { i64 low_d, high_d, low_h, high_h, low_w, high_w; };

static inline TapRange range_of(const TapList& t) {
    TapRange r{};
    for (i64 i = 0; i < t.count; ++i) {
        const Tap& at = t.taps[i];
        if (i == 0) r = {at.d, at.d, at.h, at.h, at.w, at.w};
        r.low_d = at.d < r.low_d ? at.d : r.low_d, r.high_d = at.d > r.high_d ? at.d : r.high_d;
        r.low_h = at.h < r.low_h ? at.h : r.low_h, r.high_h = at.h > r.high_h ? at.h : r.high_h;
        r.low_w = at.w < r.low_w ? at.w : r.low_w, r.high_w = at.w > r.high_w ? at.w : r.high_w;
    }
    return r;
}

static inline Strip strip_of(const TapList& t, i64 output_rows) {
    const TapRange r = range_of(t);
    Strip s;
    // column 0 of the buffer is what the first tap meets at output 0 (negative: the input is
    // cropped)
    s.left    = -r.low_w;
    s.first_d = r.low_d, s.first_h = r.low_h;
    s.depths  = r.high_d - r.low_d + 1;
    s.rows    = (output_rows - 1) * t.in_stride.h + r.high_h - r.low_h + 1;
    s.phases  = t.in_stride.w;
    s.filled  = t.grid.w + (r.high_w - r.low_w) / t.in_stride.w;
    s.pitch   = (s.filled + 2 * LANES) / LANES * LANES;
    return s;
}

// Where a row of input lands: within phase p, columns [first, last) hold src[i * phases + p -
// left], the others zeros.
struct PhaseFill { i64 first, last, source; };

static inline PhaseFill phase_fill(const Strip& s, i64 phase, i64 input_width) {
    const i64 shift = s.left - phase;
    PhaseFill f;
    f.first  = clamp(shift > 0 ? ceil_div(shift, s.phases) : 0, 0, s.filled);
    f.last = clamp(input_width + shift > 0 ? ceil_div(input_width + shift, s.phases) : 0, f.first, s.filled);
    f.source = f.first * s.phases - shift;
    return f;
}

static inline void zero_columns(real* dst, i64 first, i64 last) {
    for (i64 i = first; i < last; i += LANES) store(dst + i, V{});   // may run into the slack of the row
}

static inline void fill_phase(const real* src, const PhaseFill f, i64 phases, i64 filled, real* dst) {
    if (phases == 1 && filled <= LANES)
        return store(dst, load(src + f.source - f.first, lane_range((int)f.first, (int)f.last)));
    zero_columns(dst, 0, f.first);
    i64 i = f.first, x = f.source;
    if (phases == 1) {
        for (; i + LANES <= f.last; i += LANES, x += LANES) store(dst + i, load(src + x));
    } else {
        for (; i + LANES <= f.last; i += LANES, x += LANES * phases)
            store(dst + i, load_every(src + x, phases, LANES));
    }
    const i64 rest = f.last - i;
    if (rest > 0) store(dst + i, load_every(src + x, phases, (int)rest));
    zero_columns(dst, rest > 0 ? i + LANES : i, filled);
}

static inline void fill_strip(const Convolution& conv, const TapList& t, const Strip& s,
                              const PhaseFill* fills, i64 n, i64 channel, i64 od, i64 oh, real* dst) {
    const Extent xs = conv.xs;
    const i64 phases = s.phases, pitch = s.pitch, filled = s.filled, rows = s.rows;
    const real* plane = conv.x + (n * xs.c + channel) * xs.spatial();
    for (i64 z = 0; z < s.depths; ++z) {
        const i64 d = od * t.in_stride.d + s.first_d + z, h = oh * t.in_stride.h + s.first_h;
        const bool depth_inside = d >= 0 && d < xs.d;
        const real* src = plane + offset_in(xs, d, h, 0);
        for (i64 r = 0; r < rows; ++r, src += xs.w)
            for (i64 p = 0; p < phases; ++p, dst += pitch) {
                if (depth_inside && h + r >= 0 && h + r < xs.h)
                    fill_phase(src, fills[p], phases, filled, dst);
                else zero_columns(dst, 0, filled);
            }
    }
}

// Offset in a strip of what the tap meets at the first output.
static inline i64 tap_offset(const Strip& s, const Tap& at) {
    const i64 column = at.w + s.left;
    return (((at.d - s.first_d) * s.rows + at.h - s.first_h) * s.phases + column % s.phases) * s.pitch +
           column / s.phases;
}

// FILTERS x SPAN vectors of outputs: `terms` products each, weights packed [term][FILTERS].
template <int FILTERS, int SPAN>
static inline void planar_tile(const real* const (&x)[SPAN], const i64* offsets, i64 terms,
                               const real* weights, const real* start, V (&acc)[FILTERS][SPAN]) {
    #pragma GCC unroll 8
    for (int f = 0; f < FILTERS; ++f)
        #pragma GCC unroll 4
        for (int v = 0; v < SPAN; ++v) acc[f][v] = splat(start[f]);
    for (i64 i = 0; i < terms; ++i, weights += FILTERS) {
        const i64 at = offsets[i];
        V xv[SPAN];
        #pragma GCC unroll 4
        for (int v = 0; v < SPAN; ++v) xv[v] = load(x[v] + at);
        #pragma GCC unroll 8
        for (int f = 0; f < FILTERS; ++f)
            #pragma GCC unroll 4
            for (int v = 0; v < SPAN; ++v) acc[f][v] += weights[f] * xv[v];
    }
}

static inline void store_outputs(real* y, i64 stride, V v, int count) {
    if (stride == 1) {
        if (count == LANES) store(y, v);
        else store(y, v, count);
    } else {
        for (int i = 0; i < count; ++i) y[i * stride] = v[i];
    }
}

static inline real* row_of_y(const Convolution& conv, const TapList& t, i64 n, i64 filter, i64 od, i64 oh) {
    return conv.y + (n * conv.ys.c + filter) * conv.ys.spatial() +
           offset_in(conv.ys, od * t.out_stride.d + t.out_offset.d, oh * t.out_stride.h + t.out_offset.h,
                     t.out_offset.w);
}

// All vectors of `rows` rows of outputs, SPAN at a time, for FILTERS filters.
template <int FILTERS>
static inline void planar_rows(const Convolution& conv, const TapList& t, const Strip& s, const real* strips,
                               const i64* offsets, i64 terms, const real* weights, const real* start, i64 n,
                               i64 filter, i64 od, i64 oh, i64 rows) {
    constexpr int SPAN = span<FILTERS>();
    const i64 a_row = ceil_div(t.grid.w, LANES), vectors = rows * a_row, y_step = t.out_stride.w,
              plane = conv.ys.spatial();
    i64 row[SPAN], w[SPAN];
    for (i64 i = 0, next_row = 0, next_w = 0; i < vectors; i += SPAN) {
        const real* x[SPAN];
        for (int v = 0; v < SPAN; ++v) {
            row[v] = next_row, w[v] = next_w;
            x[v]   = strips + next_row * t.in_stride.h * s.row() + next_w;
            if ((next_w += LANES) >= t.grid.w) next_w = 0, ++next_row;
            if (next_row == rows) next_row = 0;   // beyond the last vector: computed again, not stored
        }
        V acc[FILTERS][SPAN];
        planar_tile<FILTERS, SPAN>(x, offsets, terms, weights, start, acc);
        #pragma GCC unroll 4
        for (int v = 0; v < SPAN; ++v) {
            if (i + v >= vectors) break;
            real* y = row_of_y(conv, t, n, filter, od, oh + row[v]) + w[v] * y_step;
            const int count = (int)clamp(t.grid.w - w[v], 0, LANES);
            #pragma GCC unroll 8
            for (int f = 0; f < FILTERS; ++f, y += plane) store_outputs(y, y_step, acc[f][v], count);
        }
    }
}

// Packs the weights of filters [k, k + filters) as [term][filters] and their biases.
static inline void pack_terms(const Convolution& conv, const TapList& t, i64 group, i64 k, int filters,
                              real* weights, real* start) {
    const real* w = conv.weights_of(group) + k * conv.filter_stride;
    for (i64 c = 0; c < conv.channels; ++c)
        for (i64 tap = 0; tap < t.count; ++tap)
            for (int f = 0; f < filters; ++f)
                *weights++ = w[f * conv.filter_stride + c * conv.channel_stride + t.taps[tap].index];
    for (int f = 0; f < filters; ++f) start[f] = conv.bias ? conv.bias[group * conv.filters + k + f] : 0;
}

// ---- dense square filters on one plane: KERNEL^2 taps known to the compiler, BAND rows of outputs
// at once, so that an input vector is loaded once for all the outputs it meets and the kernel is
// bound by its multiply-adds.
constexpr int BAND_ROWS = 4;

template <int KERNEL, int STRIDE>
static inline void dense_rows(const Convolution& conv, const TapList& t, const Strip& s, const real* strip,
                              const real* weights, real start, i64 n, i64 filter, i64 od, i64 oh, i64 rows) {
    // Locals: a vector store may alias anything in memory, so what it could change would be
    // read again after each.
    const i64 width = t.grid.w, pitch = s.pitch, x_row = s.row(), y_step = t.out_stride.w;
    const i64 y_row = t.out_stride.h * conv.ys.w;
    real*     y     = row_of_y(conv, t, n, filter, od, oh);
    V w[KERNEL * KERNEL];
    #pragma GCC unroll 64
    for (int i = 0; i < KERNEL * KERNEL; ++i) w[i] = splat(weights[i]);
    const V bias = splat(start);
    for (i64 r = 0; r < rows; r += BAND_ROWS, strip += BAND_ROWS * STRIDE * x_row, y += BAND_ROWS * y_row)
        for (i64 c = 0; c < width; c += LANES) {
            V acc[BAND_ROWS];
            #pragma GCC unroll 4
            for (int b = 0; b < BAND_ROWS; ++b) acc[b] = bias;
            const real* x = strip + c;
            #pragma GCC unroll 16
            for (int in = 0; in < (BAND_ROWS - 1) * STRIDE + KERNEL; ++in, x += x_row)
                #pragma GCC unroll 8
                for (int j = 0; j < KERNEL; ++j) {
                    const V v = load(x + j % STRIDE * pitch + j / STRIDE);
                    #pragma GCC unroll 4
                    for (int b = 0; b < BAND_ROWS; ++b)
                        if (in - b * STRIDE >= 0 && in - b * STRIDE < KERNEL)
                            acc[b] += w[(in - b * STRIDE) * KERNEL + j] * v;
                }
            const int count = (int)clamp(width - c, 0, LANES), left = (int)clamp(rows - r, 0, BAND_ROWS);
            #pragma GCC unroll 4
            for (int b = 0; b < BAND_ROWS; ++b)
                if (b < left) store_outputs(y + b * y_row + c * y_step, y_step, acc[b], count);
        }
}

// A k x k list of taps in one plane: places from tap to tap. k is 0 for another list.
struct Square { i64 k, step_h, step_w; };

static inline Square square_of(const TapList& t, const TapRange& r) {
    const i64 k = t.count == 4 ? 2 : t.count == 9 ? 3 : t.count == 25 ? 5 : t.count == 49 ? 7 : 0;
    if (!k || r.low_d != r.high_d) return {};
    const i64 high = r.high_h - r.low_h, wide = r.high_w - r.low_w;
    // a row or a column of as many taps has no place on the other axis
    if (!high || !wide || high % (k - 1) || wide % (k - 1)) return {};
    return {k, high / (k - 1), wide / (k - 1)};
}

// The same on a whole plane, read where it lies: lanes beyond a row's ends are masked off, rows
// beyond the plane's are a row of zeros. Columns outermost, so that the masks are made once a column
// of vectors. The rows of a band lie a dilation apart, and share rows of the input.
template <int KERNEL, int STRIDE, bool DILATED = false>
static inline void dense_plane(const Convolution& conv, const TapList& t, const TapRange& range,
                               const real* zeros, const real* weights, real start, i64 n, i64 channel,
                               i64 filter, i64 od) {
    const i64 step_h = DILATED ? (range.high_h - range.low_h) / (KERNEL - 1) : 1,
              step_w = DILATED ? (range.high_w - range.low_w) / (KERNEL - 1) : 1;
    const i64 width = t.grid.w, height = t.grid.h, x_width = conv.xs.w, x_height = conv.xs.h,
              y_step = t.out_stride.w;
    const i64 y_row = t.out_stride.h * conv.ys.w, d = od * t.in_stride.d + range.low_d, top = range.low_h,
              left = range.low_w;
    const real* plane = conv.x + (n * conv.xs.c + channel) * conv.xs.spatial() + d * x_height * x_width;
    const i64 first_row = d >= 0 && d < conv.xs.d ? 0 : x_height;   // a plane outside the volume has no rows
    V w[KERNEL * KERNEL];
    #pragma GCC unroll 64
    for (int i = 0; i < KERNEL * KERNEL; ++i) w[i] = splat(weights[i]);
    const V bias = splat(start);
    for (i64 c = 0; c < width; c += LANES) {
        LaneRange lanes[STRIDE][KERNEL];
        #pragma GCC unroll 8
        for (int j = 0; j < KERNEL; ++j)
            for (int s = 0; s < STRIDE; ++s) {
                const i64 at = c * STRIDE + left + j * step_w + s * LANES;
                lanes[s][j] = lane_range((int)clamp(-at, 0, LANES), (int)clamp(x_width - at, 0, LANES));
            }
        real* const column = row_of_y(conv, t, n, filter, od, 0) + c * y_step;
        const int count = (int)clamp(width - c, 0, LANES);
        for (i64 first = 0; first < step_h && first < height; ++first)
            for (i64 r = first; r < height; r += BAND_ROWS * step_h) {
                V acc[BAND_ROWS];
                #pragma GCC unroll 4
                for (int b = 0; b < BAND_ROWS; ++b) acc[b] = bias;
                #pragma GCC unroll 16
                for (int in = 0; in < (BAND_ROWS - 1) * STRIDE + KERNEL; ++in) {
                    const i64   row = r * STRIDE + top + in * step_h;
                    const real* x   = row >= first_row && row < x_height
                                          ? plane + row * x_width + c * STRIDE + left
                                          : zeros;
                    const i64 next = DILATED && x == zeros ? 0 : step_w;
                    #pragma GCC unroll 8
                    for (int j = 0; j < KERNEL; ++j) {
                        V v = load(x + j * next, lanes[0][j]);
                        if constexpr (STRIDE == 2) v = even_lanes(v, load(x + j * next + LANES, lanes[1][j]));
                        #pragma GCC unroll 4
                        for (int b = 0; b < BAND_ROWS; ++b)
                            if (in - b * STRIDE >= 0 && in - b * STRIDE < KERNEL)
                                acc[b] += w[(in - b * STRIDE) * KERNEL + j] * v;
                    }
                }
                real* const y     = column + r * y_row;
                const int   below = (int)clamp(ceil_div(height - r, step_h), 0, BAND_ROWS);
                #pragma GCC unroll 4
                for (int b = 0; b < BAND_ROWS; ++b)
                    if (b < below) store_outputs(y + b * step_h * y_row, y_step, acc[b], count);
            }
    }
}

// Filters of one row (1-D, causal or dilated) with stride 1, read in place: LINE vectors of outputs
// at once, only those at a row's ends masked.
constexpr int LINE = 4;

static inline V line_load(const real* row, i64 at, i64 width) {
    if (at >= 0 && at + LANES <= width) return load(row + at);
    return load(row + at, lane_range((int)clamp(-at, 0, LANES), (int)clamp(width - at, 0, LANES)));
}

static inline void dense_line(const Convolution& conv, const TapList& t, const TapRange& range, const real*,
                              const real* weights, real start, i64 n, i64 channel, i64 filter, i64 od) {
    const i64 width = t.grid.w, x_width = conv.xs.w, count = t.count, left = range.low_w,
              reach = range.high_w + LINE * LANES;
    const i64 d = od * t.in_stride.d + range.low_d;
    const Tap* taps = t.taps;
    const real* plane = conv.x + (n * conv.xs.c + channel) * conv.xs.spatial() + d * conv.xs.h * x_width;
    real beside = start;   // of a row outside, which is zeros: the bias, if all weights are finite
    for (i64 i = 0; i < count; ++i) beside += weights[i] * 0;
    for (i64 r = 0; r < t.grid.h; ++r) {
        const i64 h = r * t.in_stride.h + range.low_h;
        const bool inside = d >= 0 && d < conv.xs.d && h >= 0 && h < conv.xs.h;
        const real* x = plane + h * x_width;
        real* y = row_of_y(conv, t, n, filter, od, r);
        for (i64 w = 0; w < width; w += LINE * LANES) {
            V acc[LINE];
            #pragma GCC unroll 4
            for (int v = 0; v < LINE; ++v) acc[v] = splat(inside ? start : beside);
            if (inside && w + left >= 0 && w + reach <= x_width) {
                for (i64 i = 0; i < count; ++i) {
                    const real* p = x + w + taps[i].w;
                    #pragma GCC unroll 4
                    for (int v = 0; v < LINE; ++v) acc[v] += weights[i] * load(p + v * LANES);
                }
            } else if (inside) {
                for (i64 i = 0; i < count; ++i)
                    for (int v = 0; v < LINE; ++v)
                        acc[v] += weights[i] * line_load(x, w + taps[i].w + v * LANES, x_width);
            }
            for (int v = 0; v < LINE && w + v * LANES < width; ++v)
                store_outputs(y + (w + v * LANES) * t.out_stride.w, t.out_stride.w, acc[v],
                              (int)clamp(width - w - v * LANES, 0, LANES));
        }
    }
}

using DensePlane = void (*)(const Convolution&, const TapList&, const TapRange&, const real*, const real*,
                            real, i64, i64, i64, i64);
using DenseRows = void (*)(const Convolution&, const TapList&, const Strip&, const real*, const real*, real,
                           i64, i64, i64, i64, i64);

// The kernel for a list of k x k taps without dilation in one plane, or nullptr.
static inline DenseRows dense_kernel(const Convolution& conv, const TapList& t) {
    const TapRange r = range_of(t);
    const i64 k = r.high_h - r.low_h + 1;
    if (conv.channels != 1 || r.high_d != r.low_d || r.high_w - r.low_w + 1 != k || t.count != k * k ||
        t.in_stride.h != t.in_stride.w)
        return nullptr;
    if (t.in_stride.w == 2)
        return k == 2   ? dense_rows<2, 2>
               : k == 3 ? dense_rows<3, 2>
               : k == 5 ? dense_rows<5, 2>
               : k == 7 ? dense_rows<7, 2>
                        : nullptr;
    if (t.in_stride.w == 1)
        return k == 2   ? dense_rows<2, 1>
               : k == 3 ? dense_rows<3, 1>
               : k == 5 ? dense_rows<5, 1>
               : k == 7 ? dense_rows<7, 1>
                        : nullptr;
    return nullptr;
}

// ... and the one that reads planes in place, where masked loads are as cheap as others. Dilation
// with a stride is left to the strips: its band would share no rows.
static inline DensePlane dense_in_place(const Convolution& conv, const TapList& t) {
    const TapRange r = range_of(t);
    if (VECTOR_BYTES < 32 || conv.channels != 1) return nullptr;
    if (t.in_stride.w == 1 && r.low_d == r.high_d && r.low_h == r.high_h) return dense_line;
    const Square square = square_of(t, r);
    if (!square.k || t.in_stride.h != t.in_stride.w) return nullptr;
    const bool dilated = square.step_h != 1 || square.step_w != 1;
    if (t.in_stride.w == 1)
        return dilated ? square.k == 2   ? dense_plane<2, 1, true>
                         : square.k == 3 ? dense_plane<3, 1, true>
                         : square.k == 5 ? dense_plane<5, 1, true>
                                         : dense_plane<7, 1, true>
               : square.k == 2 ? dense_plane<2, 1>
               : square.k == 3 ? dense_plane<3, 1>
               : square.k == 5 ? dense_plane<5, 1>
                               : dense_plane<7, 1>;
    if (t.in_stride.w != 2 || dilated) return nullptr;
    return square.k == 2   ? dense_plane<2, 2>
           : square.k == 3 ? dense_plane<3, 2>
           : square.k == 5 ? dense_plane<5, 2>
                           : dense_plane<7, 2>;
}

// Place of the tap in a dense k x k filter, row by row.
static inline i64 dense_place(const TapRange& r, const Square& square, const Tap& at) {
    return (at.h - r.low_h) / square.step_h * square.k + (at.w - r.low_w) / square.step_w;
}

constexpr i64 STRIP_BYTES = 256 * 1024;       // a strip of all of a group's channels stays within L2
// values: strides, dilations or paddings far beyond the input would need more
constexpr i64 MOST_STRIP  = 16 << 20;

// Whether strips of one row of outputs, of all channels of a group, are of a size to be laid out.
// Nothing overflows here: a stride, a padding and a dilation have 31 bits, and an axis of taps as
// many as memory holds.
static inline bool strips_fit(const Convolution& conv, const TapList& t) {
    const TapRange r = range_of(t);
    const i64 channels = conv.channels ? conv.channels : 1, depths = r.high_d - r.low_d + 1;
    // a last band reads beyond its strip
    const i64 rows = times(BAND_ROWS, t.in_stride.h) + r.high_h - r.low_h + 1;
    const i64 row  = times(t.in_stride.w, t.grid.w + (r.high_w - r.low_w) / t.in_stride.w + 2 * LANES);
    const i64 all  = times(times(times(depths, rows), row), channels);
    return all >= 0 && all <= MOST_STRIP;
}

static inline i64 strip_rows(const Convolution& conv, const TapList& t) {
    const Strip one = strip_of(t, 1), two = strip_of(t, 2);
    const i64 channels = conv.channels ? conv.channels : 1;
    const i64 per_row = channels * (two.plane() - one.plane()), fixed = channels * one.plane();
    return clamp(1 + (STRIP_BYTES / (i64)sizeof(real) - fixed) / (per_row ? per_row : 1), 1, t.grid.h);
}

static inline void planar_in_place(const Convolution& conv, const TapList& t, DensePlane run) {
    const TapRange range = range_of(t);
    const Square   shape = square_of(t, range);
    const i64 tasks = conv.xs.n * conv.groups * t.grid.d;
    parallel_for(
        tasks, 1 + 30000 / (t.grid.h * t.grid.w * (t.count * conv.filters / 4 + 1)), [&](i64 begin, i64 end) {
            Scratch<real> zeros(2 * LANES + 8), square(t.count);
            Scratch<i64>  places(t.count);
            for (i64 i = 0; i < 2 * LANES + 8; ++i) zeros[i] = 0;
            for (i64 i = 0; i < t.count; ++i)
                places[i] = run == dense_line ? i : dense_place(range, shape, t.taps[i]);
            for (i64 task = begin; task < end; ++task) {
                const i64 od = task % t.grid.d, group = task / t.grid.d % conv.groups,
                          n = task / (t.grid.d * conv.groups);
                for (i64 k = 0; k < conv.filters; ++k) {
                    const real* w = conv.weights_of(group) + k * conv.filter_stride;
                    const i64 filter = group * conv.filters + k;
                    for (i64 i = 0; i < t.count; ++i) square[places[i]] = w[t.taps[i].index];
                    run(conv, t, range, zeros, square, conv.bias ? conv.bias[filter] : 0, n, group, filter,
                        od);
                }
            }
        });
}

static inline void planar(const Convolution& conv, const TapList& t) {
    if (const DensePlane in_place = dense_in_place(conv, t)) return planar_in_place(conv, t, in_place);
    const i64 terms = conv.channels * t.count, rows = strip_rows(conv, t),
              strips_a_plane = ceil_div(t.grid.h, rows);
    const Strip s = strip_of(t, rows);
    const TapRange range = range_of(t);
    const DenseRows dense = dense_kernel(conv, t);
    const Square    shape = square_of(t, range);
    // a last band reads beyond its strip; none of that is stored
    const i64 slack = BAND_ROWS * t.in_stride.h * s.row() + 2 * LANES;
    const i64 tasks = conv.xs.n * conv.groups * t.grid.d * strips_a_plane;
    const i64 cost  = rows * t.grid.w * (terms * conv.filters / 4 + 1);
    parallel_for(tasks, 1 + 30000 / (cost + 1), [&](i64 begin, i64 end) {
        Scratch<real> strips(conv.channels * s.plane() + slack), weights(terms * conv.filters), square(terms),
            start(conv.filters);
        Scratch<i64>  offsets(terms);
        Scratch<PhaseFill> fills(s.phases);
        for (i64 p = 0; p < s.phases; ++p) fills[p] = phase_fill(s, p, conv.xs.w);
        for (i64 c = 0; c < conv.channels; ++c)
            for (i64 tap = 0; tap < t.count; ++tap)
                offsets[c * t.count + tap] = c * s.plane() + tap_offset(s, t.taps[tap]);
        i64 packed = -1;   // the group whose weights are packed
        for (i64 task = begin; task < end; ++task) {
            const i64 oh = task % strips_a_plane * rows, od = task / strips_a_plane % t.grid.d;
            const i64 group = task / (strips_a_plane * t.grid.d) % conv.groups,
                      n = task / (strips_a_plane * t.grid.d * conv.groups);
            const i64 count = clamp(t.grid.h - oh, 0, rows);
            for (i64 c = 0; c < conv.channels; ++c)
                fill_strip(conv, t, s, fills, n, group * conv.channels + c, od, oh, strips + c * s.plane());
            for (i64 k = 0; k < conv.filters;) {
                const i64   left    = conv.filters - k;
                const int   filters = dense ? 1 : left >= ROWS ? ROWS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
                const i64   filter  = group * conv.filters + k;
                real* const terms_of = weights + k * terms;
                if (group != packed) pack_terms(conv, t, group, k, filters, terms_of, start + k);
                if (dense) {
                    for (i64 i = 0; i < t.count; ++i) square[dense_place(range, shape, t.taps[i])] = terms_of[i];
                    dense(conv, t, s, strips, square, start[k], n, filter, od, oh, count);
                } else {
                    auto run = filters == ROWS ? planar_rows<ROWS>
                               : filters == 4  ? planar_rows<4>
                               : filters == 2  ? planar_rows<2>
                                               : planar_rows<1>;
                    run(conv, t, s, strips, offsets, terms, terms_of, start + k, n, filter, od, oh, count);
                }
                k += filters;
            }
            packed = group;
        }
    });
}
}  // namespace ISA::REAL_NAME
