// The inverted residual block of MobileNets: 1x1 convolution to many channels, depthwise
// convolution, 1x1 convolution back to few.
//
// Between the two 1x1 layers lies the widest map of the network, written once and read once by a
// layer that does almost nothing with it. Here it never exists as a whole: a task takes some rows
// of the result after the other, and keeps only the rows of the wide map that the depthwise
// filter reaches from them, in a window that slides down the image. Each row of the wide map is
// computed once a task.
//
// Every value is the chain of operations that the three layers by themselves would make of it, so
// the results are the same bits.
#include "convolution/blocked_rows.h"

BEGIN_KERNELS
namespace {
// of the wide map and of what the depthwise layer makes of it: half of L2
constexpr i64 WINDOW_BYTES = 512 << 10;

i64 least(i64 a, i64 b) { return a < b ? a : b; }
i64 most(i64 a, i64 b) { return a < b ? b : a; }
i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

struct Block {
    InMap<real>  x;
    i64          channels, wide, blocks;   // blocks: of the wide map
    const real  *expand, *expand_bias;     // null: x is the wide map
    const real  *depth, *depth_bias;
    Axis         h, w;
    const real  *project, *project_bias;   // null: y takes what the depthwise layer makes
    InMap<real>  residual;
    OutMap<real> y;
    Epilogue     first, second, third;
    real*        row_sums;                 // null, or for each row of y of each plane, 16 values
    bool         half = false;             // y's last block has 8 channels at most

    // Rows of x that outputs [begin, end) read
    i64 top(i64 begin) const { return least(most(begin * h.stride - h.padding, 0), h.in); }
    i64 bottom(i64 end) const {
        return most(least((end - 1) * h.stride - h.padding + (h.taps - 1) * h.dilation + 1, h.in), 0);
    }
    i64 row(i64 width) const { return width * BLOCK; }
};

// How many rows of y are made at a time, and how many rows of the wide map these need at most
struct Step {
    i64 outputs, window;
    explicit Step(const Block& b) {
        const i64 reach = (b.h.taps - 1) * b.h.dilation + 1, row_bytes = b.blocks * BLOCK * (i64)sizeof(real);
        const i64 wide_row = b.expand ? b.w.in * row_bytes : 0,
                  narrow_row = b.project ? b.y.w * row_bytes : 0;
        const i64 room = WINDOW_BYTES - most(reach - b.h.stride, 0) * wide_row;
        outputs = most(1, least(b.y.h, room / (b.h.stride * wide_row + narrow_row + 1)));
        window  = least(b.h.in, (outputs - 1) * b.h.stride + reach);
    }
};

// The rows [begin, end) of the wide map of one sample, block by block, at `data`, with
// room for `rows` of them
struct Rows {
    real* data;
    i64   begin, end, rows, width;
    real* block(i64 b) const { return data + b * rows * width * BLOCK; }

