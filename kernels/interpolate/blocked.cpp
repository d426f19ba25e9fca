// Resampling in blocked layout by the tables of `resample` (cpu.cpp): output o of an axis is the
// sum over k of weight[k][o] x[index[k][o]], where index -1 is a tap that this output lacks. Source
// rows are combined first, then pixels across; an output is one chain in the order of the tables.
#include "blocked/epilogue.h"
#include "blocked/labels.h"

BEGIN_KERNELS
namespace {
// The taps that each output of an axis has, in order: of output o the `count[o]` from o * most on
struct Taps {
    i64           outputs, most;
    Scratch<i64>  count, at;
    Scratch<real> weight;
    bool          copies = true, pairs = true;   // every output is one input; has two taps

    Taps(In<i64> index, In<real> w, i64 size)
        : outputs(index ? index.dim(1) : size), most(index ? index.dim(0) : 1), count(outputs),
          at(outputs * most), weight(outputs * most) {
        for (i64 o = 0; o < outputs; ++o) {
            count[o] = 0;
            for (i64 k = 0; k < most; ++k) {
                const i64 i = index ? index.data[k * outputs + o] : o;
                if (i >= 0) add(o, i, index ? w.data[k * outputs + o] : 1);
            }
            copies = copies && copy(o);
            pairs  = pairs && count[o] == 2;
        }
    }
    void add(i64 o, i64 i, real w) {
        at[o * most + count[o]]     = i;
        weight[o * most + count[o]] = w;
        ++count[o];
    }
    bool copy(i64 o) const { return count[o] == 1 && weight[o * most] == 1; }
};

// to = the sum of `count` sources, weight[k] times the n values at from + at[k] * step
template <int N>
inline void combine(const real* from, i64 step, const i64* at, const real* weight, i64 any, i64 n, real* to) {
    const i64 count = N ? N : any;
    #pragma GCC unroll 4
    for (i64 i = 0; i < n; i += LANES) {
        V sum = count ? load(from + at[0] * step + i) * weight[0] : V{};
        for (i64 k = 1; k < count; ++k) sum += load(from + at[k] * step + i) * weight[k];
        store(to + i, sum);
    }
}
void combine(const real* from, i64 step, const Taps& t, i64 o, i64 n, real* to) {
    const i64*  at     = t.at + o * t.most;
    const real* weight = t.weight + o * t.most;
    switch (t.count[o]) {
        case 2: return combine<2>(from, step, at, weight, 2, n, to);
        case 4: return combine<4>(from, step, at, weight, 4, n, to);
        default: return combine<0>(from, step, at, weight, t.count[o], n, to);
    }
}

// A row of outputs from a row of inputs
void across(const real* row, const Taps& t, real* y) {
    if (t.copies) {
        for (i64 o = 0; o < t.outputs; ++o)
            #pragma GCC unroll 4
            for (int v = 0; v < BLOCK; v += LANES)
                store(y + o * BLOCK + v, load(row + t.at[o * t.most] * BLOCK + v));
        return;
    }
    if (t.pairs) {   // linear
        const i64*  at     = t.at;
        const real* weight = t.weight;
        for (i64 o = 0; o < t.outputs; ++o)
            combine<2>(row, BLOCK, at + o * t.most, weight + o * t.most, 2, BLOCK, y + o * BLOCK);
        return;
    }
    for (i64 o = 0; o < t.outputs; ++o) combine(row, BLOCK, t, o, BLOCK, y + o * BLOCK);
}

// Row oy of a result: of one block of channels of an image, whose rows are combined in `line` first
void resample_row(const real* image, const Taps& down, const Taps& along, bool columns, i64 oy, i64 row,
                  real* line, real* to) {
    if (!columns) {
        combine(image, row, down, oy, row, to);
    } else if (down.copy(oy)) {
        across(image + down.at[oy * down.most] * row, along, to);
    } else {
        combine(image, row, down, oy, row, line);
        across(line, along, to);
    }
}
}  // namespace

// An axis without a table stays as it is.
void resample_blocked(InMap<real> x, In<i64> index_h, In<real> weight_h, In<i64> index_w, In<real> weight_w,
                      OutMap<real> y) {
    const Taps down(index_h, weight_h, x.h), along(index_w, weight_w, x.w);
    const i64  row = x.w * BLOCK;
    parallel_for(y.n * y.blocks * y.h, 1 + 10000 / (x.w * down.most + y.w * along.most + 1),
                 [&](i64 begin, i64 end) {
                     Scratch<real> line(row);
                     for (i64 i = begin; i < end; ++i) {
                         const i64 plane = i / y.h, oy = i % y.h;
                         resample_row(x.at(plane / y.blocks, plane % y.blocks), down, along, (bool)index_w, oy, row,
                                      line, y.at(plane / y.blocks, plane % y.blocks) + oy * y.w * BLOCK);
                     }
                 });
}

// The likeliest class of each pixel of the result, of which a row's scores exist at a time.
void resample_labels(InMap<real> x, In<i64> index_h, In<real> weight_h, In<i64> index_w, In<real> weight_w,
                     i64 classes, OutAny y) {
    const Taps down(index_h, weight_h, x.h), along(index_w, weight_w, x.w);
    const i64  row = x.w * BLOCK, height = y.dim(1), width = y.dim(2);
    parallel_for(y.dim(0) * height, 1 + 10000 / (x.blocks * (x.w * down.most + width * along.most) + 1),
                 [&](i64 begin, i64 end) {
                     Scratch<real> line(row), scores(x.blocks * width * BLOCK);
                     for (i64 i = begin; i < end; ++i) {
                         for (i64 b = 0; b < x.blocks; ++b)
                             resample_row(x.at(i / height, b), down, along, (bool)index_w, i % height, row, line,
                                          scores + b * width * BLOCK);
                         store_labels(scores, width * BLOCK, classes, width, y, i * width);
                     }
                 });
}
END_KERNELS
