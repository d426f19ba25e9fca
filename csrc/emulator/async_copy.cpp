// cp.async: the bytes move only when they are waited for, so that a wait too few, or one that waits
// for too little, shows in the result.
#include "block.h"
#include "checker.h"
#include "faults.h"
#include "traffic.h"
#include <utility>

using cuemu::Kind;
using cuemu::Thread;
#define CALLER reinterpret_cast<std::uintptr_t>(__builtin_return_address(0))

static void check(const void* address, unsigned bytes, Kind kind, std::uintptr_t pc) {
    if (cuemu::block.watched) cuemu::check_access(reinterpret_cast<std::uintptr_t>(address), bytes, kind, pc);
}

CUEMU_API void cuemu_cp_async(void* to, const void* from, unsigned bytes, unsigned read) {
    const std::uintptr_t target = reinterpret_cast<std::uintptr_t>(to);
    if (target % bytes || reinterpret_cast<std::uintptr_t>(from) % bytes) {
        cuemu::report("misaligned", CALLER, "cp.async of %u bytes needs %u-byte alignment on both sides",
                      bytes, bytes);
        cuemu::stop_kernel();
    }
    Thread& thread = *cuemu::block.current;
    if (!thread.group_open) thread.copies.emplace_back();
    thread.group_open = true;
    thread.copies.back().push_back({to, from, bytes, read});
    // from now on nobody may be using the destination, and there is nothing in it until the wait
    check(from, read, Kind::READ, CALLER);
    // a lane of a request that reads nothing; its next copy is of the next request
    if (!read && cuemu::block.watched && cuemu::launch.profile)
        cuemu::log_access(thread, 0, bytes, false, cuemu::Space::GLOBAL, CALLER);
    check(to, bytes, Kind::WRITE, CALLER);
    if (cuemu::block.watched) cuemu::check_emptied(target, bytes);
    std::memset(to, 0xff, bytes);
}

CUEMU_API void cuemu_cp_async_commit() {
    Thread& thread = *cuemu::block.current;
    if (!thread.group_open) thread.copies.emplace_back();   // an empty group counts, too
    thread.group_open = false;
}

CUEMU_API void cuemu_cp_async_wait(int most_pending) {
    Thread& thread = *cuemu::block.current;
    std::size_t committed = thread.copies.size() - (thread.group_open ? 1 : 0);
    for (; committed > static_cast<std::size_t>(most_pending); --committed) {
        for (const cuemu::AsyncCopy& copy : thread.copies.front()) {
            // traffic was counted when the copy was asked for
            const int profile = std::exchange(cuemu::launch.profile, 0);
            check(copy.to, copy.bytes, Kind::WRITE, CALLER);
            cuemu::launch.profile = profile;
            std::memcpy(copy.to, copy.from, copy.read);
            std::memset(static_cast<char*>(copy.to) + copy.read, 0, copy.bytes - copy.read);
        }
        thread.copies.erase(thread.copies.begin());
    }
}
