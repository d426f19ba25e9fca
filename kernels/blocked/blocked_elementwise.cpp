// Maps value by value and channel by channel.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
// body(n, block, from pixel, to pixel) over so many planes; each task is a run of pixels of one block
template <class Body> void each_run(i64 samples, i64 blocks, i64 pixels, Body body) {
    const i64 run = 512, runs = (pixels + run - 1) / run;
    parallel_for(samples * blocks * runs, 1 + 1024 / (pixels < run ? pixels + 1 : run), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 plane = i / runs, from = i % runs * run;
            body(plane / blocks, plane % blocks, from, from + run < pixels ? from + run : pixels);
        }
    });
}
template <class Body> void each_run(const OutMap<real>& y, Body body) { each_run(y.n, y.blocks, y.h * y.w, body); }

// `count` values, at most BLOCK, of each of so many pixels
void copy_some(const real* from, real* to, i64 pixels, i64 count) {
    for (i64 p = 0; p < pixels; ++p, from += BLOCK, to += BLOCK)
        if (LANES == BLOCK) store(to, load(from, (int)count), (int)count);
        else std::memcpy(to, from, count * sizeof(real));
}
}  // namespace

// y = act(a + b)
void add_maps(InMap<real> a, InMap<real> b, Act act, OutMap<real> y) {
    const Epilogue e(act);
    each_run(y, [&](i64 n, i64 block, i64 from, i64 to) {
        const real *pa = a.at(n, block), *pb = b.at(n, block);
        real* out = y.at(n, block);
        const Clamp clamp(e);
        for (i64 i = from * BLOCK; i < to * BLOCK; i += LANES)
            store(out + i, clamp(load(pa + i) + load(pb + i)));
        e.finish(out + from * BLOCK, (to - from) * BLOCK);
    });
}

// y = x where x > 0, else x slope, with a number a channel, of whole blocks: PReLU
void slope_channels(InMap<real> x, In<real> slope, OutMap<real> y) {
    each_run(y, [&](i64 n, i64 block, i64 from, i64 to) {
        const real* in = x.at(n, block);
        real* out = y.at(n, block);
        V s[BV];
        for (int v = 0; v < BV; ++v) s[v] = load(slope.data + block * BLOCK + v * LANES);
        for (i64 p = from; p < to; ++p)
            #pragma GCC unroll 4
            for (int v = 0; v < BV; ++v) {
                const V value = load(in + p * BLOCK + v * LANES);
                store(out + p * BLOCK + v * LANES, value > 0 ? value : value * s[v]);
            }
    });
}

// y = act(x scale + shift) with a number a channel; scale and shift cover whole blocks
void affine_channels(InMap<real> x, In<real> scale, In<real> shift, Act act, OutMap<real> y) {
    const Epilogue e(act);
    each_run(y, [&](i64 n, i64 block, i64 from, i64 to) {
        const real* in = x.at(n, block);
        real* out = y.at(n, block);
        const Clamp clamp(e);
        V s[BV], t[BV];
        for (int v = 0; v < BV; ++v)
            s[v] = load(scale.data + block * BLOCK + v * LANES),
            t[v] = load(shift.data + block * BLOCK + v * LANES);
        for (i64 p = from; p < to; ++p)
            #pragma GCC unroll 4
            for (int v = 0; v < BV; ++v)
                store(out + p * BLOCK + v * LANES, clamp(load(in + p * BLOCK + v * LANES) * s[v] + t[v]));
        e.finish(out + from * BLOCK, (to - from) * BLOCK);
    });
}

namespace {
// body(n, block, from, to, numbers) over all planes; `numbers` are the block's of a planar (n, channels)
template <class Body> void each_numbered_run(In<real> numbers, const OutMap<real>& y, Body body) {
    const i64 channels = numbers.dim(1);
    each_run(y, [&](i64 n, i64 block, i64 from, i64 to) {
        const i64 count = channels - block * BLOCK < BLOCK ? channels - block * BLOCK : BLOCK;
        alignas(64) real those[BLOCK] = {};
        for (i64 c = 0; c < count; ++c) those[c] = numbers.data[n * channels + block * BLOCK + c];
        body(n, block, from, to, those);
    });
}
}  // namespace

