// Bounds, alignment, uninitialised shared memory and races. The compiler calls the __tsan_
// functions before every load and store (-fsanitize=thread); they are ours, not ThreadSanitizer's,
// which knows nothing of blocks and warps.
#include "checker.h"
#include "block.h"
#include "faults.h"
#include "memory.h"
#include "traffic.h"

namespace cuemu {
namespace {
using ull = unsigned long long;
const char* verb(Kind kind) { return kind == Kind::READ ? "read" : kind == Kind::WRITE ? "write" : "atomic"; }
const char* whose(bool another_block) { return another_block ? "ANOTHER BLOCK" : "this block"; }

struct Where {
    const Region& region;
    ull offset;
    std::uintptr_t pc;
};

void report_race(const char* kind, const Where& where, const char* now, const char* then, const Moment& other,
                 bool another_block) {
    report(kind, where.pc,
           "%s '%s' + %llu: %s by this thread, %s thread %u of %s with no barrier between (the other access "
           "is at 0x%llx)",
           name_of(where.region.space), where.region.name.c_str(), where.offset, now, then, other.thread,
           whose(another_block), ull(other.pc));
}

void check_filled(Cell& cell, const Where& where, const Moment& now) {
    if (cell.filled_by) return;
    report("uninitialised-read", where.pc, "read of shared '%s' + %llu, never written by this block",
           where.region.name.c_str(), where.offset);
    cell.filled_by = now.block;   // said once
}

void check_races(Cell& cell, const Where& where, const Moment& now, Kind kind) {
    const bool atomic = kind == Kind::ATOMIC;
    if (cell.written.block && !(atomic && cell.written_atomically) && !ordered(cell.written, now)) {
        report_race(kind == Kind::READ ? "race-RAW" : "race-WAW", where, verb(kind),
                    cell.written_atomically ? "written atomically by" : "written by", cell.written,
                    cell.written.block != now.block);
        cell.written.block = 0;
    }
    if (kind != Kind::READ && cell.read.block && !(atomic && cell.read_atomically) &&
        !cell.readers_ordered_before(now)) {
        report_race("race-WAR", where, "write", "read by", cell.read,
                    cell.readers == Readers::BLOCKS || cell.read.block != now.block);
        cell.read.block = 0;
    }
}

void check_cell(Cell& cell, const Where& where, const Moment& now, Kind kind) {
    const bool shared = where.region.space == Space::SHARED;
    // of the block before
    if (shared && cell.filled_by != now.block && cell.written.block != now.block &&
        cell.read.block != now.block)
        cell = {};
    if (shared && kind != Kind::WRITE) check_filled(cell, where, now);
    check_races(cell, where, now, kind);
    if (kind != Kind::READ) {
        cell.filled_by = now.block;
        cell.note_write(now, kind == Kind::ATOMIC);
    }
    if (kind != Kind::WRITE) cell.note_read(now, kind == Kind::ATOMIC);
}

void count_bytes(Space space, bool write, std::size_t bytes) {
    if (space == Space::GLOBAL) (write ? counts.global_stored : counts.global_loaded) += bytes;
    else (write ? counts.shared_stored : counts.shared_loaded) += bytes;
}
}  // namespace

void check_access(std::uintptr_t address, std::size_t bytes, Kind kind, std::uintptr_t pc, bool aligned) {
    Thread& thread = *block.watched;
    if (thread.fiber.holds(address) || !bytes) return;   // a thread's own local memory
    const bool write = kind != Kind::READ;
    ++counts.accesses;
    if (launch.access_limit && ++thread.accesses > launch.access_limit) {
        report("runaway", pc, "a thread made more than %llu memory accesses: endless loop?",
               ull(launch.access_limit));
        stop_kernel();
    }
    Region* region = find_region(address);
    if (!region || address + bytes > region->high) {
        report_stray_access(address, static_cast<unsigned>(bytes), write, pc);
        stop_kernel();
    }
    if (region->space == Space::MODULE) return;
    const std::size_t offset = address - region->low;
    if (write && region->read_only)
        report("write-to-const", pc, "%zu-byte write to '%s', which is const to the kernel", bytes,
               region->name.c_str());
    if (aligned && address % bytes) {   // ends a kernel on a GPU, too
        report("misaligned", pc, "%zu-byte %s at an address that is not a multiple of %zu ('%s' + %zu)",
               bytes, write ? "write" : "read", bytes, region->name.c_str(), offset);
        stop_kernel();
    }
    count_bytes(region->space, write, bytes);
    if (launch.profile && kind != Kind::ATOMIC) log_access(thread, address, bytes, write, region->space, pc);

    const Moment now{block.number + 1, block.barriers, static_cast<std::uint32_t>(offset_of(pc)),
                     static_cast<std::uint16_t>(thread.number), block.warps[thread.warp].syncs};
    const Shadow::Span span = region->shadow.span(offset, bytes);
    ull at = offset;
    for (Cell* cell = span.begin; cell != span.end; ++cell, at += span.width)
        check_cell(*cell, {*region, at, pc}, now, kind);
}

void check_emptied(std::uintptr_t address, std::size_t bytes) {
    Region* region = find_region(address);
    if (!region || region->space == Space::MODULE) return;
    const Shadow::Span span = region->shadow.span(address - region->low, bytes);
    for (Cell* cell = span.begin; cell != span.end; ++cell) cell->filled_by = 0;
}
}  // namespace cuemu

