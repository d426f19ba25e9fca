// Winograd's transform of filters, G w G^T (winograd_transform.h), for a block of 16 filters at a
// time, one in each lane.
#include "winograd_filters.h"
#include "winograd_transform.h"
#include "winograd_uneven.h"
#include "gemm/gemm.h"
#include "simd_math.h"

BEGIN_KERNELS
namespace {
// Transformed before they are written, so that each point gets 512 bytes at a time: points are often a power of
// two apart, and share sets of the caches.
constexpr i64 CHANNELS = 8;

// Filters k ... k + rows - 1 at channels [c, c + count), as [channel][tap][16].
void gather(const SquareFilters& w, i64 k, int rows, i64 c, i64 count, real* taps) {
    const real* from = w.weight + k * w.filter_stride + c * w.channel_stride;
    if (w.channel_stride == w.taps()) pack_rows<BLOCK>(from, w.filter_stride, rows, w.taps() * count, taps);
    else
        for (i64 i = 0; i < count; ++i)
            pack_rows<BLOCK>(from + i * w.channel_stride, w.filter_stride, rows, w.taps(), taps + i * w.taps() * BLOCK);
}

// t = G f
template <int TILE, int TAPS>
inline __attribute__((always_inline)) void transform_taps(const V (&f)[TAPS], V (&t)[TILE + TAPS - 1]) {
    constexpr Winograd<TILE, TAPS> w;
    constexpr int SIDE = w.SIDE, ZERO = w.ZERO;
    if (ZERO) t[0] = real(1 / w.q[0]) * f[0];
    t[SIDE - 1] = f[TAPS - 1];
    #pragma GCC unroll 4
    for (int j = 0; j < w.PAIRS; ++j) {   // rows of +a and -a: even taps alike, odd ones by turns
        double g[TAPS];
        w.filter_row(ZERO + 2 * j, g);
        V even = rounded(real(g[0]) * f[0]);   // which product an addition takes up is not the compiler's choice
        if constexpr (TAPS > 2) even += real(g[2]) * f[2];
        if constexpr (TAPS == 5) {
            even += real(g[4]) * f[4];
            const V odd = rounded(real(g[1]) * f[1]) + real(g[3]) * f[3];
            t[ZERO + 2 * j] = even + odd;
            t[ZERO + 2 * j + 1] = even - odd;
        } else {
            t[ZERO + 2 * j] = even + real(g[1]) * f[1];
            t[ZERO + 2 * j + 1] = ZERO ? even - real(g[1]) * f[1] : real(g[1]) * f[1] - even;
        }
    }
}

// One channel of 16 filters: taps [tap][16] to points, each `point` values from the last.
template <int TILE, int TAPS>
inline __attribute__((always_inline)) void transform(const real* taps, bool turned, real* points, i64 point) {
    constexpr int SIDE = TILE + TAPS - 1, COUNT = TAPS * TAPS;
    for (int part = 0; part < BLOCK; part += LANES) {
        V columns[SIDE][TAPS];   // of G w
        #pragma GCC unroll 5
        for (int s = 0; s < TAPS; ++s) {
            V f[TAPS], t[SIDE];
            #pragma GCC unroll 5
            for (int r = 0; r < TAPS; ++r) {
                const int tap = r * TAPS + s;
                f[r] = load(taps + (turned ? COUNT - 1 - tap : tap) * BLOCK + part);
            }
            transform_taps<TILE, TAPS>(f, t);
            #pragma GCC unroll 8
            for (int i = 0; i < SIDE; ++i) columns[i][s] = rounded(t[i]);   // products that both halves share are none
        }
        #pragma GCC unroll 8
        for (int i = 0; i < SIDE; ++i) {
            V t[SIDE];
            transform_taps<TILE, TAPS>(columns[i], t);
            #pragma GCC unroll 8
            for (int j = 0; j < SIDE; ++j) store(points + (i * SIDE + j) * point + part, t[j]);
        }
    }
}

// Channels [c, c + count) of a block of filters; `taps` is written where they are not packed.
template <int TILE, int TAPS>
void transform_channels(const SquareFilters& w, i64 block, i64 c, i64 count, real* taps, real* u, i64 point) {
    const real* from = taps;
    if (w.packed) from = w.at(block, c);
    else {
        const i64 k = block * BLOCK;
        gather(w, k, (int)(w.filters - k < BLOCK ? w.filters - k : BLOCK), c, count, taps);
    }
    if (w.turned)
        for (i64 i = 0; i < count; ++i)
            transform<TILE, TAPS>(from + i * TAPS * TAPS * BLOCK, true, u + i * BLOCK, point);
    else
        for (i64 i = 0; i < count; ++i)
            transform<TILE, TAPS>(from + i * TAPS * TAPS * BLOCK, false, u + i * BLOCK, point);
}

// Of one block of filters, channels [c, c + count), count <= CHANNELS; u: the block's.
template <int TILE, int TAPS> void transform_piece(const SquareFilters& w, i64 block, i64 c, i64 count, real* u) {
    constexpr i64 POINTS = (TILE + TAPS - 1) * (TILE + TAPS - 1);
    alignas(64) real taps[CHANNELS * TAPS * TAPS * BLOCK], points[POINTS * CHANNELS * BLOCK];
    transform_channels<TILE, TAPS>(w, block, c, count, taps, points, CHANNELS * BLOCK);
    for (i64 p = 0; p < POINTS; ++p)
        std::memcpy(u + (p * w.channels + c) * BLOCK, points + p * CHANNELS * BLOCK, count * BLOCK * sizeof(real));
}

template <int TILE, int TAPS> void transform_filters(const SquareFilters& w, real* u) {
    constexpr i64 POINTS = (TILE + TAPS - 1) * (TILE + TAPS - 1);
    const i64 blocks = (w.filters + BLOCK - 1) / BLOCK, pieces = (w.channels + CHANNELS - 1) / CHANNELS;
    parallel_for(blocks * pieces, 16, [&](i64 begin, i64 end) {
        for (i64 at = begin; at < end; ++at) {
            const i64 block = at / pieces, c = at % pieces * CHANNELS;
            transform_piece<TILE, TAPS>(w, block, c, w.channels - c < CHANNELS ? w.channels - c : CHANNELS,
                                        u + block * POINTS * w.channels * BLOCK);
        }
    });
}

// Of `n` values: the sum of their squares, and the largest square.
struct Squares {
    V sum{}, peak{};
    void add(V v) {
        const V square = v * v;
        sum += square;
        peak = vmax(peak, square);   // NaN shows in the sum
    }
};

bool is_even(real sum, real peak) { return peak <= LARGEST_TAP * (sum - peak); }   // not if it is NaN

bool even_row(const real* w, i64 n) {
    Squares s;
    for_vectors(n, [&](i64 i, auto lanes) { s.add(lanes.load(w + i)); });
    real peak = 0;
    for (int i = 0; i < LANES; ++i) peak = s.peak[i] > peak ? s.peak[i] : peak;
    return is_even(hsum(s.sum), peak);
}

// Filters [k0, k1) whose taps lie side by side, channel after channel.
bool even_columns(const SquareFilters& w, i64 k0, i64 k1) {
    const i64 taps = w.taps(), n = (k1 - k0) * taps;
    Scratch<real> sum(n), peak(n);
    for (i64 i = 0; i < n; ++i) sum[i] = peak[i] = 0;
    for (i64 c = 0; c < w.channels; ++c)
        for_vectors(n, [&](i64 i, auto lanes) {
            Squares s{lanes.load(sum + i), lanes.load(peak + i)};
            s.add(lanes.load(w.weight + c * w.channel_stride + k0 * taps + i));
            lanes.store(sum + i, s.sum);
            lanes.store(peak + i, s.peak);
        });
    bool even = true;
    for (i64 i = 0; i < n; i += taps) {
        real all = 0, most = 0;
        for (i64 tap = i; tap < i + taps; ++tap) all += sum[tap], most = peak[tap] > most ? peak[tap] : most;
        even = even && is_even(all, most);
    }
    return even;
}
}  // namespace

