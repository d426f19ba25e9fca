#pragma once   // host models of what the project's hopper.cuh wraps: mbarrier, copies by the Tensor Memory Accelerator, wgmma (PTX ISA, same names)
// One thread runs at a time, so the models choose when what is asynchronous happens, and choose the
// worst: a copy leaves NaNs when it is issued and brings its values when its barrier is waited for;
// a product is computed when its group is waited for. So what is read too early, or handed back too
// early, gives wrong results. They look at shared memory behind the checker's back, which knows no
// mbarrier; what a descriptor or a map may not be is reported.
#include "cuda_fp16.h"
#include "cuda_bf16.h"
#include <algorithm>
typedef unsigned long long u64;
struct TensorMap { u64 opaque[16]; };   // as pyops.cuda.tensor_map fills it for the emulator

namespace cuemu {
struct Mbarrier { unsigned short pending, arrivals; int bytes : 31; unsigned phase : 1; };
static_assert(sizeof(Mbarrier) == 8, "as large as the device's");
struct Copy { void* barrier; char* to; TensorMap map; int at[6]; };
struct Hopper {   // of the block that runs
    unsigned long long events = 0;
    Copy copy[64];   // in flight
    int copies = 0;
    struct Product { float* d; int columns; bool mn_a, mn_b; u64 a, b; };
    // in flight; ends: where each committed group ends
    struct Thread { Product product[64]; int products, ends[8], groups; } thread[1024];
};
inline Hopper hopper;

CUEMU_NOSAN inline void hopper_fault(const char* kind, const char* text, long long a = 0, long long b = 0) {
    char said[300];
    snprintf(said, sizeof said, text, a, b);
    cuemu_error(1, kind, said);
}
CUEMU_NOSAN inline void settle(Mbarrier& m) {
    if (m.pending == 0 && m.bytes == 0) m.pending = m.arrivals, m.phase ^= 1;
}
CUEMU_NOSAN inline __attribute__((noinline)) void barrier_arrive(void* p, int bytes) {
    Mbarrier& m = *(Mbarrier*)p;
    ++hopper.events;
    if (m.pending == 0)
        hopper_fault("mbarrier", "an arrival more than the %lld that the barrier was made for", m.arrivals);
    m.bytes += bytes, --m.pending;
    settle(m);
}

// ---- copies
// an offset in shared memory
CUEMU_NOSAN inline uintptr_t swizzled(uintptr_t offset) { return offset ^ (offset >> 7 & 7) << 4; }
constexpr int LINE = 128;
// zeros behind what is wanted
CUEMU_NOSAN inline void put_line(char* to, int line, const char* from, int wanted, bool arrived) {
    for (int i = 0; i < LINE; i += 2) {
        char* const at =
            (char*)cuemu_smem_ptr((unsigned)swizzled(cuemu_smem_offset(to) + (uintptr_t)line * LINE + i));
        if (arrived && from && i < wanted) memcpy(at, from + i, 2); else memset(at, arrived ? 0 : 0xFF, 2);
    }
}
// Line by line what a copy's place gets: NaNs, or what the map has there. numbers: see pyops.cuda.tensor_map.
CUEMU_NOSAN inline void fill_box(const Copy& c, bool arrived) {   // address, mode, item, sizes (3), box (2)
    const long long* m = (const long long*)c.map.opaque;
    const long long x = c.at[0], y = c.at[1], z = c.at[2], item = m[2];
    for (int line = 0; line < m[7]; ++line) {
        const bool there = y + line >= 0 && y + line < m[4] && z >= 0 && z < m[5] && x >= 0 && x < m[3];
        const char* from = there ? (const char*)m[0] + ((z * m[4] + y + line) * m[3] + x) * item : nullptr;
        put_line(c.to, line, from, (int)std::min(m[6], m[3] - x) * (int)item, arrived);
    }
}
// address, mode, item, sizes (C, W, H, N), lower (W, H), upper, steps, pixels, channels
CUEMU_NOSAN inline void fill_pixels(const Copy& c, bool arrived) {
    const long long* m = (const long long*)c.map.opaque;
    const long long last_w = m[4] - 1 + m[9], last_h = m[5] - 1 + m[10], item = m[2];
    long long channel = c.at[0], w = c.at[1], h = c.at[2], n = c.at[3];
    if (w < m[7] || w > last_w || (w - m[7]) % m[11])
        hopper_fault("tensor-map", "the first pixel's column %lld is none of the bounding box from %lld on",
                     w, m[7]);
    if (h < m[8] || h > last_h || (h - m[8]) % m[12])
        hopper_fault("tensor-map", "the first pixel's row %lld is none of the bounding box from %lld on", h,
                     m[8]);
    for (int line = 0; line < m[13]; ++line) {
        const long long iw = w + c.at[4], ih = h + c.at[5];
        const bool there = iw >= 0 && iw < m[4] && ih >= 0 && ih < m[5] && n >= 0 && n < m[6] &&
                           channel >= 0 && channel < m[3];
        const char* from =
            there ? (const char*)m[0] + (((n * m[5] + ih) * m[4] + iw) * m[3] + channel) * item : nullptr;
        put_line(c.to, line, from, (int)std::min(m[14], m[3] - channel) * (int)item, arrived);
        if ((w += m[11]) > last_w) {
            w = m[7];
            if ((h += m[12]) > last_h) h = m[8], ++n;
        }
    }
}
CUEMU_NOSAN inline void fill(const Copy& c, bool arrived) {
    c.map.opaque[1] == 1 ? fill_box(c, arrived) : fill_pixels(c, arrived);
}
CUEMU_NOSAN inline __attribute__((noinline)) void issue(unsigned mode, void* to, const TensorMap& map,
                                                        void* barrier, int a, int b, int c, int d, int e,
                                                        int f) {
    const int line = (int)map.opaque[2] * (int)map.opaque[mode == 1 ? 6 : 14];
    if (map.opaque[1] != mode)
        hopper_fault("tensor-map", "the map is not of the kind (tiled or im2col) that this copy takes");
    if (cuemu_smem_offset(to) % 128)
        hopper_fault("misaligned", "a copy to shared memory at %lld, no multiple of 128",
                     cuemu_smem_offset(to));
    if (line != LINE)
        hopper_fault("tensor-map", "lines of %lld bytes: the model knows those of %lld", line, LINE);
    if (hopper.copies == 64)
        hopper_fault("tensor-map", "more than %lld copies in flight: the model keeps no more", 64);
    hopper.copy[hopper.copies++] = {barrier, (char*)to, map, {a, b, c, d, e, f}};
    fill(hopper.copy[hopper.copies - 1], false);
    ++hopper.events;
}
CUEMU_NOSAN inline void deliver(void* barrier) {   // what is on its way and reports to this barrier
    int left = 0;
    for (int i = 0; i < hopper.copies; ++i) {
        const Copy& c = hopper.copy[i];
        if (c.barrier != barrier) { hopper.copy[left++] = c; continue; }
        fill(c, true);
        Mbarrier& m = *(Mbarrier*)barrier;
        m.bytes -= LINE * (int)c.map.opaque[c.map.opaque[1] == 1 ? 7 : 13];
        ++hopper.events;
        settle(m);
    }
    hopper.copies = left;
}
CUEMU_NOSAN inline __attribute__((noinline)) void barrier_wait(void* p, int parity) {
    deliver(p);
    unsigned long long seen = hopper.events;
    for (int rounds = 0; ((Mbarrier*)p)->phase == (unsigned)parity; ++rounds) {
        if (hopper.events != seen) seen = hopper.events, rounds = 0;
        if (rounds > 64)
            hopper_fault("deadlock",
                         "an mbarrier's phase of parity %lld does not end: nothing arrives any more", parity);
        cuemu_yield();
        deliver(p);
    }
}

// ---- products
template <class T> CUEMU_NOSAN inline float half_at(uintptr_t offset) {
    T v;
    memcpy(&v, cuemu_smem_ptr((unsigned)swizzled(offset)), 2);
    return (float)v;
}
// Element (row, k) of the tile that a descriptor names: the canonical layouts of the 128-byte swizzle.
template <class T> CUEMU_NOSAN inline float element(u64 d, bool mn, int row, int k) {
    const uintptr_t start = (d & 0x3FFF) << 4, leading = (d >> 16 & 0x3FFF) << 4,
                    stride = (d >> 32 & 0x3FFF) << 4;
    return half_at<T>(mn ? start + row % 64 * 2 + row / 64 * leading + k % 8 * 128 + k / 8 * stride
                         : start + row % 8 * 128 + row / 8 * stride + k * 2);
}
template <class T> CUEMU_NOSAN inline void multiply(const Hopper::Product& p) {
    if (p.a >> 62 != 1 || p.b >> 62 != 1)
        hopper_fault("wgmma", "a descriptor of a tile without the 128-byte swizzle");
    const int t = threadIdx.x % 128, g = t % 32 / 4;
    for (int half = 0; half < 2; ++half) {
        float a[16];
        for (int k = 0; k < 16; ++k) a[k] = element<T>(p.a, p.mn_a, t / 32 * 16 + g + half * 8, k);
        for (int j = 0; j < p.columns / 8; ++j)
            for (int e = 0; e < 2; ++e) {
                float& sum = p.d[4 * j + 2 * half + e];
                double products[16];
                for (int k = 0; k < 16; ++k)
                    products[k] = (double)a[k] * element<T>(p.b, p.mn_b, j * 8 + t % 4 * 2 + e, k);
                sum = tensor_sum(sum, products, 16);
            }
    }
}
CUEMU_NOSAN inline __attribute__((noinline)) void product(float* d, int columns, bool mn_a, bool mn_b, u64 a,
                                                          u64 b) {
    Hopper::Thread& t = hopper.thread[threadIdx.x];
    if (t.products == 64)
        hopper_fault("wgmma", "more than %lld products in flight: the model keeps no more", 64);
    t.product[t.products++] = {d, columns, mn_a, mn_b, a, b};
}
CUEMU_NOSAN inline __attribute__((noinline)) void product_commit() {
    Hopper::Thread& t = hopper.thread[threadIdx.x];
    if (t.groups == 8) hopper_fault("wgmma", "more than %lld groups in flight: the model keeps no more", 8);
    t.ends[t.groups++] = t.products;
}
template <class T> CUEMU_NOSAN inline __attribute__((noinline)) void finish(int pending) {
    Hopper::Thread& t = hopper.thread[threadIdx.x];
    const int done = t.groups - pending, count = done > 0 ? t.ends[done - 1] : 0;
    if (done <= 0) return;
    for (int i = 0; i < count; ++i) multiply<T>(t.product[i]);
    for (int i = count; i < t.products; ++i) t.product[i - count] = t.product[i];
    for (int i = done; i < t.groups; ++i) t.ends[i - done] = t.ends[i] - count;
    t.products -= count, t.groups -= done;
}
// .sync.aligned: no lane goes on before all of its warp have come, and what they waited for is done
template <class T> inline void product_wait(int pending, const char* file, int line) {
    finish<T>(pending);
    int x = 0;
    cuemu_warp_collective(0xffffffffu, &x, nop_fn, "wgmma.wait_group", file, line);
}
CUEMU_NOSAN inline void barrier_init(void* barrier, int arrivals) {
    *(Mbarrier*)barrier = {(unsigned short)arrivals, (unsigned short)arrivals, 0, 0};
    for (Hopper::Thread& t : hopper.thread) t.products = t.groups = 0;   // a new block
    hopper.copies = 0;
}
}

