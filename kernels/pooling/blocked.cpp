// Pooling in blocked layout: a vector holds a pixel's channels, so windows of any kind are plain loops over pixels.
//
// Outputs whose windows lie wholly inside the image run without a test per tap; where the windows of neighbouring outputs overlap, the maxima
// (sums) of the window's columns are shared: a column of the window is reduced over its rows once.
#include <limits>
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
struct Largest {   // NaN wins, as in torch
    static V start() { return splat(-std::numeric_limits<real>::infinity()); }
    static V join(V a, V b) { return (a != a) ? a : vmax(a, b); }   // vmax gives its second operand where either is NaN
};
struct Total {
    static V start() { return V{}; }
    static V join(V a, V b) { return a + b; }
};

struct Window {
    i64 kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    Window(Dims k, Dims s, Dims p, Dims d) : kernel_h(k[0]), kernel_w(k[1]), stride_h(s[0]), stride_w(s[1]), pad_h(p[0]), pad_w(p[1]),
                                             dilation_h(d.n ? d[0] : 1), dilation_w(d.n ? d[1] : 1) {}
};
struct Span { i64 begin, end; };   // taps of one axis that lie inside
Span inside(i64 start, i64 dilation, i64 kernel, i64 size) {
    Span s{start < 0 ? (-start + dilation - 1) / dilation : 0, start < size ? (size - 1 - start) / dilation + 1 : 0};
    if (s.end > kernel) s.end = kernel;
    if (s.begin > s.end) s.begin = s.end;
    return s;
}

// Column values of one output row: out[x] = the reduction over the window's rows of input column x
template <class How> void reduce_rows(const real* plane, i64 w, i64 top, const Span& rows, i64 dilation, real* out) {
    const i64 n = w * BLOCK;
    for (i64 i = 0; i < n; i += LANES) {
        V v = How::start();
        for (i64 r = rows.begin; r < rows.end; ++r) v = How::join(v, load(plane + (top + r * dilation) * n + i));
        store(out + i, v);
    }
}

// finish(value, oy, ox, rows, columns) -> what is stored
template <class How, class Finish> void pool(InMap<real> x, const Window& k, OutMap<real> y, Finish finish) {
    const i64 row = x.w * BLOCK, planes = y.n * y.blocks;
    parallel_for(planes * y.h, 1 + 20000 / (row * k.kernel_h + 1), [&](i64 begin, i64 end) {
        Scratch<real> columns(row);
        for (i64 i = begin; i < end; ++i) {
            const i64 plane = i / y.h, oy = i % y.h, n = plane / y.blocks, block = plane % y.blocks;
            const i64 top = oy * k.stride_h - k.pad_h;
            const Span rows = inside(top, k.dilation_h, k.kernel_h, x.h);
            reduce_rows<How>(x.at(n, block), x.w, top, rows, k.dilation_h, columns);
            real* out = y.at(n, block) + oy * y.w * BLOCK;
            for (i64 ox = 0; ox < y.w; ++ox) {
                const i64 left = ox * k.stride_w - k.pad_w;
                const Span cols = inside(left, k.dilation_w, k.kernel_w, x.w);
                for (int part = 0; part < BLOCK; part += LANES) {
                    V v = How::start();
                    for (i64 s = cols.begin; s < cols.end; ++s) v = How::join(v, load(columns + (left + s * k.dilation_w) * BLOCK + part));
                    store(out + ox * BLOCK + part, finish(v, top, left, rows, cols));
                }
            }
        }
    });
}
}  // namespace

void max_pool_blocked(InMap<real> x, Dims kernel, Dims stride, Dims padding, Dims dilation, OutMap<real> y) {
    pool<Largest>(x, Window(kernel, stride, padding, dilation), y, [](V v, i64, i64, const Span&, const Span&) { return v; });
}

// divisor 0: the pixels of the window, with those of the padding (but none beyond it) if count_include_pad
void avg_pool_blocked(InMap<real> x, Dims kernel, Dims stride, Dims padding, bool count_include_pad, i64 divisor, OutMap<real> y) {
    const Window k(kernel, stride, padding, Dims{});
    const auto whole = [](i64 start, i64 kernel, i64 size, i64 pad) { return (start + kernel < size + pad ? start + kernel : size + pad) - start; };
    pool<Total>(x, k, y, [&](V v, i64 top, i64 left, const Span& rows, const Span& cols) {
        const i64 count = divisor ? divisor : count_include_pad ? whole(top, k.kernel_h, x.h, k.pad_h) * whole(left, k.kernel_w, x.w, k.pad_w)
                                                                : (rows.end - rows.begin) * (cols.end - cols.begin);
        return v / splat((real)count);
    });
}

// torch's windows: output o of `out` covers inputs floor(o in / out) .. ceil((o + 1) in / out) - 1
void adaptive_avg_pool_blocked(InMap<real> x, OutMap<real> y) {
    const auto begin_of = [](i64 o, i64 in, i64 out) { return o * in / out; };
    const auto end_of = [](i64 o, i64 in, i64 out) { return ((o + 1) * in + out - 1) / out; };
    parallel_for(y.n * y.blocks, 1 + 20000 / (x.plane() + 1), [&](i64 first, i64 last) {
        for (i64 i = first; i < last; ++i) {
            const real* from = x.at(i / y.blocks, i % y.blocks);
            real* to = y.at(i / y.blocks, i % y.blocks);
            for (i64 oy = 0; oy < y.h; ++oy)
                for (i64 ox = 0; ox < y.w; ++ox, to += BLOCK) {
                    const i64 y0 = begin_of(oy, x.h, y.h), y1 = end_of(oy, x.h, y.h), x0 = begin_of(ox, x.w, y.w), x1 = end_of(ox, x.w, y.w);
                    for (int part = 0; part < BLOCK; part += LANES) {
                        V sum{};
                        for (i64 r = y0; r < y1; ++r)
                            for (i64 c = x0; c < x1; ++c) sum += load(from + (r * x.w + c) * BLOCK + part);
                        store(to + part, sum / splat((real)((y1 - y0) * (x1 - x0))));
                    }
                }
        }
    });
}

// y: planar (n, channels). Four partial sums, joined in one order
void global_avg_pool(InMap<real> x, Out<real> y) {
    const i64 channels = y.dim(1), pixels = x.h * x.w;
    parallel_for(x.n * x.blocks, 1 + 20000 / (x.plane() + 1), [&](i64 first, i64 last) {
        for (i64 i = first; i < last; ++i) {
            const i64 n = i / x.blocks, block = i % x.blocks;
            const real* from = x.at(n, block);
            for (int part = 0; part < BLOCK && block * BLOCK + part < channels; part += LANES) {
                V sum[4] = {};
                i64 p = 0;
                for (; p + 4 <= pixels; p += 4)
                    #pragma GCC unroll 4
                    for (int j = 0; j < 4; ++j) sum[j] += load(from + (p + j) * BLOCK + part);
                for (; p < pixels; ++p) sum[0] += load(from + p * BLOCK + part);
                const V mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) / splat((real)pixels);
                const i64 left = channels - block * BLOCK - part;
                real* to = y.data + n * channels + block * BLOCK + part;
                if (left >= LANES) store(to, mean);
                else store(to, mean, (int)left);
            }
        }
    });
}
END_KERNELS
