// Program: kernel calls bound to their arguments once, and run in one call without the GIL and without allocating.
//
// An array argument is a constant (a NumPy array that the program keeps alive) or a place: (space, index, byte offset, shape, sample), where
// space says whether it lies in the arena, in input `index` or in output `index` of a run. Two threads may run one program at once:
// each takes a workspace of its own, an arena and a copy of the calls with their pointers resolved.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>
#include <sys/mman.h>
#include <pybind11/stl.h>
#include "numpy_views.h"
#include "without_gil.h"

extern __thread int pyops_run_threads;   // parallel.h: threads of the program running in this thread, 0 outside of one

namespace {
enum Space : int { CONSTANT = -1, ARENA = 0, INPUT = 1, OUTPUT = 2 };

struct Place { int space = CONSTANT, index = 0; i64 offset = 0; };

struct Bases {
    char*              arena;
    std::vector<char*> inputs, outputs;
    char* at(const Place& p) const { return (p.space == ARENA ? arena : p.space == INPUT ? inputs[p.index] : outputs[p.index]) + p.offset; }
};

struct Call {
    bool external = false;   // it touches an input or output, whose pointers differ from run to run
    virtual ~Call() = default;
    virtual void run() = 0;
    virtual void resolve(const Bases&) = 0;
    virtual std::unique_ptr<Call> clone() const = 0;
};

// What binding one call needs besides its arguments
struct Binder {
    std::vector<py::object>& constants;
    std::size_t arena;                                       // sizes of what places lie in
    const std::vector<std::size_t>&inputs, &outputs;
    std::vector<std::shared_ptr<std::vector<i64>>> shapes;   // of views; kept by the call
    const char* kernel;
    int position = 0;
    [[noreturn]] void refuse(const char* wanted) const {
        throw py::type_error(std::string("program: argument ") + std::to_string(position) + " of " + kernel + " must be " + wanted);
    }
};

// Refuses a place of `bytes` bytes that does not lie wholly in its space: a file may say anything.
void check_place(const Place& p, i64 bytes, const Binder& b) {
    const auto size_of = [&](const std::vector<std::size_t>& sizes) {
        if (p.index < 0 || (std::size_t)p.index >= sizes.size()) b.refuse("a place in an input or output that there is");
        return (i64)sizes[p.index];
    };
    if (p.space < ARENA || p.space > OUTPUT) b.refuse("a place in the arena, an input or an output");
    const i64 size = p.space == ARENA ? (i64)b.arena : size_of(p.space == INPUT ? b.inputs : b.outputs);
    if (p.offset < 0 || bytes < 0 || p.offset > size || bytes > size - p.offset) b.refuse("a place inside its buffer");
}

i64 integer(const py::handle& h) { return py::cast<i64>(h); }

Place place_of(const py::tuple& t, Binder& b) {
    if (t.size() != 5) b.refuse("an array or a place (space, index, offset, shape, sample)");
    return {(int)integer(t[0]), (int)integer(t[1]), integer(t[2])};
}

template <class T> struct Argument {   // scalars
    T value{};
    Place place;
    void bind(py::handle h, Binder& b) {
        try { value = py::cast<T>(h); } catch (const py::cast_error&) { b.refuse("a number"); }
    }
    void resolve(const Bases&) {}
};
template <> struct Argument<Dims> {
    Dims value;
    Place place;
    void bind(py::handle h, Binder& b) {
        if (!py::isinstance<py::tuple>(h) || py::len(h) > 8) b.refuse("a tuple of at most 8 ints");
        for (py::handle v : h) value.v[value.n++] = integer(v);
    }
    void resolve(const Bases&) {}
};
template <class T> struct Argument<View<T>> {
    View<T> value;
    Place place;
    void bind(py::handle h, Binder& b) {
        if (py::isinstance<py::tuple>(h)) {
            const auto t = py::reinterpret_borrow<py::tuple>(h);
            place = place_of(t, b);
            auto shape = std::make_shared<std::vector<i64>>();
            for (py::handle v : py::cast<py::tuple>(t[3])) shape->push_back(integer(v));
            value = {nullptr, shape->data(), (int)shape->size()};
            for (i64 s : *shape) if (s < 0) b.refuse("a shape without negative sizes");
            check_place(place, value.bytes(), b);
            b.shapes.push_back(std::move(shape));
            return;
        }
        py::detail::type_caster<View<T>> caster;
        if (!caster.load(h, false)) b.refuse("a contiguous array of the kernel's type");
        value = (View<T>)caster;
        if (!h.is_none()) b.constants.push_back(py::reinterpret_borrow<py::object>(h));
    }
    void resolve(const Bases& bases) { if (place.space != CONSTANT) value.data = reinterpret_cast<T*>(bases.at(place)); }
};
template <class T> struct Argument<MapView<T>> {
    MapView<T> value;
    Place place;
    void bind(py::handle h, Binder& b) {
        if (h.is_none()) return;
        if (!py::isinstance<py::tuple>(h)) b.refuse("a map's place");
        const auto t = py::reinterpret_borrow<py::tuple>(h);
        place = place_of(t, b);
        const auto shape = py::cast<py::tuple>(t[3]);
        if (shape.size() != 5 || integer(shape[4]) != BLOCK) b.refuse("a map's place: shape (n, blocks, h, w, 16)");
        value = {nullptr, integer(shape[0]), integer(shape[1]), integer(shape[2]), integer(shape[3]), integer(t[4])};
        if (value.n < 0 || value.blocks < 0 || value.h < 0 || value.w < 0 || value.sample < 0) b.refuse("a map without negative sizes");
        check_place(place, value.bytes(), b);
    }
    void resolve(const Bases& bases) { if (place.space != CONSTANT) value.data = reinterpret_cast<T*>(bases.at(place)); }
};

template <class... A> struct Bound final : Call {
    void (*kernel)(A...);
    std::tuple<Argument<A>...> arguments;
    std::vector<std::shared_ptr<std::vector<i64>>> shapes;

    void run() override {
        std::apply([this](auto&... a) { kernel(a.value...); }, arguments);
    }
    void resolve(const Bases& bases) override {
        std::apply([&](auto&... a) { (a.resolve(bases), ...); }, arguments);
    }
    std::unique_ptr<Call> clone() const override { return std::make_unique<Bound>(*this); }
};

template <class... A> std::unique_ptr<Call> bind(void (*kernel)(A...), const py::tuple& given, Binder& b) {
    auto call = std::make_unique<Bound<A...>>();
    call->kernel = kernel;
    if (given.size() != sizeof...(A))
        throw py::type_error(std::string("program: ") + b.kernel + " takes " + std::to_string(sizeof...(A)) + " arguments, got " + std::to_string(given.size()));
    std::apply([&](auto&... a) { ((a.bind(given[b.position], b), ++b.position, call->external |= a.place.space > ARENA), ...); }, call->arguments);
    call->shapes = std::move(b.shapes);
    return call;
}

struct Row {
    const char* name;
    std::unique_ptr<Call> (*bind)(const py::tuple&, Binder&);
};
#define KERNEL(name, signature) void name signature;
#if defined(HAVE_avx512)
}
namespace avx512::f32 { using real = float;
#include "kernels.inc"
#include "program.inc"
}
namespace {
#endif
#if defined(HAVE_avx2)
}
namespace avx2::f32 { using real = float;
#include "kernels.inc"
#include "program.inc"
}
namespace {
#endif
#if defined(HAVE_neon)
}
namespace neon::f32 { using real = float;
#include "kernels.inc"
#include "program.inc"
}
namespace {
#endif
#if defined(HAVE_scalar)
}
namespace scalar::f32 { using real = float;
#include "kernels.inc"
#include "program.inc"
}
namespace {
#endif
#undef KERNEL
#define KERNEL(name, signature) {#name, [](const py::tuple& given, Binder& b) { return bind(&KERNELS::name, given, b); }},
#if defined(HAVE_avx512)
#define KERNELS avx512::f32
const Row rows_avx512[] = {
#include "kernels.inc"
#include "program.inc"
    {nullptr, nullptr}};
#undef KERNELS
#endif
#if defined(HAVE_avx2)
#define KERNELS avx2::f32
const Row rows_avx2[] = {
#include "kernels.inc"
#include "program.inc"
    {nullptr, nullptr}};
#undef KERNELS
#endif
#if defined(HAVE_neon)
#define KERNELS neon::f32
const Row rows_neon[] = {
#include "kernels.inc"
#include "program.inc"
    {nullptr, nullptr}};
#undef KERNELS
#endif
#if defined(HAVE_scalar)
#define KERNELS scalar::f32
const Row rows_scalar[] = {
#include "kernels.inc"
#include "program.inc"
    {nullptr, nullptr}};
#undef KERNELS
#endif
#undef KERNEL

const Row* rows_of(const std::string& isa) {
#if defined(HAVE_avx512)
    if (isa == "avx512") return rows_avx512;
#endif
#if defined(HAVE_avx2)
    if (isa == "avx2") return rows_avx2;
#endif
#if defined(HAVE_neon)
    if (isa == "neon") return rows_neon;
#endif
#if defined(HAVE_scalar)
    if (isa == "scalar") return rows_scalar;
#endif
    throw py::value_error("program: this build has no " + isa);
}

struct Workspace {
    char* arena;
    std::vector<std::unique_ptr<Call>> calls;
    Bases bases;

