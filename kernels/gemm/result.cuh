// What becomes of a product's sums on their way to memory: the bias, the activation, the rounding,
// two neighbours at a time.
#pragma once
#include "tiles.cuh"

struct Result {
    real* c;
    acc* partial;       // null, or where sums of a part of the reduction go instead, as they are
    const real* bias;   // along a line, or null
    int n;              // columns
    bool pairs;         // two neighbours of C are one aligned access

    // Columns `column` and the next, if there are so many, of a line that starts at c + line.
    __device__ __forceinline__ void write(i64 line, int column, acc x, acc next) const {
        if (column >= n) return;
        const i64 at = line + column;
        const bool both = column + 1 < n;
        if (partial) {
            partial[at] = x;
            if (both) partial[at + 1] = next;
            return;
        }
        if (bias) x += value(bias[column]), next += both ? value(bias[column + 1]) : 0;
        const Packet<real, 2> p = {{rounded(activated(x)), rounded(activated(next))}};
        if (pairs) *reinterpret_cast<Packet<real, 2>*>(c + at) = p;
        else {
            c[at] = p.v[0];
            if (both) c[at + 1] = p.v[1];
        }
    }
};

// A line of it, from column `first` on: where it starts and whether it is there are found once.
struct ResultLine {
    Result result;
    i64 line;
    int first;
    bool live;

    __device__ __forceinline__ void operator()(int column, acc x, acc next) const {
        if (live) result.write(line, first + column, x, next);
    }
};
