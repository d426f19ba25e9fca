// Program: kernel calls bound to their arguments once, and run in one call without the GIL
// and without allocating.
//
// An array argument is a constant (a NumPy array that the program keeps alive) or a place: (space,
// index, byte offset, shape, sample, type), where space says whether it lies in the arena, in input
// `index` or in output `index` of a run. Two threads may run one program at once:
// each takes a workspace of its own, an arena and a copy of the calls with their pointers resolved.
//
// Between kernel calls stand others, which say what runs of those behind them: "branch" one of two
// parts by a truth value, "loop" one part, as often as a number and a truth value say, "shorten" the
// next call on the first of its entries, as many as a number says.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>
#include <pybind11/stl.h>
#include "arguments.h"
#include "isas.h"
#include "pages.h"
#include "without_gil.h"

// parallel.h: threads of the program running in this thread, 0 outside of one
extern __thread int pyops_run_threads;

namespace {
enum Space : i64 { CONSTANT = -1, ARENA = 0, INPUT = 1, OUTPUT = 2 };

struct Place { i64 space = CONSTANT, index = 0, offset = 0; };

struct Bases {
    char*              arena;
    std::vector<char*> inputs, outputs;
    char* at(const Place& p) const {
        return (p.space == ARENA ? arena : p.space == INPUT ? inputs[p.index] : outputs[p.index]) + p.offset;
    }
};

// What a call does: a row's kernel, or to choose and to repeat calls behind it.
enum class Step : unsigned char { KERNEL, BRANCH, LOOP, SHORTEN };
constexpr int DEEPEST = 64;   // of parts within parts
constexpr i64 MOST_ROUNDS = i64(1) << 28;   // of all loops of a run together

// One call: the values of its arguments, and which of them point into a space.
struct Call {
    Step step = Step::KERNEL;
    const Row* row = nullptr;   // of a kernel
    // of a branch: how many calls are in either part; of a loop: in its part, and the most rounds; of
    // what shortens: the one call, and how many entries that has room for
    i64 first = 0, second = 0;
    std::vector<Slot> slots;
    std::vector<std::pair<int, Place>> places;
    std::vector<std::shared_ptr<std::vector<i64>>> shapes;   // of views
    bool external = false;   // it touches an input or output, whose pointers differ from run to run

    void run() const {
        try {
            row->call(row->kernel, slots.data());
        } catch (const std::out_of_range& why) {   // an index that only the kernel sees: whose it is
            throw std::out_of_range(std::string(row->name) + ": " + why.what());
        }
    }
    // How many calls behind this one are its parts.
    i64 parts() const { return step == Step::BRANCH ? first + second : first; }
    template <class T> T* number(int slot) const { return slots[slot].get<AnyView>().template as<T>(); }
    void resolve(const Bases& bases) {
        // views and maps begin with their pointer
        for (const auto& [position, place] : places) slots[position].set(bases.at(place));
    }
};

// Makes a Call of what Python says about it. A file may say anything: what would be unsafe is refused.
class Binder {
    const Row& row;
    const std::size_t arena;                               // sizes of what places lie in
    const std::vector<std::size_t>&inputs, &outputs;
    std::vector<py::object>& constants;
    Call call;
    int position = 0;

    [[noreturn]] void refuse(const std::string& wanted) const {
        throw py::type_error("program: argument " + std::to_string(position) + " of " + row.name +
                             row.signature + " must be " + wanted);
    }

    i64 integer(py::handle h) const {
        Slot number;
        if (!load({Parameter::INTEGER}, h.ptr(), number)) refuse("a place, whose numbers are ints");
        return number.get<i64>();
    }

    Place place_of(const py::tuple& t) const {
        if (t.size() < 5 || t.size() > 6 || !py::isinstance<py::tuple>(t[3]) ||
            (t.size() == 6 && !py::isinstance<py::str>(t[5])))
            refuse("an array or a place (space, index, offset, shape, sample, type)");
        return {integer(t[0]), integer(t[1]), integer(t[2])};
    }

    // The type of the place's values, which must be the parameter's.
    Element element_of_place(const Parameter& p, const py::tuple& t) const {
        const Element element =
            t.size() == 5 ? Element::FLOAT : element_called(std::string(py::str(t[5])).c_str());
        if (element == Element::NONE || (p.element != Element::ANY && element != p.element))
            refuse(wanted(p) + " or a place of that type");
        return element;
    }

