// local_response_norm: y = x / d^beta, d = k + alpha / size * (sum of x^2 over the channels c -
// size / 2 .. c + (size - 1) / 2). The image is cut into blocks of adjacent pixels; a block walks
// its channels, so that a window's rows are in the first-level cache and each value comes from
// memory once. A window is summed afresh for every channel: adding the newest square and taking off
// the oldest would let rounding errors pile up over the channels.
// d^-beta needs no logarithm where beta is 1/2, 3/4 or 1: r = 1 / sqrt(d), r sqrt(r), r r.
#include "kernel.h"
#include "simd_math.h"

BEGIN_KERNELS

enum class Power { half, three_quarters, one, any };

static Power power_of(double beta) {
    return beta == 0.75  ? Power::three_quarters
           : beta == 0.5 ? Power::half
           : beta == 1   ? Power::one
                         : Power::any;
}

// Calls body with the power as a constant.
template <class Body> static void with_power(double beta, Body body) {
    switch (power_of(beta)) {
        case Power::half: return body(std::integral_constant<Power, Power::half>{});
        case Power::three_quarters: return body(std::integral_constant<Power, Power::three_quarters>{});
        case Power::one: return body(std::integral_constant<Power, Power::one>{});
        case Power::any: return body(std::integral_constant<Power, Power::any>{});
    }
}

// x / d^beta
template <Power P> static inline V divided(V x, V d, real beta) {
    if constexpr (P == Power::half) return x / vsqrt(d);
    if constexpr (P == Power::one) return x / d;
    if constexpr (P == Power::three_quarters) {
        const V root = vsqrt(d);
        return x / (root * vsqrt(root));
    }
    return x / vpow(d, splat(beta));
}

struct Image {
    i64 samples, channels, pixels;
    explicit Image(In<real> x) : samples(x.dim(0)), channels(x.dim(1)), pixels(1) {
        for (int a = 2; a < x.ndim; ++a) pixels *= x.dim(a);
    }
};

// Calls body(first value of the block in channel 0, its pixels) for blocks of at most `block` pixels.
template <class Body> static void for_blocks(const Image& at, i64 block, Body body) {
    const i64 per_sample = (at.pixels + block - 1) / block;
    parallel_for(at.samples * per_sample, 1 + 8192 / (block * at.channels + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 p = i % per_sample * block;
            body(i / per_sample * at.channels * at.pixels + p, at.pixels - p < block ? at.pixels - p : block);
        }
    });
}

// The channels [first, last) of a window that reaches `before` and `after` channels from c.
struct Window {
    i64 first, last;
    Window(i64 c, i64 before, i64 after, i64 channels)
        : first(c < before ? 0 : c - before), last(after < channels - c ? c + after + 1 : channels) {}
};

template <class Lanes> static inline V sum_of_squares(const real* x, i64 pitch, Window w, Lanes lanes) {
    V sum{};
    for (i64 c = w.first; c < w.last; ++c) {
        const V v = lanes.load(x + c * pitch);
        sum += v * v;
    }
    return sum;
}

void local_response_norm(In<real> x, i64 size, double alpha, double beta, double k, Out<real> y) {
    const Image at(x);
    const i64   before = size / 2, after = (size - 1) / 2;
    const real  share = real(alpha / size), base = real(k), exponent = real(beta);
    with_power(beta, [&](auto power) {
        for_blocks(at, 512, [&](i64 from, i64 pixels) {
            const real* xb = x.data + from;
            real*       yb = y.data + from;
            for (i64 c = 0; c < at.channels; ++c) {
                const Window w(c, before, after, at.channels);
                for_vectors(pixels, [&](i64 i, auto lanes) {
                    const V d = base + share * sum_of_squares(xb + i, at.pixels, w, lanes);
                    lanes.store(yb + c * at.pixels + i, divided<decltype(power)::value>(
                                                            lanes.load(xb + c * at.pixels + i), d, exponent));
                });
            }
        });
    });
}

// dx = dy / d^beta - 2 beta alpha / size * x * (sum of dy x / d^(beta + 1) over the channels whose
// window holds c). A block's terms of that sum, one row a channel, are kept in a workspace.
void local_response_norm_backward(In<real> dy, In<real> x, i64 size, double alpha, double beta, double k,
                                  Out<real> dx) {
    const Image at(x);
    const i64   before = size / 2, after = (size - 1) / 2;
    const real share = real(alpha / size), base = real(k), exponent = real(beta),
               factor = real(2 * beta * alpha / size);
    const i64 fitting = 16384 / (at.channels + 1) / LANES * LANES, block = fitting < LANES ? LANES
                                                                           : fitting > 512 ? 512
                                                                                           : fitting;
    with_power(beta, [&](auto power) {
        for_blocks(at, block, [&](i64 from, i64 pixels) {
            const real *xb = x.data + from, *gb = dy.data + from;
            real*       db = dx.data + from;
            Scratch<real> terms(at.channels * block);
            for (i64 c = 0; c < at.channels; ++c) {
                const Window w(c, before, after, at.channels);
                for_vectors(pixels, [&](i64 i, auto lanes) {
                    const V d = base + share * sum_of_squares(xb + i, at.pixels, w, lanes);
                    const V g =
                        divided<decltype(power)::value>(lanes.load(gb + c * at.pixels + i), d, exponent);
                    lanes.store(db + c * at.pixels + i, g);
                    lanes.store(terms + c * block + i, g * lanes.load(xb + c * at.pixels + i) / d);
                });
            }
            for (i64 c = 0; c < at.channels; ++c) {
                const Window w(c, after, before, at.channels);
                for_vectors(pixels, [&](i64 i, auto lanes) {
                    V sum{};
                    for (i64 j = w.first; j < w.last; ++j) sum += lanes.load(terms + j * block + i);
                    real* d = db + c * at.pixels + i;
                    lanes.store(d, lanes.load(d) - factor * lanes.load(xb + c * at.pixels + i) * sum);
                });
            }
        });
    });
}

END_KERNELS
