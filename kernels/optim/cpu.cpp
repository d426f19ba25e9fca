// One optimiser step on one parameter in one pass over memory: kernels/optim/reference.py gives
// the rules. Every element is independent, so the split over threads changes nothing. Settings
// are tested inside the vector loop: each branch goes the same way for the whole array, and the
// loop waits for memory.
#include "kernel.h"

BEGIN_KERNELS

constexpr i64 GRAIN = 16384;   // elements: ~10 us of streaming

// body(i, lanes, d): d is the gradient with its sign and weight decay.
template <class Body>
static void step(In<real> g, Out<real> p, double weight_decay, bool maximize, Body body) {
    const real sign = maximize ? -1 : 1, decay = (real)weight_decay;
    parallel_for(p.size(), GRAIN, [&](i64 begin, i64 end) {
        // held by value: for all the compiler knows, a vector that is stored may be what is held by reference
        const Body own = body;
        const real *const towards = g.data, *const now = p.data;
        for_vectors(end - begin, [=](i64 k, auto lanes) {
            const i64 i = begin + k;
            V d = sign * lanes.load(towards + i);
            if (decay != 0) d += decay * lanes.load(now + i);   // 0 * inf would be NaN
            own(i, lanes, d);
        });
    });
}

void sgd_step(In<real> g, Out<real> p, Out<real> buffer, double lr, double momentum, double dampening,
              double weight_decay, bool nesterov, bool first, bool maximize) {
    const real rate = (real)lr, keep = (real)momentum, take = (real)(1 - dampening);
    step(g, p, weight_decay, maximize, [=](i64 i, auto lanes, V d) {
        if (keep != 0) {
            V b = first ? d : keep * lanes.load(buffer.data + i) + take * d;
            lanes.store(buffer.data + i, b);
            d = nesterov ? d + keep * b : b;
        }
        lanes.store(p.data + i, lanes.load(p.data + i) - rate * d);
    });
}

void adam_step(In<real> g, Out<real> p, Out<real> mean, Out<real> square, Out<real> largest, double lr,
               double beta1, double beta2, double eps, double weight_decay, bool decoupled,
               double correction1, double correction2, bool maximize) {
    const real shrink = decoupled ? (real)(1 - lr * weight_decay) : 1, rate = (real)(lr / correction1);
    const real take1 = (real)(1 - beta1), keep2 = (real)beta2, take2 = (real)(1 - beta2),
               root = (real)std::sqrt(correction2);
    const bool amsgrad = largest.size() > 0;
    step(g, p, decoupled ? 0 : weight_decay, maximize, [=](i64 i, auto lanes, V d) {
        V m = lanes.load(mean.data + i), v = keep2 * lanes.load(square.data + i) + take2 * (d * d);
        m += take1 * (d - m);
        lanes.store(mean.data + i, m);
        lanes.store(square.data + i, v);
        if (amsgrad) {
            v = vmax(lanes.load(largest.data + i), v);   // NaN in v, the second operand, stays
            lanes.store(largest.data + i, v);
        }
        lanes.store(p.data + i, lanes.load(p.data + i) * shrink - rate * (m / (vsqrt(v) / root + (real)eps)));
    });
}

void rmsprop_step(In<real> g, Out<real> p, Out<real> square, Out<real> mean, Out<real> buffer, double lr,
                  double alpha, double eps, double weight_decay, double momentum, bool maximize) {
    const real rate = (real)lr, keep = (real)alpha, take = (real)(1 - alpha), push = (real)momentum;
    const bool centred = mean.size() > 0;
    step(g, p, weight_decay, maximize, [=](i64 i, auto lanes, V d) {
        V v = keep * lanes.load(square.data + i) + take * (d * d);
        lanes.store(square.data + i, v);
        if (centred) {
            V m = lanes.load(mean.data + i);
            m += take * (d - m);
            lanes.store(mean.data + i, m);
            v -= m * m;
        }
        V move = d / (vsqrt(v) + (real)eps);
        if (push != 0) {
            move += push * lanes.load(buffer.data + i);
            lanes.store(buffer.data + i, move);
        }
        lanes.store(p.data + i, lanes.load(p.data + i) - rate * move);
    });
}

END_KERNELS
