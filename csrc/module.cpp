// The only file that knows about Python. For each instruction set and element type a submodule, e.g. _C.avx512.f32, holds one
// function per row of kernels.inc (and for float of program.inc). Kernels run without the GIL. Arrays arrive checked, contiguous and allocated (pyops/dispatch.py);
// this file only refuses what would be unsafe to dereference, and never converts or copies.
#include <omp.h>
#include <pthread.h>
#include <cstdio>
#include <cstdlib>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include "view.h"
namespace py = pybind11;

int  pyops_threads      = 1;
bool pyops_forked_child = false;

// ---- scratch.h: a thread's blocks are a stack, since scopes nest. What does not fit into the kept block is allocated for its scope, and the
// block grows to the thread's greatest need once nothing is in use.
namespace {
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t MOST_KEPT = 0;   // every block its own allocation, so that the sanitizer sees its ends
#else
constexpr std::size_t MOST_KEPT = 64u << 20;
#endif
struct Workspace {
    char*       block = nullptr;
    std::size_t size = 0, used = 0, outside = 0, most = 0;
    ~Workspace() { std::free(block); }
};
thread_local Workspace workspace;
}  // namespace

void* pyops_take_scratch(std::size_t bytes) {
    Workspace& w = workspace;
    if (w.used == 0 && w.outside == 0 && w.most > w.size && w.size < MOST_KEPT) {
        std::free(w.block);
        w.size  = w.most < MOST_KEPT ? w.most : MOST_KEPT;
        w.block = (char*)std::aligned_alloc(64, w.size);
        if (!w.block) w.size = 0;
    }
    const std::size_t need = w.used + w.outside + bytes;
    if (need > w.most) w.most = need;
    if (w.block && bytes <= w.size - w.used) {
        w.used += bytes;
        return w.block + (w.used - bytes);
    }
    void* p = std::aligned_alloc(64, bytes);
    if (!p) {
        std::fprintf(stderr, "pyops: no memory for %zu bytes of workspace\n", bytes);
        std::abort();
    }
    w.outside += bytes;
    return p;
}

