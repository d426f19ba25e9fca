// A single call of a convolution of volumes, or of a transposed one of one to three axes, by the register tiles of
// blocked layout: maps are copied into blocks of channels and back. A slice of the result is a sum of convolutions
// of images, one for each tap along the depth that sees a slice of the input; each adds to what those before it made.
//
// Threads share out samples, or filters where these outweigh the maps: each packs its own then and lays its results
// where they belong, so that none reads what another has just written.
#include "blocked/layout.h"
#include "direct_planar.h"
#include "gemm/gemm.h"
#include "program_kernel.h"
#include "winograd_cost.h"
#include <atomic>

extern __thread bool pyops_by_sample;    // module.cpp: pyops.batch_invariant()
extern __thread int  pyops_run_threads;  // csrc/parallel.h: within a compiled program

BEGIN_KERNELS
void direct_conv(InMap<real> x, i64 channels, In<real> scale, In<real> shift, In<real> gate, In<real> weight,
                 In<real> bias, InMap<real> residual, Window window, i64 groups, Act act, OutMap<real> y);
void transposed_conv(InMap<real> x, i64 channels, In<real> weight, In<real> bias, InMap<real> residual,
                     Window window, Act act, OutMap<real> y);

namespace {
constexpr i64 FILTERS_BYTES = 512 << 10;   // packed together, and used while they stay in cache
constexpr Act NO_ACT{Activation::CLAMP, -__builtin_inf(), __builtin_inf()};

// What lies in a row of a batch's slices: `count` of them, from the first on `step` apart
struct Slices { i64 first, step, count; };

class Volumes {
public:
    // A transposed convolution without strides is a plain one whose filters are met by half a turn.
    Volumes(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation, bool transposed)
        : Volumes(conv, kernel, stride, is_plain(stride, transposed) ? beside(kernel, padding, dilation) : padding,
                  dilation, is_plain(stride, transposed), transposed && !is_plain(stride, transposed), conv.xs,
                  conv.ys) {}

    // False: filters are not finite, and what was written is to be written again.
    bool run() {
        const i64 threads = threads_now(), x_bytes = xs.n * xs.d * x_slice * (i64)sizeof(real),
                  w_bytes = out_blocks * filter_block * (i64)sizeof(real);
        const bool by_filters = threads > 1 && x_bytes <= MAPS_BYTES && 2 * x_bytes < w_bytes && out_blocks >= threads;
        const bool by_samples = threads > 1 && !by_filters && (xs.n % threads == 0 || xs.n >= 4 * threads);
        if (by_filters) {
            parallel_tasks(threads, [&](i64 t) {
                filters(0, xs.n, out_blocks * t / threads, out_blocks * (t + 1) / threads, nullptr);
            });
            return finite;
        }
        const i64 sample = (xs.d * x_slice + ys.d * out_blocks * y_image) * (i64)sizeof(real),
                  together = flat ? clamp(MAPS_BYTES / sample, 1, xs.n) : 1;
        const int axis = threads > 1 && !by_samples ? axis_to_cut(threads) : -1;
        if (axis < 0 && !by_samples && together == xs.n) {
            filters(0, xs.n, 0, out_blocks, nullptr);
            return finite;
        }
        Scratch<real> packed(out_blocks * filter_block);
        pack(0, out_blocks, packed);
        if (!finite) return false;
        if (axis >= 0) in_bands(axis, threads, packed);
        else if (by_samples)
            parallel_tasks(threads, [&](i64 t) {
                batches(xs.n * t / threads, xs.n * (t + 1) / threads, together, packed);
            });
        else batches(0, xs.n, together, packed);
        return true;
    }

