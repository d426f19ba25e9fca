// group_norm: each of `groups` groups of adjacent channels of each sample is one run of memory; it
// is normalised by its own mean and variance, then scaled and shifted per channel. instance_norm is
// the case of one channel a group.
#include "../batch_norm/moments.h"

BEGIN_KERNELS

struct Groups {
    i64 groups, count, channels, per_group, run;   // count: groups of all samples; run: values of a channel
    Groups(In<real> x, i64 groups)
        : groups(groups), count(x.dim(0) * groups), channels(x.dim(1)), per_group(channels / groups), run(1) {
        for (int a = 2; a < x.ndim; ++a) run *= x.dim(a);
    }
    i64 values() const { return per_group * run; }
    i64 first_channel(i64 group) const { return group % groups * per_group; }
    i64 grain() const { return 1 + 16384 / (values() + 1); }
};

void group_norm(In<real> x, In<real> weight, In<real> bias, i64 groups, double eps, Out<real> y,
                Out<real> mean, Out<real> var) {
    const Groups at(x, groups);
    parallel_for(at.count, at.grain(), [&](i64 begin, i64 end) {
        for (i64 g = begin; g < end; ++g) {
            const real*   xg = x.data + g * at.values();
            real*         yg = y.data + g * at.values();
            const Moments m  = moments(xg, 1, at.values(), 0);
            const real    rstd = reciprocal_deviation(m.variance(), eps), mu = real(m.mean);
            const i64     c0 = at.first_channel(g);
            mean.data[g] = mu;
            var.data[g]  = real(m.variance());
            if (at.run == 1) {   // a group's channels are adjacent values
                for_vectors(at.per_group, [&](i64 c, auto lanes) {
                    V v = (lanes.load(xg + c) - mu) * rstd;
                    if (weight) v *= lanes.load(weight.data + c0 + c);
                    if (bias) v += lanes.load(bias.data + c0 + c);
                    lanes.store(yg + c, v);
                });
            } else {
                for (i64 c = 0; c < at.per_group; ++c)
                    normalise_run(xg + c * at.run, at.run, mu, weight ? rstd * weight.data[c0 + c] : rstd,
                                  bias ? bias.data[c0 + c] : 0, yg + c * at.run);
            }
        }
    });
}

// Sums of g and g * normalised x of every channel of every sample, then dx from their
// weighted sums over the group.
static void gradient_of_group(i64 g, const Groups& at, In<real> dy, In<real> x, In<real> weight, real mean,
                              real rstd, real* sum_g, real* sum_gn, Out<real> dx) {
    const real *gg = dy.data + g * at.values(), *xg = x.data + g * at.values();
    const real* w  = weight ? weight.data + at.first_channel(g) : nullptr;
    double a = 0, b = 0;
    for (i64 c = 0; c < at.per_group; ++c) {
        const GradientSums sums = gradient_sums(gg + c * at.run, xg + c * at.run, 1, at.run, 0, mean, rstd);
        sum_g[c]  = real(sums.g);
        sum_gn[c] = real(sums.gn);
        a += sums.g * (w ? w[c] : 1);
        b += sums.gn * (w ? w[c] : 1);
    }
    a /= at.values();
    b /= at.values();
    for (i64 c = 0; c < at.per_group; ++c) {   // ((g w - a) - (x - mean) rstd b) rstd
        const real wc = w ? w[c] : 1;
        for_vectors(at.run, [&](i64 i, auto lanes) {
            const i64 at_i = c * at.run + i;
            const V v =
                (lanes.load(gg + at_i) * wc - (real)a) - (lanes.load(xg + at_i) - mean) * real(rstd * b);
            lanes.store(dx.data + g * at.values() + at_i, v * rstd);
        });
    }
}

void group_norm_backward(In<real> dy, In<real> x, In<real> weight, In<real> mean, In<real> var, i64 groups,
                         double eps, Out<real> dx, Out<real> dweight, Out<real> dbias) {
    const Groups  at(x, groups);
    const i64     samples = x.dim(0);
    Scratch<real> sum_g(samples * at.channels), sum_gn(samples * at.channels);
    parallel_for(at.count, at.grain(), [&](i64 begin, i64 end) {
        for (i64 g = begin; g < end; ++g)
            gradient_of_group(g, at, dy, x, weight, mean.data[g], reciprocal_deviation(var.data[g], eps),
                              sum_g + g * at.per_group, sum_gn + g * at.per_group, dx);
    });
    for_vectors(at.channels, [&](i64 c, auto lanes) {
        V db{}, dw{};
        for (i64 n = 0; n < samples; ++n) {
            db += lanes.load(sum_g + n * at.channels + c);
            dw += lanes.load(sum_gn + n * at.channels + c);
        }
        lanes.store(dbias.data + c, db);
        lanes.store(dweight.data + c, dw);
    });
}

END_KERNELS
