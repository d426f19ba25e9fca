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

// What a layer adds to its sums and multiplies them by, for all filters: start - zero (sums + offset
// products), factor scale, and offset where there is one.
struct Prepared {
    i64 filters;
    Scratch<i32> start;
    Scratch<real> factors;
    const i32* offset;
    const real* shift;
    Prepared(const InAny& given, const InAny& sums, const InAny& offsets, i64 products, int zero,
             const In<real>& factor, const real* scale, const real* shift)
        : filters(sums.size()), start(filters), factors(filters),
          offset(offsets.size() ? offsets.as<const i32>() : nullptr), shift(shift) {
        for (i64 k = 0; k < filters; ++k) {
            const i64 whole = sums.as<const i32>()[k] + (offset ? offset[k] * products : 0);
            start[k] = (i32)(given.as<const i32>()[k] - zero * whole);
            factors[k] = factor.data[k] * (scale ? *scale : 1);
        }
    }
    Numbers from(i64 block, const i32* seen) const {
        return {start + block * BLOCK, factors + block * BLOCK, shift ? shift + block * BLOCK : nullptr,
                offset ? offset + block * BLOCK : nullptr, seen};
    }
};

// The sum of the first `count` of 16 bytes
i32 sum_of(const u8* x, i64 count) {
    i32 sum = 0;
    if (count >= BLOCK)
        for (int c = 0; c < BLOCK; ++c) sum += x[c];
    else
        for (i64 c = 0; c < count; ++c) sum += x[c];
    return sum;
}

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
    const i32* seen;   // by each pixel of the result, row by row; may be null

    // Tiles [from, until) of all rows for the filter blocks [begin, end)
    void run(const ByteTiling& t, i64 from, i64 until, i64 begin, i64 end, const Prepared& p) const {
        for (i64 k = begin; k < end; k += t.q) {
            const int q = (int)least(t.q, end - k);
            const ByteTarget own{target.x_step, target.y_step, target.y_block, target.filters - k * BLOCK};
            for (i64 i = from; i < until; ++i) {
                const i64 row = i / t.tiles, tile = i % t.tiles, first = length * tile / t.tiles,
                          last = length * (tile + 1) / t.tiles;
                auto* const to_place = y + row * y_row + first * own.y_step + k * own.y_block;
                tile_of_bytes((int)(last - first), q, x + row * x_row + first * own.x_step,
                              weight + k * r.w_filter, r, p.from(k, seen ? seen + row * length + first : nullptr), own,
                              to_place, to);
                if (own.y_step == BLOCK)
                    for (int j = 0; j < q; ++j) to.finish(to_place + j * own.y_block, (last - first) * BLOCK);
            }
        }
    }

    void parallel(i64 blocks, const Prepared& p) const {
        const ByteTiling t = byte_tiling(length, blocks);
        const i64 tiles = rows * t.tiles, groups = ceil_div(blocks, t.q), threads = threads_now(),
                  products = rows * length * blocks * r.blocks * r.count * PACK;
        if (threads == 1 || products < 400000) return run(t, 0, tiles, 0, blocks, p);
        // by pixels where they are many; by filters, too, where they are not
        const i64 wanted = 6 * threads, pieces = least(tiles, wanted),
                  parts = least(groups, ceil_div(wanted, pieces));
        parallel_tasks(pieces * parts, [&](i64 i) {
            const i64 piece = i / parts, part = i % parts;
            run(t, tiles * piece / pieces, tiles * (piece + 1) / pieces, groups * part / parts * t.q,
                least(groups * (part + 1) / parts * t.q, blocks), p);
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

// What each pixel of the result sees: the sum of the bytes under its window
void sum_windows(const u8* x, Image read, i64 blocks, i64 channels, const i64* taps, i64 count, i64 down,
                 i64 right, Image out, i32* seen) {
    Scratch<i32> pixels(read.h * read.w);
    parallel_for(read.h, 1 + 16384 / (read.w * blocks + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin * read.w; i < end * read.w; ++i) {
            i32 sum = 0;
            for (i64 b = 0; b < blocks; ++b)
                sum += sum_of(x + (b * read.h * read.w + i) * BLOCK, channels - b * BLOCK);
            pixels[i] = sum;
        }
    });
    parallel_for(out.h, 1 + 16384 / (out.w * count + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            i32* const to = seen + row * out.w;
            std::memset(to, 0, (std::size_t)out.w * sizeof(i32));
            for (i64 t = 0; t < count; ++t) {
                const i32* const from = pixels + row * down * read.w + taps[t] / BLOCK;
                for (i64 i = 0; i < out.w; ++i) to[i] += from[i * right];
            }
        }
    });
}

template <class To>
void convolve(const InAny& x, i64 channels, const InAny& weight, const Prepared& p, int zero,
              const Window& window, typename To::Out* y, i64 y_sample, Image out,
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
    Scratch<i32> seen(p.offset ? out.h * out.w : 1);
    for (i64 t = 0; t < taps; ++t) at[t] = (t / S * high * read.w + t % S * wide) * BLOCK;
    const bool flat = taps == 1 && down == 1 && right == 1 && !border && out.h == in.h && out.w == in.w;
    for (i64 sample = 0; sample < n; ++sample) {
        const u8* const image = x.as<const u8>() + sample * blocks * in.h * in.w * BLOCK;
        if (border) with_border(image, in, blocks, top, left, read, zero, copy);
        const u8* const from = border ? (const u8*)copy : image;
        if (p.offset) sum_windows(from, read, blocks, channels, at, taps, down, right, out, seen);
        const Job<To> job{from,
                          flat ? 1 : out.h,
                          flat ? out.h * out.w : out.w,
                          down * read.w * BLOCK,
                          out.w * BLOCK,
                          weight.as<const s8>(),
                          {at, taps, blocks, ceil_div(channels - (blocks - 1) * BLOCK, FOUR),
                           read.h * read.w * BLOCK, taps * PACK, blocks * taps * PACK},
                          {right * BLOCK, BLOCK, out.h * out.w * BLOCK, filter_blocks * BLOCK},
                          y + sample * y_sample,
                          to,
                          p.offset ? (const i32*)seen : nullptr};
        if (out.h > 0 && out.w > 0) job.parallel(filter_blocks, p);
    }
}

template <class To>
void multiply(const InAny& x, const InAny& weight, const Prepared& p, i64 filters, typename To::Out* y,
              const To& to) {
    const i64 rows = x.dim(0), features = x.dim(1), blocks = ceil_div(features, BLOCK);
    const i64 at[] = {0};
    Scratch<i32> seen(p.offset ? rows : 1);
    for (i64 row = 0; p.offset && row < rows; ++row) {
        seen[row] = 0;
        for (i64 c = 0; c < features; c += BLOCK)
            seen[row] += sum_of(x.as<const u8>() + row * features + c, features - c);
    }
    const Job<To> job{x.as<const u8>(), 1, rows, 0, 0, weight.as<const s8>(),
                      {at, 1, blocks, ceil_div(features - (blocks - 1) * BLOCK, FOUR), BLOCK, PACK,
                       blocks * PACK},
                      {features, filters, BLOCK, filters}, y, to, p.offset ? (const i32*)seen : nullptr};
    if (rows) job.parallel(weight.dim(0), p);
}

void look_up_plain(const u8* x, const u8* table, i64 n, u8* y) {
    for (i64 i = 0; i < n; ++i) y[i] = table[x[i]];
}

#if defined(__AVX512F__)
// Four registers hold the table: two shuffles of two each, and the highest bit chooses.
[[gnu::target("avx512vbmi")]] void look_up_vbmi(const u8* x, const u8* table, i64 n, u8* y) {
    const __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + 64),
                  c = _mm512_loadu_si512(table + 128), d = _mm512_loadu_si512(table + 192);
    i64 i = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i v = _mm512_loadu_si512(x + i);
        const __m512i low = _mm512_permutex2var_epi8(a, v, b), high = _mm512_permutex2var_epi8(c, v, d);
        _mm512_storeu_si512(y + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high));
    }
    look_up_plain(x + i, table, n - i, y + i);
}
#endif

