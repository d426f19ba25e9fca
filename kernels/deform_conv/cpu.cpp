// A deformable convolution (Dai et al. 2017; with a mask, Zhu et al. 2019): the pixel that a tap of an
// output reads lies `offset` away from its place, and is interpolated linearly from four, 0 outside.
//
//     y[f, o] = bias[f] + sum over taps t, channels c of weight[f, c, t] m[t, o] x[c, place(t, o)]
//
// Forward, the columns are never whole: for a block of outputs and some taps they are made as a packed
// panel, and multiplied by packed filters on the register tile of gemm.h while they lie in the cache.
// The image has its channels last, so that a pixel is a few vectors of channels; panels are ordered by
// tap, then channel. An output is one chain of multiply-adds from its bias in that order, whatever the
// block or thread. The gradients work on columns (n, channel x taps, outputs) as im2col has them.
#include "../gemm/gemm.h"
#include "../grid_sample/sampling.h"

BEGIN_KERNELS

struct Geometry {
    i64 n, channels, height, width, taps, kernel_w, oh, ow, places, groups;   // groups: of offsets
    i64 stride[2], padding[2], dilation[2];
    Geometry(const i64* x, const i64* offset, const Window& window, i64 offset_groups)
        : n(x[0]), channels(x[1]), height(x[2]), width(x[3]), taps(window.kernel[0] * window.kernel[1]),
          kernel_w(window.kernel[1]), oh(offset[2]), ow(offset[3]), places(oh * ow), groups(offset_groups) {
        for (int a = 0; a < 2; ++a)
            stride[a] = window.stride[a], padding[a] = window.padding[a], dilation[a] = window.dilation[a];
    }
    i64 pixels() const { return height * width; }
    i64 shared() const { return channels / groups; }   // channels of one group of offsets
};

// The four pixels of a vector of outputs at one tap.
struct Corners {
    M index[4], inside[4];
    V weight[4], mask, fraction_h, fraction_w, live_h, live_w;

    Corners(const Geometry& s, const real* offset, const real* masks, i64 n, i64 group, i64 tap, i64 o, int count) {
        const i64 row = (n * s.groups + group) * s.taps + tap;
        const real* by = offset + 2 * row * s.places + o;
        const auto of = [&](const real* p) { return count == LANES ? load(p) : load(p, count); };
        V h, w;
        for (int i = 0; i < LANES; ++i) {
            const i64 at = i < count ? o + i : o;
            h[i] = real(at / s.ow * s.stride[0] - s.padding[0] + tap / s.kernel_w * s.dilation[0]);
            w[i] = real(at % s.ow * s.stride[1] - s.padding[1] + tap % s.kernel_w * s.dilation[1]);
        }
        mask = masks ? of(masks + row * s.places + o) : splat(1);
        h = bounded(h + of(by), s.height, live_h);
        w = bounded(w + of(by + s.places), s.width, live_w);
        const V low_h = vfloor(h), low_w = vfloor(w);
        fraction_h = h - low_h, fraction_w = w - low_w;
        for (int k = 0; k < 4; ++k) {
            const V at_h = low_h + splat(k / 2), at_w = low_w + splat(k % 2);
            inside[k] = within(at_h, 0, real(s.height - 1)) & within(at_w, 0, real(s.width - 1));
            const M row = whole(clipped(at_h, 0, real(s.height - 1)));
            index[k] = row * (lane_int)s.width + whole(clipped(at_w, 0, real(s.width - 1)));
            weight[k] = part(k / 2, fraction_h) * part(k % 2, fraction_w);
        }
    }
    static V part(int second, V fraction) { return second ? fraction : splat(1) - fraction; }
    // Further out is as there, and no whole number overflows.
    static V bounded(V at, i64 size, V& live) {
        live = choose((at > splat(-2)) & (at < splat(real(size + 1))), splat(1), V{});
        return clipped(at, -2, real(size + 1));
    }
};

// ---- forward

constexpr i64 PANELS = 4, DEPTH = 384;   // panels of outputs in a block; values of a filter in one, about

