// A call of an op, from its arguments to its glue, in C++: most of a small call's time
// went on the way there.
//
// pyops.core.registry.Op derives from OpBase. Calling a row whose inputs are plain arrays of one
// type, with a native backend active, calls its `forward(kernels, *inputs, **attrs)` at once;
// another active backend gets run(op, real, inputs, attrs). Of Tensors the arrays are taken, and the
// results recorded (tape_call.h); strided arrays are turned (turned_inputs.h) or copied first (ready_inputs.h),
// whole numbers go to the row of their own arithmetic. Everything else (traced values, other types) goes to
// Op.by_dispatch(inputs, attrs, out). Op.of_operands(*inputs, **attrs) is the same call of which numbers may stand
// for arrays; the rest goes to Op.by_operands.
#include "op_call.h"
#include <structmember.h>
#include <algorithm>
#include <vector>
#include "arguments.h"
#include "owned.h"
#include "ready_inputs.h"
#include "tape_call.h"
#include "turned_inputs.h"

namespace {
using Api = py::detail::npy_api;

// Names and objects that calls need, made when the module is: looking for NumPy's type lets go of
// Python's lock, so a static of a function, which two threads may come to first, would wait for the
// lock that waits for it. They are never given back: they would die after Python.
struct Route {
    PyTypeObject* const ndarray = Api::get().PyArray_Type_;
    PyObject* const f32 = PyUnicode_InternFromString("f32");
    PyObject* const f64 = PyUnicode_InternFromString("f64");
    PyObject* const out = PyUnicode_InternFromString("out");
    PyObject* const run = PyUnicode_InternFromString("run");
    PyObject* const pointwise = PyUnicode_InternFromString("pointwise");
    PyObject* const whole_row = PyUnicode_InternFromString("whole_row");
    PyObject* const by_dispatch = PyUnicode_InternFromString("by_dispatch");
    PyObject* const by_operands = PyUnicode_InternFromString("by_operands");
    PyObject* active = nullptr;   // the ContextVar of the active backend
    PyObject* native = nullptr;   // the type of backends whose kernel sets are their attributes f32 and f64
};
Route& route() {
    static Route* const all = new Route;
    return *all;
}

// The element type if every input is a plain, native, aligned, C-contiguous array of the kind its
// letter in `kinds` asks for, else NONE. r: real; o: real or None; i: int64; j: int64 or None; a:
// any type; v: any type, however it lies; * repeats the letter before it. Reals are all of one type.
// Without any, float32's kernels are as good as float64's, and those of the first real among arrays of
// any type are taken.
Element probe(PyObject* const* inputs, Py_ssize_t count, const char* kinds) {
    int  real = 0, any = 0;
    char kind = 0;
    bool needs_real = false;
    for (Py_ssize_t k = 0; k < count; ++k) {
        PyObject* const value = inputs[k];
        if (*kinds != '*') kind = *kinds++;
        if (kind == 0) return Element::NONE;
        needs_real = needs_real || kind == 'r' || kind == 'o';
        if (value == Py_None && (kind == 'o' || kind == 'j')) continue;
        if (Py_TYPE(value) != route().ndarray) return Element::NONE;
        const int wanted = kind == 'v' ? 0 : C_CONTIGUOUS | ALIGNED, type = type_of(value);
        if ((fields(value)->flags & wanted) != wanted || !is_native(value)) return Element::NONE;
        if (kind == 'i' || kind == 'j') {
            if (type != Api::NPY_LONG_) return Element::NONE;
        } else if (kind == 'a' || kind == 'v') {
            if (element_of(value) == Element::NONE) return Element::NONE;
            if (any != Api::NPY_FLOAT_ && any != Api::NPY_DOUBLE_) any = type;
        } else {
            if (type != Api::NPY_FLOAT_ && type != Api::NPY_DOUBLE_) return Element::NONE;
            if (real && real != type) return Element::NONE;
            real = type;
        }
    }
    if (real == 0 && needs_real) return Element::NONE;
    return (real ? real : any) == Api::NPY_DOUBLE_ ? Element::DOUBLE : Element::FLOAT;
}

struct OpBase {
    PyObject_HEAD
    PyObject *kinds, *forward;
};

constexpr Py_ssize_t MOST = 48;

// What a call was given: attributes without `out`, which is None where there is none. All is borrowed.
struct Given {
    PyObject* const* inputs;
    Py_ssize_t count, named = 0;
    PyObject *names[MOST], *values[MOST];
    PyObject* out = Py_None;

