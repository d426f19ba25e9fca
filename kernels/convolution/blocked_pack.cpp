// Weights (K, C, taps) in the order the register tile reads them: (K/16, C/16, taps, 16 channels,
// 16 filters), zeros where a block is not full.
#include "program_kernel.h"

BEGIN_KERNELS
// y: (K/16, rows, 16) with rows = C/16 taps 16, or C where there is one tap: then no channels are added.
void pack_weights(In<real> weight, Out<real> y) {
    const i64 filters = weight.dim(0), channels = weight.dim(1), taps = weight.dim(2), rows = y.dim(1);
    parallel_for(y.dim(0), 1 + 65536 / (rows * BLOCK + 1), [&](i64 begin, i64 end) {
        for (i64 kb = begin; kb < end; ++kb) {
            real* to = y.data + kb * rows * BLOCK;
            const i64 k_end = filters - kb * BLOCK < BLOCK ? filters - kb * BLOCK : BLOCK;
            if (k_end < BLOCK || rows != channels * taps) std::memset(to, 0, rows * BLOCK * sizeof(real));
            // a block of channels at a time: what is written stays in L1
            for (i64 c0 = 0; c0 < channels; c0 += BLOCK) {
                const i64 c_end = channels - c0 < BLOCK ? channels : c0 + BLOCK;
                for (i64 k = 0; k < k_end; ++k) {
                    const real* from = weight.data + ((kb * BLOCK + k) * channels + c0) * taps;
                    for (i64 c = c0; c < c_end; ++c)
                        for (i64 t = 0; t < taps; ++t)
                            to[((c0 / BLOCK * taps + t) * BLOCK + c - c0) * BLOCK + k] = *from++;
                }
            }
        }
    });
}
END_KERNELS
