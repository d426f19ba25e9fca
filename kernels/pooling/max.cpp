// max_pool: the maximum of each window, NaN where a window has one. Of equal maxima the first in
// memory order is chosen; of NaNs the last, as a scan with `v > best || isnan(v)` does. The forward
// pass writes no indices and the backward pass scans the windows again, which costs less than eight
// bytes an output written by one and read by the other.
#include "lanes.h"
#include "separable.h"

BEGIN_KERNELS

struct Maximum {
    static constexpr real identity = -__builtin_inf();
    static constexpr bool TURNS    = true;
    V    of(V v) const { return v; }
    V    join(V a, V b) const {
        const V m = vmax(a, b);   // b where either is NaN
        return a != a ? a : m;
    }
    real join(real a, real b) const { return b > a || b != b ? b : a; }
    V    finish(V v, real) const { return v; }
    real row_factor(const Pool&, i64, i64) const { return 1; }
    real column_factor(const Axis&, i64) const { return 1; }
};

void max_pool(In<real> x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
              Out<real> y) {
    pool_forward(Maximum{}, x, Pool(in, out, kernel, stride, padding, dilation), y);
}

struct Argmax {
    static constexpr i64 FEW = 4;   // windows of a row, for which vectors run along their own rows
    const Pool& p;
    const i64   step_d, step_h;
    explicit Argmax(const Pool& p)
        : p(p), step_d(p.d.dilation * p.h.in * p.w.in), step_h(p.h.dilation * p.w.in) {}

    i64 window(const real* plane, Taps d, Taps h, i64 o) const {
        const Taps w = p.w.taps(o);
        const i64  start = (d.first * p.h.in + h.first) * p.w.in + w.first;
        i64  at = start;
        real best = Maximum::identity;
        for (i64 i = 0; i < d.count; ++i)
            for (i64 j = 0; j < h.count; ++j)
                for (i64 k = 0; k < w.count; ++k) {
                    const i64  here = start + i * step_d + j * step_h + k * p.w.dilation;
                    const real v = plane[here];
                    if (v > best || v != v) best = v, at = here;
                }
        return at;
    }

    // The same of a window whose rows are long, a vector of a row at a time. Lanes keep the first of their
    // maxima, or their last NaN; the plane's size must fit in lane_int.
    i64 wide_window(const real* plane, Taps d, Taps h, Taps w) const {
        const i64 start = (d.first * p.h.in + h.first) * p.w.in + w.first;
        V best = splat(Maximum::identity);
        M at = M{} + (lane_int)start;
        for (i64 i = 0; i < d.count; ++i)
            for (i64 j = 0; j < h.count; ++j) {
                const i64 row = start + i * step_d + j * step_h;
                M here = lane_index() + (lane_int)row;
                for_vectors(w.count, [&](i64 k, auto lanes) {
                    const V v = with_dead(lanes.load(plane + row + k), lanes, Maximum::identity);
                    const M better = (v > best) | (v != v);
                    best = better ? v : best;
                    at = better ? here : at;
                    here += LANES;
                });
            }
        i64  found = at[0];
        real most = best[0];
        for (int lane = 1; lane < LANES; ++lane) {
            const real v = best[lane];
            const bool nan = v != v, before = most != most;
            if (nan ? !before || at[lane] > found : !before && (v > most || (v == most && at[lane] < found)))
                most = v, found = at[lane];
        }
        return found;
    }

    // `count` windows from output o on, all inside the row; positions are lanes of lane_int, which
    // the plane's size must fit
    void lanes(const real* plane, Taps d, Taps h, i64 o, int count, i64* index) const {
        const i64 start = (d.first * p.h.in + h.first) * p.w.in + p.w.start(o);
        const M   origin = lane_index() * (lane_int)p.w.stride + (lane_int)start;
        M at = origin;
        V best = splat(Maximum::identity);
        for (i64 i = 0; i < d.count; ++i)
            for (i64 j = 0; j < h.count; ++j)
                for (i64 k = 0; k < p.w.kernel; ++k) {
                    const i64 offset = i * step_d + j * step_h + k * p.w.dilation;
                    const V   v = load_every(plane + start + offset, p.w.stride, count);
                    const M   better = (v > best) | (v != v);
                    best = better ? v : best;
                    at = better ? origin + (lane_int)offset : at;
                }
        for (int i = 0; i < count; ++i) index[i] = at[i];
    }

