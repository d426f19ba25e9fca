// Connectionist temporal classification (Graves et al. 2006): -log of the sum of the probabilities of all
// ways in which a sequence of labels, blanks between them, can be spread over the steps. With the states
// s = blank, label 1, blank, label 2, ..., blank,
//
//     alpha[t, s] = log p[t, s] + log(e^alpha[t - 1, s] + e^alpha[t - 1, s - 1] + e^alpha[t - 1, s - 2])
//
// the last term where label s is none of blank and label s - 2; beta is the same from the end, and the
// gradient of log p[t, c] is minus the sum of e^(alpha + beta - log p + nll) over the states of class c.
// A step's states are computed a vector at a time. A sample is one thread's.
//
// A length or label that is none makes the sample's loss NaN, by which the caller knows.
#include "../grid_sample/sampling.h"
#include "simd_math.h"

BEGIN_KERNELS

struct Sample {
    const real* log_probs;   // of its first step; `pitch` values to the next
    i64 pitch, classes, steps, states;
    bool right;
    Scratch<lane_int> label;   // of each state, whole vectors
    Scratch<real> skip;    // 0 where a state may come from the one before the last, else -inf

    static i64 room(i64 states) { return (states + LANES - 1) / LANES * LANES + 2 * LANES; }

    Sample(In<real> lp, In<i64> targets, In<i64> starts, In<i64> input_lengths, In<i64> target_lengths, i64 blank,
           i64 most, i64 n)
        : log_probs(lp.data + n * lp.dim(2)), pitch(lp.dim(1) * lp.dim(2)), classes(lp.dim(2)),
          steps(read_once(input_lengths.data + n)), states(0), right(true), label(room(most)), skip(room(most)) {
        const i64 start = read_once(starts.data + n), length = read_once(target_lengths.data + n);
        const bool lengths = steps >= 0 && steps <= lp.dim(0) && length >= 0 && length <= (most - 1) / 2;
        const bool places = lengths && start >= 0 && start <= targets.size() - length;
        right = places && blank >= 0 && blank < classes;
        if (!right) return;
        states = 2 * length + 1;
        for (i64 s = 0; s < room(most); ++s) label[s] = (lane_int)blank, skip[s] = -INF;
        for (i64 i = 0; i < length; ++i) {
            const i64 given = read_once(targets.data + start + i);
            if (given < 0 || given >= classes) {
                right = false;
                return;
            }
            label[2 * i + 1] = (lane_int)given;
            if (given != blank && (i == 0 || given != label[2 * i - 1])) skip[2 * i + 1] = 0;
        }
        skip[1] = -INF;   // there is no state before the first
    }
    V at(i64 t, i64 s) const {
        M places;
        std::memcpy(&places, label + s, sizeof places);
        return gathered(log_probs + t * pitch, places);
    }
};

// log(e^a + e^b + e^c) without c where `skip` is -inf; -inf where all are, inf where one is.
static V joined(V a, V b, V c, V skip) {
    c = skip == 0 ? c : splat(-INF);
    const V most = vmax(vmax(a, b), c), from = vabs(most) == INF ? V{} : most;
    return vlog(vexp(a - from) + vexp(b - from) + vexp(c - from)) + from;
}

static void fill(real* p, i64 n, real value) {
    for (i64 i = 0; i < n; ++i) p[i] = value;
}

static real forward_of(const Sample& s, i64 most, real* alpha) {
    const i64 room = Sample::room(most);
    Scratch<real> rows(2 * room);   // two steps, each behind a vector of -inf
    real *before = rows, *now = rows + room;
    fill(rows, 2 * room, -INF);
    for (i64 t = 0; t < s.steps; ++t) {
        for (i64 k = 0; k < s.states; k += LANES) {
            const real* p = before + LANES + k;
            const V from = t        ? joined(load(p), load(p - 1), load(p - 2), load(s.skip + k))
                           : k == 0 ? V(lane_index() < 2 ? V{} : splat(-INF))
                                    : splat(-INF);
            const V a = s.at(t, k) + from;
            const int count = s.states - k < LANES ? (int)(s.states - k) : LANES;
            store(now + LANES + k, a);
            if (count == LANES) store(alpha + t * most + k, a);
            else store(alpha + t * most + k, a, count);
        }
        std::swap(before, now);
    }
    if (s.steps == 0) return s.states == 1 ? 0 : INF;
    const real *last = before + LANES + s.states - 1, a = last[0], b = s.states > 1 ? last[-1] : -INF;
    const real top = a > b ? a : b;
    if (top == INF || top == -INF) return a == a && b == b ? -top : NOT_A_NUMBER;
    return -(top + std::log(std::exp(a - top) + std::exp(b - top)));
}

