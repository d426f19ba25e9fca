// The windows of a pooling op: which inputs of an axis each output of that axis covers.
#pragma once
#include "kernel.h"

BEGIN_KERNELS

static inline i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }   // a >= 0

// Inputs first, first + dilation, ..., `count` of them.
struct Taps {
    i64  first, count;
    bool operator==(const Taps& other) const { return first == other.first && count == other.count; }
};

// One spatial axis. A kernel of 0 means adaptive: output i covers inputs floor(i in / out) ..
// ceil((i + 1) in / out) - 1.
struct Axis {
    i64 in, out, kernel, stride, padding, dilation;

    bool adaptive() const { return kernel == 0; }
    i64  start(i64 o) const { return adaptive() ? o * in / out : o * stride - padding; }
    Taps taps(i64 o) const {
        const i64 s = start(o);
        if (adaptive()) return {s, ceil_div((o + 1) * in, out) - s};
        const i64 skipped = s < 0 ? ceil_div(-s, dilation) : 0,
                  fitting = s < in ? (in - 1 - s) / dilation + 1 : 0;
        return {s + skipped * dilation, (fitting < kernel ? fitting : kernel) - skipped};
    }
    // Inputs from the first to the last that a window may cover, both counted
    i64 reach() const { return adaptive() ? in / (out ? out : 1) + 2 : (kernel - 1) * dilation + 1; }
    // Whether a row as long as the windows of some outputs reach is of a size to be laid out
    bool modest() const { return reach() <= (1 << 24) && stride <= (1 << 20); }
    // The outputs [first, first + count) whose windows cover input i (dilation 1)
    Taps covering(i64 i) const {
        if (adaptive()) {
            const i64 s = i * out / in;
            return {s, ceil_div((i + 1) * out, in) - s};
        }
        const i64 at = i + padding, s = at < kernel ? 0 : (at - kernel) / stride + 1, last = at / stride;
        return {s, (last < out ? last + 1 : out) - s};
    }
    // Outputs [whole_begin, whole_end) have their window wholly inside the input
    i64 whole_begin() const {
        const i64 o = ceil_div(padding, stride);
        return o < out ? o : out;
    }
    i64 whole_end() const {
        const i64 room = in + padding - reach(), o = room < 0 ? 0 : room / stride + 1;
        return o < whole_begin() ? whole_begin() : o < out ? o : out;
    }
};

struct Pool {
    Axis d, h, w;
    Pool(Dims in, Dims out, Dims kernel, Dims stride, Dims padding, Dims dilation)
        : d{in[0], out[0], kernel[0], stride[0], padding[0], dilation[0]},
          h{in[1], out[1], kernel[1], stride[1], padding[1], dilation[1]},
          w{in[2], out[2], kernel[2], stride[2], padding[2], dilation[2]} {}
    i64 in_size() const { return d.in * h.in * w.in; }
    i64 out_size() const { return d.out * h.out * w.out; }
    i64 out_rows() const { return d.out * h.out; }
    // Rows of `w` inputs under one output row, roughly
    i64 rows_under() const {
        return (d.reach() < d.in ? d.reach() : d.in) * (h.reach() < h.in ? h.reach() : h.in);
    }
    bool one_window_over_all() const {
        auto whole = [](const Axis& a) {
            return a.out == 1 && (a.adaptive() || (a.padding == 0 && a.dilation == 1 && a.kernel == a.in));
        };
        return whole(d) && whole(h) && whole(w);
    }
};

END_KERNELS