    Workspace(std::size_t bytes, const std::vector<std::unique_ptr<Call>>& from) {
        constexpr std::size_t PAGE = 2u << 20;
        const std::size_t align = bytes >= PAGE ? PAGE : 64;
        arena = (char*)std::aligned_alloc(align, (bytes + align - 1) / align * align + (bytes ? 0 : align));
        if (!arena) throw std::bad_alloc();
        if (align == PAGE) madvise(arena, bytes, MADV_HUGEPAGE);
        bases.arena = arena;
        for (const auto& c : from) {
            calls.push_back(c->clone());
            if (!c->external) calls.back()->resolve(bases);
        }
    }
    ~Workspace() { std::free(arena); }
    Workspace(const Workspace&) = delete;
};

class Program {
public:
    Program(const std::string& isa, std::size_t arena, std::vector<std::size_t> inputs, std::vector<std::size_t> outputs, int threads)
        : rows(rows_of(isa)), arena_bytes(arena), input_bytes(std::move(inputs)), output_bytes(std::move(outputs)), threads(threads) {}

    void add(const std::string& kernel, const py::tuple& arguments) {
        for (const Row* r = rows; r->name; ++r)
            if (kernel == r->name) {
                Binder b{constants, arena_bytes, input_bytes, output_bytes, {}, r->name};
                calls.push_back(r->bind(arguments, b));
                return;
            }
        throw py::key_error("program: no kernel " + kernel);
    }

