// layer_norm: y = (x - mean) * rstd * weight + bias over the trailing axes, which are one row of
// memory.
// Two passes over a row that is still in cache after the first: mean, then the centred second
// moment. The one-pass form E[x^2] - mean^2 cancels badly when |mean| >> std, so it is not used.
// rms_norm: y = x * rrms * weight, rrms = 1 / sqrt(mean of x^2 + eps).
#include "rows.h"

BEGIN_KERNELS
namespace {
constexpr i64 SHORT = 1024;   // values of a row: NORMED of them stay in the first-level cache

// Rows [begin, end) of few values; the last ones may be normalised twice, which changes nothing.
void normalise_rows(In<real> x, In<real> weight, In<real> bias, double eps, i64 begin, i64 end, i64 cols,
                    Out<real> y, Out<real> mean, Out<real> rstd) {
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
                const V v = (lanes.load(x.data + row[r] * cols + i) - m.mean[r]) * scale[r];
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

// dweight and dbias are sums over rows: each thread owns a range of columns and walks all rows, so
// the order of accumulation does not depend on the thread count.
static void parameter_gradients(In<real> dy, In<real> x, In<real> mean, In<real> rstd, i64 rows, i64 cols,
                                Out<real> dweight, Out<real> dbias) {
    const i64 blocks = (cols + LANES - 1) / LANES;
    parallel_for(blocks, 1 + 4096 / (rows + 1), [&](i64 begin, i64 end) {
        for (i64 b = begin; b < end; ++b) {
            const i64 c = b * LANES;
            const Tail lanes{(int)(cols - c < LANES ? cols - c : LANES)};
            V dw{}, db{};
            for (i64 r = 0; r < rows; ++r) {
                V g = lanes.load(dy.data + r * cols + c);
                dw += g * ((lanes.load(x.data + r * cols + c) - mean.data[r]) * rstd.data[r]);
                db += g;
            }
            lanes.store(dweight.data + c, dw);
            lanes.store(dbias.data + c, db);
        }
    });
}

void layer_norm_backward(In<real> dy, In<real> x, In<real> weight, In<real> mean, In<real> rstd, Out<real> dx,
                         Out<real> dweight, Out<real> dbias) {
    const i64 rows = mean.size(), cols = dweight.size();
    parallel_for(rows, 1 + 8192 / (cols + 1), [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            const real *gr = dy.data + r * cols, *xr = x.data + r * cols;
            const real  m = mean.data[r], s = rstd.data[r];
            V sum_g{}, sum_gn{};
            auto weighted = [&](i64 i, auto lanes) {
                V g = lanes.load(gr + i);
                return weight ? g * lanes.load(weight.data + i) : g;
            };
            for_vectors(cols, [&](i64 i, auto lanes) {
                V g = weighted(i, lanes);   // a dead lane's g is 0, so its product is too
                sum_g += g;
                sum_gn += g * ((lanes.load(xr + i) - m) * s);
            });
            const real a = hsum(sum_g) / cols, b = hsum(sum_gn) / cols;
            for_vectors(cols, [&](i64 i, auto lanes) {
                V n = (lanes.load(xr + i) - m) * s;
                lanes.store(dx.data + r * cols + i, (weighted(i, lanes) - a - n * b) * s);
            });
        }
    });
    parameter_gradients(dy, x, mean, rstd, rows, cols, dweight, dbias);
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

// dx = (g - n mean(g n)) rrms with g = dy weight and n = x rrms; dweight = sum of dy n over rows, a
// range of columns a thread.
void rms_norm_backward(In<real> dy, In<real> x, In<real> weight, In<real> rrms, Out<real> dx,
                       Out<real> dweight) {
    const i64 rows = rrms.size(), cols = dweight.size();
    parallel_for(rows, 1 + 8192 / (cols + 1), [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            const real *gr = dy.data + r * cols, *xr = x.data + r * cols;
            const real  s = rrms.data[r];
            auto weighted = [&](i64 i, auto lanes) {
                const V g = lanes.load(gr + i);
                return weight ? g * lanes.load(weight.data + i) : g;
            };
            V sum{};
            for_vectors(cols,
                        [&](i64 i, auto lanes) { sum += weighted(i, lanes) * (lanes.load(xr + i) * s); });
            const real mean = hsum(sum) / cols;
            for_vectors(cols, [&](i64 i, auto lanes) {
                lanes.store(dx.data + r * cols + i, (weighted(i, lanes) - lanes.load(xr + i) * s * mean) * s);
            });
        }
    });
    const i64 blocks = (cols + LANES - 1) / LANES;
    parallel_for(blocks, 1 + 4096 / (rows + 1), [&](i64 begin, i64 end) {
        for (i64 c = begin * LANES; c < end * LANES; c += LANES) {
            const Tail lanes{(int)(cols - c < LANES ? cols - c : LANES)};
            V dw{};
            for (i64 r = 0; r < rows; ++r)
                dw += lanes.load(dy.data + r * cols + c) * (lanes.load(x.data + r * cols + c) * rrms.data[r]);
            lanes.store(dweight.data + c, dw);
        }
    });
}

END_KERNELS
