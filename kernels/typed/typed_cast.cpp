// Numbers as another type has them.
#include "element.h"

BEGIN_KERNELS
void cast(InAny x, OutAny y) {
    for_element(x.element, [&](auto from) {
        for_element(y.element, [&](auto to) {
            using X = decltype(from);
            using Y = decltype(to);
            map(x.as<const X>(), y.as<Y>(), y.size(), GRAIN, [](Value<X> v) { return converted<Y>(v); });
        });
    });
}
END_KERNELS