// At most ROWS filters, packed for the register tile, values ordered (tap, channel).
static void pack_filters(const real* weight, int filters, i64 channels, i64 taps, real* packed) {
    const i64 depth = channels * taps;
    Scratch<real> room(filters * depth);
    for (i64 f = 0; f < filters; ++f)
        for (i64 c = 0; c < channels; ++c)
            for (i64 t = 0; t < taps; ++t)
                room[f * depth + t * channels + c] = weight[(f * channels + c) * taps + t];
    pack_rows<ROWS>(room, depth, filters, depth, packed);
}

// One tap's rows of a panel, a vector of outputs wide: of channels [begin, end), which share offsets.
static void panel_rows(const Geometry& s, const Corners& at, const real* image, i64 begin, i64 end, int count,
                       i64 pitch, real* panel) {
    for (i64 c = begin; c < end; c += LANES, panel += LANES * pitch) {
        const int valid = end - c < LANES ? (int)(end - c) : LANES;
        V of[LANES];
        for (int i = 0; i < LANES; ++i) {
            V sum{};
            for (int k = 0; k < (i < count ? 4 : 0); ++k) {
                const real* p = image + at.index[k][i] * s.channels + c;
                const V v = !at.inside[k][i] ? V{} : valid == LANES ? load(p)
                                                                    : load(p, valid);
                sum += at.weight[k][i] * v;
            }
            of[i] = sum * at.mask[i];
        }
        interleave(of);
        for (int r = 0; r < valid; ++r) store(panel + r * pitch, of[r]);
    }
}

struct Forward {
    const Geometry s;
    const real *image, *offset, *mask, *filters, *starts;   // image with its channels last; filters packed
    i64 groups, per_group, outs;                         // of filters; channels and filters of one
    real* y;

    // Outputs [o, o + width) of a sample, at most PANELS panels wide.
    void block(i64 n, i64 group, i64 o, i64 width, real* room) const {
        const i64 taps_at_once = per_group >= DEPTH ? 1 : DEPTH / per_group, depth = per_group * s.taps;
        for (i64 t = 0; t < s.taps; t += taps_at_once) {
            const i64 taps = s.taps - t < taps_at_once ? s.taps - t : taps_at_once;
            for (i64 p = 0; p * WIDTH < width; ++p)
                panel(n, group, t, taps, o + p * WIDTH, columns(width, p), room + p * WIDTH * taps_at_once * per_group);
            for (i64 f = 0; f < outs; f += ROWS)
                for (i64 p = 0; p * WIDTH < width; ++p)
                    multiply(n, group, t, taps, f, o + p * WIDTH, columns(width, p), depth,
                             room + p * WIDTH * taps_at_once * per_group);
        }
    }
    static i64 columns(i64 width, i64 p) { return width - p * WIDTH < WIDTH ? width - p * WIDTH : WIDTH; }
    static int vectors(i64 columns) { return int((columns + LANES - 1) / LANES); }

    void panel(i64 n, i64 group, i64 tap, i64 taps, i64 o, i64 count, real* room) const {
        const i64 pitch = vectors(count) * LANES, first = group * per_group, last = first + per_group;
        for (i64 v = 0; v < count; v += LANES)
            for (i64 t = 0; t < taps; ++t)
                for (i64 c = first; c < last;) {   // as far as they share offsets
                    const i64 og = c / s.shared(), end = (og + 1) * s.shared() < last ? (og + 1) * s.shared() : last;
                    const int lanes = count - v < LANES ? (int)(count - v) : LANES;
                    panel_rows(s, Corners(s, offset, mask, n, og, tap + t, o + v, lanes),
                               image + n * s.pixels() * s.channels, c, end, lanes, pitch,
                               room + (t * per_group + c - first) * pitch + v);
                    c = end;
                }
    }