    // Forgets rows before `from`
    void drop(i64 from, i64 blocks) {
        if (from >= end) {
            begin = end = from;
            return;
        }
        if (from == begin) return;
        for (i64 b = 0; b < blocks; ++b)
            std::memmove(block(b), block(b) + (from - begin) * width * BLOCK,
                         (end - from) * width * BLOCK * sizeof(real));
        begin = from;
    }
};

// blocks of the wide map that are expanded and filtered in turn, so that the depthwise
// layer finds them near
constexpr i64 TOGETHER = 4;

// Rows [from, to) of the result of the blocks [k0, k1) of the wide map, whose rows `window` holds
// as far as they are needed
void filter_rows(const Block& b, const Rows& window, i64 sample, i64 from, i64 to, i64 k0, i64 k1,
                 real* narrow, i64 narrow_block) {
    for (i64 k = k0; k < k1; ++k) {
        const real* x = b.expand ? window.block(k) : b.x.at(sample, k);
        const i64 first = b.expand ? window.begin : 0, rows = b.expand ? window.end - window.begin : b.h.in;
        // counted from `from` and `first`
        const Axis h{b.h.taps, b.h.stride, b.h.padding + first - from * b.h.stride, b.h.dilation, rows};
        real* y = b.project ? narrow + k * narrow_block : b.y.at(sample, k) + from * b.y.w * BLOCK;
        convolve_band({h, b.w, x, b.depth + k * b.h.taps * b.w.taps * BLOCK,
                       b.depth_bias ? b.depth_bias + k * BLOCK : nullptr, nullptr, y, 0, to - from, b.y.w},
                      b.second);
        if (b.row_sums)
            for (i64 r = from; r < to; ++r)
                add_row(y + (r - from) * b.y.w * BLOCK, b.y.w,
                        b.row_sums + ((sample * b.blocks + k) * b.y.h + r) * BLOCK);
    }
}

void expand_rows(const Block& b, const Rows& window, i64 sample, i64 from, i64 to, i64 k0, i64 k1) {
    if (from >= to) return;
    const PixelRun run{b.x.at(sample, 0) + from * b.row(b.x.w),
                       b.expand,
                       b.expand_bias,
                       nullptr,
                       window.block(k0) + (from - window.begin) * b.row(b.x.w),
                       b.channels,
                       b.x.plane(),
                       window.rows * b.row(b.x.w),
                       0,
                       (to - from) * b.x.w,
                       true,
                       false};
    convolve_pixels(run, k0, k1, b.first);
}

void project_rows(const Block& b, i64 sample, i64 from, i64 to, const real* narrow, i64 narrow_block) {
    const i64 at = from * b.row(b.y.w);
    const PixelRun run{narrow,
                       b.project,
                       b.project_bias,
                       b.residual ? b.residual.at(sample, 0) + at : nullptr,
                       b.y.at(sample, 0) + at,
                       b.wide,
                       narrow_block,
                       b.y.plane(),
                       b.residual.plane(),
                       (to - from) * b.y.w,
                       false,
                       true,
                       b.half};
    convolve_pixels(run, 0, b.y.blocks, b.third);
}

// Rows [begin, end) of y of one sample
void make_rows(const Block& b, const Step& step, i64 sample, i64 begin, i64 end) {
    Scratch<real> wide(b.expand ? b.blocks * step.window * b.row(b.x.w) : 0),
        narrow(b.project ? b.blocks * step.outputs * b.row(b.y.w) : 0);
    const i64 narrow_block = step.outputs * b.row(b.y.w);
    Rows window{wide, b.top(begin), b.top(begin), step.window, b.x.w};
    for (i64 from = begin; from < end; from += step.outputs) {
        const i64 to = least(end, from + step.outputs), bottom = most(b.bottom(to), window.end);
        if (b.expand) window.drop(b.top(from), b.blocks);
        const i64 made = window.end;
        window.end = most(bottom, made);
        for (i64 k = 0; k < b.blocks; k += TOGETHER) {
            const i64 next = least(k + TOGETHER, b.blocks);
            if (b.expand) expand_rows(b, window, sample, made, window.end, k, next);
            filter_rows(b, window, sample, from, to, k, next, narrow, narrow_block);
        }
        if (b.project) project_rows(b, sample, from, to, narrow, narrow_block);
    }
}

void make_image(const Block& b) {
    if (!b.y.n || !b.y.h || !b.y.w) return;
    const Step step(b);
    // An image is cut where there are too few for the threads; the rows that two parts
    // share are computed twice.
    const i64 threads = threads_now(), parts = b.y.n % threads == 0 || b.y.n > 8 * threads
                                                   ? 1
                                                   : least(threads, ceil_div(b.y.h, step.outputs));
    parallel_tasks(b.y.n * parts, [&](i64 task) {
        const i64 part = task % parts;
        make_rows(b, step, task / parts, b.y.h * part / parts, b.y.h * (part + 1) / parts);
    });
}

struct Weights { In<real> expand, expand_bias, depth, depth_bias; };

Block block_of(InMap<real> x, i64 channels, const Weights& w, i64 wide, const Window& window,
               const Epilogue& first, const Epilogue& second, OutMap<real> y) {
    const auto& [kernel, stride, padding, dilation] = window;
    return {x,
            channels,
            wide,
            ceil_div(wide, BLOCK),
            w.expand.data,
            w.expand_bias.data,
            w.depth.data,
            w.depth_bias.data,
            {w.depth.dim(1), stride[0], padding[0], dilation[0], x.h},
            {w.depth.dim(2), stride[1], padding[1], dilation[1], x.w},
            nullptr,
            nullptr,
            {},
            y,
            first,
            second,
            Epilogue({Activation::CLAMP, 0, 0}),
            nullptr};
}
}  // namespace

void inverted_residual(InMap<real> x, i64 channels, In<real> expand, In<real> expand_bias, Act act_1,
                       i64 wide, In<real> depth, In<real> depth_bias, Window window, Act act_2,
                       In<real> project, In<real> project_bias, InMap<real> residual, Act act_3,
                       OutMap<real> y) {
    Block b = block_of(x, channels, {expand, expand_bias, depth, depth_bias}, wide, window, Epilogue(act_1),
                       Epilogue(act_2), y);
    const WholeBias whole(project_bias, y.blocks);
    b.project      = project.data;
    b.project_bias = whole.data;
    b.half         = whole.half;
    b.residual     = residual;
    b.third        = Epilogue(act_3);
    make_image(b);
}

void expand_depthwise_mean(InMap<real> x, i64 channels, In<real> expand, In<real> expand_bias, Act act_1,
                           In<real> depth, In<real> depth_bias, Window window, Act act_2, OutMap<real> y,
                           Out<real> mean) {
    const i64 wide = mean.dim(1);
    Block b = block_of(x, channels, {expand, expand_bias, depth, depth_bias}, wide, window, Epilogue(act_1),
                       Epilogue(act_2), y);
    Scratch<real> sums(y.n * b.blocks * y.h * BLOCK);
    b.row_sums = sums;
    make_image(b);
    parallel_for(y.n * b.blocks, 1 + 100000 / (y.h * BLOCK + 16), [&](i64 begin, i64 end) {
        for (i64 plane = begin; plane < end; ++plane) {
            const i64 sample = plane / b.blocks, channel = plane % b.blocks * BLOCK;
            mean_of_rows(sums + plane * y.h * BLOCK, y.h, y.h * y.w, wide - channel,
                         mean.data + sample * wide + channel);
        }
    });
}
END_KERNELS
