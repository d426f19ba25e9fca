// Depthwise convolution in blocked layout: one filter a channel, any size, stride,
// padding and dilation.
//
// P outputs of a row stay in registers while the rows of the filter pass by: a row's weights are
// loaded once, and each input once for all the outputs it meets. With dilation d these outputs lie
// d apart, so that they too share inputs. Taps outside the image are skipped, not multiplied by
// zeros: rows by the loop's bounds, columns by a test that only tiles at a row's ends make. So an
// output is one chain of multiply-adds from the bias, tap after tap, whatever tile it falls into.
#include "convolution/blocked_rows.h"

BEGIN_KERNELS
namespace {
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int MOST_PIXELS = 14;
#else
constexpr int MOST_PIXELS = 8;   // of 16 registers, beside a row of weights
#endif
constexpr int RUN = 4;   // neighbouring taps at once of a row whose length the compiler does not know

// Adds S taps to P outputs. Output p reads the columns at + (p * STRIDE + s) * step, the first of
// which lies at x; with a STRIDE of 0, which is for a single tap, column at + p * step.
template <int S, int STRIDE, bool EDGE, int P>
__attribute__((always_inline)) inline void add_taps(V (&acc)[P], const real* x, const real* w, i64 at,
                                                    i64 step, i64 columns) {
    V weight[S];
    #pragma GCC unroll 8
    for (int s = 0; s < S; ++s) weight[s] = load(w + s * BLOCK);
    constexpr int LOADS = STRIDE ? (P - 1) * STRIDE + S : P;
    #pragma GCC unroll 64
    for (int j = 0; j < LOADS; ++j) {
        const i64 column = at + j * step;
        if (EDGE && (std::uint64_t)column >= (std::uint64_t)columns) continue;
        const V v = rounded(load(x + j * step * BLOCK));   // else gcc loads it anew for each multiply-add
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p)
            if (STRIDE ? j - p * STRIDE >= 0 && j - p * STRIDE < S : j == p)
                acc[p] += weight[j - p * STRIDE - (STRIDE ? 0 : j)] * v;
    }
}

// In each row P outputs from ox on, `dilation` apart where SPREAD, else neighbours. S and STRIDE
// are 0 where the compiler does not know them.
template <int S, int STRIDE, bool SPREAD, int P, bool EDGE>
void convolve_tile(const Band& b, i64 ox, const Epilogue& e) {
    const i64 at = ox * (STRIDE ? STRIDE : b.w.stride) - b.w.padding, apart = SPREAD ? b.w.dilation : 1;
    const i64 x_step = b.h.dilation * b.w.in * BLOCK, w_step = b.w.taps * BLOCK, columns = b.w.in;
    const Clamp clamp(e);
    real* const y = b.y;
    for (int part = 0; part < BLOCK; part += LANES) {
        const V start = b.bias ? load(b.bias + part) : V{};
        for (i64 oy = b.begin; oy < b.end; ++oy) {
            const Axis::Inside rows = b.h.inside(oy);
            const real* x =
                b.x + ((oy * b.h.stride - b.h.padding + rows.first * b.h.dilation) * columns + at) * BLOCK +
                part;
            const real* w = b.weight + rows.first * w_step + part;
            V acc[P];
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p) acc[p] = start;
            for (i64 r = 0; r < rows.count; ++r, x += x_step, w += w_step) {
                if constexpr (S > 0) {
                    add_taps<S, STRIDE, EDGE>(acc, x, w, at, apart, columns);
                } else {
                    i64 s = 0;
                    if constexpr (STRIDE > 0)
                        for (; s + RUN <= b.w.taps; s += RUN)
                            add_taps<RUN, STRIDE, EDGE>(acc, x + s * apart * BLOCK, w + s * BLOCK,
                                                        at + s * apart, apart, columns);
                    for (; s < b.w.taps; ++s)
                        add_taps<1, 0, EDGE>(acc, x + s * b.w.dilation * BLOCK, w + s * BLOCK,
                                             at + s * b.w.dilation, STRIDE ? apart : b.w.stride, columns);
                }
            }
            const i64 to = (oy * b.width + ox) * BLOCK + part;
            if (b.residual)
                #pragma GCC unroll 16
                for (int p = 0; p < P; ++p) acc[p] += load(b.residual + to + p * apart * BLOCK);
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p) store(y + to + p * apart * BLOCK, clamp(acc[p]));
        }
    }
}

using Tile = void (*)(const Band&, i64, const Epilogue&);
struct Tiles {
    const Tile (*of)[2];   // of[pixels - 1][at an edge]
    bool spread;
};

// Rows are cut evenly, so tiles of less than half the most pixels are whole rows, which are short:
// those do without a form for the inside.
constexpr bool only_at_edges(int pixels) { return 2 * pixels < MOST_PIXELS; }
template <int S, int STRIDE, bool SPREAD, int... P> Tiles tiles_of(std::integer_sequence<int, P...>) {
    static constexpr Tile table[][2] = {{convolve_tile<S, STRIDE, SPREAD, P + 1, only_at_edges(P + 1)>,
                                         convolve_tile<S, STRIDE, SPREAD, P + 1, true>}...};
    return {table, SPREAD};
}
template <int S, int STRIDE, bool SPREAD> Tiles tiles_of() {
    return tiles_of<S, STRIDE, SPREAD>(std::make_integer_sequence<int, MOST_PIXELS>{});
}

