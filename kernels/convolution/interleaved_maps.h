// Every second pixel of a map, or every d-th, laid together as a map of its own, and put back.
#pragma once
#include "program_kernel.h"

namespace ISA::REAL_NAME {
// Pixels of a map from (y, x) on, `step` apart. They may lie outside.
struct Grid {
    i64 y, x, step_h, step_w;
};

// to: (rows, columns, 16), zeros for what lies outside of the plane.
static inline void lay(const real* plane, i64 h, i64 w, const Grid& g, i64 rows, i64 columns, real* to) {
    for (i64 i = 0; i < rows; ++i)
        for (i64 j = 0; j < columns; ++j, to += BLOCK) {
            const i64 y = g.y + i * g.step_h, x = g.x + j * g.step_w;
            const bool inside = y >= 0 && y < h && x >= 0 && x < w;
            const real* from = plane + (y * w + x) * BLOCK;
            for (i64 k = 0; k < BLOCK; k += LANES) store(to + k, inside ? load(from + k) : V{});
        }
}

// The reverse, of as many rows and columns as there are.
static inline void put(const real* from, i64 columns, const Grid& g, real* plane, i64 h, i64 w) {
    for (i64 y = g.y; y < h; y += g.step_h, from += columns * BLOCK) {
        const real* pixel = from;
        for (i64 x = g.x; x < w; x += g.step_w, pixel += BLOCK)
            for (i64 k = 0; k < BLOCK; k += LANES) store(plane + (y * w + x) * BLOCK + k, load(pixel + k));
    }
}
}  // namespace ISA::REAL_NAME
