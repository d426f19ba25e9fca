// How the driver calls a kernel: by an array of pointers to its arguments; and a text that says
// what type each of them has, to refuse others.
#pragma once
#include "cuemu_runtime.h"

namespace cuemu {
template <class... A, size_t... I>
CUEMU_NOSAN inline void call_with(void (*kernel)(A...), void** p, std::index_sequence<I...>) {
    kernel(*reinterpret_cast<std::remove_reference_t<A>*>(p[I])...);
}
template <class... A> CUEMU_NOSAN inline void call(void (*kernel)(A...), void** p) {
    call_with(kernel, p, std::index_sequence_for<A...>{});
}

// b, f, i, u or V (any other type) and a size; for a pointer Pc (to const) or Pm before what it points to
template <class T> struct Code {
    static void put(char*& text) {
        if constexpr (std::is_pointer_v<T>) {
            using Target = std::remove_pointer_t<T>;
            *text++ = 'P';
            *text++ = std::is_const_v<Target> ? 'c' : 'm';
            if constexpr (std::is_void_v<Target>) text += sprintf(text, "v0");
            else Code<std::remove_cv_t<Target>>::put(text);
        } else {
            const char kind = std::is_same_v<T, bool>       ? 'b'
                              : std::is_floating_point_v<T> ? 'f'
                              : !std::is_integral_v<T>      ? 'V'
                              : std::is_signed_v<T>         ? 'i'
                                                            : 'u';
            text += sprintf(text, "%c%zu", kind, sizeof(T));
        }
    }
};
template <class... A> CUEMU_NOSAN const char* signature(void (*)(A...)) {
    static char text[1024];
    char* end = text;
    ((Code<std::remove_cv_t<A>>::put(end), *end++ = ';'), ...);
    *end = 0;
    return text;
}
}  // namespace cuemu

#define CUEMU_EXPORT(SYMBOL, ...) \
    CUEMU_API CUEMU_NOSAN void cuemu_call_##SYMBOL(void** p) { cuemu::call(&__VA_ARGS__, p); } \
    CUEMU_API CUEMU_NOSAN const char* cuemu_sig_##SYMBOL() { return cuemu::signature(&__VA_ARGS__); }