void look_up(const u8* x, const u8* table, i64 n, u8* y) {
#if defined(__AVX512F__)
    static const bool has = __builtin_cpu_supports("avx512vbmi");
    if (has) return look_up_vbmi(x, table, n, y);
#endif
    look_up_plain(x, table, n, y);
}

ToBytes to_bytes(double to, double least, double most) { return {real(least - to), real(most - to), i32(to)}; }
}  // namespace

void bytes_conv(InAny x, i64 channels, InAny weight, InAny start, InAny sums, InAny offset,
                In<real> zero, In<real> factor, In<real> shift, Window window, double to, double least,
                double most, OutAny y) {
    const int z = as_byte(zero.data[0]);
    const Prepared p(start, sums, offset, channels * weight.dim(2) * weight.dim(3), z, factor, nullptr,
                     shift.data);
    convolve(x, channels, weight, p, z, window, y.as<u8>(),
             y.dim(1) * y.dim(2) * y.dim(3) * BLOCK, {y.dim(2), y.dim(3)}, to_bytes(to, least, most));
}

void bytes_conv_real(InAny x, i64 channels, InAny weight, InAny start, InAny sums, InAny offset,
                     In<real> zero, In<real> factor, In<real> scale, In<real> shift, Window window, Act act,
                     OutMap<real> y) {
    const int z = as_byte(zero.data[0]);
    const Prepared p(start, sums, offset, channels * weight.dim(2) * weight.dim(3), z, factor, scale.data,
                     shift.data);
    convolve(x, channels, weight, p, z, window, y.data, y.sample, {y.h, y.w},
             ToReals{Epilogue(act)});
}