    static bool is_plain(Dims stride, bool transposed) { return transposed && stride[0] * stride[1] * stride[2] == 1; }
    static Dims beside(const Extent& kernel, Dims padding, Dims dilation) {
        return {{dilation[0] * (kernel.d - 1) - padding[0], dilation[1] * (kernel.h - 1) - padding[1],
                 dilation[2] * (kernel.w - 1) - padding[2]},
                3};
    }

private:
    const Convolution& conv;
    const Extent xs, ys, kernel, all_x, all_y;   // all: of the maps that conv is a band of
    const Dims   stride, padding, dilation;
    const bool   reversed, turned;
    const bool   flat;   // slices are images of their own
    const i64    in_blocks, out_blocks, taps, x_slice, y_image, filter_block;
    std::atomic<bool> finite{true};

    Volumes(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation, bool reversed,
            bool turned, const Extent& all_x, const Extent& all_y)
        : conv(conv), xs(conv.xs), ys(conv.ys), kernel(kernel), all_x(all_x), all_y(all_y), stride(stride),
          padding(padding), dilation(dilation), reversed(reversed), turned(turned),
          flat(kernel.d == 1 && stride[0] == 1 && !padding[0] && xs.d == ys.d), in_blocks(blocks_of(conv.channels)),
          out_blocks(blocks_of(conv.filters)), taps(kernel.h * kernel.w), x_slice(in_blocks * xs.h * xs.w * BLOCK),
          y_image(ys.h * ys.w * BLOCK), filter_block(kernel.spatial() * in_blocks * BLOCK * BLOCK) {}

    // Along which axis each thread takes bands of its own, -1: none. Bands of a row would be cut into other spans than
    // the row by direct_conv, which adds up in another order then; where there are strides it has no spans.
    int axis_to_cut(i64 threads) const {
        if (!flat && ys.d >= 2 * threads) return 0;
        if (ys.h >= 2 * threads) return 1;
        const bool row = ys.d == 1 && ys.h == 1 && xs.d == 1 && xs.h == 1;
        return row && (turned || stride[2] > 1) && ys.w >= 64 * threads ? 2 : -1;
    }

    // Samples in bands of outputs, each with the inputs that it sees, from the laying in to the laying out
    void in_bands(int axis, i64 threads, const real* packed) const {
        const i64 out[] = {ys.d, ys.h, ys.w}, in[] = {xs.d, xs.h, xs.w}, taps_of[] = {kernel.d, kernel.h, kernel.w},
                  x_step[] = {xs.h * xs.w, xs.w, 1}, y_step[] = {ys.h * ys.w, ys.w, 1};
        const i64 bands = out[axis] >= 16 * threads ? 2 * threads : threads, s = stride[axis],
                  reach = (taps_of[axis] - 1) * dilation[axis];
        parallel_tasks(xs.n * bands, [&](i64 task) {
            const i64 n = task / bands, at = task % bands, first = out[axis] * at / bands,
                      end = out[axis] * (at + 1) / bands, p = padding[axis],
                      low = turned ? first + p - reach : first * s - p;
            const i64 begin = clamp(turned && low > 0 ? ceil_div(low, s) : low, 0, in[axis] - 1),
                      last = clamp(turned ? (end - 1 + p) / s + 1 : (end - 1) * s - p + reach + 1, begin + 1, in[axis]);
            Convolution band = conv;
            Dims        beside_band = padding;
            beside_band.v[axis] = turned ? p + first - begin * s : p + begin - first * s;
            band.x += n * xs.c * xs.spatial() + begin * x_step[axis];
            band.y += n * ys.c * ys.spatial() + first * y_step[axis];
            i64* const x_size[] = {&band.xs.d, &band.xs.h, &band.xs.w};
            i64* const y_size[] = {&band.ys.d, &band.ys.h, &band.ys.w};
            band.xs.n = band.ys.n = 1, *x_size[axis] = last - begin, *y_size[axis] = end - first;
            Volumes(band, kernel, stride, beside_band, dilation, reversed, turned, xs, ys)
                .filters(0, 1, 0, out_blocks, packed);
        });
    }