    // Refuses a place of `bytes` bytes that does not lie wholly in its space.
    void check(const Place& p, i64 bytes) const {
        const auto size_of = [&](const std::vector<std::size_t>& sizes) {
            if (p.index < 0 || p.index >= (i64)sizes.size())
                refuse("a place in an input or output that there is");
            return (i64)sizes[p.index];
        };
        if (p.space < ARENA || p.space > OUTPUT) refuse("a place in the arena, an input or an output");
        const i64 size = p.space == ARENA ? (i64)arena : size_of(p.space == INPUT ? inputs : outputs);
        if (p.offset < 0 || bytes < 0 || p.offset > size || bytes > size - p.offset)
            refuse("a place inside its buffer");
    }

    // The product of sizes that are not negative; refused where no memory could hold it.
    i64 product(std::initializer_list<i64> sizes) const {
        i64 n = 1;
        for (i64 s : sizes)
            if (s < 0 || __builtin_mul_overflow(n, s, &n))
                refuse("a place with sizes from 0 to what memory can hold");
        return n;
    }

    void keep(const Place& place) {
        call.places.emplace_back(position, place);
        call.external |= place.space > ARENA;
    }

    void bind_view(const Parameter& p, const py::tuple& t, Slot& slot) {
        const Place place = place_of(t);
        const Element element = element_of_place(p, t);
        auto shape = std::make_shared<std::vector<i64>>();
        i64 bytes = size_of(element);
        for (py::handle v : py::cast<py::tuple>(t[3])) {
            shape->push_back(integer(v));
            bytes = product({bytes, shape->back()});
        }
        check(place, bytes);
        slot.set(InAny{{nullptr, shape->data(), (int)shape->size(), element}});
        call.shapes.push_back(std::move(shape));
        keep(place);
    }

    void bind_map(const Parameter& p, const py::tuple& t, Slot& slot) {
        const Place place = place_of(t);
        element_of_place(p, t);
        const auto shape = py::cast<py::tuple>(t[3]);
        if (shape.size() != 5 || integer(shape[4]) != BLOCK)
            refuse("a map's place: shape (n, blocks, h, w, 16)");
        const MapView<char> map{nullptr,           integer(shape[0]), integer(shape[1]),
                                integer(shape[2]), integer(shape[3]), integer(t[4])};
        const i64 image = product({map.blocks, map.h, map.w, BLOCK}),
                  before_last = product({std::max<i64>(map.n - 1, 0), map.sample});
        i64 values;
        if (map.n < 0 || __builtin_add_overflow(image, before_last, &values))
            refuse("a map with sizes from 0 to what memory can hold");
        check(place, map.n ? product({values, size_of(p.element)}) : 0);
        slot.set(map);
        keep(place);
    }

    void bind(const Parameter& p, py::handle given, Slot& slot) {
        const bool view = p.kind == Parameter::VIEW, map = p.kind == Parameter::MAP;
        if ((view || map) && py::isinstance<py::tuple>(given)) {
            const auto place = py::reinterpret_borrow<py::tuple>(given);
            return view ? bind_view(p, place, slot) : bind_map(p, place, slot);
        }
        if (map && !given.is_none()) refuse("a map's place");
        if (!load(p, given.ptr(), slot)) refuse(wanted(p));
        if (view && !given.is_none()) constants.push_back(py::reinterpret_borrow<py::object>(given));
    }

public:
    Binder(const Row& row, std::size_t arena, const std::vector<std::size_t>& inputs,
           const std::vector<std::size_t>& outputs, std::vector<py::object>& constants)
        : row(row), arena(arena), inputs(inputs), outputs(outputs), constants(constants) {}

