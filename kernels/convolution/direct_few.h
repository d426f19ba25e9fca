// Direct convolutions of few pixels, whose time is that of reading the weights: the pixels of all samples meet some
// filters before the next ones are read, so that each weight comes from memory once, one line after the other, and
// fetched ahead.
//
// What each pixel sees is laid side by side, (block, tap, pixel, 16), zeros where it lies outside the image. That
// makes the layer a product of two matrices, on the register tile of winograd_multiply.h, a part of the terms at a
// time whose weights stay in the nearest cache until all pixels have met them. Threads share out the filters, and
// each lays out the pixels for itself: to read them from another one's cache takes longer.
//
// A result is the chain of multiply-adds that other tiles make: from the bias, in the order (block of channels,
// tap, channel).
#pragma once
#include "convolution/direct_layer.h"
#include "winograd_batch.h"

BEGIN_KERNELS
namespace {
// Layers that gain, measured on Zen 5, by bytes of weights: those of few pixels, all of them or a sample's; those of
// so few that one tap's weights come as quickly from the last cache otherwise; and those of more pixels, whose sums
// have many terms.
constexpr i64 FEW = 16, FEW_OF_SAMPLE = 9, FEW_WEIGHTS = 128 << 10;
constexpr i64 VERY_FEW = 6, VERY_FEW_WEIGHTS = 2 << 20;
constexpr i64 SOME = 100, SOME_TERMS = 512, SOME_TERMS_IN_PLACE = 1024, SOME_WEIGHTS = 1 << 20;
constexpr i64 FEW_IN_GROUPS = BV > 1 ? 64 : 36;     // of several blocks of filters
constexpr i64 LOT = 7 * 14, LAID_BYTES = 1 << 20;   // pixels that are laid out at a time
constexpr i64 PATCHES_BYTES = 256 << 10;
constexpr i64 PART_BYTES = 32 << 10;                // weights and inputs that stay in the nearest cache

// A layer of one group as the product of its pixels, `pixels` of them from `first` on, with its filters.
struct FewPixels {
    const Layer& l;
    const Phase& p;
    i64 terms;       // of a sum
    i64 first;
    Batch pixels;
    bool in_place;   // one tap, of pixels that lie side by side

    FewPixels(const Layer& l, const Phase& p, i64 first, i64 last)
        : l(l), p(p), terms(p.count == 1 ? l.group_channels : l.group_blocks * p.count * BLOCK), first(first),
          pixels(0, last - first),
          in_place(reads_in_place(l, p)) {}

    static bool reads_in_place(const Layer& l, const Phase& p) {
        return p.count == 1 && !p.taps[0].dx && !p.taps[0].dy && p.stride_h == 1 && p.stride_w == 1 &&
               l.x.h == p.h && l.x.w == p.w && l.y.n == 1 && !l.changes_input();
    }

    // The inputs of each tap and pixel: where they lie, from a block of the first sample on; -1: outside
    void find(i64* from) const {
        for (i64 i = 0; i < pixels.count; ++i) {
            const i64 at = first + i, n = at / (p.h * p.w), oy = at / p.w % p.h, ox = at % p.w;
            for (i64 t = 0; t < p.count; ++t) {
                const i64 iy = oy * p.stride_h + p.taps[t].dy, ix = ox * p.stride_w + p.taps[t].dx;
                const bool inside = iy >= 0 && iy < l.x.h && ix >= 0 && ix < l.x.w;
                from[t * pixels.count + i] = inside ? n * l.x.sample + (iy * l.x.w + ix) * BLOCK : -1;
            }
        }
    }

    i64 laid() const { return ceil_div(terms, BLOCK) * BLOCK; }   // values of a pixel