    void batches(i64 begin, i64 end, i64 together, const real* packed) {
        for (i64 n = begin; n < end; n += together)
            filters(n, n + together < end ? n + together : end, 0, out_blocks, packed);
    }

    // Samples [n0, n1) and blocks of filters [k0, k1), which are packed already or else some at a time.
    void filters(i64 n0, i64 n1, i64 k0, i64 k1, const real* packed) {
        const i64 some = FILTERS_BYTES / (filter_block * (i64)sizeof(real) + 1),
                  most = packed ? k1 - k0 : clamp(some < 4 ? 4 : some, 0, k1 - k0), samples = flat ? n1 - n0 : 1;
        Scratch<real> x(samples * xs.d * x_slice), y(samples * ys.d * most * y_image), bias(most * BLOCK),
            own(packed ? 0 : most * filter_block);
        for (i64 n = n0; n < n1; n += samples) {
            lay_in(n, samples, x);
            for (i64 k = k0; k < k1; k += most) {
                const i64 blocks = clamp(k1 - k, 0, most);
                if (!packed) pack(k, blocks, own);
                for (i64 i = 0; i < blocks * BLOCK; ++i)
                    bias[i] = conv.bias && k * BLOCK + i < conv.filters ? conv.bias[k * BLOCK + i] : 0;
                add_up(samples, x, packed ? packed : own, bias, blocks, y);
                lay_out(n, samples, y, k, blocks);
            }
        }
    }

    // Blocks of filters as (taps of the depth, blocks, C/16, taps of a slice, 16 channels, 16 filters)
    void pack(i64 first, i64 blocks, real* to) {
        const i64 all = kernel.spatial();
        Scratch<i64> places(all);   // of a tap, from where a block's begin
        for (i64 i = 0; i < all; ++i) {
            const i64 tap = reversed ? all - 1 - i : i;
            places[i] = (tap / taps * blocks * in_blocks * taps + tap % taps) * BLOCK * BLOCK;
        }
        parallel_for(blocks * in_blocks, 1 + 16 / all, [&](i64 begin, i64 end) {
            V lost{};
            for (i64 at = begin; at < end; ++at) {
                const i64 b = at % in_blocks, k0 = (first + at / in_blocks) * BLOCK,
                          k_end = clamp(conv.filters - k0, 0, BLOCK),
                          c_end = clamp(conv.channels - b * BLOCK, 0, BLOCK);
                const real* const from = conv.weight + k0 * conv.filter_stride + b * BLOCK * conv.channel_stride;
                real* const here = to + at * taps * BLOCK * BLOCK;
                if (conv.channel_stride == all) pack_rows_of(from, c_end * all, k_end, places, here, lost);
                else
                    for (i64 c = 0; c < c_end; ++c) {
                        const real* const row = from + c * conv.channel_stride;
                        if (all == 1 && conv.filter_stride == 1) copy_row(row, k_end, here + c * BLOCK, lost);
                        else pack_rows_of(row, all, k_end, places, here + c * BLOCK, lost);
                    }
                for (i64 tap = 0; tap < all && c_end < BLOCK; ++tap)
                    std::memset(here + places[tap] + c_end * BLOCK, 0, (BLOCK - c_end) * BLOCK * sizeof(real));
            }
            if (hsum(lost) != 0) finite = false;
        });
    }

    // `length` values of each filter, channel by channel: tap t of channel c and filter k goes to
    // to[places[t] + c * 16 + k]. `lost` becomes NaN where a value is not finite.
    [[gnu::noinline]] void pack_rows_of(const real* from, i64 length, i64 filters, const i64* places, real* to,
                                        V& lost) const {
        const i64 all = kernel.spatial();
        for (i64 part = 0; part < BLOCK; part += LANES)
            for (i64 j = 0, tap = 0, c = 0; j < length; j += LANES) {
                const int n = (int)clamp(length - j, 0, LANES);
                V rows[LANES];
                #pragma GCC unroll 16
                for (int i = 0; i < LANES; ++i) {
                    const real* row = from + (part + i) * conv.filter_stride + j;
                    rows[i] = part + i >= filters ? V{} : n == LANES ? load(row) : load(row, n);
                    lost += rows[i] * 0;
                }
                interleave(rows);
                for (int i = 0; i < n; ++i) {
                    store(to + places[tap] + c * BLOCK + part, rows[i]);
                    if (++tap == all) tap = 0, ++c;
                }
            }
    }

