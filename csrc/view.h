// What a kernel sees of a NumPy array: a pointer and a shape. Read-only views are In<T>, outputs Out<T>.
// Every array is C-contiguous. An optional input that the caller left out has data == nullptr.
#pragma once
#include <cstdint>

using i64 = std::int64_t;

template <class T> struct View {
    T*         data  = nullptr;
    const i64* shape = nullptr;
    int        ndim  = 0;
    i64 dim(int axis) const { return shape[axis]; }
    i64 last() const { return shape[ndim - 1]; }
    i64 size() const { i64 n = 1; for (int a = 0; a < ndim; ++a) n *= shape[a]; return n; }
    explicit operator bool() const { return data != nullptr; }
};
template <class T> using In  = View<const T>;
template <class T> using Out = View<T>;

// An image inside a compiled program, in blocked layout [n][block][h][w][16]: 16 channels side by side, the last block padded to 16.
// Samples may lie further apart than one image (`sample` values): that is how the parts of a concatenation are written in place.
// Lanes of the padding hold finite numbers without meaning; a kernel may write them but lets none reach a real channel.
constexpr int BLOCK = 16;
template <class T> struct MapView {
    T*  data = nullptr;
    i64 n = 0, blocks = 0, h = 0, w = 0, sample = 0;
    i64 plane() const { return h * w * BLOCK; }   // values of one block
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

// Three spatial axes of an image tensor (N, C, [D, [H,]] W): missing leading ones count as size 1.
struct Extent { i64 n, c, d, h, w; i64 spatial() const { return d * h * w; } };
template <class T> static inline Extent extent(const View<T>& x) {
    auto axis = [&](int from_end) { return x.ndim - from_end >= 2 ? x.shape[x.ndim - from_end] : 1; };
    return {x.shape[0], x.shape[1], axis(3), axis(2), axis(1)};
}
