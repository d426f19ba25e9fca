// Shuffles, votes and __syncwarp: each lane hands over a record on its own stack; the last of the
// mask to come fills in all.
#pragma once
#include "cuemu_runtime.h"

namespace cuemu {
struct Shuffle {
    unsigned char value[16], got[16];   // of which the operand fills the first bytes
    int source;
    bool bad;   // the source lane takes no part: what it would give is undefined
};

CUEMU_NOSAN inline void shuffle_model(void** lanes, unsigned present, unsigned) {
    for (int l = 0; l < 32; ++l) {
        if (!(present >> l & 1)) continue;
        Shuffle* s = (Shuffle*)lanes[l];
        s->bad = !(present >> s->source & 1);
        if (s->bad) memset(s->got, 0xFF, 16);
        else memcpy(s->got, ((Shuffle*)lanes[s->source])->value, 16);
    }
}

template <class T>
CUEMU_NOSAN inline T shuffle(unsigned mask, T v, int source, const char* what, const char* file, int line) {
    static_assert(sizeof(T) <= 16, "shuffle of more than 16 bytes");
    Shuffle s;
    s.source = source & 31;
    s.bad = false;
    memcpy(s.value, &v, sizeof(T));
    cuemu_warp_collective(mask, &s, shuffle_model, what, file, line);
    if (s.bad) {
        char said[300];
        snprintf(said, sizeof said,
                 "%s at %s:%d reads lane %d, which does not take part (exited, absent, or not in the mask): "
                 "the value is undefined",
                 what, file, line, s.source);
        cuemu_error(0, "shfl-inactive-lane", said);
    }
    T got;
    memcpy(&got, s.got, sizeof(T));
    return got;
}

struct Ballot {
    unsigned long long value;
    unsigned lanes;   // that have a value other than 0; for __match_any_sync the same value
    int all;
};

CUEMU_NOSAN inline void vote_model(void** lanes, unsigned present, unsigned) {
    unsigned yes = 0;
    for (int l = 0; l < 32; ++l) if (present >> l & 1 && ((Ballot*)lanes[l])->value) yes |= 1u << l;
    for (int l = 0; l < 32; ++l) if (present >> l & 1) {
        ((Ballot*)lanes[l])->lanes = yes;
        ((Ballot*)lanes[l])->all = yes == present;
    }
}

CUEMU_NOSAN inline void match_model(void** lanes, unsigned present, unsigned) {
    for (int l = 0; l < 32; ++l) {
        if (!(present >> l & 1)) continue;
        unsigned same = 0;
        for (int k = 0; k < 32; ++k)
            if (present >> k & 1 && ((Ballot*)lanes[k])->value == ((Ballot*)lanes[l])->value) same |= 1u << k;
        ((Ballot*)lanes[l])->lanes = same;
    }
}

CUEMU_NOSAN inline Ballot vote(unsigned mask, int p, const char* file, int line) {
    Ballot b{p ? 1u : 0u, 0, 0};
    cuemu_warp_collective(mask, &b, vote_model, "vote", file, line);
    return b;
}

CUEMU_NOSAN inline void nop_fn(void**, unsigned, unsigned) {}   // lanes only meet
}  // namespace cuemu

// A shuffle stays within its lane's group of `width` lanes: from `low` to `high`
template <class T> inline T __shfl_sync(unsigned mask, T v, int source, int width = 32, CUEMU_LOC) {
    const int lane = cuemu_lane(), low = lane & ~(width - 1);
    return cuemu::shuffle(mask, v, low + (source & (width - 1)), "__shfl_sync", f_, l_);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, CUEMU_LOC) {
    const int lane = cuemu_lane(), source = lane ^ bits, low = lane & ~(width - 1);
    return cuemu::shuffle(mask, v, (source & ~(width - 1)) > low ? lane : source, "__shfl_xor_sync", f_, l_);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, CUEMU_LOC) {
    const int lane = cuemu_lane(), source = lane + (int)by, high = lane | (width - 1);
    return cuemu::shuffle(mask, v, source > high ? lane : source, "__shfl_down_sync", f_, l_);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, CUEMU_LOC) {
    const int lane = cuemu_lane(), source = lane - (int)by, low = lane & ~(width - 1);
    return cuemu::shuffle(mask, v, source < low ? lane : source, "__shfl_up_sync", f_, l_);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, CUEMU_LOC) {
    int none = 0;
    cuemu_warp_collective(mask, &none, cuemu::nop_fn, "__syncwarp", f_, l_);
}
static inline unsigned __activemask() { return cuemu_activemask(); }
static inline unsigned __ballot_sync(unsigned mask, int p, CUEMU_LOC) {
    return cuemu::vote(mask, p, f_, l_).lanes;
}
static inline int __any_sync(unsigned mask, int p, CUEMU_LOC) {
    return cuemu::vote(mask, p, f_, l_).lanes != 0;
}
static inline int __all_sync(unsigned mask, int p, CUEMU_LOC) { return cuemu::vote(mask, p, f_, l_).all; }
template <class T> CUEMU_NOSAN inline unsigned __match_any_sync(unsigned mask, T v, CUEMU_LOC) {
    cuemu::Ballot b{0, 0, 0};
    memcpy(&b.value, &v, sizeof(T));
    cuemu_warp_collective(mask, &b, cuemu::match_model, "__match_any_sync", f_, l_);
    return b.lanes;
}
