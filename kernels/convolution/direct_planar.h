// Convolutions on planar arrays by the register tiles of blocked layout (blocked_direct_planar.cpp).
#pragma once
#include "geometry.h"

namespace ISA::REAL_NAME {
// `turned`: filters are met by half a turn, as in a gradient; kernel, padding and dilation as the
// layer has them, of three axes; strides are 1 then. False where the call gains nothing by it, and nothing was done.
bool direct_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                      bool turned);
// The same of any call of one group, whether it gains or not (blocked_volume_planar.cpp)
bool maps_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                    bool turned);
// ... of one of volumes that is estimated below other_units, in multiply-adds of whole vectors
bool volumes_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                       bool turned, double other_units);
// ... of a transposed one with strides, of one to three axes
bool transposed_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation);
// The same by stem_conv, of layers of few channels, from so many taps on
constexpr i64 STEM_TAPS = 16;
// y_sample and y_channel: how far these lie apart in y
bool stem_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                    i64 y_sample, i64 y_channel);
// The same by Winograd's algorithm along the one axis that filters lie along (blocked_line_planar.cpp)
bool lines_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                     bool turned);
// The same of many groups by grouped_conv (blocked_grouped_planar.cpp).
bool groups_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                      bool turned);
// The same of a depthwise convolution by blocked_depthwise.cpp (blocked_depthwise_planar.cpp).
bool depthwise_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                         bool turned);
// The same of a transposed one with strides.
bool depthwise_transposed_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                                    Dims dilation);
// The gradient of its filters; y is that of the result.
bool depthwise_gradient_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                                  Dims dilation, real* dw);
// The same of any other (blocked_weight_gradient.cpp), unless what it takes is estimated above other_units, in
// multiply-adds of whole vectors.
bool weight_gradient_in_blocks(const Convolution& conv, const TapList& t, double other_units, real* dw);
}  // namespace ISA::REAL_NAME
