// Views of all elements are alike but for the type their pointer has: they are made of char, and
// their bytes are what the kernel sees.
#include "arguments.h"
#include <cstring>

namespace {
// An integer, or whatever says that it is one (NumPy's do).
bool load_integer(PyObject* value, i64& into) {
    if (PyLong_CheckExact(value)) {
        into = PyLong_AsLongLong(value);
    } else {
        PyObject* const index = PyNumber_Index(value);
        if (!index) return PyErr_Clear(), false;
        into = PyLong_AsLongLong(index);
        Py_DECREF(index);
    }
    if (into == -1 && PyErr_Occurred()) return PyErr_Clear(), false;
    return true;
}

bool load_number(PyObject* value, double& into) {
    into = PyFloat_CheckExact(value) ? PyFloat_AS_DOUBLE(value) : PyFloat_AsDouble(value);
    if (into == -1 && PyErr_Occurred()) return PyErr_Clear(), false;
    return true;
}

bool load_flag(PyObject* value, bool& into) {
    if (value == Py_True || value == Py_False) return into = value == Py_True, true;
    i64 number;   // NumPy's booleans are no integers, but 0 and 1 of any kind are
    const bool numpy = !std::strncmp(Py_TYPE(value)->tp_name, "numpy.bool", 10);
    if (numpy) number = PyObject_IsTrue(value);
    else if (!load_integer(value, number)) return false;
    return into = number != 0, number == 0 || number == 1;
}

bool load_dims(PyObject* value, Dims& into) {
    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) > 8) return false;
    into.n = int(PyTuple_GET_SIZE(value));
    for (int i = 0; i < into.n; ++i)
        if (!load_integer(PyTuple_GET_ITEM(value, i), into.v[i])) return false;
    return true;
}

bool load_window(PyObject* value, Window& into) {
    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 4) return false;
    Dims* const parts[] = {&into.kernel, &into.stride, &into.padding, &into.dilation};
    for (int i = 0; i < 4; ++i)
        if (!load_dims(PyTuple_GET_ITEM(value, i), *parts[i]) || parts[i]->n != parts[0]->n) return false;
    return true;
}

constexpr const char* ACTIVATIONS[] = {
#define ACTIVATION(NAME, name, value) #name,
#include "activations.inc"
#undef ACTIVATION
};

bool load_act(PyObject* value, Act& into) {
    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 3 || !PyUnicode_Check(PyTuple_GET_ITEM(value, 0)))
        return false;
    i64 kind = 0;
    for (const char* name : ACTIVATIONS) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(value, 0), name) == 0) {
            into.kind = Activation(kind);
            return load_number(PyTuple_GET_ITEM(value, 1), into.a) &&
                   load_number(PyTuple_GET_ITEM(value, 2), into.b);
        }
        ++kind;
    }
    return false;
}

// which begins as a View of one type does
bool load_view(const Parameter& p, PyObject* value, InAny& into) {
    if (value == Py_None) return !p.written;
    if (!is_array(value)) return false;
    const auto* a = fields(value);
    const int flags = C_CONTIGUOUS | ALIGNED | (p.written ? WRITEABLE : 0);
    const Element element = element_of(value);
    if (element == Element::NONE || (p.element != Element::ANY && element != p.element) ||
        (a->flags & flags) != flags)
        return false;
    into = {{a->data, reinterpret_cast<const i64*>(a->dimensions), a->nd, element}};
    return true;
}

// (n, blocks, h, w, 16), one image contiguous
bool load_map(const Parameter& p, PyObject* value, MapView<char>& into) {
    if (value == Py_None) return !p.written;
    if (!is_array(value)) return false;
    const auto* a = fields(value);
    const int flags = ALIGNED | (p.written ? WRITEABLE : 0);
    if (element_of(value) != p.element || (a->flags & flags) != flags || a->nd != 5) return false;
    const i64 size = size_of(p.element);
    i64 expected = size;
    for (int axis = 4; axis > 0; --axis) {
        if (a->strides[axis] != expected && a->dimensions[axis] > 1) return false;
        expected *= a->dimensions[axis];
    }
    if (a->dimensions[4] != BLOCK || a->strides[0] % size) return false;
    into = {a->data,          a->dimensions[0], a->dimensions[1],
            a->dimensions[2], a->dimensions[3], a->strides[0] / size};
    return true;
}