    void run(const py::tuple& inputs, const py::tuple& outputs) {
        with_workspace(inputs, outputs, [](Workspace& w) {
            for (auto& c : w.calls) c->run();
        });
    }

    // Seconds that each call took in one run
    std::vector<double> run_timed(const py::tuple& inputs, const py::tuple& outputs) {
        std::vector<double> seconds(calls.size());
        with_workspace(inputs, outputs, [&](Workspace& w) {
            using clock = std::chrono::steady_clock;
            auto last = clock::now();
            for (std::size_t i = 0; i < w.calls.size(); ++i) {
                w.calls[i]->run();
                const auto now = clock::now();
                seconds[i] = std::chrono::duration<double>(now - last).count();
                last = now;
            }
        });
        return seconds;
    }

    // Every run begins with an arena full of NaN, for tests: what a kernel reads and no kernel wrote shows
    void poison() { poisoned = true; }

    std::size_t workspaces() { std::lock_guard<std::mutex> hold(lock); return made; }
    void release() { std::lock_guard<std::mutex> hold(lock); made -= idle.size(); idle.clear(); }

private:
    const Row* rows;
    std::size_t arena_bytes;
    std::vector<std::size_t> input_bytes, output_bytes;
    int threads;
    std::vector<py::object> constants;
    std::vector<std::unique_ptr<Call>> calls;   // unresolved: what workspaces are copied from
    std::mutex lock;
    std::vector<std::unique_ptr<Workspace>> idle;
    std::size_t made = 0;
    bool poisoned = false;

    static void point(std::vector<char*>& bases, const py::tuple& arrays, const std::vector<std::size_t>& bytes, bool write) {
        if (arrays.size() != bytes.size()) throw py::value_error("program: wrong number of arrays");
        bases.clear();
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            py::handle h = arrays[i];
            const int wanted = C_CONTIGUOUS | ALIGNED | (write ? WRITEABLE : 0);
            if (!is_array(h) || (fields(h)->flags & wanted) != wanted || py::reinterpret_borrow<py::array>(h).nbytes() != (py::ssize_t)bytes[i])
                throw py::value_error("program: an array is not contiguous or not of the planned size");
            bases.push_back(fields(h)->data);
        }
    }

    std::unique_ptr<Workspace> take() {
        {
            std::lock_guard<std::mutex> hold(lock);
            if (!idle.empty()) {
                auto w = std::move(idle.back());
                idle.pop_back();
                return w;
            }
        }
        auto w = std::make_unique<Workspace>(arena_bytes, calls);   // bad_alloc becomes MemoryError
        std::lock_guard<std::mutex> hold(lock);
        ++made;
        return w;
    }

    template <class Body> void with_workspace(const py::tuple& inputs, const py::tuple& outputs, Body body) {
        auto w = take();
        struct Return {   // also when an array is refused
            Program& p;
            std::unique_ptr<Workspace>& w;
            ~Return() { std::lock_guard<std::mutex> hold(p.lock); p.idle.push_back(std::move(w)); }
        } back{*this, w};
        point(w->bases.inputs, inputs, input_bytes, false);
        point(w->bases.outputs, outputs, output_bytes, true);
        WithoutGil no_gil;
        for (auto& c : w->calls)
            if (c->external) c->resolve(w->bases);
        if (poisoned) std::memset(w->arena, 0xff, arena_bytes);
        struct Threads {   // also when a kernel finds no memory
            const int before = pyops_run_threads;
            explicit Threads(int n) { pyops_run_threads = n; }
            ~Threads() { pyops_run_threads = before; }
        } of_this_program(threads);
        body(*w);
    }
};
}  // namespace

void bind_program(py::module_& m) {
    py::class_<Program>(m, "Program", "Kernel calls bound to their arguments; pyops.graph.program.Program is the public face.")
        .def(py::init<const std::string&, std::size_t, std::vector<std::size_t>, std::vector<std::size_t>, int>())
        .def("add", &Program::add)
        .def("run", &Program::run)
        .def("run_timed", &Program::run_timed)
        .def("poison", &Program::poison)
        .def("workspaces", &Program::workspaces)
        .def("release", &Program::release);
}
