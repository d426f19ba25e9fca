// y[o] = sum over taps of weight[tap] x[index[tap]]: a position of the grid is a place on each axis,
// that has 1 (nearest), 2 (linear) or 4 (cubic) taps, and the taps of a value are those of all axes
// multiplied out. A vector of outputs has its taps worked out once for all channels; what remains a
// channel is a gather and a multiply-add a tap. The gradient by the image adds to a plane in the
// order of outputs and then of taps, and a plane is one thread's, so that no two meet. The gradient by
// the grid sums g x over channels for each tap first, and multiplies by the slopes once.
//
// Images of many channels are first laid out with the channels last: a tap is
// then a few whole vectors instead of a value a channel from anywhere. Both ways add the same products in
// the same order.
#include "sampling.h"

BEGIN_KERNELS

enum : i64 { NEAREST,
             LINEAR,
             CUBIC };
enum : i64 { ZEROS,
             BORDER,
             REFLECTION };

struct Axis {
    i64 size, around;
    bool corners;
};

// What an axis has at a vector of positions; slope: d weight / d position of the grid.
template <int T> struct Along {
    M index[T], inside[T];
    V weight[T], slope[T];
};

// Mirrored at both ends as often as it takes; turns: 1 or -1, as the slope does.
static V reflected(V at, real low, real span, V& turns) {
    if (span == 0) {
        turns = V{};
        return at * real(0);   // NaN stays
    }
    V from = at - splat(low);
    turns = choose(from < V{}, splat(-1), splat(1));
    from = vabs(from);
    const V flips = vfloor(from / splat(span)), rest = from - flips * splat(span);
    const M odd = flips - vfloor(flips * splat(real(0.5))) * splat(2) != V{};
    turns = choose(odd, -turns, turns);
    return choose(odd, splat(span) - rest, rest) + splat(low);
}

// Keys (1981), a = -0.75: weight and slope at distance t behind tap 1.
static void keys(V t, V (&weight)[4], V (&slope)[4]) {
    const V a = splat(real(-0.75)), one = splat(1);
    const V distance[4] = {t + one, t, one - t, one - t + one}, sign[4] = {one, one, -one, -one};
    for (int k = 0; k < 4; ++k) {
        const V d = distance[k];
        if (k == 1 || k == 2) {
            weight[k] = ((a + splat(2)) * d - (a + splat(3))) * d * d + one;
            slope[k] = sign[k] * (splat(3) * (a + splat(2)) * d - splat(2) * (a + splat(3))) * d;
        } else {
            weight[k] = ((a * d - splat(5) * a) * d + splat(8) * a) * d - splat(4) * a;
            slope[k] = sign[k] * ((splat(3) * a * d - splat(10) * a) * d + splat(8) * a);
        }
    }
}

template <int T> static void place(const Axis& axis, V position, Along<T>& along) {
    const real last = real(axis.size - 1), span = axis.corners ? last : real(axis.size);
    const real low = axis.corners ? 0 : real(-0.5);
    V at = axis.corners ? (position + splat(1)) * splat(real(0.5)) * splat(last)
                        : ((position + splat(1)) * splat(span) - splat(1)) * splat(real(0.5));
    V step = splat(span * real(0.5)), turns = splat(1);
    if (T < 4 && axis.around == REFLECTION) at = reflected(at, low, span, turns), step *= turns;
    if (T < 4 && axis.around != ZEROS) {
        step = choose((at > V{}) & (at < splat(last)), step, V{});
        at = clipped(at, 0, last);
    } else if (axis.around != REFLECTION) {
        at = clipped(at, -4, last + 4);   // further out is as there, and no whole number overflows
    }
    if constexpr (T == 1) {
        const V nearest = vround(at);
        along.inside[0] = within(nearest, 0, last);
        along.index[0] = whole(clipped(nearest, 0, last));
        along.weight[0] = choose(at == at, splat(1), at);
        along.slope[0] = V{};
        return;
    }
    const V first = vfloor(at) - splat(T == 4 ? 1 : 0), t = at - vfloor(at);
    if constexpr (T == 2) {
        along.weight[0] = splat(1) - t, along.weight[1] = t;
        along.slope[0] = -step, along.slope[1] = step;
    } else if constexpr (T == 4) {
        keys(t, along.weight, along.slope);
        for (int k = 0; k < T; ++k) along.slope[k] *= step;
    }
    for (int k = 0; k < T; ++k) {
        V tap = first + splat(real(k)), unused;
        if (T == 4 && axis.around == REFLECTION) tap = reflected(tap, low, span, unused);
        along.inside[k] = T == 4 && axis.around != ZEROS ? ~M{} : within(tap, 0, last);
        along.index[k] = whole(clipped(tap, 0, last));
    }
}