    Given(PyObject* const* inputs, Py_ssize_t count) : inputs(inputs), count(count) {}
    bool add(PyObject* name, PyObject* value) {
        if (name == route().out || PyUnicode_Compare(name, route().out) == 0) return out = value, true;
        if (named == MOST)
            return PyErr_Format(PyExc_TypeError, "an op takes at most %zd attributes", MOST), false;
        names[named] = name, values[named++] = value;
        return true;
    }
    PyObject* all_inputs() const {
        PyObject* const tuple = PyTuple_New(count);
        for (Py_ssize_t i = 0; tuple && i < count; ++i) PyTuple_SET_ITEM(tuple, i, Py_NewRef(inputs[i]));
        return tuple;
    }
    PyObject* attributes() const {
        PyObject* const dict = PyDict_New();
        for (Py_ssize_t i = 0; dict && i < named; ++i)
            if (PyDict_SetItem(dict, names[i], values[i]) < 0) return Py_DECREF(dict), nullptr;
        return dict;
    }
};

// forward(kernels, *inputs, **attrs)
PyObject* call_forward(const OpBase& op, PyObject* kernels, const Given& given) {
    PyObject* stack[MOST + 1];
    std::vector<PyObject*> longer;   // of a concatenation of many
    PyObject** values = stack;
    if (1 + given.count + given.named > MOST + 1)
        longer.resize(1 + given.count + given.named), values = longer.data();
    values[0] = kernels;
    std::copy(given.inputs, given.inputs + given.count, values + 1);
    std::copy(given.values, given.values + given.named, values + 1 + given.count);
    if (!given.named) return PyObject_Vectorcall(op.forward, values, 1 + given.count, nullptr);
    const Owned names{PyTuple_New(given.named)};
    if (!names) return nullptr;
    for (Py_ssize_t i = 0; i < given.named; ++i) PyTuple_SET_ITEM(names.object, i, Py_NewRef(given.names[i]));
    return PyObject_Vectorcall(op.forward, values, 1 + given.count, names.object);
}

// op(*inputs, **attrs) of arrays that `probe` found ready for kernels of `real`.
PyObject* run(PyObject* self, const Given& given, Element real) {
    const Route& r = route();
    PyObject* const name = real == Element::DOUBLE ? r.f64 : r.f32;
    Owned backend{nullptr};
    if (PyContextVar_Get(r.active, nullptr, &backend.object) < 0 || !backend) return nullptr;
    if (given.out == Py_None && reinterpret_cast<PyObject*>(Py_TYPE(backend.object)) == r.native) {
        const Owned kernels{PyObject_GetAttr(backend.object, name)};
        PyObject* const result =
            kernels ? call_forward(*reinterpret_cast<OpBase*>(self), kernels.object, given) : nullptr;
        if (result || !(PyErr_ExceptionMatches(PyExc_MemoryError) || PyErr_ExceptionMatches(PyExc_IndexError)))
            return result;
        PyErr_Clear();   // once more by the backend's own road, which says whose memory is missing, or index
    }
    const Owned inputs{given.all_inputs()}, attrs{given.attributes()};
    PyObject* const out = given.out == Py_None ? nullptr : given.out;   // which ends the arguments
    return inputs && attrs ? PyObject_CallMethodObjArgs(backend.object, r.run, self, name, inputs.object,
                                                        attrs.object, out, nullptr)
                           : nullptr;
}

// The same call of other inputs.
Given with_inputs(const Given& given, PyObject* const* inputs) {
    Given other(inputs, given.count);
    std::copy(given.names, given.names + given.named, other.names);
    std::copy(given.values, given.values + given.named, other.values);
    other.named = given.named;
    other.out = given.out;
    return other;
}

// The call of a row that works value by value, of arrays that all lie in one other order. Nothing, and no error,
// where it is none.
PyObject* run_turned(PyObject* self, const Given& given, const char* kinds, bool numbers, Owned* used) {
    if (given.out != Py_None) return nullptr;
    const TurnedInputs turned(given.inputs, given.count, numbers);
    if (!turned.any() || !calls_native_kernels()) return nullptr;
    const Owned pointwise{PyObject_GetAttr(self, route().pointwise)};
    if (!pointwise || pointwise.object != Py_True) return PyErr_Clear(), nullptr;
    const ReadyInputs ready(turned.data(), given.count, kinds, numbers);   // of numbers
    if (ready.failed()) return PyErr_Clear(), nullptr;
    const Given   plain = with_inputs(given, ready.data());
    const Element real  = probe(plain.inputs, plain.count, kinds);
    if (real == Element::NONE) return nullptr;
    if (used) {   // the inputs as they came; of numbers their arrays
        used->object = given.all_inputs();
        for (Py_ssize_t k = 0; used->object && k < given.count; ++k)
            if (turned.data()[k] != ready.data()[k])
                Py_SETREF(reinterpret_cast<PyTupleObject*>(used->object)->ob_item[k], Py_NewRef(ready.data()[k]));
        if (!used->object) return nullptr;
    }
    PyObject* const result = run(self, plain, real);
    if (!result || Py_TYPE(result) == route().ndarray) return result ? turned.turned_back(result) : nullptr;
    return Py_DECREF(result), nullptr;
}

// op(*inputs, **attrs) of arrays that are ready, or can be made so here. Nothing, and no error, where they
// are not. `used`, if wanted, is the tuple of what was given to the kernel.
PyObject* run_if_ready(PyObject* self, const Given& given, const char* kinds, bool numbers,
                       Owned* used = nullptr) {
    const auto go = [&](const Given& ready, Element real) -> PyObject* {
        if (ready.out != Py_None && !is_ready_out(ready.out, ready.inputs, ready.count)) return nullptr;
        if (used && !(used->object = ready.all_inputs())) return nullptr;
        return run(self, ready, real);
    };
    Element real = probe(given.inputs, given.count, kinds);
    if (real != Element::NONE) return go(given, real);
    if (PyObject* const result = run_turned(self, given, kinds, numbers, used)) return result;
    if (PyErr_Occurred()) return nullptr;
    const ReadyInputs ready(given.inputs, given.count, kinds, numbers);
    if (!ready.changed() || ready.failed()) return nullptr;
    const Given plain = with_inputs(given, ready.data());
    real = probe(plain.inputs, plain.count, kinds);
    return real == Element::NONE ? nullptr : go(plain, real);
}

// The call of which some inputs are Tensors. Nothing, and no error, where it is none, or not ready.
PyObject* run_on_tape(PyObject* self, const Given& given, const char* kinds, bool numbers) {
    const TapeInputs arrays(given.inputs, given.count);
    if (!arrays.any() || given.out != Py_None) return nullptr;
    const bool recorded = arrays.recorded();
    Owned used{nullptr};
    const Owned result{
        run_if_ready(self, with_inputs(given, arrays.data()), kinds, numbers, recorded ? &used : nullptr)};
    if (!result) return nullptr;
    if (!recorded) return on_tape(result.object, nullptr);
    // the node keeps the Tensors themselves, and of numbers their arrays
    for (Py_ssize_t i = 0; i < given.count; ++i)
        if (given.inputs[i] != arrays.data()[i]) {
            PyObject*& kept = reinterpret_cast<PyTupleObject*>(used.object)->ob_item[i];
            Py_XSETREF(kept, Py_NewRef(given.inputs[i]));
        }
    const Owned attrs{given.attributes()};
    const Owned node{attrs ? node_of(self, used.object, attrs.object, result.object) : nullptr};
    return node ? on_tape(result.object, node.object) : nullptr;
}

// Whether all are arrays of whole numbers or truth values, of one type.
bool are_whole(const Given& given) {
    for (Py_ssize_t k = 0; k < given.count; ++k) {
        PyObject* const value = given.inputs[k];
        if (Py_TYPE(value) != route().ndarray || !is_native(value) || type_of(value) > Api::NPY_ULONG_ ||
            type_of(value) != type_of(given.inputs[0]))
            return false;
    }
    return given.count > 0;
}

// `numbers`: whether they may stand for arrays. `otherwise` is the method that gets what is not ready.
PyObject* call_with(PyObject* self, const Given& given, bool numbers, PyObject* otherwise) {
    const OpBase& op = *reinterpret_cast<OpBase*>(self);
    const char* kinds = op.kinds ? PyUnicode_AsUTF8(op.kinds) : nullptr;
    if (!kinds || !op.forward || !route().active)
        return PyErr_Format(PyExc_TypeError, "an op without kinds or forward cannot be called");
    if (*kinds == 'r' && are_whole(given)) {   // the row of the same arithmetic, if there is one
        const Owned row{PyObject_GetAttr(self, route().whole_row)};
        if (!row) return nullptr;
        if (row.object != Py_None) return call_with(row.object, given, false, route().by_dispatch);
    }
    PyObject* result = run_if_ready(self, given, kinds, numbers);
    if (!result && !PyErr_Occurred()) result = run_on_tape(self, given, kinds, numbers);
    if (result || PyErr_Occurred()) return result;
    const Owned inputs{given.all_inputs()}, attrs{given.attributes()};
    return inputs && attrs
               ? PyObject_CallMethodObjArgs(self, otherwise, inputs.object, attrs.object, given.out, nullptr)
               : nullptr;
}

PyObject* call(PyObject* self, PyObject* inputs, PyObject* attrs) {
    Given given(reinterpret_cast<PyTupleObject*>(inputs)->ob_item, PyTuple_GET_SIZE(inputs));
    Py_ssize_t position = 0;
    PyObject *name, *value;
    while (attrs && PyDict_Next(attrs, &position, &name, &value))
        if (!given.add(name, value)) return nullptr;
    return call_with(self, given, false, route().by_dispatch);
}

PyObject* of_operands(PyObject* self, PyObject* const* values, Py_ssize_t count, PyObject* names) {
    Given given(values, count);
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); ++i)
        if (!given.add(PyTuple_GET_ITEM(names, i), values[count + i])) return nullptr;
    return call_with(self, given, true, route().by_operands);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(reinterpret_cast<OpBase*>(self)->kinds);
    Py_VISIT(reinterpret_cast<OpBase*>(self)->forward);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

