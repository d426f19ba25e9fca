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
END_KERNELS