void bytes_linear(InAny x, InAny weight, InAny start, InAny sums, InAny offset, In<real> zero,
                  In<real> factor, In<real> shift, double to, double least, double most, OutAny y) {
    const Prepared p(start, sums, offset, x.dim(1), as_byte(zero.data[0]), factor, nullptr, shift.data);
    multiply(x, weight, p, y.dim(1), y.as<u8>(), to_bytes(to, least, most));
}

void bytes_linear_real(InAny x, InAny weight, InAny start, InAny sums, InAny offset, In<real> zero,
                       In<real> factor, In<real> scale, In<real> shift, Act act, Out<real> y) {
    const Prepared p(start, sums, offset, x.dim(1), as_byte(zero.data[0]), factor, scale.data, shift.data);
    const Epilogue e(act);
    multiply(x, weight, p, y.dim(1), y.data, ToReals{e});
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

void bytes_blocked(InAny x, OutAny y) {
    const i64 channels = x.dim(1), blocks = y.dim(1), plane = x.dim(2) * x.dim(3);
    const u8 flip = x.element == Element::CHAR ? 128 : 0;
    parallel_for(x.dim(0) * blocks, 1 + 4096 / (plane + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 first = i % blocks * BLOCK, count = least(BLOCK, channels - first);
            const u8* from = x.as<const u8>() + (i / blocks * channels + first) * plane;
            u8* const to = y.as<u8>() + i * plane * BLOCK;
            if (count < BLOCK) std::memset(to, 0, (std::size_t)(plane * BLOCK));
            for (i64 c = 0; c < count; ++c, from += plane)
                for (i64 p = 0; p < plane; ++p) to[p * BLOCK + c] = from[p] ^ flip;
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
                store(out + k, (load_bytes(in + k) - splat(z)) * splat(s));
        }
    });
}

void extremes_of_map(InMap<real> x, i64 channels, Out<real> least_of, Out<real> most_of) {
    constexpr real INFINITE = __builtin_inff();
    const i64 pixels = x.h * x.w, maps = x.n * x.blocks;
    Scratch<real> low(maps), high(maps);
    parallel_for(maps, 1 + 16384 / (pixels + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const real* const from = x.at(i / x.blocks, i % x.blocks);
            const i64 count = least(BLOCK, channels - i % x.blocks * BLOCK);
            V down[BV], up[BV];
            M odd[BV];
            for (int b = 0; b < BV; ++b) down[b] = splat(INFINITE), up[b] = splat(-INFINITE), odd[b] = M{};
            for (i64 p = 0; p < pixels; ++p)
                #pragma GCC unroll 4
                for (int b = 0; b < BV; ++b) {
                    const V v = load(from + p * BLOCK + b * LANES);
                    down[b] = vmin(down[b], v), up[b] = vmax(up[b], v), odd[b] |= v != v;
                }
            real first = INFINITE, last = -INFINITE;
            for (i64 c = 0; c < count; ++c) {
                const int b = (int)(c / LANES), lane = (int)(c % LANES);
                first = odd[b][lane] ? __builtin_nanf("") : first < down[b][lane] ? first : down[b][lane];
                last = odd[b][lane] ? __builtin_nanf("") : last > up[b][lane] ? last : up[b][lane];
                if (odd[b][lane]) break;
            }
            low[i] = first, high[i] = last;
        }
    });
    real first = INFINITE, last = -INFINITE;
    for (i64 i = 0; i < maps; ++i) {
        if (low[i] != low[i]) {
            first = last = low[i];
            break;
        }
        first = first < low[i] ? first : low[i];
        last = last > high[i] ? last : high[i];
    }
    least_of.data[0] = first, most_of.data[0] = last;
}

void bytes_table(InAny x, InAny table, OutAny y) {
    const u8 *const from = x.as<const u8>(), *const given = table.as<const u8>();
    u8* const to = y.as<u8>();
    constexpr i64 PIECE = 16384;
    const i64 n = y.size();
    parallel_for(ceil_div(n, PIECE), 1, [&](i64 begin, i64 end) {
        look_up(from + begin * PIECE, given, least(end * PIECE, n) - begin * PIECE, to + begin * PIECE);
    });
}

void map_by_table(InAny x, In<real> table, OutMap<real> y) {
    const i64 image = y.blocks * y.plane();
    constexpr i64 PIECE = 4096;
    const i64 pieces = ceil_div(image, PIECE);
    parallel_for(y.n * pieces, 4, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 sample = i / pieces, first = i % pieces * PIECE, until = least(first + PIECE, image);
            const u8* const from = x.as<const u8>() + sample * image;
            real* const to = y.data + sample * y.sample;
            for (i64 k = first; k < until; ++k) to[k] = table.data[from[k]];
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
            const V va = (load_bytes(pa + i) - za) * sa;
            const V vb = (load_bytes(pb + i) - zb) * sb;
            V v = (va + vb) / s;
            v = vmin(splat(to.high), vmax(v, splat(to.low)));
            *(Bytes*)(out + i) =
                __builtin_convertvector(__builtin_convertvector(vround(v), M) + to.to, Bytes);
        }
    });
}
END_KERNELS