Tiles tiles_for(const Axis& w, i64 width) {
    if (w.stride == 1 && w.dilation == 1) {
        if (w.taps == 3) return tiles_of<3, 1, false>();
        if (w.taps == 5) return tiles_of<5, 1, false>();
        if (w.taps == 7) return tiles_of<7, 1, false>();
    }
    if (w.stride == 2 && w.dilation == 1) {
        if (w.taps == 3) return tiles_of<3, 2, false>();
        if (w.taps == 5) return tiles_of<5, 2, false>();
        if (w.taps == 7) return tiles_of<7, 2, false>();
    }
    // enough outputs at once to hide the latency of a multiply-add
    if (w.stride == 1 && width >= 6 * w.dilation) {
        if (w.taps == 3) return tiles_of<3, 1, true>();
        if (w.taps == 5) return tiles_of<5, 1, true>();
        return tiles_of<0, 1, true>();
    }
    return tiles_of<0, 0, false>();
}

}  // namespace

// Rows are cut into tiles as equal as can be; where they are spread, one phase of the row after the other.
void convolve_band(const Band& b, const Epilogue& e) {
    const Tiles t = tiles_for(b.w, b.width);
    const i64 apart = t.spread ? b.w.dilation : 1;
    for (i64 phase = 0; phase < apart && phase < b.width; ++phase) {
        const i64 count = (b.width - phase + apart - 1) / apart,
                  tiles = (count + MOST_PIXELS - 1) / MOST_PIXELS;
        for (i64 i = 0, from = 0; i < tiles; ++i) {
            const i64 to = count * (i + 1) / tiles, first = phase + from * apart,
                      last = phase + (to - 1) * apart;
            const bool edge = first * b.w.stride < b.w.padding ||
                              last * b.w.stride - b.w.padding + (b.w.taps - 1) * b.w.dilation >= b.w.in;
            t.of[to - from - 1][edge](b, first, e);
            from = to;
        }
    }
    e.finish(b.y + b.begin * b.width * BLOCK, (b.end - b.begin) * b.width * BLOCK);
}

void add_row(const real* y, i64 w, real* sum) {
    for (int part = 0; part < BLOCK; part += LANES) {
        V chain[4] = {};
        i64 i = 0;
        for (; i + 4 <= w; i += 4)
            #pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) chain[j] += load(y + (i + j) * BLOCK + part);
        for (; i < w; ++i) chain[0] += load(y + i * BLOCK + part);
        store(sum + part, (chain[0] + chain[1]) + (chain[2] + chain[3]));
    }
}

void mean_of_rows(const real* sums, i64 rows, i64 pixels, i64 count, real* mean) {
    const real scale = real(1) / pixels;
    real sum[BLOCK];
    add_row(sums, rows, sum);
    for (i64 c = 0; c < BLOCK && c < count; ++c) mean[c] = sum[c] * scale;
}

namespace {
struct Depthwise {
    InMap<real>  x;
    In<real>     weight, bias;
    InMap<real>  residual;
    Dims         stride, padding, dilation;
    Epilogue     epilogue;
    OutMap<real> y;
};

constexpr i64 BAND_VALUES = 6 << 10;   // 24 KB of input and output: what a band reads again stays in L1

// row_sums: null, or (n, blocks, rows of y, 16), for the sum of every row of the result
void convolve(const Depthwise& d, real* row_sums) {
    const OutMap<real>& y = d.y;
    const i64 R = d.weight.dim(1), S = d.weight.dim(2);
    const Axis h{R, d.stride[0], d.padding[0], d.dilation[0], d.x.h},
        w{S, d.stride[1], d.padding[1], d.dilation[1], d.x.w};
    const i64 band = 1 + BAND_VALUES / ((y.w + h.stride * w.in) * BLOCK + 1);
    parallel_for(y.n * y.blocks * y.h, 1 + 30000 / (y.w * (R * S + 4) + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end;) {
            const i64 plane = i / y.h, sample = plane / y.blocks, block = plane % y.blocks, row = i % y.h;
            i64 rows = y.h - row < band ? y.h - row : band;
            if (rows > end - i) rows = end - i;
            const Band b{h,
                         w,
                         d.x.at(sample, block),
                         d.weight.data + block * R * S * BLOCK,
                         d.bias ? d.bias.data + block * BLOCK : nullptr,
                         d.residual ? d.residual.at(sample, block) : nullptr,
                         y.at(sample, block),
                         row,
                         row + rows,
                         y.w};
            convolve_band(b, d.epilogue);
            if (row_sums)
                for (i64 oy = row; oy < row + rows; ++oy)
                    add_row(b.y + oy * y.w * BLOCK, y.w, row_sums + (plane * y.h + oy) * BLOCK);
            i += rows;
        }
    });
}
}  // namespace

// weight: (blocks, R, S, 16 channels)
void depthwise_conv(InMap<real> x, In<real> weight, In<real> bias, InMap<real> residual, Window window,
                    Act act, OutMap<real> y) {
    convolve({x, weight, bias, residual, window.stride, window.padding, window.dilation, Epilogue(act), y},
             nullptr);
}

// The same, and the mean of every channel of y, which squeeze-and-excitation asks for
// next. mean: (n, channels)
void depthwise_conv_mean(InMap<real> x, In<real> weight, In<real> bias, InMap<real> residual, Window window,
                         Act act, OutMap<real> y, Out<real> mean) {
    Scratch<real> rows(y.n * y.blocks * y.h * BLOCK);
    convolve({x, weight, bias, residual, window.stride, window.padding, window.dilation, Epilogue(act), y},
             rows);
    const i64 channels = mean.dim(1);
    parallel_for(y.n * y.blocks, 1 + 100000 / (y.h * BLOCK + 16), [&](i64 begin, i64 end) {
        for (i64 plane = begin; plane < end; ++plane) {
            const i64 sample = plane / y.blocks, channel = plane % y.blocks * BLOCK;
            mean_of_rows(rows + plane * y.h * BLOCK, y.h, y.h * y.w, channels - channel,
                         mean.data + sample * channels + channel);
        }
    });
}
END_KERNELS