void ctc_loss(In<real> log_probs, In<i64> targets, In<i64> starts, In<i64> input_lengths, In<i64> target_lengths,
              i64 blank, bool zero_infinity, Out<real> loss, Out<real> nll, Out<real> alpha) {
    const i64 steps = alpha.dim(1), most = alpha.dim(2);
    parallel_tasks(loss.size(), [&](i64 n) {
        real* to = alpha.data + n * steps * most;
        fill(to, steps * most, -INF);
        const Sample s(log_probs, targets, starts, input_lengths, target_lengths, blank, most, n);
        const real value = s.right ? forward_of(s, most, to) : NOT_A_NUMBER;
        nll.data[n] = value;
        loss.data[n] = zero_infinity && value == INF ? 0 : value;
    });
}

static void backward_of(const Sample& s, i64 most, real g, real nll, const real* alpha, real* dlog) {
    const i64 room = Sample::room(most) + LANES;
    Scratch<real> rows(2 * room), share(room);
    real *behind = rows, *now = rows + room;
    fill(rows, 2 * room, -INF);
    for (i64 t = s.steps - 1; t >= 0; --t, std::swap(behind, now)) {
        for (i64 k = 0; k < s.states; k += LANES) {
            const int count = s.states - k < LANES ? (int)(s.states - k) : LANES;
            V from;
            if (t == s.steps - 1) {   // the last blank, and the label before it
                from = splat(-INF);
                for (i64 i = s.states > 1 ? s.states - 2 : 0; i < s.states; ++i)
                    if (i >= k && i < k + LANES) from[i - k] = 0;
            } else {
                const real* p = behind + k;
                from = joined(load(p), load(p + 1), load(p + 2), load(s.skip + k + 2));
            }
            const V log = s.at(t, k), valid = lane_index() < (lane_int)count ? V{} : splat(-INF);
            const V b = log + from + valid;
            const V a = count == LANES ? load(alpha + t * most + k) : load(alpha + t * most + k, count);
            store(now + k, b);
            const M there = (a > splat(-INF)) & (b > splat(-INF));
            store(share + k, there ? vexp(a + (b - log) + nll) : V{});
        }
        real* row = dlog + t * s.pitch;
        for (i64 k = 0; k < s.states; ++k) row[s.label[k]] -= g * share[k];
    }
}

void ctc_loss_backward(In<real> g, In<real> log_probs, In<i64> targets, In<i64> starts, In<i64> input_lengths,
                       In<i64> target_lengths, In<real> nll, In<real> alpha, i64 blank, bool zero_infinity,
                       Out<real> dlog_probs) {
    const i64 steps = alpha.dim(1), most = alpha.dim(2), classes = log_probs.dim(2);
    parallel_tasks(nll.size(), [&](i64 n) {
        const Sample s(log_probs, targets, starts, input_lengths, target_lengths, blank, most, n);
        const bool none = !(nll.data[n] < INF);   // no way, or no loss
        real* to = dlog_probs.data + n * classes;
        const bool unknown = none && !(zero_infinity && nll.data[n] == INF);
        for (i64 t = 0; t < steps; ++t)
            fill(to + t * s.pitch, classes, unknown && t < s.steps ? NOT_A_NUMBER : 0);
        if (!none && s.right) backward_of(s, most, g.data[n], nll.data[n], alpha.data + n * steps * most, to);
    });
}

END_KERNELS