    // Lays out a block of channels, a group of pixels after the other.
    void lay(const i64* from, i64 block, real* v) const {
        const real* x = l.x.at(0, block);
        const i64 channels = least(BLOCK, l.group_channels - block * BLOCK);
        const bool changes = l.changes_input() || channels < BLOCK;
        for (i64 group = 0; group < pixels.groups; ++group) {
            const i64 begin = pixels.start(group), size = pixels.size + (group < pixels.larger);
            real* to = v + begin * laid() + block * p.count * size * BLOCK;
            for (i64 t = 0; t < p.count; ++t) {
                const i64* places = from + t * pixels.count + begin;
                for (i64 i = 0; i < size; ++i) {
                    const real* input = places[i] < 0 ? zero_row : x + places[i];
                    #pragma GCC unroll 4
                    for (int k = 0; k < BLOCK; k += LANES) store(to + i * BLOCK + k, load(input + k));
                }
                for (i64 i = 0; changes && i < size; ++i)
                    if (places[i] >= 0) change(block, (first + begin + i) / (p.h * p.w), channels, to + i * BLOCK);
                to += size * BLOCK;
            }
        }
    }

    // What a layer does to its input, of a pixel's block of which `channels` are there
    void change(i64 block, i64 sample, i64 channels, real* to) const {
        if (l.scale)
            for (int k = 0; k < BLOCK; k += LANES)
                store(to + k, vmax(V{}, load(to + k) * load(l.scale + block * BLOCK + k) +
                                            load(l.shift + block * BLOCK + k)));
        if (l.gate) {
            const real* gate = l.gate + sample * l.channels + block * BLOCK;
            for (i64 k = 0; k < channels; k += LANES)
                store(to + k, load(to + k) * load(gate + k, (int)least(LANES, channels - k)));
        }
        if (channels < BLOCK) std::memset(to + channels, 0, (BLOCK - channels) * sizeof(real));
    }

    // Terms [c, c + count) of the groups [begin, end) of `size` pixels
    void multiply(const real* v, i64 c, i64 count, i64 begin, i64 end, i64 size, i64 blocks, Filters f) const {
        if (begin >= end) return;
        const i64 start = pixels.start(begin);
        const Groups groups = in_place ? Groups{v + c / BLOCK * l.x.plane() + start * BLOCK, size * BLOCK,
                                                end - begin, l.x.plane()}
                                       : Groups{v + start * laid() + c * size, size * laid(), end - begin};
        f.m += start * BLOCK;
        f.ahead += begin * f.ahead_next * count;
        multiply_blocks((int)size, groups, count, blocks, f);
    }

    // `blocks` (at most UNIT) blocks of filters from `block` on, behind which this thread takes `left` more
    void multiply(const real* v, i64 block, i64 blocks, i64 left, real* m) const {
        for (i64 b = 0; b < blocks; ++b)
            for (i64 k = 0; k < BLOCK; k += LANES) {
                const V start = l.bias ? load(l.bias + (block + b) * BLOCK + k) : V{};
                for (i64 i = 0; i < pixels.count; ++i) store(m + (b * pixels.count + i) * BLOCK + k, start);
            }
        const i64 most = PART_BYTES / ((UNIT * BLOCK + pixels.count) * (i64)sizeof(real)),
                  part = ceil_div(laid() / BLOCK, ceil_div(terms, most)) * BLOCK;
        for (i64 c = 0; c < terms; c += part) {
            const i64 count = at_most(part, terms - c), next = c + count < terms ? blocks : at_most(UNIT, left);
            const real* u = l.weight + block * l.w_filter + c * BLOCK;
            const real* ahead = !next              ? u
                                : c + count < terms ? u + count * BLOCK
                                                    : l.weight + (block + blocks) * l.w_filter;
            const Filters f{u, l.w_filter, m, pixels.count * BLOCK, (const char*)ahead,
                            next > 1 ? l.w_filter : 0, next ? BLOCK * (i64)sizeof(real) / pixels.groups : 0, true};
            multiply(v, c, count, 0, pixels.larger, pixels.size + 1, blocks, f);
            multiply(v, c, count, pixels.larger, pixels.groups, pixels.size, blocks, f);
        }
    }

