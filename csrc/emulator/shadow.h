// What is remembered of each piece of memory: who wrote and who read it last, and when; and so
// whether an access now is ordered after those.
//
// Two accesses of one block are ordered if a __syncthreads lies between them, or they are of one
// warp and a __syncwarp does. Accesses of two blocks never are. Of writers the last is enough:
// the one before it was ordered before it, or has been reported. Of readers, who need no order
// among themselves, the latest is kept and how far apart they all are, which is all that a
// writer's order depends on.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace cuemu {
// Who, and when.
struct Moment {
    std::uint32_t block;        // its number + 1; 0: there was none
    std::uint32_t barriers;     // that the block had passed
    std::uint32_t pc;           // within the kernel's library
    std::uint16_t thread;
    std::uint16_t warp_syncs;   // that the thread's warp had passed

    int warp() const { return thread / 32; }
    bool same_time_as(const Moment& other) const {
        return block == other.block && thread == other.thread && barriers == other.barriers &&
               warp_syncs == other.warp_syncs;
    }
};

inline bool warp_met_since(const Moment& before, const Moment& now) {
    return before.warp() == now.warp() && before.warp_syncs != now.warp_syncs;
}

inline bool ordered(const Moment& before, const Moment& now) {
    if (before.block != now.block) return false;
    return before.thread == now.thread || before.barriers != now.barriers || warp_met_since(before, now);
}

enum class Readers : std::uint8_t { ONE, ONE_WARP, ONE_BLOCK, BLOCKS };

// Bytes that have always been accessed together. All zero: never.
struct Cell {
    Moment written, read;
    std::uint32_t filled_by;   // block + 1 that wrote it, if any
    bool written_atomically, read_atomically;
    Readers readers;

    // May a write now follow all that was read since?
    bool readers_ordered_before(const Moment& now) const {
        if (readers == Readers::ONE || read.block != now.block) return ordered(read, now);
        if (readers == Readers::BLOCKS) return false;
        if (read.barriers != now.barriers) return true;
        return readers == Readers::ONE_WARP && warp_met_since(read, now);
    }

    void note_write(const Moment& now, bool atomic) {
        // a plain store stays one although the same thread adds atomically before anybody could see it
        written_atomically = atomic && (written_atomically || !written.same_time_as(now));
        written = now;
    }

    void note_read(const Moment& now, bool atomic) {
        const bool blocks = read.block && (readers == Readers::BLOCKS || read.block != now.block);
        const bool settled =
            read.barriers != now.barriers || (readers <= Readers::ONE_WARP && warp_met_since(read, now));
        if (blocks) {
            readers = Readers::BLOCKS;
            read = now;
        } else if (!read.block || settled) {   // what was read before is ordered before all that comes
            readers = Readers::ONE;
            read = now;
            read_atomically = atomic;
        } else if (read.thread != now.thread) {
            const bool warp = read.warp() == now.warp();
            readers = std::max(readers, warp ? Readers::ONE_WARP : Readers::ONE_BLOCK);
            if (warp) read.warp_syncs = now.warp_syncs;
        }
        read_atomically = read_atomically && atomic;
    }
};

// The cells of a region. They start wide and are split, all at once, when an access is narrower: so
// bytes with different writers never share one.
class Shadow {
public:
    Shadow() = default;
    explicit Shadow(std::size_t region) : bytes(region), width(WIDEST), cells(make(WIDEST)) {}

    // The cells of an access, and how many bytes each stands for.
    struct Span { Cell *begin, *end; std::size_t width; };
    Span span(std::size_t offset, std::size_t size) {
        // the largest power of two that divides both
        const std::size_t common = (offset | size) & -(offset | size);
        if (common < width) split(common);
        return {&cells[offset / width], &cells[(offset + size) / width], width};
    }

private:
    static constexpr std::size_t WIDEST = 16;
    struct Free { void operator()(Cell* c) const { std::free(c); } };
    using Cells = std::unique_ptr<Cell[], Free>;

    // calloc: pages of what is never accessed are never made
    Cells make(std::size_t narrow) const {
        return Cells(static_cast<Cell*>(std::calloc(bytes / narrow + 1, sizeof(Cell))));
    }

    void split(std::size_t narrow) {
        Cells made = make(narrow);
        for (std::size_t i = 0, n = bytes / narrow + 1; i < n; ++i) {
            const Cell& wide = cells[i * narrow / width];
            if (wide.written.block | wide.read.block | wide.filled_by) made[i] = wide;
        }
        cells = std::move(made);
        width = narrow;
    }

    std::size_t bytes = 0, width = 0;
    Cells cells;
};
}  // namespace cuemu
