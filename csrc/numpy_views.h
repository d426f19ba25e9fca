// NumPy arrays as the views that kernels take: pybind11's casters for In, Out, InMap, OutMap and Dims. They refuse what would be unsafe to
// dereference, and never convert or copy.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include "view.h"
namespace py = pybind11;

namespace {
template <class T> constexpr int type_number();
template <> constexpr int type_number<float>() { return py::detail::npy_api::NPY_FLOAT_; }
template <> constexpr int type_number<double>() { return py::detail::npy_api::NPY_DOUBLE_; }
template <> constexpr int type_number<i64>() { return py::detail::npy_api::NPY_LONG_; }
template <> constexpr int type_number<std::uint8_t>() { return py::detail::npy_api::NPY_UBYTE_; }

using ArrayFields = py::detail::PyArray_Proxy;
constexpr int C_CONTIGUOUS = 0x0001, ALIGNED = 0x0100, WRITEABLE = 0x0400;

bool is_array(py::handle h) { return py::detail::npy_api::get().PyArray_Check_(h.ptr()); }
const ArrayFields* fields(py::handle h) { return reinterpret_cast<const ArrayFields*>(h.ptr()); }
int  type_of(py::handle h) { return py::reinterpret_borrow<py::dtype>(fields(h)->descr).num(); }
[[maybe_unused]] bool is_native(py::handle h) {
    const char order = py::reinterpret_borrow<py::dtype>(fields(h)->descr).byteorder();
    return order == '=' || order == '|';
}
}  // namespace

namespace pybind11::detail {
template <class T> struct type_caster<View<T>> {
    PYBIND11_TYPE_CASTER(View<T>, const_name("numpy.ndarray"));
    bool load(handle src, bool) {
        if (src.is_none()) return std::is_const_v<T>;
        if (!is_array(src)) return false;
        const auto* a = fields(src);
        const int wanted = C_CONTIGUOUS | ALIGNED | (std::is_const_v<T> ? 0 : WRITEABLE);
        if (type_of(src) != type_number<std::remove_const_t<T>>() || (a->flags & wanted) != wanted) return false;
        value = {reinterpret_cast<T*>(a->data), reinterpret_cast<const i64*>(a->dimensions), a->nd};
        return true;
    }
};
template <class T> struct type_caster<MapView<T>> {   // (n, blocks, h, w, 16), one image contiguous
    PYBIND11_TYPE_CASTER(MapView<T>, const_name("numpy.ndarray"));
    bool load(handle src, bool) {
        if (src.is_none()) return std::is_const_v<T>;
        if (!is_array(src)) return false;
        const auto* a = fields(src);
        const int wanted = ALIGNED | (std::is_const_v<T> ? 0 : WRITEABLE);
        if (type_of(src) != type_number<std::remove_const_t<T>>() || (a->flags & wanted) != wanted || a->nd != 5) return false;
        i64 expected = sizeof(T);
        for (int axis = 4; axis > 0; --axis) {
            if (a->strides[axis] != expected && a->dimensions[axis] > 1) return false;
            expected *= a->dimensions[axis];
        }
        if (a->dimensions[4] != BLOCK || a->strides[0] % i64(sizeof(T))) return false;
        value = {reinterpret_cast<T*>(a->data), a->dimensions[0], a->dimensions[1], a->dimensions[2], a->dimensions[3], a->strides[0] / i64(sizeof(T))};
        return true;
    }
};
template <> struct type_caster<Dims> {
    PYBIND11_TYPE_CASTER(Dims, const_name("tuple[int, ...]"));
    bool load(handle src, bool) {
        if (!PyTuple_Check(src.ptr()) || PyTuple_GET_SIZE(src.ptr()) > 8) return false;
        value.n = (int)PyTuple_GET_SIZE(src.ptr());
        for (int i = 0; i < value.n; ++i) {
            value.v[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(src.ptr(), i));
            if (value.v[i] == -1 && PyErr_Occurred()) { PyErr_Clear(); return false; }
        }
        return true;
    }
};
}  // namespace pybind11::detail