    // The position in the plane of the maximum of every window of an output row
    void row(const real* plane, i64 od, i64 oh, i64* index) const {
        const Taps d = p.d.taps(od), h = p.h.taps(oh);
        const bool fits = p.in_size() < INT32_MAX, wide = fits && p.w.out <= FEW && p.w.dilation == 1,
                   vectors = fits && !wide && !p.w.adaptive();
        const i64  begin = vectors ? p.w.whole_begin() : p.w.out, end = vectors ? p.w.whole_end() : p.w.out;
        for (i64 o = 0; o < begin; ++o) {
            const Taps w = p.w.taps(o);
            const bool long_rows = wide && w.count >= LANES / 2 && w.count * h.count >= 2 * LANES;
            index[o] = long_rows ? wide_window(plane, d, h, w) : window(plane, d, h, o);
        }
        for (i64 o = begin; o < end; o += LANES)
            lanes(plane, d, h, o, end - o < LANES ? (int)(end - o) : LANES, index + o);
        for (i64 o = end; o < p.w.out; ++o) index[o] = window(plane, d, h, o);
    }
};

// Where each tap of each output lies in a plane, for windows of different sizes (adaptive ones): LANES
// outputs are compared at a time, those with fewer taps meet their last row or column again, which
// changes nothing. The same for all planes.
class Places {
    static constexpr i64 MOST = 1 << 15;   // entries
    const i64            depth, height, width, taps, outputs;
    Scratch<lane_int>    at;

    static i64 most_taps(const Axis& a) {
        i64 most = 0;
        for (i64 o = 0; o < a.out && o < MOST; ++o) most = most < a.taps(o).count ? a.taps(o).count : most;
        return most < MOST ? most : MOST;
    }
    static i64 clamped(const Taps& t, i64 tap) { return t.first + (tap < t.count ? tap : t.count - 1); }
    static i64 vectors_of(const Pool& p, i64 taps) {
        const bool fit = p.w.adaptive() && p.in_size() <= MOST && p.out_size() <= MOST && taps <= MOST;
        const i64  outputs = fit ? (p.out_size() + LANES - 1) / LANES * LANES : 0;
        return taps * outputs <= MOST && 2 * p.out_size() >= outputs ? outputs : 0;   // not for a few lanes
    }

public:
    explicit Places(const Pool& p)
        : depth(most_taps(p.d)), height(most_taps(p.h)), width(most_taps(p.w)), taps(depth * height * width),
          outputs(vectors_of(p, taps)), at(taps * outputs) {
        std::memset(at.data, 0, taps * outputs * sizeof(lane_int));   // beside the last output: any place
        for (i64 t = 0; t < taps && outputs; ++t)
            for (i64 o = 0; o < p.out_size(); ++o) {
                const i64 d = clamped(p.d.taps(o / (p.h.out * p.w.out)), t / (height * width)),
                          h = clamped(p.h.taps(o / p.w.out % p.h.out), t / width % height),
                          w = clamped(p.w.taps(o % p.w.out), t % width);
                at[t * outputs + o] = (lane_int)((d * p.h.in + h) * p.w.in + w);
            }
    }
    explicit operator bool() const { return outputs > 0; }

    // The position of the maximum of every window of a plane; `index` has room for whole vectors
    i64 room() const { return outputs; }
    void maxima(const real* plane, lane_int* index) const {
        for (i64 o = 0; o < outputs; o += LANES) {
            M found = read(o);
            V best = splat(Maximum::identity);
            for (i64 t = 0; t < taps; ++t) {
                const M here = read(t * outputs + o);
                const V v = gathered(plane, here);
                const M better = (v > best) | (v != v);
                best = better ? v : best;
                found = better ? here : found;
            }
            std::memcpy(index + o, &found, sizeof(found));
        }
    }

private:
    M read(i64 i) const {
        M m;
        std::memcpy(&m, at.data + i, sizeof(m));
        return m;
    }
};

// The same of windows too few, or too far apart, for vectors of them: of LANES planes at a time, which are turned.
class TurnedPlanes {
    const Pool& p;
    Scratch<real> pixels;
    Scratch<lane_int> found;   // of every output, a lane each

public:
    static bool fit(const Pool& p, i64 planes) {
        if (p.in_size() > MOST_TURNED || p.w.adaptive()) return p.in_size() <= MOST_TURNED;
        return planes >= LANES && undilated(p) && (p.w.stride > 2 || p.w.out <= LANES / 2);
    }
    explicit TurnedPlanes(const Pool& p)
        : p(p), pixels(LANES * whole_vectors(p.in_size())), found(LANES * p.out_size()) {}

    // The position of the maximum of every window of `count` planes
    void maxima(const real* x, int count) {
        turn(x, p.in_size(), count, p.in_size(), pixels);
        lane_int* to = found;
        for (i64 row = 0; row < p.out_rows(); ++row) {
            const Taps d = p.d.taps(row / p.h.out), h = p.h.taps(row % p.h.out);
            for (i64 o = 0; o < p.w.out; ++o, to += LANES) {
                const Taps w = p.w.taps(o);
                V best = splat(Maximum::identity);
                M at = M{} + (lane_int)((d.first * p.h.in + h.first) * p.w.in + w.first);
                for (i64 i = 0; i < d.count; ++i)
                    for (i64 j = 0; j < h.count; ++j) {
                        i64 here = ((d.first + i) * p.h.in + h.first + j) * p.w.in + w.first;
                        for (const i64 stop = here + w.count; here < stop; ++here) {
                            const V v = load(pixels + here * LANES);
                            const M better = (v > best) | (v != v);
                            best = better ? v : best;
                            at = better ? M{} + (lane_int)here : at;
                        }
                    }
                std::memcpy(to, &at, sizeof at);
            }
        }
    }
    i64 of(i64 output, int plane) const { return found[output * LANES + plane]; }
};