    // From the sums of a block of filters to y
    void finish(i64 block, const real* m) const {
        const Clamp clamp(l.epilogue);
        for (i64 i = 0; i < pixels.count;) {
            const i64 sample = (first + i) / (p.h * p.w), at = (first + i) % (p.h * p.w),
                      n = least(p.h * p.w - at, pixels.count - i);
            real* y = l.y.at(sample, block) + at * BLOCK;
            const real* add = l.residual ? l.residual.at(sample, block) + at * BLOCK : nullptr;
            for (i64 k = 0; k < n * BLOCK; k += LANES) {
                const V sum = load(m + i * BLOCK + k);
                store(y + k, clamp(add ? sum + load(add + k) : sum));
            }
            l.epilogue.finish(y, n * BLOCK);
            i += n;
        }
    }

    // Blocks of filters [begin, end)
    void run(const i64* from, i64 begin, i64 end) const {
        if (in_place) return multiply_all(l.x.data + first * BLOCK, begin, end);
        Scratch<real> own(laid() * pixels.count);
        for (i64 block = 0; block < l.group_blocks; ++block) lay(from, block, own);
        multiply_all(own, begin, end);
    }

    void multiply_all(const real* v, i64 begin, i64 end) const {
        Scratch<real> m(UNIT * pixels.count * BLOCK);
        for (i64 block = begin; block < end; block += UNIT) {
            const i64 blocks = at_most(UNIT, end - block);
            multiply(v, block, blocks, end - block - blocks, m);
            for (i64 b = 0; b < blocks; ++b) finish(block + b, m + b * pixels.count * BLOCK);
        }
    }
};

// Whether a layer gains by it. Results are the same either way.
inline bool is_of_few_pixels(const Layer& l, const Phase& p) {
    const i64 pixels = l.y.n * p.h * p.w, terms = l.w_filter / BLOCK,
              bytes = l.y.blocks * l.w_filter * (i64)sizeof(real);
    if (l.group_filters != l.y.blocks || pixels < 1 || !p.count) return false;
    if (pixels <= VERY_FEW && p.count == 1) return bytes >= VERY_FEW_WEIGHTS;
    if (pixels <= FEW || p.h * p.w <= FEW_OF_SAMPLE) return bytes >= FEW_WEIGHTS;
    return pixels <= SOME && terms >= (FewPixels::reads_in_place(l, p) ? SOME_TERMS_IN_PLACE : SOME_TERMS) &&
           bytes >= SOME_WEIGHTS && pixels * terms * (i64)sizeof(real) <= LAID_BYTES;
}

inline void convolve_few(const Layer& l, const Phase& p) {
    const i64 pixels = l.y.n * p.h * p.w, room = LAID_BYTES / (l.w_filter / BLOCK * (i64)sizeof(real)),
              most = room < GROUP ? GROUP : at_most(LOT, room), lots = ceil_div(pixels, most),
              parts = at_most(l.y.blocks, threads_now());
    for (i64 lot = 0; lot < lots; ++lot) {
        const FewPixels few(l, p, pixels * lot / lots, pixels * (lot + 1) / lots);
        Scratch<i64> from(few.in_place ? 0 : p.count * few.pixels.count);
        if (!few.in_place) few.find(from);
        parallel_for(parts, 1, [&](i64 begin, i64 end) {
            few.run(from, l.y.blocks * begin / parts, l.y.blocks * end / parts);
        });
    }
}

// The same of groups of whole blocks, each of which has weights and inputs to itself: threads share out groups and
// lots of pixels. Whether a layer does depends on its samples' size alone, so that sums do not depend on the batch.
inline bool has_few_pixels_in_groups(const Layer& l, const Phase& p) {
    return p.h * p.w <= (l.group_filters > 1 ? FEW_IN_GROUPS : FEW) && p.count > 1 && l.group_channels % BLOCK == 0 &&
           l.y.blocks > l.group_filters && !l.changes_input();
}

inline void convolve_few_in_groups(const Layer& l, const Phase& p) {
    const i64 groups = l.y.blocks / l.group_filters, pixels = l.y.n * p.h * p.w,
              terms = l.group_channels * p.count, most = PART_BYTES / (terms * (i64)sizeof(real)),
              lots = ceil_div(pixels, most < GROUP ? GROUP : at_most(LOT, most));
    if (!pixels) return;
    const auto first = [&](i64 lot) { return pixels * lot / lots; };
    Scratch<i64> from(p.count * pixels);
    for (i64 lot = 0; lot < lots; ++lot)
        FewPixels(l, p, first(lot), first(lot + 1)).find(from + p.count * first(lot));
    const i64 work = terms * pixels * l.group_filters * BLOCK / lots;
    parallel_for(groups * lots, 1 + 400000 / work, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 group = i / lots, lot = i % lots, block = group * l.group_filters;
            Layer one = l;
            one.x.data = l.x.at(0, group * l.group_blocks);
            one.y.data = l.y.at(0, block);
            if (l.residual) one.residual.data = l.residual.at(0, block);
            if (l.bias) one.bias += block * BLOCK;
            one.weight += block * l.w_filter;
            one.y.blocks = l.group_filters;
            FewPixels(one, p, first(lot), first(lot + 1)).run(from + p.count * first(lot), 0, l.group_filters);
        }
    });
}