#if defined(REAL_f16)
typedef __half cuemu_operand;
#else
typedef __nv_bfloat16 cuemu_operand;
#endif
static inline unsigned shared_address(const void* p) { return cuemu_smem_offset(p); }
static inline void barrier_init(u64* barrier, int arrivals) { cuemu::barrier_init(barrier, arrivals); }
static inline void barrier_init_fence() {}
static inline void barrier_arrive(u64* barrier) { cuemu::barrier_arrive(barrier, 0); }
static inline void barrier_expect(u64* barrier, int bytes) { cuemu::barrier_arrive(barrier, bytes); }
static inline void barrier_wait(u64* barrier, int parity) { cuemu::barrier_wait(barrier, parity); }
static inline void prefetch(const TensorMap&) {}
static inline void copy_box(void* to, const TensorMap& map, int x, int y, int z, u64* barrier) {
    cuemu::issue(1, to, map, barrier, x, y, z, 0, 0, 0);
}
static inline void copy_pixels(void* to, const TensorMap& map, int c, int w, int h, int n, int shift_w,
                               int shift_h, u64* barrier) {
    cuemu::issue(2, to, map, barrier, c, w, h, n, shift_w, shift_h);
}
static inline void product_fence() {}
static inline void product_commit() { cuemu::product_commit(); }
template <int PENDING> inline void product_wait(CUEMU_LOC) {
    cuemu::product_wait<cuemu_operand>(PENDING, f_, l_);
}
template <int N> inline void pin(float (&)[N]) {}
template <int MN_A, int MN_B, int N> inline void warpgroup_product(float (&d)[N], u64 a, u64 b) {
    cuemu::product(d, 2 * N, MN_A, MN_B, a, b);
}