// The taps of a vector of outputs, all axes multiplied out.
template <int T, int N> struct Taps {
    static constexpr int P = N == 2 ? T * T : T * T * T;
    M index[P], inside[P];
    V weight[P];
    bool all;                        // no tap lies outside
    Along<T> along[N];               // of the last axis first, as in the grid

    Taps(const View<const real>& grid, const Axis (&axes)[N], i64 sample, i64 o, int count) {
        const real* at = grid.data + (sample * grid.dim(1) + o) * N;
        for (int a = 0; a < N; ++a) place<T>(axes[a], load_strided(at + a, N, count), along[a]);
        M every = ~M{};
        each([&](int p, int i, int j, int k) {
            index[p] = along[1].index[j] * (lane_int)axes[0].size + along[0].index[i];
            inside[p] = along[1].inside[j] & along[0].inside[i];
            weight[p] = along[1].weight[j] * along[0].weight[i];
            if constexpr (N == 3) {
                index[p] += along[2].index[k] * (lane_int)(axes[0].size * axes[1].size);
                inside[p] &= along[2].inside[k];
                weight[p] *= along[2].weight[k];
            }
            every &= inside[p];
        });
        all = all_true(every);
    }

    template <class Body> static void each(Body body) {
        for (int k = 0, p = 0; k < (N == 3 ? T : 1); ++k)
            for (int j = 0; j < T; ++j)
                for (int i = 0; i < T; ++i, ++p) body(p, i, j, k);
    }

    V slope(int axis, int i, int j, int k) const {
        V s = (axis == 0 ? along[0].slope : along[0].weight)[i] * (axis == 1 ? along[1].slope : along[1].weight)[j];
        if constexpr (N == 3) s *= (axis == 2 ? along[2].slope : along[2].weight)[k];
        return s;
    }
};

template <int N> struct Image {
    Axis axes[N];
    i64 channels, plane, outputs;
    Image(const i64* shape, const View<const real>& grid, i64 around, bool corners)
        : channels(shape[1]), plane(shape[2] * shape[3] * shape[4]), outputs(grid.dim(1)) {
        for (int a = 0; a < N; ++a) axes[a] = {shape[4 - a], around, corners};
    }
};

// Vectors of outputs that are worth a thread.
template <int T, int N> static i64 grain(i64 channels) { return 1 + 1024 / (channels * Taps<T, N>::P + 12); }

template <int T, int N, bool ALL>
static void sample(const Taps<T, N>& taps, const real* x, i64 channels, i64 plane, i64 outputs, int count, real* y) {
    for (i64 c = 0; c < channels; ++c, x += plane, y += outputs) {
        V sum{};   // from 0, so that it is one chain of multiply-adds, as in sample_last
        for (int p = 0; p < taps.P; ++p) sum += taps.weight[p] * pixel<ALL>(x, taps.index[p], taps.inside[p]);
        if (count == LANES) store(y, sum);
        else store(y, sum, count);
    }
}

// A vector of outputs, from an image with the channels last.
template <int T, int N>
static void sample_last(const Taps<T, N>& taps, const real* x, i64 channels, i64 outputs, int count, real* y) {
    constexpr int P = Taps<T, N>::P;
    for (i64 c = 0; c < channels; c += LANES) {
        const int valid = channels - c < LANES ? (int)(channels - c) : LANES;
        V of[LANES];
        for (int i = 0; i < LANES; ++i) {
            V sum{};
            for (int p = 0; p < (i < count ? P : 0); ++p) {
                const real* at = x + taps.index[p][i] * channels + c;
                const V v = !taps.inside[p][i] ? V{} : valid == LANES ? load(at)
                                                                      : load(at, valid);
                sum += taps.weight[p][i] * v;
            }
            of[i] = sum;
        }
        interleave(of);
        for (int r = 0; r < valid; ++r) {
            if (count == LANES) store(y + (c + r) * outputs, of[r]);
            else store(y + (c + r) * outputs, of[r], count);
        }
    }
}

