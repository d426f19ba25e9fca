// What a kernel of a compiled program does to a result before it leaves: y =
// activation(v + bias + residual).
//
// Clamping (relu, relu6, hardtanh, none at all) is done on registers. The others run over the
// values just stored, which lie in the nearest cache: called per register they would cost the
// tile its accumulators.
#pragma once
#include "activation/gelu.h"
#include "program_kernel.h"
#include "simd_math.h"

BEGIN_KERNELS
constexpr int BV = BLOCK / LANES > 0 ? BLOCK / LANES : 1;   // vectors in a block of channels

// x / (1 + e^-x), with e^-x as a power of two whose exponent is rounded: relative errors are at
// most 3e-7 where x > 0 and grow with -x by 1e-7 for each unit, as what is left decays with e^x.
// Below -87, where that is 1e-36, it is -0, and NaN at -infinity, as the definition has it.
static inline V silu(V x) {
    // 2^f for |f| <= 1/2, 8e-8 off
    constexpr real POWER[] = {1.00000007f, 0.69314697f, 0.2402212f, 0.05550713f, 0.00967554f, 0.00132765f};
    const V far = x * 0;
    const V t = vmax(splat(-126), x * real(-LOG2_E));
#if defined(__AVX512F__)
    const V n = vround(t), d = 1 + scale_by_power(polynomial(t - n, POWER), n);
    const V q = (V)_mm512_rcp14_ps((__m512)d);
    // a step of Newton's for what a division would take twice as long
    return x < -87 ? far : x * (q + q * (1 - d * q));
#else
    const V n = (t + MAGIC) - MAGIC;
    return x < -87 ? far : x / (1 + polynomial(t - n, POWER) * power_of_two(n));
#endif
}

struct Epilogue {
    Activation kind;
    real low, high;   // of a clamp; others keep everything here and take `low` as their operand a
    Epilogue(const Act& act) : kind(act.kind), low((real)act.a), high((real)act.b) {}

    // On what was stored: n values, a multiple of LANES
    void finish(real* y, i64 n) const {
        if (kind != Activation::CLAMP) activate_all(y, n);
    }

private:
    __attribute__((noinline)) void activate_all(real* y, i64 n) const {
        if (kind == Activation::GELU) return gelu_all(y, y, n);
        const auto over = [&](auto value_of) {
            for (i64 i = 0; i < n; i += LANES) store(y + i, value_of(load(y + i), low));
        };
        switch (kind) {   // a loop for each: the branch stays outside
#define ACTIVATION(NAME, name, value) case Activation::NAME: over([](V v, [[maybe_unused]] real a) { return value; }); break;
#include "activations.inc"
#undef ACTIVATION
        }
    }
};

// What is done on registers, before the store; its bounds stay there: in memory each store might have
// changed them.
struct Clamp {
    V low = splat(-(real)__builtin_inf()), high = splat((real)__builtin_inf());
    Clamp() = default;
    explicit Clamp(const Epilogue& e) {
        if (e.kind == Activation::CLAMP) low = splat(e.low), high = splat(e.high);
    }
    // The order of operands keeps NaN.
    V operator()(V v) const { return vmin(high, vmax(low, v)); }
};
END_KERNELS
