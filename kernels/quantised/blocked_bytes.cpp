// Convolutions and linear layers of bytes (tile.h), and the ways into maps of bytes and out.
//
// An image whose windows reach beyond it is copied once with its border, which holds the zero point;
// others are read where they lie. A task is a run of tiles of pixels x some blocks of filters.
#include "quantised/tile.h"

BEGIN_KERNELS
namespace {
i64 least(i64 a, i64 b) { return a < b ? a : b; }
i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

u8 as_byte(real v) { return v > 0 ? v < 255 ? (u8)(v + real(0.5)) : 255 : 0; }

// start - zero sums and factor scale, for all filters
struct Prepared {
    i64 filters;
    Scratch<i32> start;
    Scratch<real> factors;
    Prepared(const InAny& given, const InAny& sums, int zero, const In<real>& factor, const real* scale)
        : filters(sums.size()), start(filters), factors(filters) {
        for (i64 k = 0; k < filters; ++k) {
            start[k] = (i32)((given.data ? given.as<const i32>()[k] : 0) - (i64)zero * sums.as<const i32>()[k]);
            factors[k] = factor.data[k] * (scale ? *scale : 1);
        }
    }
    Numbers from(i64 block, const real* shift) const {
        return {start + block * BLOCK, factors + block * BLOCK, shift ? shift + block * BLOCK : nullptr};
    }
};

// Pixels of an image that are computed alike: `rows` rows of `length`, the first pixel of row r at
// x + r * x_row, y + r * y_row.
template <class To> struct Job {
    const u8* x;
    i64 rows, length, x_row, y_row;
    const s8* weight;
    ByteReduction r;
    ByteTarget target;
    typename To::Out* y;
    To to;

    // Tiles [from, until) of all rows for the filter blocks [begin, end)
    void run(const ByteTiling& t, i64 from, i64 until, i64 begin, i64 end, const Prepared& p,
             const real* shift) const {
        for (i64 k = begin; k < end; k += t.q) {
            const int q = (int)least(t.q, end - k);
            const ByteTarget own{target.x_step, target.y_step, target.y_block, target.filters - k * BLOCK};
            for (i64 i = from; i < until; ++i) {
                const i64 row = i / t.tiles, tile = i % t.tiles, first = length * tile / t.tiles,
                          last = length * (tile + 1) / t.tiles;
                auto* const to_place = y + row * y_row + first * own.y_step + k * own.y_block;
                tile_of_bytes((int)(last - first), q, x + row * x_row + first * own.x_step,
                              weight + k * r.w_filter, r, p.from(k, shift), own, to_place, to);
                if (own.y_step == BLOCK)
                    for (int j = 0; j < q; ++j) to.finish(to_place + j * own.y_block, (last - first) * BLOCK);
            }
        }
    }

    void parallel(i64 blocks, const Prepared& p, const real* shift) const {
        const ByteTiling t = byte_tiling(length, blocks);
        const i64 tiles = rows * t.tiles, groups = ceil_div(blocks, t.q), threads = threads_now(),
                  products = rows * length * blocks * r.blocks * r.count * PACK;
        if (threads == 1 || products < 400000) return run(t, 0, tiles, 0, blocks, p, shift);
        // by pixels where they are many; by filters, too, where they are not
        const i64 wanted = 6 * threads, pieces = least(tiles, wanted),
                  parts = least(groups, ceil_div(wanted, pieces));
        parallel_tasks(pieces * parts, [&](i64 i) {
            const i64 piece = i / parts, part = i % parts;
            run(t, tiles * piece / pieces, tiles * (piece + 1) / pieces, groups * part / parts * t.q,
                least(groups * (part + 1) / parts * t.q, blocks), p, shift);
        });
    }
};

struct Image { i64 h, w; };

// x with a border, and columns and rows up to the size, all of the zero point
void with_border(const u8* x, Image from, i64 blocks, i64 top, i64 left, Image to, int zero, u8* y) {
    parallel_for(blocks * to.h, 1 + 65536 / (to.w * BLOCK + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 b = i / to.h, row = i % to.h - top;
            u8* const line = y + i * to.w * BLOCK;
            const bool inside = row >= 0 && row < from.h;
            const i64 copied = inside ? least(from.w, to.w - left) : 0, before = copied > 0 ? left : 0;
            std::memset(line, zero, (std::size_t)(before * BLOCK));
            if (copied > 0)
                std::memcpy(line + before * BLOCK, x + (b * from.h + row) * from.w * BLOCK,
                            (std::size_t)(copied * BLOCK));
            const i64 done = before + (copied > 0 ? copied : 0);
            std::memset(line + done * BLOCK, zero, (std::size_t)((to.w - done) * BLOCK));
        }
    });
}