// f(plane, its number among those in `turned`, turned) for every plane
template <class F> static void of_turned_planes(In<real> x, const Pool& p, F f) {
    const i64 planes = x.size() / p.in_size();
    parallel_for(ceil_div(planes, LANES), 1 + 4096 / (p.in_size() + p.out_size() * p.rows_under()),
                 [&](i64 begin, i64 end) {
                     TurnedPlanes turned(p);
                     for (i64 n = begin * LANES; n < end * LANES && n < planes; n += LANES) {
                         const int count = planes - n < LANES ? (int)(planes - n) : LANES;
                         turned.maxima(x.data + n * p.in_size(), count);
                         for (int i = 0; i < count; ++i) f(n + i, i, turned);
                     }
                 });
}

void max_pool_indices(In<real> x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation,
                      Out<real> y, Out<i64> indices) {
    const Pool p(in, out, kernel, stride, padding, dilation);
    if (y.size() == 0) return;
    if (const Places places(p); places) {
        parallel_for(y.size() / p.out_size(), 1 + 16384 / p.in_size(), [&](i64 begin, i64 end) {
            Scratch<lane_int> all(places.room());
            for (i64 n = begin; n < end; ++n) {
                places.maxima(x.data + n * p.in_size(), all);
                for (i64 o = 0, to = n * p.out_size(); o < p.out_size(); ++o, ++to) {
                    indices.data[to] = all[o];
                    y.data[to] = x.data[n * p.in_size() + all[o]];
                }
            }
        });
        return;
    }
    if (TurnedPlanes::fit(p, x.size() / p.in_size()))
        return of_turned_planes(x, p, [&](i64 n, int i, const TurnedPlanes& turned) {
            for (i64 o = 0, to = n * p.out_size(); o < p.out_size(); ++o, ++to) {
                indices.data[to] = turned.of(o, i);
                y.data[to] = x.data[n * p.in_size() + indices.data[to]];
            }
        });
    const Argmax argmax(p);
    parallel_for(y.size() / p.w.out, 1 + 16384 / (p.w.out * p.rows_under() + 16), [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            const RowPlace at = row_place(r, p.d.out, p.h.out);
            const real* plane = x.data + at.plane * p.in_size();
            i64* index = indices.data + r * p.w.out;
            argmax.row(plane, at.d, at.h, index);
            for (i64 o = 0; o < p.w.out; ++o) y.data[r * p.w.out + o] = plane[index[o]];
        }
    });
}

// Windows overlap, so a plane's scatter is one task.
void max_pool_backward(In<real> dy, In<real> x, Dims in, Dims out, Dims kernel, Dims stride, Dims padding,
                       Dims dilation, Out<real> dx) {
    const Pool p(in, out, kernel, stride, padding, dilation);
    const Argmax argmax(p);
    const Places places(p);
    const i64 planes = x.size() / p.in_size();
    if (!places && TurnedPlanes::fit(p, planes))
        return of_turned_planes(x, p, [&](i64 n, int i, const TurnedPlanes& turned) {
            const real* const g = dy.data + n * p.out_size();
            real* const to = dx.data + n * p.in_size();
            std::memset(to, 0, p.in_size() * sizeof(real));
            for (i64 o = 0; o < p.out_size(); ++o) to[turned.of(o, i)] += g[o];
        });
    parallel_for(planes, 1 + 16384 / p.in_size(), [&](i64 begin, i64 end) {
        Scratch<i64> index(p.w.out);
        Scratch<lane_int> all(places.room());
        for (i64 n = begin; n < end; ++n) {
            const real *plane = x.data + n * p.in_size(), *g = dy.data + n * p.out_size();
            real* to = dx.data + n * p.in_size();
            std::memset(to, 0, p.in_size() * sizeof(real));
            if (places) {
                places.maxima(plane, all);
                for (i64 o = 0; o < p.out_size(); ++o) to[all[o]] += g[o];
                continue;
            }
            for (i64 r = 0; r < p.out_rows(); ++r, g += p.w.out) {
                argmax.row(plane, r / p.h.out, r % p.h.out, index);
                for (i64 o = 0; o < p.w.out; ++o) to[index[o]] += g[o];
            }
        }
    });
}

END_KERNELS