    Call bound(const py::tuple& given) {
        if (given.size() != (std::size_t)row.count)
            throw py::type_error(std::string("program: ") + row.name + " takes " + std::to_string(row.count) +
                                 " arguments, got " + std::to_string(given.size()));
        call.row = &row;
        call.slots.resize(row.count);
        for (position = 0; position < row.count; ++position)
            bind(row.parameters[position], given[position], call.slots[position]);
        return std::move(call);
    }
};

// Calls that are no kernels. Their last numbers count the calls that follow, of which each part consists.
constexpr Parameter WHETHER{Parameter::VIEW, Element::BOOL}, COUNT{Parameter::VIEW, Element::LONG},
    ROUND{Parameter::VIEW, Element::LONG, true}, INTEGER{Parameter::INTEGER};
constexpr Parameter BRANCH_PARAMETERS[] = {WHETHER, INTEGER, INTEGER};
constexpr Parameter LOOP_PARAMETERS[]   = {ROUND, COUNT, WHETHER, INTEGER, INTEGER};
constexpr Parameter SHORTEN_PARAMETERS[] = {COUNT, INTEGER, {Parameter::DIMS}};
const Row BRANCH{"branch", "(bool condition, i64 yes, i64 no)", BRANCH_PARAMETERS, 3,
                 nullptr, nullptr, nullptr};
const Row LOOP{"loop", "(i64 round, i64 limit, bool go, i64 most, i64 body)", LOOP_PARAMETERS, 5,
               nullptr, nullptr, nullptr};

const Row SHORTEN{"shorten", "(i64 count, i64 room, Dims arguments)", SHORTEN_PARAMETERS, 3, nullptr,
                  nullptr, nullptr};

// The call that Binder made of one of these, with its numbers looked at.
Call controlling(Call call, Step step, const py::tuple& arguments) {
    const int views = step == Step::LOOP ? 3 : 1;
    for (int i = 0; i < views; ++i) {
        const bool given = !arguments[i].is_none(), needed = i == 0;
        if ((needed && !given) || (given && call.slots[i].get<AnyView>().size() < 1))
            throw py::value_error(std::string("program: ") + call.row->name + " reads numbers that there are");
    }
    call.step = step;
    call.first = step == Step::SHORTEN ? 1 : call.slots[step == Step::BRANCH ? 1 : 4].get<i64>();
    call.second = call.slots[step == Step::BRANCH ? 2 : step == Step::LOOP ? 3 : 1].get<i64>();
    return call;
}

constexpr int MOST_AXES = 32;   // of what is shortened; a constant may have more

// An argument that is an array, a map or a shape, of which a call reads or writes the first entries.
struct Leading {
    Parameter::Kind kind;
    i64             length = -1;   // of the first axis; -1 of an argument that has none

    Leading(const Call& call, i64 position) : kind(Parameter::INTEGER) {
        if (position < 0 || position >= call.row->count) return;
        const Slot& slot = call.slots[(std::size_t)position];
        kind             = call.row->parameters[position].kind;
        if (kind == Parameter::VIEW) {
            const AnyView& view = slot.get<AnyView>();
            if (view.ndim >= 1 && view.ndim <= MOST_AXES) length = view.shape[0];
        }
        if (kind == Parameter::MAP) length = slot.get<MapView<char>>().n;
        if (kind == Parameter::DIMS && slot.get<Dims>().n >= 1) length = slot.get<Dims>().v[0];
    }