template <class To>
void convolve(const InAny& x, i64 channels, const InAny& weight, const Prepared& p, int zero,
              const real* shift, const Window& window, typename To::Out* y, i64 y_sample, Image out,
              const To& to) {
    const i64 n = x.dim(0), blocks = x.dim(1), filter_blocks = weight.dim(0);
    const Image in{x.dim(2), x.dim(3)};
    const i64 R = weight.dim(2), S = weight.dim(3), taps = R * S;
    const i64 top = window.padding[0], left = window.padding[1], down = window.stride[0],
              right = window.stride[1], high = window.dilation[0], wide = window.dilation[1];
    // what windows reach
    const Image reached{(out.h - 1) * down + (R - 1) * high + 1, (out.w - 1) * right + (S - 1) * wide + 1};
    const bool border = top > 0 || left > 0 || reached.h > in.h || reached.w > in.w;
    const Image read = border ? reached : in;
    Scratch<u8>  copy(border ? blocks * read.h * read.w * BLOCK : 1);
    Scratch<i64> at(taps);
    for (i64 t = 0; t < taps; ++t) at[t] = (t / S * high * read.w + t % S * wide) * BLOCK;
    const bool flat = taps == 1 && down == 1 && right == 1 && !border && out.h == in.h && out.w == in.w;
    for (i64 sample = 0; sample < n; ++sample) {
        const u8* const image = x.as<const u8>() + sample * blocks * in.h * in.w * BLOCK;
        if (border) with_border(image, in, blocks, top, left, read, zero, copy);
        const Job<To> job{border ? (const u8*)copy : image,
                          flat ? 1 : out.h,
                          flat ? out.h * out.w : out.w,
                          down * read.w * BLOCK,
                          out.w * BLOCK,
                          weight.as<const s8>(),
                          {at, taps, blocks, ceil_div(channels - (blocks - 1) * BLOCK, FOUR),
                           read.h * read.w * BLOCK, taps * PACK, blocks * taps * PACK},
                          {right * BLOCK, BLOCK, out.h * out.w * BLOCK, filter_blocks * BLOCK},
                          y + sample * y_sample,
                          to};
        if (out.h > 0 && out.w > 0) job.parallel(filter_blocks, p, shift);
    }
}

template <class To>
void multiply(const InAny& x, const InAny& weight, const Prepared& p, const real* shift, i64 filters,
              typename To::Out* y, const To& to) {
    const i64 rows = x.dim(0), features = x.dim(1), blocks = ceil_div(features, BLOCK);
    const i64 at[] = {0};
    const Job<To> job{x.as<const u8>(), 1, rows, 0, 0, weight.as<const s8>(),
                      {at, 1, blocks, ceil_div(features - (blocks - 1) * BLOCK, FOUR), BLOCK, PACK,
                       blocks * PACK},
                      {features, filters, BLOCK, filters}, y, to};
    if (rows) job.parallel(weight.dim(0), p, shift);
}

ToBytes to_bytes(double to, double least, double most) { return {real(least - to), real(most - to), i32(to)}; }
}  // namespace

void bytes_conv(InAny x, i64 channels, InAny weight, InAny start, InAny sums, In<real> zero, In<real> factor,
                In<real> shift, Window window, double to, double least, double most, OutAny y) {
    const int z = as_byte(zero.data[0]);
    const Prepared p(start, sums, z, factor, nullptr);
    convolve(x, channels, weight, p, z, shift.data, window, y.as<u8>(),
             y.dim(1) * y.dim(2) * y.dim(3) * BLOCK, {y.dim(2), y.dim(3)}, to_bytes(to, least, most));
}

void bytes_conv_real(InAny x, i64 channels, InAny weight, InAny start, InAny sums, In<real> zero,
                     In<real> factor, In<real> scale, In<real> shift, Window window, Act act,
                     OutMap<real> y) {
    const int z = as_byte(zero.data[0]);
    const Prepared p(start, sums, z, factor, scale.data);
    convolve(x, channels, weight, p, z, shift.data, window, y.data, y.sample, {y.h, y.w},
             ToReals{Epilogue(act)});
}