    static void copy_row(const real* from, i64 filters, real* to, V& lost) {
        for (i64 part = 0; part < BLOCK; part += LANES) {
            const i64 n = clamp(filters - part, 0, LANES);
            const V   v = n == LANES ? load(from + part) : load(from + part, (int)n);
            lost += v * 0;
            store(to + part, v);
        }
    }

    void lay_in(i64 n, i64 samples, real* to) const {
        parallel_for(samples * xs.d, 1 + 32768 / (x_slice + 1), [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i)
                planes_to_blocked(conv.x + (n + i / xs.d) * xs.c * all_x.spatial() + i % xs.d * all_x.h * all_x.w,
                                  conv.channels, all_x.spatial(),
                                  {to + i * x_slice, 1, in_blocks, xs.h, xs.w, x_slice});
        });
    }

    void lay_out(i64 n, i64 samples, const real* y, i64 first, i64 blocks) const {
        const i64 slice = blocks * y_image;
        parallel_for(samples * ys.d, 1 + 32768 / (slice + 1), [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i)
                planes_from_blocked(
                    {y + i * slice, 1, blocks, ys.h, ys.w, slice},
                    clamp(conv.filters - first * BLOCK, 0, blocks * BLOCK),
                    conv.y + ((n + i / ys.d) * ys.c + first * BLOCK) * all_y.spatial() + i % ys.d * all_y.h * all_y.w,
                    all_y.spatial());
        });
    }

    // y of `samples` samples: one where slices are no images of their own
    void add_up(i64 samples, const real* x, const real* weight, const real* bias, i64 blocks, real* y) const {
        const i64 slice = blocks * y_image;
        if (flat) {
            const Slices all{0, 1, samples * xs.d};
            return images(x, all, weight, bias, blocks, y, all, false);
        }
        Scratch<char> made(ys.d);
        std::memset(made, 0, ys.d);
        const i64 s = stride[0];
        for (i64 tap = 0; tap < kernel.d; ++tap) {
            // outputs o, or inputs of a transposed convolution, meet those at o s + from
            const i64 from = tap * dilation[0] - padding[0], near = turned ? xs.d : ys.d, far = turned ? ys.d : xs.d;
            i64 at = from < 0 ? ceil_div(-from, s) : 0;
            const i64 end = from < far ? clamp((far - 1 - from) / s + 1, at, near) : at;
            const auto out = [&](i64 i) { return turned ? i * s + from : i; };
            while (at < end) {   // a run of slices of which all hold something, or none
                i64 last = at;
                const bool add = made[out(at)];
                while (last < end && made[out(last)] == add) made[out(last++)] = 1;
                const Slices near_slices{at, 1, last - at}, far_slices{at * s + from, s, last - at};
                const real* const of_tap = weight + tap * blocks * in_blocks * taps * BLOCK * BLOCK;
                images(x, turned ? near_slices : far_slices, of_tap, bias, blocks, y,
                       turned ? far_slices : near_slices, add);
                at = last;
            }
        }
        for (i64 o = 0; o < ys.d; ++o)
            for (i64 i = 0; i < slice && !made[o]; i += LANES)
                store(y + o * slice + i, load(bias + i / y_image * BLOCK + i % BLOCK));
    }

    // One tap along the depth, of slices `in`, whose results go to slices `out`: added to what is there, or to the bias
    void images(const real* x, Slices in, const real* weight, const real* bias, i64 blocks, real* y, Slices out,
                bool add) const {
        const i64 slice = blocks * y_image, bias_shape[] = {blocks * BLOCK};
        const InMap<real> from{x + in.first * x_slice, in.count, in_blocks, xs.h, xs.w, in.step * x_slice};
        const OutMap<real> to{y + out.first * slice, out.count, blocks, ys.h, ys.w, out.step * slice};
        const InMap<real> before = add ? InMap<real>{to.data, to.n, to.blocks, to.h, to.w, to.sample} : InMap<real>{};
        const In<real> begin = add ? In<real>{} : In<real>{bias, bias_shape, 1};
        const Window window{{{kernel.h, kernel.w}, 2},
                            {{stride[1], stride[2]}, 2},
                            {{padding[1], padding[2]}, 2},
                            {{dilation[1], dilation[2]}, 2}};
        const i64 shape[] = {blocks, in_blocks, kernel.h, kernel.w, BLOCK, BLOCK};
        if (turned) transposed_conv(from, conv.channels, {weight, shape, 6}, begin, before, window, NO_ACT, to);
        else direct_conv(from, conv.channels, {}, {}, {}, {weight, shape, 6}, begin, before, window, 1, NO_ACT, to);
    }
};