using cuemu::Kind;
#define CALLER reinterpret_cast<std::uintptr_t>(__builtin_return_address(0))
#define CHECK(BYTES, KIND, ...) \
    if (__builtin_expect(cuemu::block.watched != nullptr, 1)) cuemu::check_access(reinterpret_cast<std::uintptr_t>(p), BYTES, KIND, CALLER, ##__VA_ARGS__)

#define HOOKS(PREFIX, BYTES) \
    CUEMU_API void __tsan_##PREFIX##read##BYTES(void* p) { CHECK(BYTES, Kind::READ); } \
    CUEMU_API void __tsan_##PREFIX##write##BYTES(void* p) { CHECK(BYTES, Kind::WRITE); }
HOOKS(, 1)
HOOKS(, 2)
HOOKS(, 4)
HOOKS(, 8)
HOOKS(, 16)
HOOKS(volatile_, 1)
HOOKS(volatile_, 2)
HOOKS(volatile_, 4)
HOOKS(volatile_, 8)
HOOKS(volatile_, 16)
HOOKS(unaligned_, 2)
HOOKS(unaligned_, 4)
HOOKS(unaligned_, 8)
HOOKS(unaligned_, 16)

// A copied struct, in as many accesses as its type's alignment asks for; that it has this alignment
// -fsanitize=alignment checks (undefined.cpp).
CUEMU_API void __tsan_read_range(void* p, std::size_t bytes) { CHECK(bytes, Kind::READ, false); }
CUEMU_API void __tsan_write_range(void* p, std::size_t bytes) { CHECK(bytes, Kind::WRITE, false); }

CUEMU_API void __tsan_init() {}
CUEMU_API void __tsan_func_entry(void*) {}
CUEMU_API void __tsan_func_exit() {}
CUEMU_API void __tsan_vptr_update(void**, void*) {}
CUEMU_API void __tsan_vptr_read(void**) {}

// From the headers' models of instructions, which are not compiled with hooks.
CUEMU_API void cuemu_touch(const void* p, unsigned bytes, int write) {
    CHECK(bytes, write ? Kind::WRITE : Kind::READ);
}
CUEMU_API void cuemu_atomic_note(void* p, unsigned bytes) {
    ++cuemu::counts.atomics;
    CHECK(bytes, Kind::ATOMIC);
}
