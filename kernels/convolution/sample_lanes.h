// Convolutions of many small images with few channels and filters: a lane is a sample, so that vectors are full
// however short the rows are. Samples are transposed a vector of them at a time, and results back.
//
// Outputs that meet the same taps are computed side by side, of several filters; taps outside are left out, and in a
// transposed convolution those that the stride leaves out. An output is the chain of multiply-adds that the other
// direct algorithms make, but for products with zeros: from the bias, in the order channel, tap.
#pragma once
#include "inside.h"
#include "gemm/gemm.h"

extern __thread bool pyops_by_sample;    // module.cpp: pyops.batch_invariant()
extern __thread int  pyops_run_threads;  // csrc/parallel.h: within a compiled program

namespace ISA::REAL_NAME {
constexpr i64 MOST_MASKED = 64;                // taps of a filter
constexpr i64 SAMPLE_VALUES = 4 << 10, SAMPLE_OUTPUTS = 1 << 10;   // of an image: a vector of them stays in L2
constexpr int TILE_FILTERS = sizeof(V) == 64 ? 8 : 4;

static inline bool sample_lanes_pay(const Convolution& conv, const Extent& kernel) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 taps = kernel.spatial();
    return !pyops_by_sample && !pyops_run_threads && conv.groups == 1 && taps >= 2 && taps <= MOST_MASKED &&
           xs.n * 4 >= ceil_div(xs.n, LANES) * LANES * 3 &&
           conv.channels > 0 && xs.spatial() > 0 && conv.channels * xs.spatial() <= SAMPLE_VALUES && ys.spatial() > 0 &&
           ys.spatial() <= SAMPLE_OUTPUTS;
}

// One axis: which taps of each output meet a pixel, and the outputs that meet the same ones side by side. The n-th tap
// that a kind meets lies as far from its first one in all of its outputs.
struct LaneAxis {
    const i64  taps, stride, padding, dilation, in, out;
    const bool turned;
    Scratch<std::uint64_t> masks;
    Scratch<i64> order, first;   // outputs; the pixel that an output's first tap meets
    Scratch<i64> begin;          // of each kind in the order
    i64          kinds = 0;

    LaneAxis(i64 taps, i64 stride, i64 padding, i64 dilation, i64 in, i64 out, bool turned)
        : taps(taps), stride(stride), padding(padding), dilation(dilation), in(in), out(out), turned(turned),
          masks(out), order(out), first(out), begin(out + 1) {
        for (i64 o = 0; o < out; ++o) {
            masks[o] = 0, first[o] = 0;
            for (i64 tap = taps - 1; tap >= 0; --tap)
                if (const i64 at = pixel(o, tap); at >= 0) masks[o] |= std::uint64_t(1) << tap, first[o] = at;
        }
        i64 at = 0;
        for (i64 o = 0; o < out; ++o) {
            bool met = false;
            for (i64 i = 0; i < kinds && !met; ++i) met = masks[order[begin[i]]] == masks[o];
            if (met) continue;
            begin[kinds++] = at;
            for (i64 other = o; other < out; ++other)
                if (masks[other] == masks[o]) order[at++] = other;
        }
        begin[kinds] = at;
    }

    // -1: outside of the image, or between its pixels
    i64 pixel(i64 o, i64 tap) const {
        const i64 at = turned ? o + padding - tap * dilation : o * stride - padding + tap * dilation;
        if (at < 0 || (turned && at % stride)) return -1;
        const i64 i = turned ? at / stride : at;
        return i < in ? i : -1;
    }
    // From the first pixel that an output of a kind meets to the one of `tap`; false: it meets none.
    bool meets(i64 kind, i64 tap, i64& distance) const {
        const i64 o = order[begin[kind]];
        distance = pixel(o, tap) - first[o];
        return masks[o] >> tap & 1;
    }
};