// y = act(x gate) with a number a sample and channel: gate is planar (n, channels)
void scale_channels(InMap<real> x, In<real> gate, Act act, OutMap<real> y) {
    const Epilogue e(act);
    each_numbered_run(gate, y, [&](i64 n, i64 block, i64 from, i64 to, const real* factors) {
        const real* in = x.at(n, block);
        real* out = y.at(n, block);
        const Clamp clamp(e);
        for (i64 p = from; p < to; ++p)
            #pragma GCC unroll 4
            for (int v = 0; v < BLOCK; v += LANES)
                store(out + p * BLOCK + v, clamp(load(in + p * BLOCK + v) * load(factors + v)));
        e.finish(out + from * BLOCK, (to - from) * BLOCK);
    });
}

// y = act(x + shift), likewise
void shift_channels(InMap<real> x, In<real> shift, Act act, OutMap<real> y) {
    const Epilogue e(act);
    each_numbered_run(shift, y, [&](i64 n, i64 block, i64 from, i64 to, const real* terms) {
        const real* in = x.at(n, block);
        real* out = y.at(n, block);
        const Clamp clamp(e);
        for (i64 p = from; p < to; ++p)
            #pragma GCC unroll 4
            for (int v = 0; v < BLOCK; v += LANES)
                store(out + p * BLOCK + v, clamp(load(in + p * BLOCK + v) + load(terms + v)));
        e.finish(out + from * BLOCK, (to - from) * BLOCK);
    });
}

// `channels` channels of x become the channels from `to` on of y
void copy_channels(InMap<real> x, i64 channels, i64 to, OutMap<real> y) {
    each_run(y.n, (channels + BLOCK - 1) / BLOCK, y.h * y.w, [&](i64 n, i64 block, i64 from, i64 end) {
        const i64 count = channels - block * BLOCK < BLOCK ? channels - block * BLOCK : BLOCK,
                  first = to + block * BLOCK, shift = first % BLOCK,
                  head = BLOCK - shift < count ? BLOCK - shift : count, pixels = end - from;
        const real* in = x.at(n, block) + from * BLOCK;
        real* out = y.at(n, first / BLOCK) + from * BLOCK;
        if (head == BLOCK) {
            std::memcpy(out, in, pixels * BLOCK * sizeof(real));
            return;
        }
        copy_some(in, out + shift, pixels, head);
        if (count > head) copy_some(in + head, out + y.plane(), pixels, count - head);
    });
}

// The channels from `first` on of x, which has `channels`, as many as y takes. A block of y comes from two
// neighbouring blocks
void slice_channels(InMap<real> x, i64 channels, i64 first, i64 count, OutMap<real> y) {
    each_run(y, [&](i64 n, i64 block, i64 from, i64 to) {
        real* out = y.at(n, block);
        for (int part = 0; part < BLOCK; part += LANES) {
            const i64 begin = first + (block * BLOCK + part < count ? block * BLOCK + part : 0),
                      low = begin / LANES * LANES, high = low + LANES < channels ? low + LANES : low;
            const M     lanes = lane_index() + (lane_int)(begin - low);
            const real *a = x.at(n, low / BLOCK) + low % BLOCK, *b = x.at(n, high / BLOCK) + high % BLOCK;
            for (i64 p = from; p < to; ++p)
                store(out + p * BLOCK + part, __builtin_shuffle(load(a + p * BLOCK), load(b + p * BLOCK), lanes));
        }
    });
}

// Each channel of x `times` times: channel c of y is channel c / times of x. A block of y comes from
// two neighbouring blocks at most
void repeat_channels(InMap<real> x, i64 channels, i64 times, OutMap<real> y) {
    each_run(y, [&](i64 n, i64 block, i64 from, i64 to) {
        real* out = y.at(n, block);
        for (int part = 0; part < BLOCK; part += LANES) {
            const i64 first = (block * BLOCK + part) / times, base = first / LANES * LANES;
            M lanes;
            for (int l = 0; l < LANES; ++l) {
                const i64 c = (block * BLOCK + part + l) / times;
                lanes[l] = lane_int((c < channels ? c : channels - 1) - (base < channels ? base : 0));
            }
            const i64 low = base < channels ? base : 0, high = low + LANES < channels ? low + LANES : low;
            const real *a = x.at(n, low / BLOCK) + low % BLOCK, *b = x.at(n, high / BLOCK) + high % BLOCK;
            for (i64 p = from; p < to; ++p)
                store(out + p * BLOCK + part, __builtin_shuffle(load(a + p * BLOCK), load(b + p * BLOCK), lanes));
        }
    });
}

