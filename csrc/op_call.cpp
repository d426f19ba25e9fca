// A call of an op, from its arguments to its glue, in C++: most of a small call's time went on the way there.
//
// pyops.core.registry.Op derives from OpBase. Calling a row whose inputs are plain arrays of one type, with a native backend active, calls its
// `forward(kernels, *inputs, **attrs)` at once; another active backend gets run(op, real, inputs, attrs); everything else (Tensors, traced values,
// strided arrays, out=) goes to Op.by_dispatch(inputs, attrs, out).
#include "op_call.h"
#include <structmember.h>
#include <vector>
#include "numpy_views.h"
#include "row.h"
#include "without_gil.h"

namespace {
using Api = py::detail::npy_api;

// Names and objects that calls need, made when the module is: looking for NumPy's type lets go of Python's lock, so a static of a function,
// which two threads may come to first, would wait for the lock that waits for it. They are never given back: they would die after Python.
struct Route {
    PyTypeObject* const ndarray = Api::get().PyArray_Type_;
    PyObject* const f32 = PyUnicode_InternFromString("f32");
    PyObject* const f64 = PyUnicode_InternFromString("f64");
    PyObject* const out = PyUnicode_InternFromString("out");
    PyObject* const run = PyUnicode_InternFromString("run");
    PyObject* const by_dispatch = PyUnicode_InternFromString("by_dispatch");
    PyObject* active = nullptr;   // the ContextVar of the active backend
    PyObject* native = nullptr;   // the type of backends whose kernel sets are their attributes f32 and f64
};
Route& route() {
    static Route* const all = new Route;
    return *all;
}

// The element type if every input is a plain, native, aligned, C-contiguous array of the kind its letter in `kinds` asks for, else NONE.
// r: real; o: real or None; i: int64; j: int64 or None; * repeats the letter before it. At least one real; all of one type.
Element probe(PyObject* inputs, const char* kinds) {
    int  real = 0;
    char kind = 0;
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(inputs); ++k) {
        PyObject* const value = PyTuple_GET_ITEM(inputs, k);
        if (*kinds != '*') kind = *kinds++;
        if (kind == 0) return Element::NONE;
        if (value == Py_None && (kind == 'o' || kind == 'j')) continue;
        if (Py_TYPE(value) != route().ndarray) return Element::NONE;
        constexpr int wanted = C_CONTIGUOUS | ALIGNED;
        const int type = type_of(value);
        if ((fields(value)->flags & wanted) != wanted || !is_native(value)) return Element::NONE;
        if (kind == 'i' || kind == 'j') {
            if (type != Api::NPY_LONG_) return Element::NONE;
        } else {
            if (type != Api::NPY_FLOAT_ && type != Api::NPY_DOUBLE_) return Element::NONE;
            if (real && real != type) return Element::NONE;
            real = type;
        }
    }
    return real == 0 ? Element::NONE : real == Api::NPY_DOUBLE_ ? Element::DOUBLE : Element::FLOAT;
}

struct OpBase {
    PyObject_HEAD
    PyObject *kinds, *forward;
};

struct Owned {   // a reference that is given back; not by a thread that Python's end unwinds, which no longer has the lock
    PyObject* object;
    ~Owned() {
        if (!WithoutGil::ending()) Py_XDECREF(object);
    }
    explicit operator bool() const { return object; }
};

// forward(kernels, *inputs, **attrs), where attrs may hold out=None, which is as if it were not there
PyObject* call_forward(const OpBase& op, PyObject* kernels, PyObject* inputs, PyObject* attrs, bool has_out) {
    constexpr Py_ssize_t MOST = 48;
    PyObject* stack[MOST];
    const Py_ssize_t count = PyTuple_GET_SIZE(inputs), named = attrs ? PyDict_GET_SIZE(attrs) : 0;
    std::vector<PyObject*> longer;   // of a concatenation of many
    PyObject** values = stack;
    if (1 + count + named > MOST) longer.resize(1 + count + named), values = longer.data();
    values[0] = kernels;
    for (Py_ssize_t i = 0; i < count; ++i) values[1 + i] = PyTuple_GET_ITEM(inputs, i);
    Py_ssize_t at = 0, position = 0;
    PyObject *name, *value, *names[MOST];
    if (named > MOST) return PyErr_Format(PyExc_TypeError, "an op takes at most %zd attributes, got %zd", MOST, named);
    while (attrs && PyDict_Next(attrs, &position, &name, &value))
        if (!has_out || PyUnicode_Compare(name, route().out) != 0) names[at] = name, values[1 + count + at++] = value;
    if (!at) return PyObject_Vectorcall(op.forward, values, 1 + count, nullptr);
    const Owned tuple{PyTuple_New(at)};
    if (!tuple) return nullptr;
    for (Py_ssize_t i = 0; i < at; ++i) PyTuple_SET_ITEM(tuple.object, i, Py_NewRef(names[i]));
    return PyObject_Vectorcall(op.forward, values, 1 + count, tuple.object);
}