    // The argument with another length; a view's sizes are kept in `shape`.
    void cut(Slot& slot, i64 to, i64* shape) const {
        if (kind == Parameter::MAP) {
            MapView<char> map = slot.get<MapView<char>>();
            map.n = to;
            slot.set(map);
        } else if (kind == Parameter::DIMS) {
            Dims dims = slot.get<Dims>();
            dims.v[0] = to;
            slot.set(dims);
        } else {
            AnyView view = slot.get<AnyView>();
            std::copy(view.shape, view.shape + view.ndim, shape);
            shape[0]   = to;
            view.shape = shape;
            slot.set(view);
        }
    }
};

// Whether a call can be run on fewer entries: each of these arguments begins with an axis of `room`
// entries, or of a multiple.
bool shortens(const Call& by, const Call& call) {
    const Dims& positions = by.slots[2].get<Dims>();
    if (call.step != Step::KERNEL || by.second < 1) return false;
    for (int i = 0; i < positions.n; ++i) {
        const i64 length = Leading(call, positions[i]).length;
        if (length < 0 || length % by.second) return false;
    }
    return true;
}

// The call on its first entries, as many as there are.
void run_shortened(const Call& by, const Call& call) {
    const i64 given = *by.number<const i64>(0), room = by.second,
              count = given < 0 ? 0 : given > room ? room : given;
    if (!count) return;
    const Dims& positions = by.slots[2].get<Dims>();
    Slot        slots[MOST_PARAMETERS];
    i64         shapes[8][MOST_AXES];
    std::copy(call.slots.begin(), call.slots.end(), slots);
    for (int i = 0; i < positions.n; ++i) {
        const Leading argument(call, positions[i]);
        argument.cut(slots[positions[i]], argument.length / room * count, shapes[i]);
    }
    call.row->call(call.row->kernel, slots);
}

// Whether calls from `begin` to `end` are parts within parts, each wholly within the one around it.
bool nested(const std::vector<Call>& calls, i64 begin, i64 end, int depth = 0) {
    for (i64 i = begin; i < end; ++i) {
        const Call& c = calls[i];
        if (c.step == Step::KERNEL) continue;
        const i64 no = c.step == Step::BRANCH ? c.second : 0, left = end - i - 1;
        if (c.step == Step::SHORTEN && (left < 1 || !shortens(c, calls[i + 1]))) return false;
        if (depth >= DEEPEST || c.first < 0 || c.second < 0 || c.first > left || no > left - c.first ||
            !nested(calls, i + 1, i + 1 + c.first, depth + 1) ||
            !nested(calls, i + 1 + c.first, i + 1 + c.first + no, depth + 1))
            return false;
        i += c.first + no;
    }
    return true;
}

const Isa& isa_called(const std::string& name) {
    for (const Isa& isa : all_isas())
        if (isa.name == name && isa.runs && isa.f32) return isa;
    throw py::value_error("program: this CPU or this build has no " + name);
}

struct Workspace {
    char* arena;
    std::size_t bytes;
    std::vector<Call> calls;
    Bases bases;
    i64 rounds = 0;   // that the loops of this run may still make

    Workspace(std::size_t bytes, const std::vector<Call>& from)
        : arena((char*)pages::take(bytes)), bytes(bytes), calls(from) {
        if (!arena) throw std::bad_alloc();
        bases.arena = arena;
        for (Call& c : calls)
            if (!c.external) c.resolve(bases);
    }
    ~Workspace() { pages::give(arena, bytes); }
    Workspace(const Workspace&) = delete;
};

class Program {
public:
    Program(const std::string& isa, std::size_t arena, std::vector<std::size_t> inputs,
            std::vector<std::size_t> outputs, int threads)
        : isa(isa_called(isa)), arena_bytes(arena), input_bytes(std::move(inputs)),
          output_bytes(std::move(outputs)), threads(threads) {}

    // kernel: the name of a row, of those for float or, behind a dot, "f64", for double; or that of a call
    // which is no kernel
    void add(const std::string& called, const py::tuple& arguments) {
        for (const auto& [r, step] : {std::pair(&BRANCH, Step::BRANCH), std::pair(&LOOP, Step::LOOP),
                                      std::pair(&SHORTEN, Step::SHORTEN)})
            if (called == r->name) {
                Binder binder(*r, arena_bytes, input_bytes, output_bytes, constants);
                calls.push_back(controlling(binder.bound(arguments), step, arguments));
                controlled = true;
                return;
            }
        const bool doubles = called.size() > 4 && called.compare(called.size() - 4, 4, ".f64") == 0;
        const std::string kernel = doubles ? called.substr(0, called.size() - 4) : called;
        for (const Row* r = doubles ? isa.f64 : isa.f32; r->name; ++r)
            if (kernel == r->name) {
                if (!r->kernel) {
                    PyErr_Format(PyExc_NotImplementedError, "program: only %s has the kernel %s, %s does not",
                                 r->only, r->name, isa.name);
                    throw py::error_already_set();
                }
                calls.push_back(
                    Binder(*r, arena_bytes, input_bytes, output_bytes, constants).bound(arguments));
                return;
            }
        throw py::key_error("program: no kernel " + kernel);
    }

    void run(const py::tuple& inputs, const py::tuple& outputs) {
        with_workspace(inputs, outputs, [this](Workspace& w) {
            if (!controlled)
                for (const Call& c : w.calls) c.run();
            else
                follow(w, 0, (i64)w.calls.size(), [](const auto& call, i64) { call(); });
        });
    }

