// What is reduced: how an x enters (p: a value per output, e: one for all), how two results join,
// what the joined one becomes.
#pragma once
#include "reduce.cuh"

struct Plain {
    static __device__ __forceinline__ acc map(acc x, acc, acc) { return x; }
    static __device__ __forceinline__ acc finish(acc total, acc, acc) { return total; }
};
struct Product : Plain {
    static __device__ __forceinline__ acc none() { return 1; }
    static __device__ __forceinline__ acc join(acc a, acc b) { return a * b; }
};
struct ProductOfNonzero : Product {
    static __device__ __forceinline__ acc map(acc x, acc, acc) { return x == 0 ? acc(1) : x; }
};
struct Largest : Max, Plain {};    // a NaN wins
struct Smallest : Min, Plain {};
struct Total : Sum, Plain {
    static __device__ __forceinline__ acc finish(acc total, acc, acc scale) { return total * scale; }
};
struct SquaresAbout : Total {
    static __device__ __forceinline__ acc map(acc x, acc mean, acc) { return (x - mean) * (x - mean); }
};
// what rounding a mean took off
struct About : Total { static __device__ __forceinline__ acc map(acc x, acc mean, acc) { return x - mean; } };
struct CountEqual : Sum, Plain {
    static __device__ __forceinline__ acc map(acc x, acc p, acc) { return x == p ? acc(1) : acc(0); }
};
struct CountNonzero : Sum, Plain {
    static __device__ __forceinline__ acc map(acc x, acc, acc) { return x != 0 ? acc(1) : acc(0); }
};
struct SumAbs : Sum, Plain { static __device__ __forceinline__ acc map(acc x, acc, acc) { return fabs(x); } };
struct EuclideanNorm : Sum {
    static __device__ __forceinline__ acc map(acc x, acc, acc) { return x * x; }
    static __device__ __forceinline__ acc finish(acc total, acc, acc) { return sqrt(total); }
};
struct PowerNorm : Sum {
    static __device__ __forceinline__ acc map(acc x, acc, acc p) { return pow(fabs(x), p); }
    static __device__ __forceinline__ acc finish(acc total, acc, acc p) { return pow(total, 1 / p); }
};
struct LogSumExp : Sum {   // an infinite peak is left out, so that the sum is 0 or infinite
    static __device__ __forceinline__ acc finite(acc peak) {
        return fabs(peak) == infinity() ? acc(0) : peak;
    }
    static __device__ __forceinline__ acc map(acc x, acc peak, acc) { return exp(x - finite(peak)); }
    static __device__ __forceinline__ acc finish(acc total, acc peak, acc) {
        return log(total) + finite(peak);
    }
};