    void multiply(i64 n, i64 group, i64 tap, i64 taps, i64 f, i64 o, i64 count, i64 depth, const real* room) const {
        const i64 padded = (outs + ROWS - 1) / ROWS * ROWS;
        const real* a = filters + group * padded * depth + f * depth + tap * per_group * ROWS;
        const real* start = tap ? nullptr : starts + group * padded + f;
        real* c = y + ((n * groups + group) * outs + f) * s.places + o;
        const int rows = outs - f < ROWS ? (int)(outs - f) : ROWS, nv = vectors(count);
        if (rows == ROWS && count == nv * LANES) gemm_tile(nv, taps * per_group, a, room, c, s.places, start);
        else gemm_tile_ragged(nv, taps * per_group, a, room, c, s.places, rows, count, start);
    }
};

void deform_conv(In<real> x, In<real> offset, In<real> weight, In<real> bias, In<real> mask, Window window,
                 i64 groups, i64 offset_groups, Out<real> y) {
    const Geometry s(x.shape, offset.shape, window, offset_groups);
    if (y.size() == 0) return;
    const i64 outs = weight.dim(0) / groups, per_group = weight.dim(1), depth = per_group * s.taps;
    const i64 padded = (outs + ROWS - 1) / ROWS * ROWS, pixels = s.pixels();
    Scratch<real> image(x.size()), filters(groups * padded * depth), starts(groups * padded);
    const i64 blocks = (pixels + LANES - 1) / LANES;
    parallel_for(s.n * blocks, 1 + 2048 / s.channels, [&](i64 begin, i64 end) {
        for (i64 b = begin; b < end; ++b) {
            const i64 n = b / blocks * s.channels * pixels, p = b % blocks * LANES;
            channels_last(x.data + n, s.channels, pixels, p, p + LANES < pixels ? p + LANES : pixels, image + n);
        }
    });
    parallel_for(groups * padded / ROWS, 1 + 8192 / depth, [&](i64 begin, i64 end) {
        for (i64 panel = begin; panel < end; ++panel) {
            const i64 g = panel * ROWS / padded, f = panel * ROWS % padded, left = outs - f;
            pack_filters(weight.data + (g * outs + f) * depth, left < ROWS ? (int)left : ROWS, per_group, s.taps,
                         filters + panel * ROWS * depth);
            for (i64 i = 0; i < ROWS; ++i)
                starts[panel * ROWS + i] = bias && i < left ? bias.data[g * outs + f + i] : 0;
        }
    });
    const Forward forward{s, image, offset.data, mask.data, filters, starts, groups, per_group, outs, y.data};
    // blocks of equal width, and one a thread at the least
    const i64 most = s.places / PANELS / WIDTH >= 2 * threads_now() ? PANELS * WIDTH : WIDTH;
    const i64 even = (s.places + most - 1) / most, each = (s.places + even - 1) / even;
    const i64 wide = (each + LANES - 1) / LANES * LANES;
    const i64 across = (s.places + wide - 1) / wide, at_once = per_group >= DEPTH ? 1 : DEPTH / per_group;
    parallel_tasks(s.n * groups * across, [&](i64 task) {
        Scratch<real> room(wide * at_once * per_group);
        const i64 o = task % across * wide, left = s.places - o;
        forward.block(task / across / groups, task / across % groups, o, left < wide ? left : wide, room);
    });
}

// ---- columns, and the gradients by them

// Calls body(n, group of offsets, tap, first output, lanes, Corners) for vectors of outputs.
template <class Body>
static void for_corners(const Geometry& s, In<real> offset, In<real> mask, i64 n, i64 group, i64 tap, Body body) {
    for (i64 o = 0; o < s.places; o += LANES) {
        const int count = s.places - o < LANES ? (int)(s.places - o) : LANES;
        body(o, count, Corners(s, offset.data, mask.data, n, group, tap, o, count));
    }
}

static V part_of(const real* p, int count) { return count == LANES ? load(p) : load(p, count); }

