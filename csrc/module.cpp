// The extension. For each instruction set and element type a submodule, e.g. _C.avx512.f32, holds
// one function per row of kernels.inc (and for float of program.inc). Arrays arrive checked,
// contiguous and allocated (pyops/core/dispatch.py).
#include <pthread.h>
#include <utility>
#include "arguments.h"
#include "isas.h"
#include "kernel_call.h"
#include "op_call.h"
#include "tape_call.h"
#include "team.h"

void bind_program(py::module_& m);
void bind_pool(py::module_& m);
void bind_ready_inputs(py::module_& m);
void bind_watched_maps(py::module_& m);

int  pyops_threads      = 1;
__thread int pyops_run_threads = 0;
bool pyops_winograd     = true;
__thread bool pyops_by_sample = false;

namespace {
void bind(py::module_ m, const Row* rows, const char* isa) {
    for (const Row* r = rows; r->name; ++r) m.attr(r->name) = function_of(*r, isa);
}
}  // namespace

PYBIND11_MODULE(_C, m, py::mod_gil_not_used()) {
    py::dict cpu;          // instruction set -> whether this CPU has it
    py::list isas, built;  // all, best first, and those that this build holds
    py::dict only;         // kernel -> the one instruction set that has it
    for (const Isa& isa : all_isas()) {
        isas.append(isa.name);
        cpu[isa.name] = isa.runs;
        if (!isa.f32) continue;
        built.append(isa.name);
        for (const Row* r = isa.f32; r->name; ++r) if (r->only) only[r->name] = r->only;
        if (!isa.runs) continue;
        auto set = m.def_submodule(isa.name);
        bind(set.def_submodule("f32"), isa.f32, isa.name);
        bind(set.def_submodule("f64"), isa.f64, isa.name);
    }
    m.attr("ISAS")  = py::tuple(isas);
    m.attr("only")  = only;
    m.attr("activations") = activations();
    m.attr("built") = py::tuple(built);
    m.attr("cpu")   = cpu;
#if defined(__x86_64__)   // what kernels of avx512 use where it is there (kernels/quantised/tile.h)
    m.attr("vnni")  = py::bool_(__builtin_cpu_supports("avx512vnni"));
#else
    m.attr("vnni")  = py::bool_(false);
#endif
    m.def("set_num_threads", [](int n) { __atomic_store_n(&pyops_threads, n, __ATOMIC_RELAXED); });
    m.def("set_winograd", [](bool allowed) { __atomic_store_n(&pyops_winograd, allowed, __ATOMIC_RELAXED); });
    m.def("get_winograd", [] { return __atomic_load_n(&pyops_winograd, __ATOMIC_RELAXED); });
    m.def("get_num_threads", [] { return __atomic_load_n(&pyops_threads, __ATOMIC_RELAXED); });
    // Of this thread: whether algorithms are chosen as for one sample, whatever the batch. Returns what was.
    m.def("choose_by_sample", [](bool now) { return std::exchange(pyops_by_sample, now); });
    bind_op_call(m);
    bind_tape_call(m);
    bind_pointwise_call(m);
    bind_join_call(m);
    bind_program(m);
    bind_pool(m);
    bind_ready_inputs(m);
    bind_watched_maps(m);
    pthread_atfork(nullptr, nullptr, pyops_team_after_fork);
}
