// The loop of the convolutions that are matrix products: over slices [begin, end) of a reduction,
// with two buffers in shared memory.
#pragma once
#include "ptx.cuh"

// While one slice is multiplied the next is on its way: fetch(slice, slot) asks for it, by
// asynchronous copies into the buffer or by loads into registers, which store(slot) puts there once
// the product is done; add(slot) multiplies what a buffer holds.
template <class Fetch, class Store, class Add>
__device__ __forceinline__ void double_buffered(int begin, int end, Fetch fetch, Store store, Add add) {
    // from the slice before the first on, so that the code of a fetch, which is long, stands here once
#pragma unroll 1
    for (int slice = begin - 1, slot = 1; slice < end; ++slice, slot ^= 1) {
        const bool more = slice + 1 < end;
        if (more) {
            fetch(slice + 1, slot ^ 1);
            cp_async_commit();
        }
        if (slice >= begin) add(slot);
        if (more) store(slot ^ 1);
        cp_async_wait<0>();
        __syncthreads();
    }
}

// One value of 4 or 8 bytes, zero if it is not wanted; `global` must be a valid address all the same.
template <class T> __device__ __forceinline__ void cp_async_value(T* shared, const T* global, bool wanted) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "16-bit values go through registers");
    if (sizeof(T) == 4) cp_async4(shared, global, wanted);
    else cp_async8(shared, global, wanted);
}