    // Seconds that each call took in one run, in all its rounds
    std::vector<double> run_timed(const py::tuple& inputs, const py::tuple& outputs) {
        std::vector<double> seconds(calls.size());
        with_workspace(inputs, outputs, [&](Workspace& w) {
            using clock = std::chrono::steady_clock;
            auto last = clock::now();
            follow(w, 0, (i64)w.calls.size(), [&](const auto& call, i64 i) {
                call();
                const auto now = clock::now();
                seconds[i] += std::chrono::duration<double>(now - last).count();
                last = now;
            });
        });
        return seconds;
    }

    // Every run begins with an arena full of NaN, for tests: what a kernel reads and no kernel wrote shows
    void poison() { poisoned = true; }

    std::size_t workspaces() { std::lock_guard<std::mutex> hold(lock); return made; }
    void release() { std::lock_guard<std::mutex> hold(lock); made -= idle.size(); idle.clear(); }

private:
    const Isa& isa;
    std::size_t arena_bytes;
    std::vector<std::size_t> input_bytes, output_bytes;
    int threads;
    std::vector<py::object> constants;
    std::vector<Call> calls;   // unresolved: what workspaces are copied from
    std::mutex lock;
    std::vector<std::unique_ptr<Workspace>> idle;
    std::size_t made = 0;
    bool poisoned = false, controlled = false;

    // run(what makes the call, its place) for the kernel calls from `begin` to `end`, as those between them say
    template <class Run>
    static void follow(Workspace& w, i64 begin, i64 end, const Run& run) {
        for (i64 i = begin; i < end; ++i) {
            const Call& c = w.calls[i];
            const i64 part = i + 1;
            if (c.step == Step::KERNEL) {
                run([&] { c.run(); }, i);
            } else if (c.step == Step::SHORTEN) {
                run([&] { run_shortened(c, w.calls[part]); }, part);
            } else if (c.step == Step::BRANCH) {
                const i64 after = part + c.first;
                if (*c.number<const std::uint8_t>(0)) follow(w, part, after, run);
                else follow(w, after, after + c.second, run);
            } else {
                repeat(w, c, part, run);
            }
            i += c.parts();
        }
    }

    // Rounds of the calls from `part` on, until they are `limit` many or `go` is false. The number of
    // the round is where the calls can read it, and of all rounds at the end.
    template <class Run>
    static void repeat(Workspace& w, const Call& c, i64 part, const Run& run) {
        i64* const                round = c.number<i64>(0);
        const i64* const          limit = c.number<const i64>(1);
        const std::uint8_t* const go = c.number<const std::uint8_t>(2);
        const i64                 rounds = limit ? *limit : c.second + 1;
        i64                       done = 0;
        for (*round = 0; done < rounds && (!go || *go); *round = ++done) {
            if (done == c.second)
                throw std::range_error("a loop has not ended in " + std::to_string(done) + " rounds");
            if (--w.rounds < 0) throw std::range_error("loops have not ended in 2^28 rounds");
            follow(w, part, part + c.first, run);
        }
    }

    static void point(std::vector<char*>& bases, const py::tuple& arrays,
                      const std::vector<std::size_t>& bytes, bool write) {
        if (arrays.size() != bytes.size()) throw py::value_error("program: wrong number of arrays");
        bases.clear();
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            py::handle h = arrays[i];
            const int wanted = C_CONTIGUOUS | ALIGNED | (write ? WRITEABLE : 0);
            if (!is_array(h) || (fields(h)->flags & wanted) != wanted ||
                py::reinterpret_borrow<py::array>(h).nbytes() != (py::ssize_t)bytes[i])
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
        if (controlled && !nested(calls, 0, (i64)calls.size()))
            throw py::value_error("program: parts of branches and loops do not fit into the program");
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
        for (Call& c : w->calls)
            if (c.external) c.resolve(w->bases);
        w->rounds = MOST_ROUNDS;
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
    py::class_<Program>(
        m, "Program",
        "Kernel calls bound to their arguments; pyops.graph.program.Program is the public face.")
        .def(py::init<const std::string&, std::size_t, std::vector<std::size_t>, std::vector<std::size_t>,
                      int>())
        .def("add", &Program::add)
        .def("run", &Program::run)
        .def("run_timed", &Program::run_timed)
        .def("poison", &Program::poison)
        .def("workspaces", &Program::workspaces)
        .def("release", &Program::release);
}
