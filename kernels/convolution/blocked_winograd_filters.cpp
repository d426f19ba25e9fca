// Winograd's transform of filters, G w G^T (winograd_transform.h), for a block of 16 filters at a
// time, one in each lane. In double: rounding here would be an error of every product.
#include "winograd_filters.h"
#include "winograd_transform.h"
#include "winograd_uneven.h"
#include "gemm/gemm.h"

BEGIN_KERNELS
namespace {
// transformed before they are written, so that each point gets a kilobyte at a time
constexpr i64 CHANNELS = 16;

// Filters k ... k + rows - 1 at channels [c, c + count), as [channel][tap][16].
void gather(const SquareFilters& w, i64 k, int rows, i64 c, i64 count, real* taps) {
    const real* from = w.weight + k * w.filter_stride + c * w.channel_stride;
    if (w.channel_stride == w.taps()) pack_rows<BLOCK>(from, w.filter_stride, rows, w.taps() * count, taps);
    else
        for (i64 i = 0; i < count; ++i)
            pack_rows<BLOCK>(from + i * w.channel_stride, w.filter_stride, rows, w.taps(), taps + i * w.taps() * BLOCK);
}

// One channel of 16 filters: taps [tap][16] to points, each CHANNELS * BLOCK values from the last.
template <int TILE, int TAPS> void transform(const real* taps, bool turned, real* points) {
    constexpr int SIDE = TILE + TAPS - 1, COUNT = TAPS * TAPS;
    constexpr Winograd<TILE, TAPS> winograd;
    double g[SIDE][TAPS];
    for (int i = 0; i < SIDE; ++i) winograd.filter_row(i, g[i]);
    double f[COUNT][BLOCK];
    for (int tap = 0; tap < COUNT; ++tap)
        for (int k = 0; k < BLOCK; ++k) f[tap][k] = taps[(turned ? COUNT - 1 - tap : tap) * BLOCK + k];
    for (int i = 0; i < SIDE; ++i) {
        double row[TAPS][BLOCK];   // of G w
        for (int s = 0; s < TAPS; ++s)
            for (int k = 0; k < BLOCK; ++k) {
                double sum = g[i][0] * f[s][k];
                #pragma GCC unroll 3
                for (int r = 1; r < TAPS; ++r) sum += g[i][r] * f[r * TAPS + s][k];
                row[s][k] = sum;
            }
        for (int j = 0; j < SIDE; ++j, points += CHANNELS * BLOCK)
            for (int k = 0; k < BLOCK; ++k) {
                double sum = row[0][k] * g[j][0];
                #pragma GCC unroll 3
                for (int s = 1; s < TAPS; ++s) sum += row[s][k] * g[j][s];
                points[k] = (real)sum;
            }
    }
}

template <int TILE, int TAPS> void transform_filters(const SquareFilters& w, real* u) {
    constexpr i64 POINTS = (TILE + TAPS - 1) * (TILE + TAPS - 1);
    const i64 blocks = (w.filters + BLOCK - 1) / BLOCK, pieces = (w.channels + CHANNELS - 1) / CHANNELS;
    parallel_for(blocks * pieces, 8, [&](i64 begin, i64 end) {
        alignas(64) real taps[CHANNELS * TAPS * TAPS * BLOCK], points[POINTS * CHANNELS * BLOCK];
        for (i64 at = begin; at < end; ++at) {
            const i64 block = at / pieces, c = at % pieces * CHANNELS, k = block * BLOCK;
            const i64 count = w.channels - c < CHANNELS ? w.channels - c : CHANNELS;
            gather(w, k, (int)(w.filters - k < BLOCK ? w.filters - k : BLOCK), c, count, taps);
            for (i64 i = 0; i < count; ++i)
                transform<TILE, TAPS>(taps + i * TAPS * TAPS * BLOCK, w.turned, points + i * BLOCK);
            for (i64 p = 0; p < POINTS; ++p)
                std::memcpy(u + ((block * POINTS + p) * w.channels + c) * BLOCK,
                            points + p * CHANNELS * BLOCK, count * BLOCK * sizeof(real));
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
    else if (tile == 2) transform_filters<2, 3>(w, u);
    else if (tile == 4) transform_filters<4, 3>(w, u);
    else transform_filters<6, 3>(w, u);
}

void winograd_weights(In<real> weight, i64 tile, Out<real> u) {
    const i64 filters = weight.dim(0), channels = weight.dim(1);
    const i64 side = weight.dim(2), taps = side * side;
    winograd_filters({weight.data, filters, channels, taps * channels, taps, false, side}, tile, u.data);
}
END_KERNELS
