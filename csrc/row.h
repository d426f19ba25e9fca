// A row of a table of kernels as the binding sees it: what the kernel takes, and a way to call it
// with what was made of Python's values.
//
// Rows are data, made once per instruction set and element type by rows.cpp; eager calls
// (kernel_call.cpp) and compiled programs (program.cpp) walk the same ones. A type that kernels may
// take has a line here, and its conversion in arguments.cpp.
#pragma once
#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>
#include "view.h"

struct Parameter {
    enum Kind : unsigned char { FLAG, INTEGER, NUMBER, DIMS, WINDOW, ACT, VIEW, MAP } kind;
    Element element = Element::NONE;   // of a view or map
    bool    written = false;
};

// An argument: a value of whichever of those types its parameter has. Views and maps
// begin with their pointer.
struct Slot {
    static constexpr std::size_t SIZE = sizeof(Window);
    alignas(8) unsigned char bytes[SIZE];
    template <class T> void set(const T& value) {
        static_assert(sizeof(T) <= SIZE && std::is_trivially_copyable_v<T>);
        std::memcpy(bytes, &value, sizeof(T));
    }
    template <class T> const T& get() const { return *std::launder(reinterpret_cast<const T*>(bytes)); }
};
constexpr int MOST_PARAMETERS = 32;

struct Row {
    const char*      name;
    const char*      signature;
    const Parameter* parameters;
    int              count;
    const char*      only;                           // the one set that has this kernel; nullptr: all have
    void (*kernel)();                                // nullptr: this set has none
    void (*call)(void (*kernel)(), const Slot*);     // with `count` slots
};

template <class T> constexpr Element element_of() {
    using E = std::remove_const_t<T>;
    return std::is_same_v<E, float>    ? Element::FLOAT
           : std::is_same_v<E, double> ? Element::DOUBLE
           : std::is_same_v<E, i64>    ? Element::LONG
                                       : Element::BYTE;
}
template <class T> struct Is;
template <> struct Is<bool> { static constexpr Parameter parameter{Parameter::FLAG}; };
template <> struct Is<i64> { static constexpr Parameter parameter{Parameter::INTEGER}; };
template <> struct Is<double> { static constexpr Parameter parameter{Parameter::NUMBER}; };
template <> struct Is<Dims> { static constexpr Parameter parameter{Parameter::DIMS}; };
template <> struct Is<Window> { static constexpr Parameter parameter{Parameter::WINDOW}; };
template <> struct Is<Act> { static constexpr Parameter parameter{Parameter::ACT}; };
template <class T> struct Is<View<T>> {
    static constexpr Parameter parameter{Parameter::VIEW, element_of<T>(), !std::is_const_v<T>};
};
template <> struct Is<InAny> { static constexpr Parameter parameter{Parameter::VIEW, Element::ANY}; };
template <> struct Is<OutAny> { static constexpr Parameter parameter{Parameter::VIEW, Element::ANY, true}; };
template <class T> struct Is<MapView<T>> {
    static constexpr Parameter parameter{Parameter::MAP, element_of<T>(), !std::is_const_v<T>};
};

template <class... A> struct Signature {
    static_assert(sizeof...(A) <= MOST_PARAMETERS);
    static constexpr Parameter parameters[] = {Is<A>::parameter...};
    static void call(void (*kernel)(), const Slot* slots) {
        call(kernel, slots, std::index_sequence_for<A...>{});
    }
private:
    template <std::size_t... I>
    static void call(void (*kernel)(), const Slot* slots, std::index_sequence<I...>) {
        reinterpret_cast<void (*)(A...)>(kernel)(slots[I].template get<A>()...);
    }
};

template <class... A>
Row row(const char* name, const char* signature, void (*kernel)(A...), const char* only = nullptr) {
    return {name,
            signature,
            Signature<A...>::parameters,
            int(sizeof...(A)),
            only,
            reinterpret_cast<void (*)()>(kernel),
            &Signature<A...>::call};
}
