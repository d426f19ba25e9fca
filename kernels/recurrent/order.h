// In which order a direction meets the steps of sequences of different lengths.
//
// Samples are sorted by length, the longest first. In iteration s the first count(s) of them have a
// step left: the s-th of the sequence, or the s-th from its own end in the reverse direction. Rows
// of gates lie iteration after iteration without gaps, so what is behind a sequence's end is
// neither stored nor computed.
#pragma once
#include "layout.h"

namespace ISA::REAL_NAME {
struct Order {
    const Sizes& z;
    Scratch<i64> sample, length, counts, offsets;   // sample and length: by place in the sorted order
    Order(const Sizes& z, In<i64> lengths)
        : z(z), sample(z.samples), length(z.samples), counts(z.steps + 1), offsets(z.steps + 1) {
        Scratch<i64> given(z.samples);   // a copy: the caller's array may change meanwhile
        for (i64 n = 0; n < z.samples; ++n) {
            const i64 steps = lengths ? read_once(lengths.data + n) : z.steps;
            given[n]        = steps < 0 ? 0 : steps < z.steps ? steps : z.steps;
        }
        for (i64 s = 0; s <= z.steps; ++s) counts[s] = 0;
        for (i64 n = 0; n < z.samples; ++n) ++counts[given[n]];
        i64 longer = 0;
        // counts[s] becomes the number of sequences longer than s
        for (i64 s = z.steps; s >= 0; --s) {
            const i64 here = counts[s];
            // offsets: where the next sequence of length s goes, for now
            counts[s] = offsets[s] = longer;
            longer += here;
        }
        for (i64 n = 0; n < z.samples; ++n) {
            const i64 at = offsets[given[n]]++;
            sample[at] = n;
            length[at] = given[n];
        }
        offsets[0] = 0;
        for (i64 s = 0; s < z.steps; ++s) offsets[s + 1] = offsets[s] + counts[s];
    }
    i64 count(i64 s) const { return counts[s]; }
    i64 row(i64 s, i64 q) const { return offsets[s] + q; }
    i64 rows() const { return offsets[z.steps]; }
    i64 iterations() const { return z.samples ? length[0] : 0; }
    i64 time(i64 direction, i64 s, i64 q) const { return direction ? length[q] - 1 - s : s; }
    // its row of x and y
    i64 place(i64 direction, i64 s, i64 q) const { return z.place(time(direction, s, q), sample[q]); }
};

// What one thread can do by itself from beginning to end: every stride-th sample from
// `first`, in one direction.
struct Strand {
    i64 direction, first, stride;
    i64 count(const Order& o, i64 s) const {
        return o.count(s) <= first ? 0 : blocks_of(o.count(s) - first, stride);
    }
    // the place in the sorted order of the strand's i-th sample
    i64 q(i64 i) const { return first + i * stride; }
};
}  // namespace ISA::REAL_NAME
