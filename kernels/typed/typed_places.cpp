// Where values are: as many places as a run finds, at the beginning of a result that has room for all.
#include <algorithm>
#include "element.h"

BEGIN_KERNELS
void nonzero(InAny x, Out<i64> places, Out<i64> count) {
    i64 found = 0;
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        const T* const from = x.as<const T>();
        const i64      n = x.size();
        for (i64 i = 0; i < n; ++i) {   // written whether or not it stays
            places.data[found] = i;
            found += read(from[i]) != Value<T>(0);
        }
        std::fill(places.data + found, places.data + n, 0);
    });
    *count.data = found;
}
END_KERNELS
