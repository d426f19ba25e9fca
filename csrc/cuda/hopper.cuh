// Instructions that only compute capability 9.0 has: products by a warpgroup (wgmma) and copies by
// the Tensor Memory Accelerator, with the barriers that they report to. For sm_90a alone; under the
// emulator the models of cuemu_hopper.h. PTX ISA, sections "Asynchronous Warpgroup Level Matrix
// Instructions", "mbarrier", "cp.async.bulk.tensor" and "Tensors".
//
// A tile as both know it ("128-byte swizzle"): lines of 128 bytes, 64 values, eight lines a pattern
// of 1024 bytes, in which the 16-byte piece p of line i lies at p ^ (i % 8). The pattern starts at
// a multiple of 1024 bytes, so that bits 4-6 of an address are exclusive-ored with its bits 7-9.
#pragma once
#include "ptx.cuh"
constexpr int LINE_BYTES = 128, PATTERN_BYTES = 8 * LINE_BYTES;

#ifdef CUEMU
#include "cuemu_hopper.h"
#else
typedef unsigned long long u64;

struct alignas(64) TensorMap { u64 opaque[16]; };   // the driver's CUtensorMap

// ---- barriers in shared memory

__device__ __forceinline__ void barrier_init(u64* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
                 : "memory");
}
// Makes the initial state visible to the copies; a __syncthreads() makes it so to the block.
__device__ __forceinline__ void barrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;\n\tfence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(u64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and lets the phase end only after `bytes` more have been copied.
__device__ __forceinline__ void barrier_expect(u64* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}
// Waits for the end of the phase of this parity: the first phase has 0, and before it ends that
// of 1 counts as ended.
__device__ __forceinline__ void barrier_wait(u64* barrier, int parity) {
    unsigned ended = 0;
    while (!ended)
        asm volatile("{\n\t.reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%1], "
                     "%2;\n\tselp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(ended)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
}

// ---- copies

__device__ __forceinline__ void prefetch(const TensorMap& map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
// A box of the map at (x, y, z), innermost first, to shared memory; what lies outside is zero and
// counts as copied all the same.
__device__ __forceinline__ void copy_box(void* to, const TensorMap& map, int x, int y, int z, u64* barrier) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%2, %3, %4}], [%5];" ::"r"(shared_address(to)),
                 "l"(&map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier))
                 : "memory");
}

// Pixels of an im2col map of (N, H, W, C), in the order of its bounding box from (w, h, n) on,
// channels from c on; each is read (shift_w, shift_h) further. What lies outside is zero.
__device__ __forceinline__ void copy_pixels(void* to, const TensorMap& map, int c, int w, int h, int n,
                                            int shift_w, int shift_h, u64* barrier) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(shared_address(to)),
                 "l"(&map), "r"(c), "r"(w), "r"(h), "r"(n), "r"(shared_address(barrier)), "h"((short)shift_w),
                 "h"((short)shift_h)
                 : "memory");
}

// ---- products

// Before the first product, and whenever registers of a product were written by others.
__device__ __forceinline__ void product_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void product_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int PENDING> __device__ __forceinline__ void product_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// Keeps the compiler from moving uses of sums across a fence or a wait.
template <int N> __device__ __forceinline__ void pin(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#if defined(REAL_f16)
#define HOPPER_TYPES "f32.f16.f16"
#else
#define HOPPER_TYPES "f32.bf16.bf16"
#endif
#define SUMS8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define SUMS64(i) SUMS8(i), SUMS8(i + 8), SUMS8(i + 16), SUMS8(i + 24), SUMS8(i + 32), SUMS8(i + 40), SUMS8(i + 48), SUMS8(i + 56)
#define NAMES32 \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define NAMES64                                                                                                                    \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"       \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define NAMES128                                                                                                                   \
    NAMES64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,"    \
            "%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,"  \
            "%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

// d += A B, 64 rows, 16 deep, N columns, by four warps; MN_A, MN_B: whether the tile is MN-major.
// Of d, thread t of the four warps has, with g = t % 32 / 4, rows t / 32 * 16 + g (d[4 j], d[4 j +
// 1]) and + 8 (d[4 j + 2], d[4 j + 3]), columns 8 j + t % 4 * 2 and the next.
template <int MN_A, int MN_B>
__device__ __forceinline__ void warpgroup_product(float (&d)[32], u64 a, u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16." HOPPER_TYPES " {" NAMES32
                 "}, %32, %33, 1, 1, 1, %34, %35;"
                 : SUMS8(0), SUMS8(8), SUMS8(16), SUMS8(24)
                 : "l"(a), "l"(b), "n"(MN_A), "n"(MN_B));
}
template <int MN_A, int MN_B>
__device__ __forceinline__ void warpgroup_product(float (&d)[64], u64 a, u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16." HOPPER_TYPES " {" NAMES64
                 "}, %64, %65, 1, 1, 1, %66, %67;"
                 : SUMS64(0)
                 : "l"(a), "l"(b), "n"(MN_A), "n"(MN_B));
}
template <int MN_A, int MN_B>
__device__ __forceinline__ void warpgroup_product(float (&d)[128], u64 a, u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16." HOPPER_TYPES " {" NAMES128
                 "}, %128, %129, 1, 1, 1, %130, %131;"
                 : SUMS64(0), SUMS64(64)
                 : "l"(a), "l"(b), "n"(MN_A), "n"(MN_B));
}
#endif

// "Matrix descriptor" of a swizzled tile. Bits 0-13: address; 16-29: leading dimension byte offset;
// 32-45: stride dimension byte offset, each without its last four bits; 49-51: base offset, 0 where
// patterns are aligned; 62-63: 1 for the 128-byte swizzle.
// The layouts are those of the manual's "Canonical Layouts" for 128B swizzling, ((8, m), (T, 2k)) :
// ((8T, SBO), (1, T)) and ((T, 8, m), (8, k)) : ((1, T, LBO), (8T, SBO)) with T = 8 values:
//   K-major (a line is 64 of the reduction): stride is from eight rows to the next
//   eight; leading is not used
//   MN-major (a line is 64 rows): stride is from eight of the reduction to the next eight, leading
//   from 64 rows to the next 64
__device__ __forceinline__ u64 descriptor(const void* tile, int leading, int stride) {
    return (u64)((shared_address(tile) & 0x3FFFF) >> 4) | (u64)(leading >> 4) << 16 |
           (u64)(stride >> 4) << 32 | (u64)1 << 62;
}
