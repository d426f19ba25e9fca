// What a kernel sees of a NumPy array: a pointer and a shape. Read-only views are In<T>, outputs
// Out<T>; InAny and OutAny are of whatever element type the array has.
// Every array is C-contiguous. An optional input that the caller left out has data == nullptr.
#pragma once
#include <cstdint>

using i64 = std::int64_t;

// a b, or -1 where that is no size: a factor is negative, or the product is beyond 63 bits.
static inline i64 times(i64 a, i64 b) {
    i64 product;
    return a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product) ? -1 : product;
}

template <class T> struct View {
    T*         data  = nullptr;
    const i64* shape = nullptr;
    int        ndim  = 0;
    i64 dim(int axis) const { return shape[axis]; }
    i64 last() const { return shape[ndim - 1]; }
    i64 size() const { i64 n = 1; for (int a = 0; a < ndim; ++a) n = times(n, shape[a]); return n; }
    i64 bytes() const { return times(size(), sizeof(T)); }   // -1: no array has this shape
    explicit operator bool() const { return data != nullptr; }
};
template <class T> using In  = View<const T>;
template <class T> using Out = View<T>;

// Types of elements: ELEMENT(NAME, NumPy's name, bytes). ANY is what a parameter may ask for.
enum class Element : unsigned char {
    NONE,
#define ELEMENT(NAME, name, bytes) NAME,
#include "elements.inc"
#undef ELEMENT
    ANY
};
constexpr int ELEMENT_BYTES[] = {0,
#define ELEMENT(NAME, name, bytes) bytes,
#include "elements.inc"
#undef ELEMENT
};
constexpr i64 size_of(Element e) { return ELEMENT_BYTES[int(e)]; }

struct AnyView {   // begins as a View does
    void*      data  = nullptr;
    const i64* shape = nullptr;
    int        ndim  = 0;
    Element    element = Element::NONE;
    i64 dim(int axis) const { return shape[axis]; }
    i64 size() const { i64 n = 1; for (int a = 0; a < ndim; ++a) n = times(n, shape[a]); return n; }
    i64 bytes() const { return times(size(), size_of(element)); }
    template <class T> T* as() const { return static_cast<T*>(data); }
};
struct InAny : AnyView {};
struct OutAny : AnyView {};

// A value that another thread may write meanwhile, as an index array of the caller's may be: read
// once, so that what was checked is what is used.
static inline i64 read_once(const i64* p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }

// An image inside a compiled program, in blocked layout [n][block][h][w][16]: 16 channels side by
// side, the last block padded to 16. Samples may lie further apart than one image (`sample`
// values): that is how the parts of a concatenation are written in place. Lanes of the padding hold
// finite numbers without meaning; a kernel may write them but lets none reach a real channel.
constexpr int BLOCK = 16;
template <class T> struct MapView {
    T*  data = nullptr;
    i64 n = 0, blocks = 0, h = 0, w = 0, sample = 0;
    i64 plane() const { return h * w * BLOCK; }   // values of one block
    i64 bytes() const {   // from the first value to the last; -1: no map has these sizes
        const i64 image = times(times(times(blocks, h), w), BLOCK), before = n > 0 ? times(n - 1, sample) : 0;
        return image < 0 || before < 0 ? -1 : n > 0 ? times(before + image, sizeof(T)) : 0;
    }
    T*  at(i64 sample_index, i64 block) const { return data + sample_index * sample + block * plane(); }
    explicit operator bool() const { return data != nullptr; }
};
template <class T> using InMap  = MapView<const T>;
template <class T> using OutMap = MapView<T>;

// Up to eight integers handed over as a Python tuple: strides, paddings, a broadcast shape.
struct Dims {
    i64 v[8] = {};
    int n    = 0;
    i64 operator[](int i) const { return v[i]; }
};

// How a window lies on the spatial axes: Python's tuple (kernel, stride, padding, dilation) of such tuples.
struct Window { Dims kernel, stride, padding, dilation; };

// What is applied to a result before it is stored: Python's tuple (name, a, b), the numbers as
// kernels/blocked/epilogue.h says.
enum class Activation : i64 {
#define ACTIVATION(NAME, name, value) NAME,
#include "activations.inc"
#undef ACTIVATION
};
struct Act { Activation kind; double a, b; };

// Three spatial axes of an image tensor (N, C, [D, [H,]] W): missing leading ones count as size 1.
struct Extent { i64 n, c, d, h, w; i64 spatial() const { return d * h * w; } };
template <class T> static inline Extent extent(const View<T>& x) {
    auto axis = [&](int from_end) { return x.ndim - from_end >= 2 ? x.shape[x.ndim - from_end] : 1; };
    return {x.shape[0], x.shape[1], axis(3), axis(2), axis(1)};
}