int clear(PyObject* self) {
    Py_CLEAR(reinterpret_cast<OpBase*>(self)->kinds);
    Py_CLEAR(reinterpret_cast<OpBase*>(self)->forward);
    return 0;
}

void dealloc(PyObject* self) {
    PyTypeObject* const type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

PyMemberDef MEMBERS[] = {{"kinds", T_OBJECT_EX, offsetof(OpBase, kinds), 0, "A letter per input."},
                         {"forward", T_OBJECT_EX, offsetof(OpBase, forward), 0, "The op's glue."},
                         {nullptr, 0, 0, 0, nullptr}};
PyMethodDef METHODS[] = {{"of_operands",
                          reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&of_operands)),
                          METH_FASTCALL | METH_KEYWORDS,
                          "A call in which numbers may stand for arrays: what no kernel takes as it is goes "
                          "to by_operands(inputs, attrs, out)."},
                         {nullptr, nullptr, 0, nullptr}};
template <class F> void* slot(F* function) { return reinterpret_cast<void*>(function); }
PyType_Slot SLOTS[] = {{Py_tp_doc, const_cast<char*>("What Op derives from: the short way of its calls.")},
                       {Py_tp_members, MEMBERS},
                       {Py_tp_methods, METHODS},
                       {Py_tp_call, slot(&call)},
                       {Py_tp_traverse, slot(&traverse)},
                       {Py_tp_clear, slot(&clear)},
                       {Py_tp_dealloc, slot(&dealloc)},
                       {0, nullptr}};
