// A warp's lanes run one after the other here; their k-th accesses by one instruction are taken for
// one request, as they are where lanes stay together. What a barrier parts is counted apart.
#include "traffic.h"
#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

namespace cuemu {
namespace {
constexpr unsigned SECTOR = 32, BANKS = 32, BANK_WIDTH = 4, WIDEST_ACCESS = 16;   // bytes, but for BANKS

struct Instruction {
    Space space;
    bool write;
    unsigned bytes;   // a thread
    std::uint64_t requests = 0, threads = 0, moved = 0, transactions = 0, fewest = 0;
};
using Lanes = std::array<std::vector<std::uintptr_t>, WARP>;   // addresses, in the order of the accesses

// An asynchronous copy reads and writes at one pc: the key is that, and in the last bit whether it writes.
std::unordered_map<std::uintptr_t, Instruction> instructions;
std::vector<std::unordered_map<std::uintptr_t, Lanes>> logs;            // by warp, then key

void count_sectors(Instruction& total, const std::vector<std::uintptr_t>& addresses) {
    std::set<std::uintptr_t> sectors;
    for (std::uintptr_t a : addresses)
        for (std::uintptr_t s = a / SECTOR; s <= (a + total.bytes - 1) / SECTOR; ++s) sectors.insert(s);
    const std::set<std::uintptr_t> different(addresses.begin(), addresses.end());
    total.transactions += sectors.size();
    total.fewest += (different.size() * total.bytes + SECTOR - 1) / SECTOR;
}

// Wide accesses go in groups of lanes that fill the banks once: 16 bytes a quarter of a warp at
// a time, 8 bytes half.
void count_bank_passes(Instruction& total, const std::vector<std::uintptr_t>& addresses) {
    const std::size_t words = std::max(1u, total.bytes / BANK_WIDTH), group = WARP / words;
    for (std::size_t first = 0; first < addresses.size(); first += group) {
        std::map<std::uintptr_t, std::set<std::uintptr_t>> banks;
        std::set<std::uintptr_t> different;
        for (std::size_t i = first; i < std::min(addresses.size(), first + group); ++i)
            for (std::size_t k = 0; k < words; ++k) {
                const std::uintptr_t word = addresses[i] / BANK_WIDTH + k;
                banks[word % BANKS].insert(word);
                different.insert(word);
            }
        std::size_t passes = 1;
        for (const auto& [bank, in_it] : banks) passes = std::max(passes, in_it.size());
        total.transactions += passes;
        total.fewest += (different.size() + BANKS - 1) / BANKS;
    }
}
}  // namespace

void log_access(const Thread& thread, std::uintptr_t address, std::size_t bytes, bool write, Space space,
                std::uintptr_t pc) {
    // a struct moves in as many accesses as its alignment asks for; its address tells what that is
    const std::uintptr_t part =
        std::min<std::uintptr_t>(WIDEST_ACCESS, (address | bytes) & -(address | bytes));
    const std::uintptr_t key = pc << 1 | (write ? 1 : 0);
    instructions.try_emplace(key, Instruction{space, write, static_cast<unsigned>(part)});
    if (logs.size() <= static_cast<std::size_t>(thread.warp)) logs.resize(thread.warp + 1);
    std::vector<std::uintptr_t>& lane = logs[thread.warp][key][thread.lane];
    for (std::size_t i = 0; i < bytes; i += part) lane.push_back(address + i);
}

void count_requests(int warp) {
    if (logs.size() <= static_cast<std::size_t>(warp)) return;
    for (const auto& [key, lanes] : logs[warp]) {
        Instruction& total = instructions.at(key);
        for (std::size_t k = 0;; ++k) {
            std::vector<std::uintptr_t> addresses;
            bool more = false;
            for (const auto& lane : lanes) {
                if (k >= lane.size()) continue;
                more = true;
                if (lane[k]) addresses.push_back(lane[k]);
            }
            if (!more) break;
            if (addresses.empty()) continue;
            ++total.requests;
            total.threads += addresses.size();
            total.moved += addresses.size() * total.bytes;
            total.space == Space::GLOBAL ? count_sectors(total, addresses)
                                         : count_bank_passes(total, addresses);
        }
    }
    logs[warp].clear();
}

void clear_traffic() {
    instructions.clear();
    logs.clear();
}

std::string traffic_lines() {
    using ull = unsigned long long;
    std::string lines;
    for (const auto& [key, t] : instructions) {
        char line[300];
        std::snprintf(line, sizeof line, "0x%llx\t%s\t%s\t%u\t%llu\t%llu\t%llu\t%llu\t%llu\n",
                      ull(offset_of(key >> 1)), name_of(t.space), t.write ? "store" : "load", t.bytes,
                      ull(t.requests), ull(t.threads), ull(t.moved), ull(t.transactions), ull(t.fewest));
        lines += line;
    }
    return lines;
}
}  // namespace cuemu