// Patches of a planar image, whose rows are whole blocks and none of which shares a pixel with another: the terms
// of a sum are its channels, rows and columns, in this order.
struct Patches : FewPixels {
    i64 rows, columns;   // of a patch

    Patches(const Layer& l, const Phase& p, i64 first, i64 last, i64 rows, i64 columns)
        : FewPixels(l, p, first, last), rows(rows), columns(columns) {
        terms    = l.w_filter / BLOCK;
        in_place = false;
    }

    void lay_patches(real* v) const {
        for (i64 group = 0; group < pixels.groups; ++group) {
            const i64 begin = pixels.start(group), size = pixels.size + (group < pixels.larger);
            for (i64 i = 0; i < size; ++i) {
                const i64 at = first + begin + i, n = at / (p.h * p.w), top = at / p.w % p.h * p.stride_h,
                          left = at % p.w * p.stride_w;
                real* to = v + begin * laid() + i * BLOCK;
                for (i64 c = 0; c < l.x_channels; ++c)
                    for (i64 r = 0; r < rows; ++r) {
                        const real* from = l.x.data + n * l.x.sample + (c * l.x.h + top + r) * l.x.w + left;
                        for (i64 s = 0; s < columns; s += BLOCK, to += size * BLOCK)
                            std::memcpy(to, from + s, BLOCK * sizeof(real));
                    }
            }
        }
    }
};

inline bool are_patches(const Layer& l, const Window& window) {
    const auto& [kernel, stride, padding, dilation] = window;
    return kernel[1] % BLOCK == 0 && stride[0] >= kernel[0] && stride[1] >= kernel[1] && dilation[0] == 1 &&
           dilation[1] == 1 && !padding[0] && !padding[1] && l.y.n * l.y.h * l.y.w > 0 && l.y.blocks > 0 &&
           (l.y.h - 1) * stride[0] + kernel[0] <= l.x.h && (l.y.w - 1) * stride[1] + kernel[1] <= l.x.w;
}

inline void convolve_patches(const Layer& l, const Phase& p, i64 rows, i64 columns) {
    const i64 pixels = l.y.n * p.h * p.w, room = PATCHES_BYTES / (l.w_filter / BLOCK * (i64)sizeof(real)),
              lots = ceil_div(pixels, room < GROUP ? GROUP : at_most(LOT, room)), threads = threads_now(),
              parts = lots < 4 * threads ? at_most(l.y.blocks, threads) : 1,
              work = l.w_filter * l.y.blocks * LOT / parts;
    parallel_for(lots * parts, 1 + 400000 / (work + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 lot = i / parts, part = i % parts;
            const Patches patches(l, p, pixels * lot / lots, pixels * (lot + 1) / lots, rows, columns);
            Scratch<real> v(patches.laid() * patches.pixels.count);
            patches.lay_patches(v);
            patches.multiply_all(v, l.y.blocks * part / parts, l.y.blocks * (part + 1) / parts);
        }
    });
}
}  // namespace
END_KERNELS