PyObject* without_out(PyObject* attrs) {
    PyObject* const rest = attrs ? PyDict_Copy(attrs) : PyDict_New();
    if (rest && PyDict_GetItemWithError(rest, route().out)) PyDict_DelItem(rest, route().out);
    return rest;
}

PyObject* call(PyObject* self, PyObject* inputs, PyObject* attrs) {
    const OpBase& op = *reinterpret_cast<OpBase*>(self);
    const Route& r = route();
    PyObject* out = attrs ? PyDict_GetItemWithError(attrs, r.out) : nullptr;
    const bool has_out = out;
    if (!has_out) out = Py_None;
    const char* kinds = op.kinds ? PyUnicode_AsUTF8(op.kinds) : nullptr;
    if (!kinds || !op.forward || !r.active) return PyErr_Format(PyExc_TypeError, "an op without kinds or forward cannot be called");
    const Element real = probe(inputs, kinds);
    if (real == Element::NONE || out != Py_None) {
        const Owned rest{without_out(attrs)};
        return rest ? PyObject_CallMethodObjArgs(self, r.by_dispatch, inputs, rest.object, out, nullptr) : nullptr;
    }
    PyObject* const name = real == Element::DOUBLE ? r.f64 : r.f32;
    Owned backend{nullptr};
    if (PyContextVar_Get(r.active, nullptr, &backend.object) < 0 || !backend) return nullptr;
    if (reinterpret_cast<PyObject*>(Py_TYPE(backend.object)) == r.native) {
        const Owned kernels{PyObject_GetAttr(backend.object, name)};
        PyObject* const result = kernels ? call_forward(op, kernels.object, inputs, attrs, has_out) : nullptr;
        if (result || !PyErr_ExceptionMatches(PyExc_MemoryError)) return result;
        PyErr_Clear();   // once more by the backend's own road, which says whose memory is missing
    }
    const Owned rest{without_out(attrs)};
    return rest ? PyObject_CallMethodObjArgs(backend.object, r.run, self, name, inputs, rest.object, nullptr) : nullptr;
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
template <class F> void* slot(F* function) { return reinterpret_cast<void*>(function); }
PyType_Slot SLOTS[] = {{Py_tp_doc, const_cast<char*>("What Op derives from: the short way of its calls.")},
                       {Py_tp_members, MEMBERS}, {Py_tp_call, slot(&call)}, {Py_tp_traverse, slot(&traverse)}, {Py_tp_clear, slot(&clear)},
                       {Py_tp_dealloc, slot(&dealloc)}, {0, nullptr}};
PyType_Spec SPEC = {"pyops._C.OpBase", sizeof(OpBase), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, SLOTS};
}  // namespace

void bind_op_call(py::module_& m) {
    route();
    const py::object type = py::reinterpret_steal<py::object>(PyType_FromSpec(&SPEC));
    if (!type) throw py::error_already_set();
    m.attr("OpBase") = type;
    m.def("probe", [](const py::tuple& inputs, const char* kinds) -> py::object {
        const Element real = probe(inputs.ptr(), kinds);
        if (real == Element::NONE) return py::none();
        return py::reinterpret_borrow<py::object>(real == Element::DOUBLE ? route().f64 : route().f32);
    }, "The element type shared by inputs ready for a kernel, or None.");
    m.def("route_calls", [](const py::object& active, const py::type& native) {
        Py_XSETREF(route().active, active.inc_ref().ptr());
        Py_XSETREF(route().native, native.inc_ref().ptr());
    }, "Tells OpBase the ContextVar of the active backend, and the type of backends that it may call kernels of itself.");
}