bool even_filters(const SquareFilters& w) {
    bool uneven = false;
    parallel_for(w.filters, 1 + 65536 / (w.taps() * w.channels + 1), [&](i64 begin, i64 end) {
        bool even = true;
        if (w.channel_stride == w.taps())
            for (i64 k = begin; k < end; ++k)
                even = even && even_row(w.weight + k * w.filter_stride, w.taps() * w.channels);
        else even = even_columns(w, begin, end);
        if (!even) __atomic_store_n(&uneven, true, __ATOMIC_RELAXED);
    });
    return !uneven;
}

void winograd_filters(const SquareFilters& w, i64 tile, real* u) {
    if (w.side == 2) transform_filters<4, 2>(w, u);
    else if (w.side == 5) transform_filters<2, 5>(w, u);
    else if (tile == 2) transform_filters<2, 3>(w, u);
    else if (tile == 4) transform_filters<4, 3>(w, u);
    else transform_filters<6, 3>(w, u);
}

void winograd_filter_points(const SquareFilters& w, i64 tile, i64 block, i64 c, i64 count, real* taps, real* u,
                            i64 point) {
    if (w.side == 2) transform_channels<4, 2>(w, block, c, count, taps, u, point);
    else if (w.side == 5) transform_channels<2, 5>(w, block, c, count, taps, u, point);
    else if (tile == 2) transform_channels<2, 3>(w, block, c, count, taps, u, point);
    else if (tile == 4) transform_channels<4, 3>(w, block, c, count, taps, u, point);
    else transform_channels<6, 3>(w, block, c, count, taps, u, point);
}

void winograd_weights(In<real> weight, i64 tile, Out<real> u) {
    winograd_filters(square_filters(weight), tile, u.data);
}
END_KERNELS