// FILTERS x PIXELS outputs of a vector of samples: sums over `count` terms of w[term.place][f] x[p][term.input]
struct LaneTerm { i64 input, place; };
template <int FILTERS, int PIXELS>
static void lane_tile(const real* const* x, const LaneTerm* terms, i64 count, const real* w, const real* start,
                      i64 y_filter, real* const* y) {
    V acc[FILTERS][PIXELS];
    #pragma GCC unroll 8
    for (int f = 0; f < FILTERS; ++f)
        #pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) acc[f][p] = splat(start[f]);
    for (i64 i = 0; i < count; ++i) {
        const real* const ws = w + terms[i].place * FILTERS;
        V xv[PIXELS];
        #pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) xv[p] = load(x[p] + terms[i].input);
        #pragma GCC unroll 8
        for (int f = 0; f < FILTERS; ++f)
            #pragma GCC unroll 8
            for (int p = 0; p < PIXELS; ++p) acc[f][p] += ws[f] * xv[p];
    }
    #pragma GCC unroll 8
    for (int f = 0; f < FILTERS; ++f)
        #pragma GCC unroll 8
        for (int p = 0; p < PIXELS; ++p) store(y[p] + f * y_filter, acc[f][p]);
}

class SampleLanes {
public:
    SampleLanes(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation, bool turned)
        : conv(conv), kernel(kernel), d(kernel.d, stride[0], padding[0], dilation[0], conv.xs.d, conv.ys.d, turned),
          h(kernel.h, stride[1], padding[1], dilation[1], conv.xs.h, conv.ys.h, turned),
          w(kernel.w, stride[2], padding[2], dilation[2], conv.xs.w, conv.ys.w, turned), taps(kernel.spatial()),
          pixels(conv.xs.spatial()), outputs(conv.ys.spatial()), kind_count(d.kinds * h.kinds * w.kinds),
          order(outputs), first(outputs), kinds(kind_count), weight(conv.filters * conv.channels * taps),
          terms(kind_count * conv.channels * taps) {
        LaneTerm* next = terms;
        i64 at = 0, kind = 0;
        for (i64 a = 0; a < d.kinds; ++a)
            for (i64 b = 0; b < h.kinds; ++b)
                for (i64 c = 0; c < w.kinds; ++c) {
                    Kind& made = kinds[kind++];
                    made.begin = at, made.end = at = list_outputs(a, b, c, at);
                    made.terms = next, next = list_terms(a, b, c, next);
                    made.count = next - made.terms;
                }
        real* to = weight;
        for (i64 k = 0; k < conv.filters;) {
            const int some = filters_of(conv.filters - k);
            for (i64 c = 0; c < conv.channels; ++c)
                for (i64 i = 0; i < taps; ++i)
                    for (int f = 0; f < some; ++f)
                        *to++ = conv.weight[(k + f) * conv.filter_stride + c * conv.channel_stride + i];
            k += some;
        }
    }

    // Whether every tap of every output meets a pixel
    bool all_inside() const { return kind_count == 1 && kinds[0].count == conv.channels * taps; }

    void run() const {
        const i64 blocks = ceil_div(conv.xs.n, LANES), work = outputs * conv.filters * conv.channels * taps;
        parallel_for(blocks, 1 + 200000 / (work + 1), [&](i64 begin, i64 end) {
            const i64 values = conv.channels * pixels;
            Scratch<real> x(values * LANES), y(TILE_FILTERS * outputs * LANES);
            for (i64 b = begin; b < end; ++b) {
                const i64 n = b * LANES;
                pack_rows<LANES>(conv.x + n * values, values, (int)clamp(conv.xs.n - n, 0, LANES), values, x);
                for (i64 k = 0; k < conv.filters;) {
                    const int some = filters_of(conv.filters - k);
                    filters(k, some, x, y);
                    lay_out(n, k, some * outputs, y);
                    k += some;
                }
            }
        });
    }

private:
    struct Kind {   // outputs from `begin` to `end` of the order
        i64 begin, end;
        LaneTerm* terms;
        i64 count;
    };
    const Convolution& conv;
    const Extent   kernel;
    const LaneAxis d, h, w;
    const i64      taps, pixels, outputs, kind_count;
    Scratch<i64>   order, first;   // outputs, those of a kind side by side, and the first pixels that these meet
    Scratch<Kind>  kinds;
    Scratch<real>  weight;         // (tiles of filters, channels, taps, filters)
    Scratch<LaneTerm> terms;       // of each kind

    static int filters_of(i64 left) {
        return left >= TILE_FILTERS ? TILE_FILTERS : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    }

    i64 list_outputs(i64 a, i64 b, i64 c, i64 at) {
        for (i64 i = d.begin[a]; i < d.begin[a + 1]; ++i)
            for (i64 j = h.begin[b]; j < h.begin[b + 1]; ++j)
                for (i64 k = w.begin[c]; k < w.begin[c + 1]; ++k, ++at) {
                    const i64 od = d.order[i], oh = h.order[j], ow = w.order[k];
                    order[at] = offset_in(conv.ys, od, oh, ow);
                    first[at] = offset_in(conv.xs, d.first[od], h.first[oh], w.first[ow]);
                }
        return at;
    }