double units(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation) {
    const double n = pyops_by_sample || pyops_run_threads ? 1 : conv.xs.n, blocks = blocks_of(conv.filters),
                 share = share_inside(conv.xs.d, conv.ys.d, kernel.d, padding[0], dilation[0], stride[0]) *
                         share_inside(conv.xs.h, conv.ys.h, kernel.h, padding[1], dilation[1], stride[1]) *
                         share_inside(conv.xs.w, conv.ys.w, kernel.w, padding[2], dilation[2], stride[2]);
    return n * (share * conv.ys.spatial() * kernel.spatial() * conv.channels * blocks +
                COPY * (conv.xs.spatial() * blocks_of(conv.channels) + conv.ys.spatial() * blocks));
}

// Blocks are not full of zeros.
bool fills_blocks(i64 filters) { return filters * 5 >= blocks_of(filters) * BLOCK * 3; }
}  // namespace

bool maps_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                    bool turned) {
    return Volumes(conv, kernel, stride, padding, dilation, turned).run();
}

bool volumes_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                       bool turned, double other_units) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    if (conv.groups != 1 || (kernel.d == 1 && xs.d == 1) || kernel.spatial() == 1 || !xs.n || !xs.spatial() ||
        !ys.spatial() || conv.channels < BLOCK || !fills_blocks(conv.filters) ||
        !is_modest(xs, ys, kernel, stride, dilation) ||
        (kernel.h * kernel.w == 1 && (xs.h != ys.h || xs.w != ys.w)))   // direct_conv takes whole maps for pixels then
        return false;
    if (turned) padding = Volumes::beside(kernel, padding, dilation);
    if (padding[0] < 0 || padding[1] < 0 || padding[2] < 0 ||
        units(conv, kernel, stride, padding, dilation) >= other_units)
        return false;
    if (turned) padding = Volumes::beside(kernel, padding, dilation);
    return maps_in_blocks(conv, kernel, stride, padding, dilation, turned);
}

bool transposed_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation) {
    constexpr i64 CHANNELS = 8, FEW_PIXELS = 64, FEW_VOXELS = 32;   // of all samples: for so few none are packed
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 pixels = (pyops_by_sample || pyops_run_threads ? 1 : xs.n) * xs.spatial();
    return conv.groups == 1 && stride[0] <= kernel.d && stride[1] <= kernel.h && stride[2] <= kernel.w &&
           pixels > (kernel.d > 1 ? FEW_VOXELS : FEW_PIXELS) && ys.spatial() && conv.channels >= CHANNELS &&
           fills_blocks(conv.filters) && is_modest(ys, xs, kernel, stride, dilation) &&
           maps_in_blocks(conv, kernel, stride, padding, dilation, true);
}
END_KERNELS