void pyops_give_scratch(void* p, std::size_t bytes) {
    Workspace& w = workspace;
    if (w.block && p >= w.block && p < w.block + w.size) {
        w.used -= bytes;
    } else {
        w.outside -= bytes;
        std::free(p);
    }
}

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
bool is_native(py::handle h) {
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

// ---- kernels, declared and bound once per instruction set and element type
#define KERNEL(name, signature) void name signature;
#define DECLARE_BEGIN(isa, tag, ctype) namespace isa::tag { using real = ctype;
#define DECLARE_END }
#if defined(HAVE_avx512)
DECLARE_BEGIN(avx512, f32, float)
#include "kernels.inc"
#include "program.inc"
DECLARE_END
DECLARE_BEGIN(avx512, f64, double)
#include "kernels.inc"
DECLARE_END
#endif
#if defined(HAVE_avx2)
DECLARE_BEGIN(avx2, f32, float)
#include "kernels.inc"
#include "program.inc"
DECLARE_END
DECLARE_BEGIN(avx2, f64, double)
#include "kernels.inc"
DECLARE_END
#endif
#if defined(HAVE_scalar)
DECLARE_BEGIN(scalar, f32, float)
#include "kernels.inc"
#include "program.inc"
DECLARE_END
DECLARE_BEGIN(scalar, f64, double)
#include "kernels.inc"
DECLARE_END
#endif
#if defined(HAVE_neon)
DECLARE_BEGIN(neon, f32, float)
#include "kernels.inc"
#include "program.inc"
DECLARE_END
DECLARE_BEGIN(neon, f64, double)
#include "kernels.inc"
DECLARE_END
#endif
#undef KERNEL

namespace {
using without_gil = py::call_guard<py::gil_scoped_release>;
#define KERNEL(name, signature) m.def(#name, &KERNELS::name, without_gil());
#if defined(HAVE_avx512)
#define KERNELS avx512::f32
void bind_avx512_f32(py::module_ m) {
#include "kernels.inc"
#include "program.inc"
}
#undef KERNELS
#define KERNELS avx512::f64
void bind_avx512_f64(py::module_ m) {
#include "kernels.inc"
}
#undef KERNELS
#endif
#if defined(HAVE_avx2)
#define KERNELS avx2::f32
void bind_avx2_f32(py::module_ m) {
#include "kernels.inc"
#include "program.inc"
}
#undef KERNELS
#define KERNELS avx2::f64
void bind_avx2_f64(py::module_ m) {
#include "kernels.inc"
}
#undef KERNELS
#endif
#if defined(HAVE_scalar)
#define KERNELS scalar::f32
void bind_scalar_f32(py::module_ m) {
#include "kernels.inc"
#include "program.inc"
}
#undef KERNELS
#define KERNELS scalar::f64
void bind_scalar_f64(py::module_ m) {
#include "kernels.inc"
}
#undef KERNELS
#endif
#if defined(HAVE_neon)
#define KERNELS neon::f32
void bind_neon_f32(py::module_ m) {
#include "kernels.inc"
#include "program.inc"
}
#undef KERNELS
#define KERNELS neon::f64
void bind_neon_f64(py::module_ m) {
#include "kernels.inc"
}
#undef KERNELS
#endif
#undef KERNEL

// The element type ("f32", "f64") if every input is a plain, native, aligned, C-contiguous array of the kind its letter in `kinds`
// asks for, else None. r: real; o: real or None; i: int64; j: int64 or None; * repeats the letter before it. At least one real; all of
// one type.
py::object probe(py::tuple inputs, const char* kinds) {
    static PyTypeObject* ndarray = (PyTypeObject*)py::module_::import("numpy").attr("ndarray").ptr();
    static py::object names[2] = {py::str("f32"), py::str("f64")};
    int  real = 0;
    char kind = 0;
    for (py::ssize_t k = 0; k < PyTuple_GET_SIZE(inputs.ptr()); ++k) {
        py::handle h = PyTuple_GET_ITEM(inputs.ptr(), k);
        if (*kinds != '*') kind = *kinds++;
        if (kind == 0) return py::none();
        if (h.is_none() && (kind == 'o' || kind == 'j')) continue;
        if (Py_TYPE(h.ptr()) != ndarray) return py::none();
        const int flags = fields(h)->flags, wanted = C_CONTIGUOUS | ALIGNED, type = type_of(h);
        if ((flags & wanted) != wanted || !is_native(h)) return py::none();
        if (kind == 'i' || kind == 'j') {
            if (type != type_number<i64>()) return py::none();
        } else {
            if (type != type_number<float>() && type != type_number<double>()) return py::none();
            if (real && real != type) return py::none();
            real = type;
        }
    }
    if (!real) return py::none();
    return names[real == type_number<double>()];
}
}  // namespace

PYBIND11_MODULE(_C, m, py::mod_gil_not_used()) {
    py::dict cpu;     // instruction set -> whether this CPU has it
    py::list built;   // instruction sets this build holds
#if defined(__x86_64__)
    __builtin_cpu_init();
    cpu["avx512"] = bool(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"));
    cpu["avx2"]   = bool(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"));
    cpu["neon"]   = false;
#else
    cpu["avx512"] = cpu["avx2"] = false;
#if defined(__aarch64__)
    cpu["neon"] = true;
#else
    cpu["neon"] = false;
#endif
#endif
    cpu["scalar"] = true;
#define BIND(isa) built.append(#isa); if (cpu[#isa].cast<bool>()) { auto sub = m.def_submodule(#isa); bind_##isa##_f32(sub.def_submodule("f32")); bind_##isa##_f64(sub.def_submodule("f64")); }
#if defined(HAVE_avx512)
    BIND(avx512)
#endif
#if defined(HAVE_avx2)
    BIND(avx2)
#endif
#if defined(HAVE_neon)
    BIND(neon)
#endif
#if defined(HAVE_scalar)
    BIND(scalar)
#endif
    m.attr("built") = py::tuple(built);
    m.attr("cpu")   = cpu;
    m.def("probe", &probe, "The element type shared by inputs ready for a kernel, or None.");
    m.def("set_num_threads", [](int n) { pyops_threads = n; });
    m.def("get_num_threads", [] { return pyops_threads; });
    pthread_atfork(nullptr, nullptr, [] { pyops_forked_child = true; });
}
