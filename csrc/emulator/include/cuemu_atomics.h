// Atomic operations. Threads change only where they wait, so reading and writing is
// enough; the checker is told.
#pragma once
#include "cuemu_runtime.h"

namespace cuemu {
template <class T, class F> CUEMU_NOSAN __attribute__((noinline)) T rmw(T* p, F changed) {
    cuemu_atomic_note(p, sizeof(T));
    const T old = *p;
    *p = changed(old);
    return old;
}
template <class T> struct Same { using type = T; };
// not deduced: atomicAdd(float*, 1) is one of floats
template <class T> using same = typename Same<T>::type;
}  // namespace cuemu

#define CUEMU_ATOMIC(NAME, RESULT) \
    template <class T> CUEMU_NOSAN inline T NAME(T* p, cuemu::same<T> v) { return cuemu::rmw(p, [&](T old) CUEMU_NOSAN -> T { return RESULT; }); }
CUEMU_ATOMIC(atomicAdd, (T)(old + v))
CUEMU_ATOMIC(atomicSub, (T)(old - v))
CUEMU_ATOMIC(atomicMax, old < v ? v : old)
CUEMU_ATOMIC(atomicMin, v < old ? v : old)
CUEMU_ATOMIC(atomicExch, v)
CUEMU_ATOMIC(atomicAnd, (T)(old & v))
CUEMU_ATOMIC(atomicOr, (T)(old | v))
CUEMU_ATOMIC(atomicXor, (T)(old ^ v))
CUEMU_ATOMIC(atomicInc, old >= v ? (T)0 : (T)(old + 1))
template <class T> CUEMU_NOSAN inline T atomicCAS(T* p, cuemu::same<T> expected, cuemu::same<T> v) {
    return cuemu::rmw(p, [&](T old) CUEMU_NOSAN -> T { return old == expected ? v : old; });
}
