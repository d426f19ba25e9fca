// Dropout of attention's weights, which are made again where they are wanted: weight (head, query, key) has
// the number of its place among all of them, as kernels/dropout has it.
#pragma once
#include "attention/heads.h"
#include "dropout/philox.h"

BEGIN_KERNELS

static void times(real* row, const real* factors, i64 count) {
    for_vectors(count, [&](i64 i, auto lanes) { lanes.store(row + i, lanes.load(row + i) * lanes.load(factors + i)); });
}

struct Drop {
    u64  seed = 0, threshold = 0;
    real keep = 1;   // what the others are multiplied with
    bool on = false;

    // `count` neighbours of a query, the first of them at `place`
    void times(real* row, i64 place, i64 count) const {
        u32 numbers[DRAWN + LANES] = {};   // vectors are read beyond the last
        for (i64 i = 0; i < count;) {
            const i64 at = (place + i) % DRAWN, some = least(DRAWN - at, count - i);
            random_block((place + i) / DRAWN, seed, numbers);
            for_vectors(some, [&](i64 j, auto lanes) {
                lanes.store(row + i + j,
                            at_least(numbers + at + j, threshold) ? lanes.load(row + i + j) * keep : V{});
            });
            i += some;
        }
    }

    // Factors of `keys` neighbours of `queries` queries, whose rows lie `apart` one from the other, by keys:
    // factors[key * pitch + query]
    void of_keys(i64 place, i64 apart, i64 queries, i64 keys, real* factors, i64 pitch) const {
        Scratch<real> line(keys);
        for (i64 query = 0; query < queries; ++query) {
            for (i64 key = 0; key < keys; ++key) line[key] = 1;
            times(line, place + query * apart, keys);
            for (i64 key = 0; key < keys; ++key) factors[key * pitch + query] = line[key];
        }
    }
};

END_KERNELS
