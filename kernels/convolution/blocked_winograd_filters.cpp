// Winograd's transform of filters, G w G^T (winograd_transform.h), for a block of 16 filters at a time, one in each lane. In double: rounding
// here would be an error of every product.
#include "winograd_filters.h"
#include "winograd_transform.h"
#include "gemm/gemm.h"

BEGIN_KERNELS
namespace {
constexpr i64 CHANNELS = 16;   // transformed before they are written, so that each point gets a kilobyte at a time

// Filters k ... k + rows - 1 at channels [c, c + count), as [channel][tap][16].
void gather(const Filters3x3& w, i64 k, int rows, i64 c, i64 count, real* taps) {
    const real* from = w.weight + k * w.filter_stride + c * w.channel_stride;
    if (w.channel_stride == 9) pack_rows<BLOCK>(from, w.filter_stride, rows, 9 * count, taps);
    else for (i64 i = 0; i < count; ++i) pack_rows<BLOCK>(from + i * w.channel_stride, w.filter_stride, rows, 9, taps + i * 9 * BLOCK);
}

// One channel of 16 filters: taps [9][16] to points, each CHANNELS * BLOCK values from the last.
template <int TILE> void transform(const real* taps, bool turned, real* points) {
    constexpr int SIDE = TILE + 2;
    constexpr Winograd<TILE> winograd;
    double g[SIDE][3];
    for (int i = 0; i < SIDE; ++i) winograd.filter_row(i, g[i]);
    double f[9][BLOCK];
    for (int tap = 0; tap < 9; ++tap)
        for (int k = 0; k < BLOCK; ++k) f[tap][k] = taps[(turned ? 8 - tap : tap) * BLOCK + k];
    for (int i = 0; i < SIDE; ++i) {
        double row[3][BLOCK];   // of G w
        for (int s = 0; s < 3; ++s)
            for (int k = 0; k < BLOCK; ++k) row[s][k] = g[i][0] * f[s][k] + g[i][1] * f[3 + s][k] + g[i][2] * f[6 + s][k];
        for (int j = 0; j < SIDE; ++j, points += CHANNELS * BLOCK)
            for (int k = 0; k < BLOCK; ++k) points[k] = (real)(row[0][k] * g[j][0] + row[1][k] * g[j][1] + row[2][k] * g[j][2]);
    }
}

template <int TILE> void transform_filters(const Filters3x3& w, real* u) {
    constexpr i64 POINTS = (TILE + 2) * (TILE + 2);
    const i64 blocks = (w.filters + BLOCK - 1) / BLOCK, pieces = (w.channels + CHANNELS - 1) / CHANNELS;
    parallel_for(blocks * pieces, 8, [&](i64 begin, i64 end) {
        alignas(64) real taps[CHANNELS * 9 * BLOCK], points[POINTS * CHANNELS * BLOCK];
        for (i64 at = begin; at < end; ++at) {
            const i64 block = at / pieces, c = at % pieces * CHANNELS, k = block * BLOCK;
            const i64 count = w.channels - c < CHANNELS ? w.channels - c : CHANNELS;
            gather(w, k, (int)(w.filters - k < BLOCK ? w.filters - k : BLOCK), c, count, taps);
            for (i64 i = 0; i < count; ++i) transform<TILE>(taps + i * 9 * BLOCK, w.turned, points + i * BLOCK);
            for (i64 p = 0; p < POINTS; ++p)
                std::memcpy(u + ((block * POINTS + p) * w.channels + c) * BLOCK, points + p * CHANNELS * BLOCK, count * BLOCK * sizeof(real));
        }
    });
}
}  // namespace

void winograd_filters(const Filters3x3& w, i64 tile, real* u) {
    if (tile == 2) transform_filters<2>(w, u);
    else if (tile == 4) transform_filters<4>(w, u);
    else transform_filters<6>(w, u);
}

void winograd_weights(In<real> weight, i64 tile, Out<real> u) {
    const i64 filters = weight.dim(0), channels = weight.dim(1);
    winograd_filters({weight.data, filters, channels, 9 * channels, 9, false}, tile, u.data);
}
END_KERNELS