void bytes_linear(InAny x, InAny weight, InAny start, InAny sums, In<real> zero, In<real> factor,
                  In<real> shift, double to, double least, double most, OutAny y) {
    const Prepared p(start, sums, as_byte(zero.data[0]), factor, nullptr);
    multiply(x, weight, p, shift.data, y.dim(1), y.as<u8>(), to_bytes(to, least, most));
}

void bytes_linear_real(InAny x, InAny weight, InAny start, InAny sums, In<real> zero, In<real> factor,
                       In<real> scale, In<real> shift, Act act, Out<real> y) {
    const Prepared p(start, sums, as_byte(zero.data[0]), factor, scale.data);
    const Epilogue e(act);
    multiply(x, weight, p, shift.data, y.dim(1), y.data, ToReals{e});
    if (e.kind == Activation::CLAMP) return;
    const i64 n = y.size(), whole = n / LANES * LANES, pieces = ceil_div(whole, 4096);
    parallel_for(pieces, 1, [&](i64 begin, i64 end) {
        const i64 from = begin * 4096, until = least(end * 4096, whole);
        e.finish(y.data + from, until - from);
    });
    if (whole < n) {
        alignas(64) real rest[LANES];
        store(rest, load(y.data + whole, (int)(n - whole)));
        e.finish(rest, LANES);
        store(y.data + whole, load(rest), (int)(n - whole));
    }
}

void bytes_of_map(InMap<real> x, In<real> scale, In<real> zero, double least, double most, OutAny y) {
    const real s = scale.data[0], z = zero.data[0];
    const i64 image = x.blocks * x.plane();
    constexpr i64 PIECE = 4096;
    const i64 pieces = ceil_div(image, PIECE);
    const ToBytes limits = to_bytes(0, least, most);
    parallel_for(x.n * pieces, 4, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 sample = i / pieces, from = i % pieces * PIECE;
            const i64 until = from + PIECE < image ? from + PIECE : image;
            const real* const in = x.data + sample * x.sample;
            u8* const out = y.as<u8>() + sample * image;
            for (i64 k = from; k < until; k += LANES) {
                V v = load(in + k) / splat(s);
                v = vmin(splat(1 << 21), vmax(v, splat(-(1 << 21))));   // NaN is the least
                v = vround(v) + splat(z);
                v = vmin(splat(limits.high), vmax(v, splat(limits.low)));
                *(Bytes*)(out + k) = __builtin_convertvector(__builtin_convertvector(v, M), Bytes);
            }
        }
    });
}

void map_of_bytes(InAny x, In<real> scale, In<real> zero, OutMap<real> y) {
    const real s = scale.data[0], z = zero.data[0];
    const i64 image = y.blocks * y.plane();
    constexpr i64 PIECE = 4096;
    const i64 pieces = ceil_div(image, PIECE);
    parallel_for(y.n * pieces, 4, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 sample = i / pieces, from = i % pieces * PIECE, until = least(from + PIECE, image);
            const u8* const in = x.as<const u8>() + sample * image;
            real* const out = y.data + sample * y.sample;
            for (i64 k = from; k < until; k += LANES)
                store(out + k, (__builtin_convertvector(*(const Bytes*)(in + k), V) - splat(z)) * splat(s));
        }
    });
}

void bytes_add(InAny a, double scale_a, double zero_a, InAny b, double scale_b, double zero_b, double scale,
               double zero, double least, double most, OutAny y) {
    const V sa = splat(real(scale_a)), za = splat(real(zero_a)), sb = splat(real(scale_b)),
            zb = splat(real(zero_b)), s = splat(real(scale));
    const ToBytes to = to_bytes(zero, least, most);
    const u8 *const pa = a.as<const u8>(), *const pb = b.as<const u8>();
    u8* const out = y.as<u8>();
    constexpr i64 PIECE = 4096;
    const i64 n = y.size();
    parallel_for(ceil_div(n, PIECE), 4, [&](i64 begin, i64 end) {
        const i64 until = end * PIECE < n ? end * PIECE : n;
        for (i64 i = begin * PIECE; i < until; i += LANES) {
            const V va = (__builtin_convertvector(*(const Bytes*)(pa + i), V) - za) * sa;
            const V vb = (__builtin_convertvector(*(const Bytes*)(pb + i), V) - zb) * sb;
            V v = (va + vb) / s;
            v = vmin(splat(to.high), vmax(v, splat(to.low)));
            *(Bytes*)(out + i) =
                __builtin_convertvector(__builtin_convertvector(vround(v), M) + to.to, Bytes);
        }
    });
}
END_KERNELS
