// Weights (K, C, taps) in the order the register tile reads them: (K/16, C/16, taps, 16 channels,
// 16 filters), zeros where a block is not full.
#include "gemm/gemm.h"
#include "program_kernel.h"

BEGIN_KERNELS
// y: (K/16, rows, 16) with rows = C/16 taps 16, or C where there is one tap: then no channels are added.
void pack_weights(In<real> weight, Out<real> y) {
    const i64 filters = weight.dim(0), channels = weight.dim(1), taps = weight.dim(2), rows = y.dim(1);
    const i64 blocks = (channels + BLOCK - 1) / BLOCK;
    parallel_for(y.dim(0) * blocks, 1 + 65536 / (taps * BLOCK * BLOCK + 1), [&](i64 begin, i64 end) {
        Scratch<real> turned(taps > 1 ? taps * BLOCK * BLOCK : 1);   // (channels, taps, 16 filters)
        for (i64 at = begin; at < end; ++at) {
            const i64 k0 = at / blocks * BLOCK, c0 = at % blocks * BLOCK;
            const i64 count = channels - c0 < BLOCK ? channels - c0 : BLOCK;
            const i64 valid = filters - k0 < BLOCK ? filters - k0 : BLOCK;
            const real* const from = weight.data + (k0 * channels + c0) * taps;
            real* const to = y.data + (k0 * rows + c0 * taps * BLOCK);
            pack_rows<BLOCK>(from, channels * taps, (int)valid, count * taps,
                             taps > 1 ? (real*)turned : to);
            for (i64 t = 0; taps > 1 && t < taps; ++t)
                for (i64 c = 0; c < count; ++c)
                    std::memcpy(to + (t * BLOCK + c) * BLOCK, turned + (c * taps + t) * BLOCK, sizeof(real[BLOCK]));
            if (count < BLOCK && rows != channels * taps)
                for (i64 t = 0; t < taps; ++t)
                    std::memset(to + (t * BLOCK + count) * BLOCK, 0, (BLOCK - count) * BLOCK * sizeof(real));
        }
    });
}

// weight: (channels, filters, 16 taps). Parity (i, j) of the outputs meets the taps of rows 2 s + (i + pad_h) % 2,
// s = 1, 0, and of columns as well.
void pack_parities(In<real> weight, i64 pad_h, i64 pad_w, i64 first, Out<real> y) {
    constexpr i64 TAPS = 16;
    const i64 channels = weight.dim(0), filters = weight.dim(1), blocks = y.dim(1), all = y.dim(2);
    parallel_for(blocks * channels, 64, [&](i64 begin, i64 end) {
        real turned[TAPS * BLOCK];   // (taps, 16 filters)
        for (i64 at = begin; at < end; ++at) {
            const i64 block = at % blocks, c = at / blocks, k = block * BLOCK;   // in the order of memory
            const i64 valid = filters - k < BLOCK ? filters - k : BLOCK;
            pack_rows<BLOCK>(weight.data + (c * filters + k) * TAPS, TAPS, (int)valid, TAPS, turned);
            for (i64 part = 0; part < 4; ++part) {
                const i64 a = (part / 2 + pad_h) % 2, b = (part % 2 + pad_w) % 2;
                real* const to = y.data + ((part * blocks + block) * all + first + c) * 4 * BLOCK;
                for (i64 t = 0; t < 4; ++t)
                    std::memcpy(to + t * BLOCK, turned + ((2 * (1 - t / 2) + a) * 4 + 2 * (1 - t % 2) + b) * BLOCK,
                                sizeof(real[BLOCK]));
            }
        }
    });
}
END_KERNELS
