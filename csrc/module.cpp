// With program.cpp the only file that knows about Python. For each instruction set and element type a submodule, e.g. _C.avx512.f32, holds
// one function per row of kernels.inc (and for float of program.inc). Kernels run without the GIL. Arrays arrive checked, contiguous and
// allocated (pyops/core/dispatch.py); numpy_views.h only refuses what would be unsafe to dereference, and never converts or copies.
#include <pthread.h>
#include "numpy_views.h"
#include "team.h"
#include "without_gil.h"

void bind_program(py::module_& m);
void bind_pool(py::module_& m);

int  pyops_threads      = 1;
__thread int pyops_run_threads = 0;
bool pyops_winograd     = true;

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
using without_gil = py::call_guard<WithoutGil>;
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
    static PyObject* const names[2] = {PyUnicode_InternFromString("f32"), PyUnicode_InternFromString("f64")};   // never given back
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
    return py::reinterpret_borrow<py::object>(names[real == type_number<double>()]);
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
    m.def("set_winograd", [](bool allowed) { pyops_winograd = allowed; });
    m.def("get_winograd", [] { return pyops_winograd; });
    m.def("get_num_threads", [] { return pyops_threads; });
    bind_program(m);
    bind_pool(m);
    pthread_atfork(nullptr, nullptr, pyops_team_after_fork);
}
