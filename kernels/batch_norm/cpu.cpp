// batch_norm: y = (x - mean) * rstd * weight + bias per channel of (N, C, ...), rstd
// = 1 / sqrt(var + eps).
// In training a channel's statistics and its result are made by the same thread in one go, so that
// a channel which fits into the second-level cache comes from memory once. (N, C) without further
// axes has its channels side by side: there a vector holds LANES channels and walks the samples.
#include "moments.h"

BEGIN_KERNELS

struct Layout {
    i64 samples, channels, run;   // run: values of a channel of a sample, adjacent
    explicit Layout(In<real> x) : samples(x.dim(0)), channels(x.dim(1)), run(1) {
        for (int a = 2; a < x.ndim; ++a) run *= x.dim(a);
    }
    i64 stride() const { return channels * run; }
    i64 values() const { return samples * run; }
    bool columns() const { return run == 1; }
    i64 grain() const { return 1 + 16384 / (values() + 1); }
};

static real value_or(In<real> v, i64 i, real otherwise) { return v ? v.data[i] : otherwise; }

// ---- (N, C): LANES channels a vector, four of them a block, so that sums have four chains

constexpr i64 BLOCK = 4 * LANES;

template <class Body> static void for_column_blocks(const Layout& at, Body body) {
    const i64 blocks = (at.channels + BLOCK - 1) / BLOCK;
    parallel_for(blocks, 1 + 4096 / (BLOCK * at.samples + 1), [&](i64 begin, i64 end) {
        for (i64 c = begin * BLOCK; c < end * BLOCK; c += BLOCK)
            body(c, at.channels - c < BLOCK ? at.channels - c : BLOCK);
    });
}

static void column_moments(In<real> x, const Layout& at, Out<real> mean, Out<real> var) {
    // Samples summed plainly before they are merged. Rows a power of two apart share the sets of a
    // cache: eight of them still fit.
    constexpr i64 STEP = 8;
    for_column_blocks(at, [&](i64 c, i64 width) {
        V m[4] = {}, squares[4] = {};
        for (i64 n = 0; n < at.samples; n += STEP) {
            const i64   rows = at.samples - n < STEP ? at.samples - n : STEP;
            const real* p    = x.data + n * at.channels + c;
            const real share = real(1. / rows), part = real(double(rows) / (n + rows)),
                       cross = real(double(n) * rows / (n + rows));
            for_vectors(width, [&](i64 i, auto lanes) {
                V sum{}, square{};
                for (i64 r = 0; r < rows; ++r) sum += lanes.load(p + r * at.channels + i);
                const V local = sum * share, delta = local - m[i / LANES];
                for (i64 r = 0; r < rows; ++r) {
                    const V d = lanes.load(p + r * at.channels + i) - local;
                    square += d * d;
                }
                m[i / LANES] += delta * part;
                squares[i / LANES] += square + delta * delta * cross;
            });
        }
        for_vectors(width, [&](i64 i, auto lanes) {
            lanes.store(mean.data + c + i, m[i / LANES]);
            lanes.store(var.data + c + i, squares[i / LANES] / (real)at.samples);
        });
    });
}

static void column_gradient_sums(In<real> dy, In<real> x, In<real> mean, const real* rstd, const Layout& at,
                                 Out<real> dweight, Out<real> dbias) {
    for_column_blocks(at, [&](i64 c, i64 width) {
        V g[4] = {}, gn[4] = {};
        for (i64 n = 0; n < at.samples; ++n)
            for_vectors(width, [&](i64 i, auto lanes) {
                const V v = lanes.load(dy.data + n * at.channels + c + i);
                g[i / LANES] += v;
                gn[i / LANES] +=
                    v * (lanes.load(x.data + n * at.channels + c + i) - lanes.load(mean.data + c + i));
            });
        for_vectors(width, [&](i64 i, auto lanes) {
            lanes.store(dbias.data + c + i, g[i / LANES]);
            lanes.store(dweight.data + c + i, gn[i / LANES] * lanes.load(rstd + c + i));
        });
    });
}

static void normalise_columns(In<real> x, const Layout& at, const real* mean, const real* scale,
                              In<real> bias, Out<real> y) {
    parallel_for(at.samples, 1 + 8192 / (at.channels + 1), [&](i64 begin, i64 end) {
        for (i64 n = begin; n < end; ++n)
            for_vectors(at.channels, [&](i64 c, auto lanes) {
                V v =
                    (lanes.load(x.data + n * at.channels + c) - lanes.load(mean + c)) * lanes.load(scale + c);
                if (bias) v += lanes.load(bias.data + c);
                lanes.store(y.data + n * at.channels + c, v);
            });
    });
}

// ---- forward

