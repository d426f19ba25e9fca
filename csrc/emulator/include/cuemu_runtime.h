// What the runtime offers kernels and the models in these headers; barriers, fences and clocks.
#pragma once
#include "cuemu_language.h"

typedef void (*cuemu_warp_fn)(void** lane_args, unsigned present, unsigned mask);

// vote: 0 none, 1 count, 2 and, 3 or
CUEMU_API int cuemu_block_barrier(int vote, int predicate, const char* file, int line);
CUEMU_API void cuemu_warp_collective(unsigned mask, void* arg, cuemu_warp_fn model, const char* what,
                                     const char* file, int line);
CUEMU_API unsigned cuemu_lane();
CUEMU_API unsigned cuemu_activemask();
CUEMU_API void cuemu_yield();                                          // lets the other threads run
CUEMU_API void cuemu_error(int fatal, const char* kind, const char* message);

// a model's access, to be checked as one of the kernel's
CUEMU_API void cuemu_touch(const void* p, unsigned bytes, int write);
CUEMU_API void cuemu_atomic_note(void* p, unsigned bytes);

CUEMU_API void* cuemu_dyn_smem();
CUEMU_API unsigned cuemu_smem_offset(const void* p);
CUEMU_API void* cuemu_smem_ptr(unsigned offset);
CUEMU_API void cuemu_cp_async(void* to, const void* from, unsigned bytes, unsigned read);
CUEMU_API void cuemu_cp_async_commit();
CUEMU_API void cuemu_cp_async_wait(int most_pending);

CUEMU_API long long cuemu_clock();

// Last parameters of what threads wait in: where it was called
#define CUEMU_LOC const char *f_ = __builtin_FILE(), int l_ = __builtin_LINE()

static inline void __syncthreads(CUEMU_LOC) { cuemu_block_barrier(0, 0, f_, l_); }
static inline int __syncthreads_count(int p, CUEMU_LOC) { return cuemu_block_barrier(1, p, f_, l_); }
static inline int __syncthreads_and(int p, CUEMU_LOC) { return cuemu_block_barrier(2, p, f_, l_); }
static inline int __syncthreads_or(int p, CUEMU_LOC) { return cuemu_block_barrier(3, p, f_, l_); }

static inline void __threadfence() { asm volatile("" ::: "memory"); }
static inline void __threadfence_block() { asm volatile("" ::: "memory"); }
static inline void __threadfence_system() { asm volatile("" ::: "memory"); }

static inline long long clock64() { return cuemu_clock(); }
static inline int clock() { return (int)cuemu_clock(); }
static inline void __nanosleep(unsigned) {}
static inline void __trap() { cuemu_error(1, "trap", "__trap() executed"); }
static inline size_t __cvta_generic_to_shared(const void* p) { return cuemu_smem_offset(p); }