    LaneTerm* list_terms(i64 a, i64 b, i64 c, LaneTerm* next) const {
        LaneTerm* const begin = next;
        i64 tap = 0, at_d, at_h, at_w;
        for (i64 i = 0; i < kernel.d; ++i)
            for (i64 j = 0; j < kernel.h; ++j)
                for (i64 k = 0; k < kernel.w; ++k, ++tap)
                    if (d.meets(a, i, at_d) && h.meets(b, j, at_h) && w.meets(c, k, at_w))
                        *next++ = {offset_in(conv.xs, at_d, at_h, at_w) * LANES, tap};
        const i64 count = next - begin;
        for (i64 channel = 1; channel < conv.channels; ++channel)
            for (i64 i = 0; i < count; ++i)
                *next++ = {begin[i].input + channel * pixels * LANES, begin[i].place + channel * taps};
        return next;
    }

    void filters(i64 k, int some, const real* x, real* y) const {
        real start[TILE_FILTERS] = {};
        for (int f = 0; f < some && conv.bias; ++f) start[f] = conv.bias[k + f];
        const real* const ws = weight + k * conv.channels * taps;
        const auto run = some == 8 ? &SampleLanes::kinds_of<8> : some == 4 ? &SampleLanes::kinds_of<4>
                         : some == 2 ? &SampleLanes::kinds_of<2> : &SampleLanes::kinds_of<1>;
        (this->*run)(x, ws, start, y);
    }

    template <int FILTERS> void kinds_of(const real* x, const real* ws, const real* start, real* y) const {
        if constexpr (FILTERS <= TILE_FILTERS)   // of smaller vectors there are fewer registers
            for (i64 i = 0; i < kind_count; ++i)
                for (i64 at = kinds[i].begin; at < kinds[i].end;)
                    at += tile<FILTERS>(kinds[i], at, x, ws, start, y);
    }

    // As many outputs of a kind as registers have room for, from place `at` on; how many
    template <int FILTERS>
    int tile(const Kind& kind, i64 at, const real* x, const real* ws, const real* start, real* y) const {
        constexpr int MOST = FILTERS >= 4 ? 3 : 4;
        const real* from[MOST];
        real*       to[MOST];
        const int   n = (int)clamp(kind.end - at, 0, MOST);
        for (int p = 0; p < n; ++p) from[p] = x + first[at + p] * LANES, to[p] = y + order[at + p] * LANES;
        const auto run = n == 1 ? lane_tile<FILTERS, 1> : n == 2 ? lane_tile<FILTERS, 2>
                         : n == 3 ? lane_tile<FILTERS, 3> : lane_tile<FILTERS, MOST>;
        run(from, kind.terms, kind.count, ws, start, outputs * LANES, to);
        return n;
    }

    // `values` of each sample from filter k on, which lie a vector of samples after the other
    void lay_out(i64 n, i64 k, i64 values, const real* from) const {
        const i64 samples = clamp(conv.xs.n - n, 0, LANES), sample = conv.ys.c * outputs;
        real* const to = conv.y + n * sample + k * outputs;
        for (i64 j = 0; j < values; j += LANES) {
            const int count = (int)clamp(values - j, 0, LANES);
            V rows[LANES];
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) rows[i] = i < count ? load(from + (j + i) * LANES) : V{};
            interleave(rows);
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i)
                if (i < samples) {
                    if (count == LANES) store(to + i * sample + j, rows[i]);
                    else store(to + i * sample + j, rows[i], count);
                }
        }
    }
};

// False, and nothing done, where zeros of the padding meet filters that are not finite. A transposed convolution
// has none.
static bool by_sample_lanes(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                                   Dims dilation, bool turned) {
    if constexpr (VECTOR_BYTES >= 32) {   // four samples gain too little for its code
        if (!sample_lanes_pay(conv, kernel)) return false;
        const SampleLanes lanes(conv, kernel, stride, padding, dilation, turned);
        if (!turned && !lanes.all_inside() &&
            !all_finite(conv.weight, conv.channels * conv.filters * kernel.spatial()))
            return false;
        lanes.run();
        return true;
    }
    return false;
}
}  // namespace ISA::REAL_NAME
