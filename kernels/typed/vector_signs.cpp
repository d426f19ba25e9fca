// Signs: of floats by vectors.
#include "floats.h"

BEGIN_KERNELS
void sign(InAny x, OutAny y) {
    floats_by<Of::ALL>(x, y, [](V v) { return v > 0 ? splat(1) : v < 0 ? splat(-1) : v * 0; }, [](auto v) {
        using T = decltype(v);
        return T((v > T(0)) - (v < T(0))) + (v != v ? v : T(0));
    });
}
END_KERNELS
