// Warp-wide instructions: lanes meet, and the last of the mask to come runs the instruction's model for all.
#include "block.h"
#include "faults.h"

namespace cuemu {
namespace {
unsigned missing(const Meeting& meeting, const Warp& warp) {
    return meeting.mask & warp.alive & ~meeting.arrived;
}

void hold(Warp& warp, int number, std::size_t index) {
    Meeting meeting = warp.meetings[index];
    warp.meetings.erase(warp.meetings.begin() + static_cast<std::ptrdiff_t>(index));
    // the model may touch every lane's registers, which lie on their stacks
    Thread* watched = block.watched;
    block.watched = nullptr;
    meeting.model(meeting.lanes, meeting.arrived, meeting.mask);
    block.watched = watched;
    ++counts.collectives;
    const bool whole = (meeting.mask & warp.alive) == warp.alive;
    // shuffles, votes and mma.sync order no memory
    if (whole && !std::strcmp(meeting.place.call, "__syncwarp")) ++warp.syncs;
    for (int lane = 0; lane < WARP; ++lane)
        if (meeting.arrived >> lane & 1) block.threads[number * WARP + lane].state = State::READY;
}

// The meeting that a lane comes to, new if it is the first; stops the kernel if others of
// its mask are elsewhere.
std::size_t join(Warp& warp, const Thread& thread, unsigned mask, WarpModel model, const Place& place,
                 std::uintptr_t pc) {
    if (!(mask >> thread.lane & 1)) {
        report("warp-mask", pc, "%s at %s:%d: the calling lane %d is not in its own mask 0x%08x", place.call,
               place.file, place.line, thread.lane, mask);
        stop_kernel();
    }
    for (std::size_t i = 0; i < warp.meetings.size(); ++i) {
        const Meeting& there = warp.meetings[i];
        if (!(there.mask & mask)) continue;
        if (there.mask != mask) {
            report("warp-mask", pc,
                   "%s at %s:%d: lane %d uses mask 0x%08x while other lanes wait in %s at %s:%d with mask "
                   "0x%08x",
                   place.call, place.file, place.line, thread.lane, mask, there.place.call, there.place.file,
                   there.place.line, there.mask);
            stop_kernel();
        }
        if (!(there.place == place)) {
            report("warp-divergence", pc,
                   "lane %d is at %s (%s:%d) while other lanes of its warp wait in %s (%s:%d)", thread.lane,
                   place.call, place.file, place.line, there.place.call, there.place.file, there.place.line);
            stop_kernel();
        }
        return i;
    }
    warp.meetings.push_back({mask, 0, {}, model, place});
    return warp.meetings.size() - 1;
}
}  // namespace

void wake_meetings(const Warp& warp) {
    const std::ptrdiff_t number = &warp - block.warps.data();
    for (const Meeting& meeting : warp.meetings)
        if (!missing(meeting, warp))
            block.threads[number * WARP + __builtin_ctz(meeting.arrived)].state = State::READY;
}
}  // namespace cuemu

CUEMU_API void cuemu_warp_collective(unsigned mask, void* argument, cuemu::WarpModel model, const char* call,
                                     const char* file, int line) {
    using namespace cuemu;
    Thread& thread = *block.current;
    Warp& warp = block.warps[thread.warp];
    const Place place{call, file, line};
    const std::size_t i =
        join(warp, thread, mask, model, place, reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
    Meeting& meeting = warp.meetings[i];
    meeting.arrived |= 1u << thread.lane;
    meeting.lanes[thread.lane] = argument;
    if (!missing(meeting, warp)) return hold(warp, thread.warp, i);   // the last to come goes straight on
    wait_for_others(thread, State::IN_WARP_MEETING, place);
    for (std::size_t k = 0; k < warp.meetings.size(); ++k)
        if (warp.meetings[k].arrived >> thread.lane & 1)
            return hold(warp, thread.warp, k);   // not held yet: those that were missing have ended
}

CUEMU_API unsigned cuemu_lane() { return static_cast<unsigned>(cuemu::block.current->lane); }

// Divergence is not modelled, and of all masks this is the only one that is always right.
CUEMU_API unsigned cuemu_activemask() { return 1u << cuemu::block.current->lane; }