void deform_columns(In<real> x, In<real> offset, In<real> mask, Window window, i64 offset_groups, Out<real> columns) {
    const Geometry s(x.shape, offset.shape, window, offset_groups);
    if (columns.size() == 0) return;
    parallel_tasks(s.n * s.groups * s.taps, [&](i64 task) {
        const i64 n = task / s.taps / s.groups, group = task / s.taps % s.groups, tap = task % s.taps;
        for_corners(s, offset, mask, n, group, tap, [&](i64 o, int count, const Corners& at) {
            for (i64 c = n * s.channels + group * s.shared(), k = 0; k < s.shared(); ++k, ++c) {
                const real* plane = x.data + c * s.pixels();
                V sum{};
                for (int i = 0; i < 4; ++i) sum += at.weight[i] * pixel<false>(plane, at.index[i], at.inside[i]);
                real* to = columns.data + (c * s.taps + tap) * s.places + o;
                if (count == LANES) store(to, sum * at.mask);
                else store(to, sum * at.mask, count);
            }
        });
    });
}

// Planes of one thread, taps and outputs in order.
void deform_input_gradient(In<real> g, In<real> offset, In<real> mask, Window window, i64 offset_groups,
                           Out<real> dx) {
    const Geometry s(dx.shape, offset.shape, window, offset_groups);
    if (dx.size() == 0) return;
    constexpr i64 TOGETHER = 8;
    const i64 parts = (s.shared() + TOGETHER - 1) / TOGETHER;
    parallel_tasks(s.n * s.groups * parts, [&](i64 task) {
        const i64 n = task / parts / s.groups, group = task / parts % s.groups, from = task % parts * TOGETHER;
        const i64 first = n * s.channels + group * s.shared() + from;
        const i64 planes = s.shared() - from < TOGETHER ? s.shared() - from : TOGETHER;
        real* to = dx.data + first * s.pixels();
        for_vectors(planes * s.pixels(), [&](i64 i, auto lanes) { lanes.store(to + i, V{}); });
        for (i64 tap = 0; tap < s.taps; ++tap)
            for_corners(s, offset, mask, n, group, tap, [&](i64 o, int count, const Corners& at) {
                for (i64 p = 0; p < planes; ++p) {
                    const V gv = part_of(g.data + ((first + p) * s.taps + tap) * s.places + o, count) * at.mask;
                    for (int k = 0; k < 4; ++k) {
                        const V add = gv * at.weight[k];
                        for (int i = 0; i < count; ++i)
                            if (at.inside[k][i]) to[p * s.pixels() + at.index[k][i]] += add[i];
                    }
                }
            });
    });
}

void deform_place_gradient(In<real> g, In<real> x, In<real> offset, In<real> mask, Window window, i64 offset_groups,
                           Out<real> doffset, Out<real> dmask) {
    const Geometry s(x.shape, offset.shape, window, offset_groups);
    const bool masked = dmask.size() > 0;
    parallel_tasks(s.n * s.groups * s.taps, [&](i64 task) {
        const i64 n = task / s.taps / s.groups, group = task / s.taps % s.groups, tap = task % s.taps;
        for_corners(s, offset, mask, n, group, tap, [&](i64 o, int count, const Corners& at) {
            V sums[4] = {};
            for (i64 c = n * s.channels + group * s.shared(), k = 0; k < s.shared(); ++k, ++c) {
                const V gv = part_of(g.data + (c * s.taps + tap) * s.places + o, count);
                const real* plane = x.data + c * s.pixels();
                for (int i = 0; i < 4; ++i) sums[i] += gv * pixel<false>(plane, at.index[i], at.inside[i]);
            }
            const V one = splat(1), h = at.fraction_h, w = at.fraction_w;
            const V dh = ((sums[2] - sums[0]) * (one - w) + (sums[3] - sums[1]) * w) * at.mask * at.live_h;
            const V dw = ((sums[1] - sums[0]) * (one - h) + (sums[3] - sums[2]) * h) * at.mask * at.live_w;
            const V dm = (sums[0] * (one - w) + sums[1] * w) * (one - h) + (sums[2] * (one - w) + sums[3] * w) * h;
            real* to = doffset.data + 2 * task * s.places + o;
            for (int i = 0; i < count; ++i) {
                to[i] = dh[i], to[s.places + i] = dw[i];
                if (masked) dmask.data[task * s.places + o + i] = dm[i];
            }
        });
    });
}

END_KERNELS
