// layer_norm: y = (x - mean) * rstd * weight + bias over the trailing axes, which are one row of
// memory.
// Two passes over a row that is still in cache after the first: mean, then the centred second
// moment. The one-pass form E[x^2] - mean^2 cancels badly when |mean| >> std, so it is not used.
// rms_norm: y = x * rrms * weight, rrms = 1 / sqrt(mean of x^2 + eps).
#include "rows.h"

BEGIN_KERNELS
namespace {
constexpr i64 SHORT = 1024;   // values of a row: NORMED of them stay in the first-level cache
constexpr i64 FAR = 1 << 20;  // values of x that no second-level cache holds: the next rows are fetched ahead

// Rows [begin, end) of few values; the last ones may be normalised twice, which changes nothing.
void normalise_rows(In<real> x, In<real> weight, In<real> bias, double eps, i64 begin, i64 end, i64 cols,
                    Out<real> y, Out<real> mean, Out<real> rstd) {
    const bool from_memory = x.size() > FAR;
    for (i64 first = begin; first < end; first += NORMED) {
        i64 row[NORMED];
        for (int r = 0; r < NORMED; ++r) row[r] = first + r < end ? first + r : end - 1;
        const RowMoments m = row_moments(cols, [&](auto body) {
            for_vectors(cols, [&](i64 i, auto lanes) {
                #pragma GCC unroll 8
                for (int r = 0; r < NORMED; ++r)
                    body(r, lanes.load(x.data + row[r] * cols + i), [&](V v) { return lanes.keep(v); });
            });
        });
        real scale[NORMED];
        for (int r = 0; r < NORMED; ++r) {
            mean.data[row[r]] = m.mean[r];
            rstd.data[row[r]] = scale[r] = reciprocal_deviation(m.variance[r], eps);
        }
        for_vectors(cols, [&](i64 i, auto lanes) {
            const V w = weight ? lanes.load(weight.data + i) : splat(1), b = bias ? lanes.load(bias.data + i) : V{};
            #pragma GCC unroll 8
            for (int r = 0; r < NORMED; ++r) {
                const real* const at = x.data + row[r] * cols + i;
                if (from_memory) __builtin_prefetch(at + NORMED * cols);
                const V v = (lanes.load(at) - m.mean[r]) * scale[r];
                lanes.store(y.data + row[r] * cols + i, v * w + b);
            }
        });
    }
}
}  // namespace

void layer_norm(In<real> x, In<real> weight, In<real> bias, double eps, Out<real> y, Out<real> mean,
                Out<real> rstd) {
    const i64 rows = mean.size(), cols = rows ? x.size() / rows : 0;
    parallel_for(rows, 1 + 8192 / (cols + 1), [&](i64 begin, i64 end) {
        if (cols && cols <= SHORT) return normalise_rows(x, weight, bias, eps, begin, end, cols, y, mean, rstd);
        for (i64 r = begin; r < end; ++r) {
            const real* xr = x.data + r * cols;
            real*       yr = y.data + r * cols;
            const Moments row = moments(xr, 1, cols, 0);
            const real  m  = real(row.mean);
            const real  s  = reciprocal_deviation(row.variance(), eps);
            mean.data[r] = m;
            rstd.data[r] = s;
            for_vectors(cols, [&](i64 i, auto lanes) {
                V v = (lanes.load(xr + i) - m) * s;
                if (weight) v *= lanes.load(weight.data + i);
                if (bias) v += lanes.load(bias.data + i);
                lanes.store(yr + i, v);
            });
        }
    });
}

namespace {
// Sums over rows, `sums` of them as long as a row: lots of rows, of a size that the shape alone decides, are added
// up one row after another while they are in cache, and the lots in their order, so that results do not
// depend on threads. rows_of(first row, end, their sums, which begin as 0).
template <class Rows> void by_lots(i64 rows, i64 cols, int sums, real* const* results, Rows rows_of) {
    const i64 fitting = 32768 / (cols + 1), most = fitting > 64 ? 64 : fitting, lot = most < 4 ? 4 : most,
              lots = (rows + lot - 1) / lot, width = sums * cols;
    Scratch<real> parts(lots * width);
    parallel_for(lots, 1 + 8192 / (lot * (cols + 1)), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            std::memset(parts + i * width, 0, width * sizeof(real));
            rows_of(i * lot, (i + 1) * lot < rows ? (i + 1) * lot : rows, parts + i * width);
        }
    });
    for (int k = 0; k < sums; ++k)
        parallel_for((cols + LANES - 1) / LANES, 1 + 4096 / (lots + 1), [&](i64 begin, i64 end) {
            const i64 from = begin * LANES, to = end * LANES < cols ? end * LANES : cols;
            for_vectors(to - from, [&](i64 c, auto lanes) {
                const real* const part = parts + k * cols + from + c;
                V sum{};
                for (i64 i = 0; i < lots; ++i) sum += lanes.load(part + i * width);
                lanes.store(results[k] + from + c, sum);
            });
        });
}
}  // namespace