// rstd and rstd * weight of every channel
static void scales(In<real> var, In<real> weight, double eps, real* rstd, real* scale) {
    for (i64 c = 0; c < var.size(); ++c) {
        rstd[c]  = reciprocal_deviation(var.data[c], eps);
        scale[c] = rstd[c] * value_or(weight, c, 1);
    }
}

void batch_norm(In<real> x, In<real> mean, In<real> var, In<real> weight, In<real> bias, double eps,
                Out<real> y) {
    const Layout  at(x);
    Scratch<real> rstd(at.channels), scale(at.channels);
    scales(var, weight, eps, rstd, scale);
    if (at.columns()) return normalise_columns(x, at, mean.data, scale, bias, y);
    parallel_for(at.samples * at.channels, 1 + 16384 / (at.run + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 c = i % at.channels;
            normalise_run(x.data + i * at.run, at.run, mean.data[c], scale[c], value_or(bias, c, 0),
                          y.data + i * at.run);
        }
    });
}

void batch_norm_training(In<real> x, In<real> weight, In<real> bias, double eps, Out<real> y, Out<real> mean,
                         Out<real> var) {
    const Layout at(x);
    if (at.columns()) {
        column_moments(x, at, mean, var);
        Scratch<real> rstd(at.channels), scale(at.channels);
        scales({var.data, var.shape, var.ndim}, weight, eps, rstd, scale);
        return normalise_columns(x, at, mean.data, scale, bias, y);
    }
    parallel_for(at.channels, at.grain(), [&](i64 begin, i64 end) {
        for (i64 c = begin; c < end; ++c) {
            const real*   xc = x.data + c * at.run;
            const Moments m  = moments(xc, at.samples, at.run, at.stride());
            mean.data[c] = real(m.mean);
            var.data[c]  = real(m.variance());
            const real scale = reciprocal_deviation(m.variance(), eps) * value_or(weight, c, 1),
                       shift = value_or(bias, c, 0);
            for (i64 n = at.samples - 1; n >= 0; --n)   // the last samples are the ones still in cache
                normalise_run(xc + n * at.stride(), at.run, mean.data[c], scale, shift,
                              y.data + c * at.run + n * at.stride());
        }
    });
}

// Running statistics: running = keep * running + take * batch, in place.
void move_towards(In<real> batch, double keep, double take, Out<real> running) {
    for_vectors(running.size(), [&](i64 i, auto lanes) {
        lanes.store(running.data + i,
                    lanes.load(running.data + i) * (real)keep + lanes.load(batch.data + i) * (real)take);
    });
}

// ---- backward

static void gradient_of_columns(In<real> dy, In<real> x, In<real> mean, const real* rstd, const real* scale,
                                const Layout& at, bool training, In<real> dweight, In<real> dbias,
                                Out<real> dx) {
    const real share = training ? real(1) / at.samples : 0;
    parallel_for(at.samples, 1 + 8192 / (at.channels + 1), [&](i64 begin, i64 end) {
        for (i64 n = begin; n < end; ++n)
            for_vectors(at.channels, [&](i64 c, auto lanes) {
                const i64 i = n * at.channels + c;
                const V normal = (lanes.load(x.data + i) - lanes.load(mean.data + c)) * lanes.load(rstd + c);
                const V moved = (lanes.load(dbias.data + c) + normal * lanes.load(dweight.data + c)) * share;
                lanes.store(dx.data + i, (lanes.load(dy.data + i) - moved) * lanes.load(scale + c));
            });
    });
}

void batch_norm_backward(In<real> dy, In<real> x, In<real> weight, In<real> mean, In<real> var, double eps,
                         bool training, Out<real> dx, Out<real> dweight, Out<real> dbias) {
    const Layout  at(x);
    Scratch<real> rstd(at.channels), scale(at.channels);
    scales(var, weight, eps, rstd, scale);
    if (at.columns()) {
        column_gradient_sums(dy, x, mean, rstd, at, dweight, dbias);
        return gradient_of_columns(dy, x, mean, rstd, scale, at, training, {dweight.data, dweight.shape, 1},
                                   {dbias.data, dbias.shape, 1}, dx);
    }
    parallel_for(at.channels, at.grain(), [&](i64 begin, i64 end) {
        for (i64 c = begin; c < end; ++c) {
            const real *gc = dy.data + c * at.run, *xc = x.data + c * at.run;
            const real  m = mean.data[c];
            const GradientSums sums = gradient_sums(gc, xc, at.samples, at.run, at.stride(), m, rstd[c]);
            dbias.data[c]   = real(sums.g);
            dweight.data[c] = real(sums.gn);
            const double share = training ? 1. / at.values() : 0;
            for (i64 n = at.samples - 1; n >= 0; --n)
                gradient_run(gc + n * at.stride(), xc + n * at.stride(), at.run, real(sums.g * share), m,
                             real(sums.gn * share * rstd[c]), scale[c],
                             dx.data + c * at.run + n * at.stride());
        }
    });
}

END_KERNELS