namespace {
// A vector of channels as lanes of others, which have numbers: two at a time are shuffled, and each pair's lanes put
// among those before
struct Picked {
    i64 vectors[2 * LANES];
    M   lanes[LANES], those[LANES];
    int pairs;

    // lane i is value at[i] of all vectors in a row
    void find(const i64 (&at)[LANES]) {
        int count = 0, which[LANES];
        for (int i = 0; i < LANES; ++i) {
            int w = 0;
            while (w < count && vectors[w] != at[i] / LANES) ++w;
            if (w == count) vectors[count++] = at[i] / LANES;
            which[i] = w;
        }
        if (count % 2) vectors[count] = vectors[count - 1], ++count;
        pairs = count / 2;
        for (int pair = 0; pair < pairs; ++pair)
            for (int i = 0; i < LANES; ++i) {
                lanes[pair][i] = lane_int(at[i] % LANES + which[i] % 2 * LANES);
                those[pair][i] = which[i] / 2 == pair ? -1 : 0;
            }
    }

    // Of `pixels` pixels; from[i] is the first pixel's i-th vector
    template <int PAIRS> void put(const real* const* from, real* out, i64 pixels) const {
        const int all = PAIRS ? PAIRS : pairs;
        for (i64 i = 0; i < pixels * BLOCK; i += BLOCK) {
            V v = __builtin_shuffle(load(from[0] + i), load(from[1] + i), lanes[0]);
            #pragma GCC unroll 2
            for (int pair = 1; pair < all; ++pair)
                v = those[pair]
                        ? __builtin_shuffle(load(from[2 * pair] + i), load(from[2 * pair + 1] + i), lanes[pair])
                        : v;
            store(out + i, v);
        }
    }
};
}  // namespace

// Channel c of y is that of number channels[c] among the lanes of a and, behind them, of b, which may be none. A task
// is so few pixels that what several blocks of y read is still near
void pick_channels(InMap<real> a, InMap<real> b, In<i64> channels, OutMap<real> y) {
    const i64 count = channels.size(), run = 64, pixels = y.h * y.w, runs = (pixels + run - 1) / run;
    Scratch<Picked> vectors(y.blocks * BV);
    for (i64 v = 0; v < y.blocks * BV; ++v) {
        i64 at[LANES];
        for (i64 i = 0, c = v * LANES; i < LANES; ++i, ++c) at[i] = channels.data[c < count ? c : 0];
        vectors[v].find(at);
    }
    parallel_for(y.n * runs, 1 + 2048 / (y.blocks * (pixels < run ? pixels : run) + 1), [&](i64 begin, i64 end) {
        for (i64 task = begin; task < end; ++task) {
            const i64 n = task / runs, first = task % runs * run, some = pixels - first < run ? pixels - first : run;
            for (i64 v = 0; v < y.blocks * BV; ++v) {
                const Picked& p = vectors[v];
                const real* from[2 * LANES];
                for (int i = 0; i < 2 * p.pairs; ++i) {
                    const i64   block = p.vectors[i] / BV, within = first * BLOCK + p.vectors[i] % BV * LANES;
                    const real* plane = block < a.blocks ? a.at(n, block) : b.at(n, block - a.blocks);
                    from[i] = plane + within;
                }
                real* out = y.at(n, v / BV) + first * BLOCK + v % BV * LANES;
                if (p.pairs == 1) p.put<1>(from, out, some);
                else if (p.pairs == 2) p.put<2>(from, out, some);
                else p.put<0>(from, out, some);
            }
        }
    });
}
END_KERNELS