template <class T> bool loaded(bool (*load)(PyObject*, T&), PyObject* value, Slot& slot) {
    T into{};
    if (!load(value, into)) return false;
    slot.set(into);
    return true;
}
template <class T>
bool loaded(bool (*load)(const Parameter&, PyObject*, T&), const Parameter& p, PyObject* value, Slot& slot) {
    T into{};
    if (!load(p, value, into)) return false;
    slot.set(into);
    return true;
}
}  // namespace

py::tuple activations() {
    py::list names;
    for (const char* name : ACTIVATIONS) names.append(name);
    return py::tuple(names);
}

Element element_called(const char* name) {
#define ELEMENT(NAME, called, bytes) if (!std::strcmp(name, #called)) return Element::NAME;
#include "elements.inc"
#undef ELEMENT
    return Element::NONE;
}

const char* name_of(Element element) {
    switch (element) {
#define ELEMENT(NAME, called, bytes) case Element::NAME: return #called;
#include "elements.inc"
#undef ELEMENT
        default: return "any";
    }
}

Element element_of(py::handle array) {
    using Api = py::detail::npy_api;
    if (!is_native(array)) return Element::NONE;
    switch (type_of(array)) {
        case Api::NPY_FLOAT_:  return Element::FLOAT;
        case Api::NPY_DOUBLE_: return Element::DOUBLE;
        case 23:               return Element::HALF;   // NPY_HALF, which pybind11 does not name
        case Api::NPY_LONG_:   return Element::LONG;
        case Api::NPY_INT_:    return Element::INT;
        case Api::NPY_SHORT_:  return Element::SHORT;
        case Api::NPY_BYTE_:   return Element::CHAR;
        case Api::NPY_LONGLONG_: return Element::LONG;   // as wide, by another name
        case Api::NPY_ULONG_: case Api::NPY_ULONGLONG_: return Element::ULONG;
        case Api::NPY_UINT_:   return Element::UINT;
        case Api::NPY_USHORT_: return Element::USHORT;
        case Api::NPY_UBYTE_:  return Element::BYTE;
        case Api::NPY_BOOL_:   return Element::BOOL;
        default: break;
    }
    const auto type = py::reinterpret_borrow<py::dtype>(fields(array)->descr);
    // ml_dtypes' bfloat16 has a number that NumPy gave it when it was imported, and is the only
    // such type of two bytes
    return type.num() >= 256 && type.itemsize() == 2 ? Element::BFLOAT : Element::NONE;
}

bool load(const Parameter& p, PyObject* value, Slot& slot) {
    switch (p.kind) {
        case Parameter::FLAG:    return loaded(load_flag, value, slot);
        case Parameter::INTEGER: return loaded(load_integer, value, slot);
        case Parameter::NUMBER:  return loaded(load_number, value, slot);
        case Parameter::DIMS:    return loaded(load_dims, value, slot);
        case Parameter::WINDOW:  return loaded(load_window, value, slot);
        case Parameter::ACT:     return loaded(load_act, value, slot);
        case Parameter::VIEW:    return loaded(load_view, p, value, slot);
        case Parameter::MAP:     return loaded(load_map, p, value, slot);
    }
    return false;
}

std::string wanted(const Parameter& p) {
    switch (p.kind) {
        case Parameter::FLAG:    return "True or False";
        case Parameter::INTEGER: return "an int";
        case Parameter::NUMBER:  return "a number";
        case Parameter::DIMS:    return "a tuple of at most 8 ints";
        case Parameter::WINDOW:  return "a tuple (kernel, stride, padding, dilation) of tuples of as many ints";
        case Parameter::ACT:     return "a tuple (name, a, b) of an activation and its numbers";
        case Parameter::VIEW:
            return std::string("a contiguous ") + (p.written ? "writable " : "") +
                   (p.element == Element::ANY ? "" : name_of(p.element)) + " array" +
                   (p.written ? "" : " or None");
        case Parameter::MAP:
            return std::string("a ") + name_of(p.element) + " map (n, blocks, h, w, 16)" +
                   (p.written ? "" : " or None");
    }
    return "";
}