// The same where all vectors are whole and no tap lies outside.
template <int T, int N>
static void sample_whole(const Taps<T, N>& taps, const real* x, i64 channels, i64 outputs, real* y) {
    constexpr int P = Taps<T, N>::P;
    lane_int index[P][LANES];
    real weight[P][LANES];
    std::memcpy(index, taps.index, sizeof index), std::memcpy(weight, taps.weight, sizeof weight);
    for (i64 c = 0; c < channels; c += LANES) {
        V of[LANES];
        #pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) {
            of[i] = V{};
            for (int p = 0; p < P; ++p) of[i] += weight[p][i] * load(x + index[p][i] * channels + c);
        }
        interleave(of);
        #pragma GCC unroll 16
        for (int r = 0; r < LANES; ++r) store(y + (c + r) * outputs, of[r]);
    }
}

template <int T, int N> static void forward_last(In<real> x, In<real> grid, i64 around, bool corners, Out<real> y) {
    const Image<N> image(x.shape, grid, around, corners);
    const i64 vectors = (image.outputs + LANES - 1) / LANES, blocks = (image.plane + LANES - 1) / LANES;
    const i64 size = image.channels * image.plane;
    Scratch<real> last(x.size());
    parallel_for(x.dim(0) * blocks, 1 + 768 / image.channels, [&](i64 begin, i64 end) {
        for (i64 b = begin; b < end; ++b) {
            const i64 n = b / blocks, p = b % blocks * LANES;
            channels_last(x.data + n * size, image.channels, image.plane, p,
                          p + LANES < image.plane ? p + LANES : image.plane, last + n * size);
        }
    });
    parallel_for(x.dim(0) * vectors, grain<T, N>(image.channels), [&](i64 begin, i64 end) {
        for (i64 v = begin; v < end; ++v) {
            const i64 n = v / vectors, o = v % vectors * LANES, left = image.outputs - o;
            const int count = left < LANES ? (int)left : LANES;
            const Taps<T, N> taps(grid, image.axes, n, o, count);
            const real* const from = last + n * size;
            real* const to = y.data + n * image.channels * image.outputs + o;
            if (T < 4 && taps.all && count == LANES && image.channels % LANES == 0)
                sample_whole<T, N>(taps, from, image.channels, image.outputs, to);
            else sample_last<T, N>(taps, from, image.channels, image.outputs, count, to);
        }
    });
}

template <int T, int N> static void forward(In<real> x, In<real> grid, i64 around, bool corners, Out<real> y) {
    const Image<N> image(x.shape, grid, around, corners);
    if (image.channels >= 8 && image.outputs * Taps<T, N>::P * 2 >= image.plane)   // what a sample says alone
        return forward_last<T, N>(x, grid, around, corners, y);
    const i64 vectors = (image.outputs + LANES - 1) / LANES;
    parallel_for(x.dim(0) * vectors, grain<T, N>(image.channels), [&](i64 begin, i64 end) {
        for (i64 v = begin; v < end; ++v) {
            const i64 n = v / vectors, o = v % vectors * LANES, left = image.outputs - o;
            const int count = left < LANES ? (int)left : LANES;
            const real* from = x.data + n * image.channels * image.plane;
            real* to = y.data + n * image.channels * image.outputs + o;
            const Taps<T, N> taps(grid, image.axes, n, o, count);
            if (taps.all) sample<T, N, true>(taps, from, image.channels, image.plane, image.outputs, count, to);
            else sample<T, N, false>(taps, from, image.channels, image.plane, image.outputs, count, to);
        }
    });
}

