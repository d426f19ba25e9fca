#include "tape_call.h"
#include <structmember.h>
#include <algorithm>
#include <array>
#include "numpy_views.h"
#include "owned.h"

namespace {
// Where the slots of a class lie in its objects.
template <size_t N> using Places = std::array<Py_ssize_t, N>;
enum TensorSlot { DATA, GRAD, REQUIRES_GRAD, NODE, INDEX, CHANGED, TENSOR_SLOTS };
enum NodeSlot { OP, INPUTS, ATTRS, OUTPUTS, MADE, NODE_SLOTS };
constexpr const char* TENSOR_NAMES[] = {"data", "grad", "requires_grad", "node", "index", "changed"};
constexpr const char* NODE_NAMES[] = {"op", "inputs", "attrs", "outputs", "made"};

// Set when the module pyops.core.tensor is made, and never given back, as in op_call.cpp.
struct Tape {
    PyTypeObject *         tensor = nullptr, *parameter = nullptr, *node = nullptr;
    PyObject *             recording = nullptr, *names = nullptr;   // a ContextVar, and the tape's globals
    PyObject* const        changes = PyUnicode_InternFromString("_changes");
    PyObject* const        none    = Py_None;
    PyObject* const        zero    = PyLong_FromLong(0);
    PyTypeObject* const    ndarray = py::detail::npy_api::get().PyArray_Type_;
    Places<TENSOR_SLOTS>   of_tensor{};
    Places<NODE_SLOTS>     of_node{};
};
Tape& tape() {
    static Tape* const all = new Tape;
    return *all;
}

PyObject*& slot(PyObject* object, Py_ssize_t place) {
    return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) + place);
}

bool is_tensor(PyObject* value) {
    const Tape& t = tape();
    return t.tensor && (Py_TYPE(value) == t.tensor || Py_TYPE(value) == t.parameter);
}

bool is_real(PyObject* array) {
    using Api      = py::detail::npy_api;
    const int type = type_of(array);
    return type == Api::NPY_FLOAT_ || type == Api::NPY_DOUBLE_ || type == 23;   // NumPy's number of halves
}

// A new object of `type` whose slots are `values`, which it shares.
template <size_t N> PyObject* made(PyTypeObject* type, const Places<N>& places, PyObject* const (&values)[N]) {
    PyObject* const object = type->tp_alloc(type, 0);
    for (size_t i = 0; object && i < N; ++i) slot(object, places[i]) = Py_NewRef(values[i]);
    return object;
}

// One result, the `index`th of `node`'s. Whole numbers have no gradient.
PyObject* tensor_of(PyObject* result, PyObject* node, Py_ssize_t index) {
    const Tape& t = tape();
    if (Py_TYPE(result) != t.ndarray) {   // a backend of another kind of array: its own words
        const Owned found{PyObject_CallOneArg(reinterpret_cast<PyObject*>(t.tensor), result)};
        PyObject* const data = found ? slot(found.object, t.of_tensor[DATA]) : nullptr;
        return data && Py_TYPE(data) == t.ndarray ? tensor_of(data, node, index) : Py_XNewRef(found.object);
    }
    const bool  real = node && is_real(result);
    const Owned number{real && index ? PyLong_FromSsize_t(index) : Py_NewRef(t.zero)};
    if (!number) return nullptr;
    PyObject* const values[] = {result, t.none, real ? Py_True : Py_False, real ? node : t.none,
                                number.object, t.zero};
    return made(t.tensor, t.of_tensor, values);
}

template <size_t N> Places<N> places_in(const py::handle& type, const char* const (&names)[N]) {
    Places<N> found{};
    for (size_t i = 0; i < N; ++i) {
        const py::object member = type.attr(names[i]);
        if (Py_TYPE(member.ptr()) != &PyMemberDescr_Type) throw py::type_error("route_tensors: slots are needed");
        found[i] = reinterpret_cast<PyMemberDescrObject*>(member.ptr())->d_member->offset;
    }
    return found;
}
}  // namespace

TapeInputs::TapeInputs(PyObject* const* inputs, Py_ssize_t count) : count_(count) {
    const Tape& t = tape();
    if (count > FEW) many_.resize(count), taken_ = many_.data();
    for (Py_ssize_t i = 0; i < count; ++i) {
        PyObject* value = inputs[i];
        if (is_tensor(value)) {
            any_ = true;
            PyObject* const flag = slot(value, t.of_tensor[REQUIRES_GRAD]);
            requires_grad_ = requires_grad_ || (flag && flag != Py_False && PyObject_IsTrue(flag) == 1);
            PyObject* const data = slot(value, t.of_tensor[DATA]);
            if (data) value = data;   // else it is not filled yet, and nothing that a kernel takes
        }
        taken_[i] = Py_NewRef(value);
    }
}

TapeInputs::~TapeInputs() {
    if (!WithoutGil::ending())
        for (Py_ssize_t i = 0; i < count_; ++i) Py_DECREF(taken_[i]);
}

bool TapeInputs::recorded() const {
    if (!requires_grad_) return false;
    Owned now{nullptr};
    return PyContextVar_Get(tape().recording, nullptr, &now.object) == 0 && now.object == Py_True;
}

PyObject* node_of(PyObject* op, PyObject* inputs, PyObject* attrs, PyObject* result) {
    const Tape& t = tape();
    const Owned outputs{PyTuple_Check(result) ? Py_NewRef(result) : PyTuple_Pack(1, result)};
    PyObject* const changes = PyDict_GetItem(t.names, t.changes);
    if (!outputs || !changes) return nullptr;
    PyObject* const values[] = {op, inputs, attrs, outputs.object, changes};
    return made(t.node, t.of_node, values);
}

PyObject* on_tape(PyObject* result, PyObject* node) {
    if (!PyTuple_Check(result)) return tensor_of(result, node, 0);
    const Py_ssize_t count = PyTuple_GET_SIZE(result);
    Owned            all{PyTuple_New(count)};
    for (Py_ssize_t i = 0; all && i < count; ++i) {
        PyObject* const one = tensor_of(PyTuple_GET_ITEM(result, i), node, i);
        if (!one) return nullptr;
        PyTuple_SET_ITEM(all.object, i, one);
    }
    return Py_XNewRef(all.object);
}

void bind_tape_call(py::module_& m) {
    tape();
    m.def(
        "route_tensors",
        [](const py::type& tensor, const py::type& node, const py::object& recording, const py::dict& names) {
            Tape& t = tape();
            t.of_tensor = places_in(tensor, TENSOR_NAMES);
            t.of_node = places_in(node, NODE_NAMES);
            t.recording = recording.inc_ref().ptr();
            t.names = names.inc_ref().ptr();
            t.node = reinterpret_cast<PyTypeObject*>(node.inc_ref().ptr());
            t.tensor = reinterpret_cast<PyTypeObject*>(tensor.inc_ref().ptr());
        },
        "Tells OpBase what Tensors and the tape's nodes are, whether calls are recorded, and the names of the "
        "tape's module.");
    m.def(
        "route_parameters",
        [](const py::type& parameter) {
            tape().parameter = reinterpret_cast<PyTypeObject*>(parameter.inc_ref().ptr());
        },
        "Tells OpBase the class of Tensors that modules hold.");
}
