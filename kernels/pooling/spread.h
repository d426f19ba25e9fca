// The transpose of a pooling sum: dx[i] = end(sum over the windows o that cover i of
// begin(dy)[o] * factor(o)).
// Gathered, not scattered: for each input row the output rows whose windows cover it are added up,
// then each column gives its sum to the inputs that its window covers. Every dx is written once, by
// the thread that owns its row.
//
// A Spread has: begin(at, lanes), the weighted gradient at output element `at`; end(at, v, lanes),
// what to store at input element `at`; row_factor and column_factor as in separable.h.
#pragma once
#include "separable.h"

BEGIN_KERNELS

template <class Kind> struct RowSpreader {
    const Kind&   kind;
    const Pool&   p;
    const bool    modest;
    const i64     before;          // zeros in front of the row of sums, so that windows may begin left of it
    Scratch<real> sums, spread;    // one output row and one input row, with room for whole vectors
    Scratch<Taps> taps;            // the inputs of each output of a row
    Scratch<real> factors;         // of each output of a row, where windows are adaptive
    const i64     most;            // outputs that cover one input, where that is to be looked up
    Scratch<lane_int> covering;    // which they are: the first of every input, the second, ...; p.w.out for none
    i64           plane_before = -1;   // of the row that was made last, and what covered that
    Taps          d_before{}, h_before{};
    const real*   made = nullptr;
    RowSpreader(const Kind& kind, const Pool& p)
        : kind(kind), p(p), modest(p.w.modest()), before(modest ? p.w.reach() : 0),
          sums(p.w.out + 2 * before + (modest ? p.w.padding : 0) + 2 * LANES),
          spread(p.w.in + 2 * before + (modest ? p.w.padding : 0) + 2 * LANES), taps(p.w.out),
          factors(p.w.adaptive() ? p.w.out : 0), most(looked_up(p.w)), covering(most * (p.w.in + LANES)) {
        for (i64 o = 0; o < p.w.out; ++o) taps[o] = p.w.taps(o);
        for (i64 o = 0; o < p.w.out && p.w.adaptive(); ++o) factors[o] = kind.column_factor(p.w, o);
        for (i64 i = 0; i < p.w.in && most; ++i) {
            const Taps over = p.w.covering(i);
            for (i64 k = 0; k < most; ++k)
                covering[k * (p.w.in + LANES) + i] = (lane_int)(k < over.count ? over.first + k : p.w.out);
        }
        for (i64 k = 0; k < most; ++k)
            for (i64 i = p.w.in; i < p.w.in + LANES; ++i) covering[k * (p.w.in + LANES) + i] = (lane_int)p.w.out;
    }

    static i64 looked_up(const Axis& w) {
        if (w.in > MOST_TURNED) return 0;
        if (w.adaptive()) return w.out <= w.in ? 2 : 0;   // such windows overlap by one input
        return w.out < LANES && w.stride > 1 && w.kernel <= 2 * w.stride ? w.kernel <= w.stride ? 1 : 2 : 0;
    }

    void add_rows(i64 plane, Taps d, Taps h) {
        real* sum = sums + before;
        for (i64 od = d.first; od < d.first + d.count; ++od)
            for (i64 oh = h.first; oh < h.first + h.count; ++oh) {
                const bool fresh = od == d.first && oh == h.first;
                const real factor = kind.row_factor(p, od, oh);
                const i64  at = plane * p.out_size() + (od * p.h.out + oh) * p.w.out;
                for_vectors(p.w.out, [&](i64 o, auto lanes) {
                    const V g = kind.begin(at + o, lanes) * factor;
                    lanes.store(sum + o, fresh ? g : lanes.load(sum + o) + g);
                });
            }
        if (p.w.adaptive())
            for (i64 o = 0; o < p.w.out; ++o) sum[o] *= factors[o];
        else multiply_edges(kind, p.w, sum);
    }

    // Windows that begin at every input: a sliding sum over `kernel` neighbours
    const real* slide() {
        const i64 k = p.w.kernel, after = p.w.in + p.w.padding + 1;
        std::memset(sums, 0, before * sizeof(real));
        for (i64 o = p.w.out; o < after; ++o) sums[before + o] = 0;
        // input i is covered by outputs i + padding - k + 1 .. i + padding
        const real* last = sums + before + p.w.padding;
        for_vectors(p.w.in, [&](i64 i, auto lanes) {
            V v = lanes.load(last + i - k + 1);
            for (i64 t = k - 2; t >= 0; --t) v += lanes.load(last + i - t);
            lanes.store(spread + i, v);
        });
        return spread;
    }

    const real* look_up() {
        real* const sum = sums + before;
        sum[p.w.out] = 0;
        const bool few = p.w.out < LANES;
        const V all = few ? load(sum) : V{};
        for (i64 i = 0; i < p.w.in; i += LANES) {
            V v{};
            for (i64 k = 0; k < most; ++k) {
                M at;
                std::memcpy(&at, covering + k * (p.w.in + LANES) + i, sizeof at);
                v += few ? __builtin_shuffle(all, at) : gathered(sum, at);
            }
            store(spread + i, v);
        }
        return spread;
    }

    const real* scatter() {
        // of input 0 in `spread`: windows may begin in the padding and end behind the input
        const i64 origin = p.w.padding;
        std::memset(spread, 0, (p.w.in + p.w.padding + p.w.reach()) * sizeof(real));
        for (i64 o = 0; o < p.w.out; ++o) {
            const Taps t = taps[o];
            const real g = sums[before + o];
            real* to = spread + origin + t.first;
            for (i64 i = 0; i < t.count; ++i) to[i] += g;
        }
        return spread + origin;
    }

    // Windows that reach too far for a row of them: of each input the outputs that cover it, in order
    const real* gather() {
        for (i64 i = 0; i < p.w.in; ++i) {
            const Taps over = p.w.covering(i);
            spread[i] = 0;
            for (i64 o = over.first; o < over.first + over.count; ++o) spread[i] += sums[o];
        }
        return spread;
    }

    void row(i64 plane, i64 d, i64 h) {
        const Taps  over_d = p.d.covering(d), over_h = p.h.covering(h);
        const i64   at = plane * p.in_size() + (d * p.h.in + h) * p.w.in;
        const bool  covered = over_d.count > 0 && over_h.count > 0 && p.w.out > 0;
        // rows under the same windows have the same gradient
        if (covered && !(plane == plane_before && over_d == d_before && over_h == h_before)) {
            add_rows(plane, over_d, over_h);
            made = most ? look_up() : !modest ? gather() : !p.w.adaptive() && p.w.stride == 1 ? slide() : scatter();
            plane_before = plane, d_before = over_d, h_before = over_h;
        }
        const real* const v = made;
        for_vectors(p.w.in,
                    [&](i64 i, auto lanes) { kind.end(at + i, covered ? lanes.load(v + i) : V{}, lanes); });
    }
};

// One window over the whole plane gives every input the same
template <class Kind> static void spread_planes(const Kind& kind, i64 begin, i64 end, const Pool& p) {
    const real factor = kind.row_factor(p, 0, 0) * kind.column_factor(p.w, 0);
    for (i64 plane = begin; plane < end; ++plane) {
        const V g = splat(kind.begin(plane, Tail{1})[0] * factor);
        for_vectors(p.in_size(), [&](i64 i, auto lanes) { kind.end(plane * p.in_size() + i, g, lanes); });
    }
}

template <class Kind> static void pool_backward(const Kind& kind, i64 size, const Pool& p) {
    if (p.one_window_over_all())
        return parallel_for(size / p.in_size(), 1 + 65536 / p.in_size(),
                            [&](i64 begin, i64 end) { spread_planes(kind, begin, end, p); });
    parallel_for(size / p.w.in, 1 + 32768 / (p.w.in * 4 + 64), [&](i64 begin, i64 end) {
        RowSpreader<Kind> spreader(kind, p);
        RowPlace at = row_place(begin, p.d.in, p.h.in);
        for (i64 r = begin; r < end; ++r, at.next(p.d.in, p.h.in)) spreader.row(at.plane, at.d, at.h);
    });
}

END_KERNELS