template <int T, int N>
static void input_gradient(In<real> g, In<real> grid, i64 around, bool corners, Out<real> dx) {
    const Image<N> image(dx.shape, grid, around, corners);
    constexpr i64 TOGETHER = 8;   // planes that share a vector's taps
    const i64 groups = (image.channels + TOGETHER - 1) / TOGETHER;
    parallel_tasks(dx.dim(0) * groups, [&](i64 task) {
        const i64 n = task / groups, c = task % groups * TOGETHER, first = n * image.channels + c;
        const i64 planes = image.channels - c < TOGETHER ? image.channels - c : TOGETHER;
        real* to = dx.data + first * image.plane;
        for_vectors(planes * image.plane, [&](i64 i, auto lanes) { lanes.store(to + i, V{}); });
        for (i64 o = 0; o < image.outputs; o += LANES) {
            const int count = image.outputs - o < LANES ? (int)(image.outputs - o) : LANES;
            const Taps<T, N> taps(grid, image.axes, n, o, count);
            for (i64 p = 0; p < planes; ++p) {
                const real* from = g.data + (first + p) * image.outputs + o;
                const V gv = count == LANES ? load(from) : load(from, count);
                for (int k = 0; k < taps.P; ++k) {
                    const V add = gv * taps.weight[k];
                    for (int i = 0; i < count; ++i)
                        if (taps.inside[k][i]) to[p * image.plane + taps.index[k][i]] += add[i];
                }
            }
        }
    });
}

template <int T, int N>
static void grid_gradient(In<real> g, In<real> x, In<real> grid, i64 around, bool corners, Out<real> dgrid) {
    const Image<N> image(x.shape, grid, around, corners);
    const i64 vectors = (image.outputs + LANES - 1) / LANES;
    parallel_for(x.dim(0) * vectors, grain<T, N>(image.channels), [&](i64 begin, i64 end) {
        for (i64 v = begin; v < end; ++v) {
            const i64 n = v / vectors, o = v % vectors * LANES, left = image.outputs - o;
            const int count = left < LANES ? (int)left : LANES;
            const Taps<T, N> taps(grid, image.axes, n, o, count);
            V sums[Taps<T, N>::P] = {};
            for (i64 c = 0; c < image.channels; ++c) {
                const real* from = g.data + (n * image.channels + c) * image.outputs + o;
                const real* plane = x.data + (n * image.channels + c) * image.plane;
                const V gv = count == LANES ? load(from) : load(from, count);
                for (int p = 0; p < taps.P; ++p) sums[p] += gv * pixel<false>(plane, taps.index[p], taps.inside[p]);
            }
            for (int a = 0; a < N; ++a) {
                V d{};
                taps.each([&](int p, int i, int j, int k) { d += sums[p] * taps.slope(a, i, j, k); });
                for (int i = 0; i < count; ++i) dgrid.data[(n * image.outputs + o + i) * N + a] = d[i];
            }
        }
    });
}

// body.run<T, N>() for a mode and a number of axes.
template <class Body> static void by_mode(i64 mode, i64 axes, Body body) {
    const auto with = [&](auto taps) {
        if (axes == 2) body(taps, std::integral_constant<int, 2>{});
        else body(taps, std::integral_constant<int, 3>{});
    };
    if (mode == NEAREST) with(std::integral_constant<int, 1>{});
    else if (mode == LINEAR) with(std::integral_constant<int, 2>{});
    else with(std::integral_constant<int, 4>{});
}

void grid_sample(In<real> x, In<real> grid, i64 mode, i64 around, bool corners, Out<real> y) {
    if (y.size() == 0) return;
    by_mode(mode, grid.last(), [&](auto t, auto n) { forward<t(), n()>(x, grid, around, corners, y); });
}

void grid_sample_input_gradient(In<real> g, In<real> grid, i64 mode, i64 around, bool corners, Out<real> dx) {
    if (dx.size() == 0) return;
    by_mode(mode, grid.last(), [&](auto t, auto n) { input_gradient<t(), n()>(g, grid, around, corners, dx); });
}

void grid_sample_grid_gradient(In<real> g, In<real> x, In<real> grid, i64 mode, i64 around, bool corners,
                               Out<real> dgrid) {
    if (dgrid.size() == 0) return;
    if (mode == NEAREST) {   // a value stays where its place moves a little
        std::memset(dgrid.data, 0, dgrid.size() * sizeof(real));
        return;
    }
    by_mode(mode, grid.last(), [&](auto t, auto n) { grid_gradient<t(), n()>(g, x, grid, around, corners, dgrid); });
}

END_KERNELS