void layer_norm_backward(In<real> dy, In<real> x, In<real> weight, In<real> mean, In<real> rstd, Out<real> dx,
                         Out<real> dweight, Out<real> dbias) {
    real* const results[] = {dweight.data, dbias.data};
    const i64 rows = mean.size(), cols = dweight.size();
    by_lots(rows, cols, 2, results, [&](i64 begin, i64 end, real* sums) {
        for (i64 r = begin; r < end; ++r) {
            const real *gr = dy.data + r * cols, *xr = x.data + r * cols;
            const real  m = mean.data[r], s = rstd.data[r];
            V sum_g{}, sum_gn{};
            auto weighted = [&](V g, i64 i, auto lanes) { return weight ? g * lanes.load(weight.data + i) : g; };
            for_vectors(cols, [&](i64 i, auto lanes) {   // a dead lane's g is 0, so its product is too
                const V d = lanes.load(gr + i), g = weighted(d, i, lanes), n = (lanes.load(xr + i) - m) * s;
                sum_g += g;
                sum_gn += g * n;
                lanes.store(sums + i, lanes.load(sums + i) + d * n);
                lanes.store(sums + cols + i, lanes.load(sums + cols + i) + d);
            });
            const real a = hsum(sum_g) / cols, b = hsum(sum_gn) / cols;
            for_vectors(cols, [&](i64 i, auto lanes) {
                const V n = (lanes.load(xr + i) - m) * s;
                lanes.store(dx.data + r * cols + i, (weighted(lanes.load(gr + i), i, lanes) - a - n * b) * s);
            });
        }
    });
}

void rms_norm(In<real> x, In<real> weight, double eps, Out<real> y, Out<real> rrms) {
    const i64 rows = rrms.size(), cols = rows ? x.size() / rows : 0;
    parallel_for(rows, 1 + 8192 / (cols + 1), [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            const real* xr = x.data + r * cols;
            const real  s  = reciprocal_deviation(gradient_sums(xr, xr, 1, cols, 0, 0, 1).gn / cols, eps);
            rrms.data[r] = s;
            for_vectors(cols, [&](i64 i, auto lanes) {
                const V v = lanes.load(xr + i) * s;
                lanes.store(y.data + r * cols + i, weight ? v * lanes.load(weight.data + i) : v);
            });
        }
    });
}

// dx = (g - n mean(g n)) rrms with g = dy weight and n = x rrms; dweight = sum of dy n over rows.
void rms_norm_backward(In<real> dy, In<real> x, In<real> weight, In<real> rrms, Out<real> dx,
                       Out<real> dweight) {
    real* const results[] = {dweight.data};
    const i64 rows = rrms.size(), cols = dweight.size();
    by_lots(rows, cols, 1, results, [&](i64 begin, i64 end, real* sums) {
        for (i64 r = begin; r < end; ++r) {
            const real *gr = dy.data + r * cols, *xr = x.data + r * cols;
            const real  s = rrms.data[r];
            auto weighted = [&](V g, i64 i, auto lanes) { return weight ? g * lanes.load(weight.data + i) : g; };
            V sum{};
            for_vectors(cols, [&](i64 i, auto lanes) {
                const V d = lanes.load(gr + i), n = lanes.load(xr + i) * s;
                sum += weighted(d, i, lanes) * n;
                lanes.store(sums + i, lanes.load(sums + i) + d * n);
            });
            const real mean = hsum(sum) / cols;
            for_vectors(cols, [&](i64 i, auto lanes) {
                const V g = weighted(lanes.load(gr + i), i, lanes);
                lanes.store(dx.data + r * cols + i, (g - lanes.load(xr + i) * s * mean) * s);
            });
        }
    });
}

END_KERNELS