PyType_Spec SPEC = {"pyops._C.OpBase", sizeof(OpBase), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, SLOTS};
}  // namespace

bool calls_native_kernels() {
    const Route& r = route();
    Owned backend{nullptr};
    if (!r.active || PyContextVar_Get(r.active, nullptr, &backend.object) < 0 || !backend) return PyErr_Clear(), false;
    return reinterpret_cast<PyObject*>(Py_TYPE(backend.object)) == r.native;
}

void bind_op_call(py::module_& m) {
    route();
    const py::object type = py::reinterpret_steal<py::object>(PyType_FromSpec(&SPEC));
    if (!type) throw py::error_already_set();
    m.attr("OpBase") = type;
    m.def(
        "probe",
        [](const py::tuple& inputs, const char* kinds) -> py::object {
            const Element real = probe(reinterpret_cast<PyTupleObject*>(inputs.ptr())->ob_item,
                                       Py_ssize_t(inputs.size()), kinds);
            if (real == Element::NONE) return py::none();
            return py::reinterpret_borrow<py::object>(real == Element::DOUBLE ? route().f64 : route().f32);
        },
        "The element type shared by inputs ready for a kernel, or None.");
    m.def(
        "route_calls",
        [](const py::object& active, const py::type& native) {
            Py_XSETREF(route().active, active.inc_ref().ptr());
            Py_XSETREF(route().native, native.inc_ref().ptr());
        },
        "Tells OpBase the ContextVar of the active backend, and the type of backends that it may call "
        "kernels of itself.");
}
