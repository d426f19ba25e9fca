"""Seeded faults in our own kernels: (name, file, old text, new text, how many occurrences of it
come before, op, case, check, who notices).

`who notices` is a kind of the emulator's checker, or "result" where only the comparison with
the definition can. A text that is no longer in its file fails the test: choose another fault
of the same kind there.
"""
from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    file: str      # under kernels/, or under csrc/cuda/ with the prefix cuda:
    old: str
    new: str
    op: str
    case: str
    notices: str
    check: str = "forward"
    skip: int = 0  # occurrences of `old` before the one that changes
    real: str = "f32"
    backend: str = "cuda-emulated"
    precision: str = "strict"


M = Mutant
MUTANTS = [
    # guards
    M("softmax: one line too many", "softmax/cuda.cu", "if (line >= lines) return;", "if (line > lines) return;", "softmax", "line7", "out-of-bounds"),
    M("softmax: packets of lines that are none", "softmax/cuda.cu", "packed = n % LANES == 0 && aligned(x) && aligned(y)", "packed = aligned(x) && aligned(y)", "softmax", "line35", "misaligned"),
    M("softmax across: the last element left out", "softmax/cuda.cu",
      "for (int i = 0; i < n; ++i) sum += F::term(value(x[at + i * inner]), peak);",
      "for (int i = 0; i < n - 1; ++i) sum += F::term(value(x[at + i * inner]), peak);", "softmax", "across",
      "result"),
    M("a loop over all one further", "cuda:index.cuh", "i < (n); i += thread_count()", "i <= (n); i += thread_count()", "softmax", "across", "out-of-bounds"),
    M("gemm: a row past C", "gemm/cuda.cu", "if (row >= rows || column >= columns) return;", "if (row > rows || column >= columns) return;", "matmul", "*", "out-of-bounds"),
    M("gemm: no guard along the reduction", "gemm/cuda.cu", "if (r < m.rows && k < end) p", "if (r < m.rows) p", "matmul", "*", "any"),
    M("attention: a key too many is seen", "attention/looks.cuh", "k < keys && (!causal", "k <= keys && (!causal", "attention", "*", "result"),
    M("attention: rows past the last are read", "attention/tiles.cuh", "(unsigned)(row + i) < (unsigned)m.rows ?", "(unsigned)(row + i) <= (unsigned)m.rows ?", "attention", "*", "any"),
    M("attention: columns past the last are stored", "attention/tiles.cuh", "if (j + k < columns) line[j + k]", "if (j + k <= columns) line[j + k]", "attention", "*", "any"),
    M("attention on tensor cores: a key too many is seen", "attention/tensor.cuh", "k < keys && (!causal", "k <= keys && (!causal", "attention", "features80", "result", real="f16"),
    M("attention on tensor cores: a row past the last is copied", "attention/tensor.cuh",
      "row + r < m.rows && e < m.columns;", "row + r <= m.rows && e < m.columns;",
      "attention", "features80", "out-of-bounds", real="bf16"),
    M("convolution: a filter past the last is written", "convolution/cuda.cu", "if (m < to.filters) to.put", "if (m <= to.filters) to.put", "conv", "*", "any"),
    M("convolution: positions past the last", "convolution/cuda.cu", "if (p + v >= pixels) continue;", "if (p + v > pixels) continue;", "conv", "*", "any"),
    M("column guard of a reduction", "reduction/cuda.cu", "const bool mine = column < width;", "const bool mine = column <= width;", "sum", "*", "any"),
    M("recurrent: a sample past the last", "recurrent/resident.cuh",
      "first + (int)threadIdx.x < samples ? order.length",
      "first + (int)threadIdx.x <= samples ? order.length", "gru", "*", "any"),

    M("channels last: a strip past the last", "convolution/channels_last.cu", "if (id / packets >= samples",
      "if (id / packets > samples", "conv", "depthwise*", "out-of-bounds", backend="channels-last"),
    M("channels last: rows past a strip's last", "convolution/channels_last.cu",
      "if (at.h + t >= win.h.grid) break;", "if (at.h + t > win.h.grid) break;", "conv", "depthwise",
      "any", backend="channels-last"),
    M("weight gradient: a filter past the last is read", "convolution/weight_gradient.cu",
      "line(i) < min(BM, lines)", "line(i) < BM", "conv", "7x7_stem", "out-of-bounds", "gradient"),
    M("weight gradient on tensor cores: a column past the last is stored",
      "convolution/weight_gradient_tensor.cu", "if (k + 1 < columns) at[1]", "at[1]",
      "conv", "7x7_stem", "any", "gradient", precision="3xtf32"),

    # barriers
    M("channels last: sums joined without a barrier", "convolution/channels_last_gradient.cu",
      "        __syncthreads();\n        if (threadIdx.x < half)", "        if (threadIdx.x < half)",
      "conv", "depthwise", "race", "gradient", backend="channels-last"),
    M("block sum: no barrier before the slots are read", "cuda:reduce.cuh",
      "    __syncthreads();\n    v = warp_reduce<R>(lane < warps", "    v = warp_reduce<R>(lane < warps",
      "softmax", "line_of_several_pieces", "race"),
    M("block sum: no barrier before the slots are used again", "cuda:reduce.cuh",
      "R::none());\n    __syncthreads();\n    return v;", "R::none());\n    return v;",
      "softmax", "line_of_17000", "race"),
    M("block sum: a barrier for one warp only", "cuda:reduce.cuh",
      "if (lane == 0) slots[warp] = v;\n    __syncthreads();",
      "if (lane == 0) { slots[warp] = v; if (warp == 0) __syncthreads(); }",
      "softmax", "line_of_several_pieces", "any"),
    M("gemm: the first tiles are read too soon", "gemm/cuda.cu", "right.store(b, bs[0]);\n        __syncthreads();", "right.store(b, bs[0]);", "matmul", "*", "race"),
    M("gemm: the next tiles overwrite those in use", "gemm/cuda.cu",
      "            }\n            __syncthreads();\n        }\n    }\n\n    // Chains",
      "            }\n        }\n    }\n\n    // Chains", "matmul", "*", "race"),
    M("attention: slices overwritten while they are read", "attention/tiles.cuh", "        __syncthreads();   // what the slices held has been read\n", "", "attention", "*", "race"),
    M("attention: weights read before they are there", "attention/tiles.cuh",
      "        __syncthreads();   // the weights are there, and what the slices held has been read\n", "",
      "attention", "*", "race"),
    M("attention on tensor cores: staged rows read too soon",
      "attention/tensor.cuh", "    __syncwarp();\n    const bool packed", "    const bool packed",
      "attention", "several_blocks", "race", real="f16"),
    M("reduction of columns: halves joined without a barrier", "reduction/cuda.cu", "        __syncthreads();\n        if (threadIdx.y < half)", "        if (threadIdx.y < half)", "sum", "*", "race"),
    M("convolution: weights turned without a barrier", "convolution/packed.cuh",
      "value(from[(i64)(m0 + i) * apart[1]]) : acc(0);\n    __syncthreads();",
      "value(from[(i64)(m0 + i) * apart[1]]) : acc(0);", "conv", "*", "race"),
    M("recurrent: h read before the start values are there", "recurrent/resident.cuh",
      "    own();\n    __syncthreads();\n", "    own();\n", "gru", "*", "race"),
    M("convolution: a slice overwritten while it is read", "convolution/slices.cuh",
      "        cp_async_wait<0>();\n        __syncthreads();\n    }\n}",
      "        cp_async_wait<0>();\n    }\n}", "conv", "7x7_stem", "race", "gradient", precision="3xtf32"),
    M("weight gradient: places read before they are there", "convolution/weight_gradient.cuh",
      "Place{0, FAR, 0, 0};\n    }\n    __syncthreads();",
      "Place{0, FAR, 0, 0};\n    }", "conv", "7x7_stem", "any", "gradient", precision="3xtf32"),

    # shared memory
    M("layer_norm: too few slots", "layer_norm/rows.cuh", "__shared__ acc slots[32];", "__shared__ acc slots[4];", "rms_norm", "*", "any"),
    M("recurrent: hidden of absent samples left undefined", "recurrent/layer.cu",
      "if (z.projected()) hidden[u * S + s] = 0;",
      "if (z.projected() && first + s < z.samples) hidden[u * S + s] = 0;", "lstm", "projection*", "any"),
    M("convolution: a line of the turned tile too short", "convolution/packed.cuh", "__shared__ acc turn[32][33];", "__shared__ acc turn[31][33];", "conv", "*", "any"),

    # asynchronous copies
    M("convolution: no wait for a slice", "convolution/slices.cuh", "        cp_async_wait<0>();\n", "", "conv", "*", "any"),

    # logic that only the result shows
    M("softmax: the peak of one lane", "softmax/cuda.cu", "    peak = row_max(peak);\n", "", "softmax", "far_from_zero", "result"),
    M("warp sum: half of the lanes", "cuda:reduce.cuh", "for (int step = 16; step > 0; step >>= 1) v = R::join", "for (int step = 8; step > 0; step >>= 1) v = R::join", "softmax", "line_of_600", "result"),
    M("log_softmax's gradient: the wrong term", "softmax/cuda.cu", "return dy - exp(y) * sum;", "return dy - y * sum;", "log_softmax", "line35", "result", "gradient"),
    M("layer_norm: epsilon forgotten", "layer_norm/cuda.cu",
      "reciprocal_deviation(row.squares(m, cols) / n, eps)",
      "reciprocal_deviation(row.squares(m, cols) / n, 0)", "layer_norm", "two_axes_no_bias", "result"),
    M("layer_norm: the bias before the weight", "layer_norm/cuda.cu",
      "        if (weight) {\n            load_lanes(weight + i,",
      "        if (bias) {\n            load_lanes(bias + i,", "layer_norm", "cols33", "result"),
    M("strips: a row past the input is read", "pooling/strips.cu", "(unsigned)(h + r) < (unsigned)height", "(unsigned)(h + r) <= (unsigned)height", "max_pool", "*", "any"),
    M("strips: an output past the last is stored", "pooling/strips.cu", "if (s.row + t >= s.rows) break;", "if (s.row + t > s.rows) break;", "max_pool", "*", "any"),
    M("batch_norm: a packet that reaches into the next row is taken whole", "batch_norm/lines.cuh", "if (live > run - i) rest = true;", "if (live > run) rest = true;", "batch_norm", "*", "result"),
    M("roi_align: a sample past the edge counts", "detection/regions.cu", "if (at < -1 || at > size) return;", "if (at < -1) return;", "roi_align", "*", "result"),
    M("roi_pool: a cell's last column left out", "detection/regions.cu", "c < region.w.end(p.j)", "c + 1 < region.w.end(p.j)", "roi_pool", "*", "result", "gradient"),
    M("ps_roi_pool: a pixel past the last is read", "detection/regions.cu", "(int)min(max(at, (i64)0), (i64)size)", "(int)min(max(at, (i64)0), (i64)size + 1)", "ps_roi_pool", "*", "any"),
    M("nms: nobody waits until all have looked", "detection/nms.cu", "__syncthreads();   // all have looked", "", "batched_nms", "random", "race"),
    M("nms: a box takes away those of other groups", "detection/nms.cu", "groups[other] == groups[own] &&", "", "batched_nms", "*", "result"),
    M("multiclass_nms: the worst of the candidates are taken", "detection/multiclass.cu", "rank < candidates", "rank >= candidates", "multiclass_nms", "*bounds", "result"),
    M("multiclass_nms: of equal scores the last is the best", "detection/multiclass.cu", "s == score && p < place", "s == score && p > place", "multiclass_nms", "greedy_equal_scores", "result"),
    M("multiclass_nms: nobody waits until the best is read", "detection/multiclass.cu", "__syncthreads();   // all have read the best, and the number that stayed is written", "", "multiclass_nms", "one_class", "race"),
    M("suppress: the first of equal scores comes last", "detection/boxes.cuh", "? j < i : !unknown", "? j > i : !unknown", "suppress", "equal_scores", "result"),
    M("suppress: nobody waits until the best is read", "detection/suppress.cu", "__syncthreads();        // all have read it", "", "suppress", "random", "race"),
    M("suppress: one goes at the threshold, too", "detection/suppress.cu", "> iou) gone[i] = 1;", ">= iou) gone[i] = 1;", "suppress", "pairs_at_half", "result"),
    M("suppress: a result past the last", "detection/suppress.cu", "i < counts[task];", "i <= counts[task];", "suppress", "*", "any"),
    M("lattice: a corner without its remainder", "permutohedral/lattice.cu", "s.rank[i] <= d - r ? r : r - (d + 1)", "s.rank[i] < d - r ? r : r - (d + 1)", "permutohedral", "features3*", "result"),
    M("lattice: the farthest go the same way", "permutohedral/lattice.cu", "rank[i] < 0 ? 1 : rank[i] > d ? -1 : 0", "rank[i] < 0 ? 1 : 0", "permutohedral", "*", "any"),
    M("lattice: a slot that is another vertex's", "permutohedral/lattice.cuh", "if (held == 0 || is(held - 1, key)) return", "return", "permutohedral", "many_points", "result"),
    M("lattice: a neighbour on one side only", "permutohedral/lattice.cu", "t % 2 ? -1 : 1", "1", "permutohedral", "features5*", "result"),
    M("lattice: where no vertex begins", "permutohedral/lattice.cu", "before[i] - !begins", "before[i]", "permutohedral", "features2*", "any"),
    M("sort: a number past the last", "permutohedral/sort.cu", "const int digit = i < n ? digit_of(number, shift) : DIGITS;", "const int digit = digit_of(number, shift);", "permutohedral", "features1*", "any"),
    M("sort: those of other warps are not counted", "permutohedral/sort.cu", "for (int w = 0; w < warp; ++w) at += found[w][digit];", "", "permutohedral", "many_points", "any"),
    M("sort: nobody waits until all have put theirs", "permutohedral/sort.cu", "__syncthreads();", "", "permutohedral", "many_points", "race", skip=5),
    M("sort: what lies before a round is forgotten", "permutohedral/sort.cu", "before += total;", "", "permutohedral", "many_points", "any"),
    M("lattice: a splat adds the points of others", "permutohedral/filter.cu", "i < starts[vertex + 1]", "i <= starts[vertex + 1]", "permutohedral", "features2*", "any"),
    M("lattice: a splat's groups are not joined", "permutohedral/filter.cu", "sum += __shfl_xor_sync(WARP, sum, step)", "sum = sum", "permutohedral", "features1*", "result"),
    M("lattice: a blur of one side", "permutohedral/filter.cu", "side[1] < 0 ? acc(0) : from[(i64)side[1] * c + k]", "acc(0)", "permutohedral", "*", "result"),
    M("lattice: a slice past the last channel", "permutohedral/filter.cu", "r < corners; ++r", "r <= corners; ++r", "permutohedral", "*", "any"),
    M("box_overlap: the box around moves with the wrong end", "detection/overlap.cu", "by_around[i] * (1 - low)", "by_around[i] * low", "box_overlap", "*", "result", "gradient"),
    M("max_pool: the least", "pooling/max.cu", "if (v > value || v != v)", "if (v < value || v != v)", "max_pool", "*", "result"),
    M("gemm: chains not joined in C", "gemm/cuda.cu", "        sum += before;\n", "", "matmul", "*", "result"),
    M("attention: the running sum is not scaled", "attention/attend.cuh", "sum[i] = sum[i] * factor[i] + row_reduce<Sum>(part);", "sum[i] = sum[i] + row_reduce<Sum>(part);", "attention", "*", "result"),
    M("attention within: a key beyond the end is seen", "attention/looks.cuh", "k >= l.from[i] && k < l.to[i]", "k >= l.from[i] && k <= l.to[i]", "attention_within", "lengths", "any"),
    M("attention within: the first tile of keys is left out", "attention/attend.cuh", "int key = range.begin / TILE * TILE;", "int key = range.begin / TILE * TILE + TILE;", "attention_within", "several_blocks_of_keys", "any"),
    M("attention within: a query's own place does not count", "attention/looks.cuh", "distance[k - q + queries - 1]", "distance[k + queries - 1]", "attention_within", "by_distance", "any"),
    M("attention within: gradients for keys of tiles that see nothing", "attention/looks.cuh", "return of.begin < key + TILE && of.end > key;", "return of.begin < key && of.end > key;", "attention_within", "lengths", "result", "gradient"),
    M("attention within: distances of the second tile of keys are left out", "attention/within_backward.cu", "side < 2; ++side", "side < 1; ++side", "attention_within", "by_distance_several_blocks", "result", "gradient"),
    M("attention within: nobody waits until the slopes are there", "attention/within_backward.cu", "__syncthreads(); // query q of the tile and distance", "//", "attention_within", "by_distance_several_blocks", "race", "gradient"),
    M("attention within: a distance past the last", "attention/within_backward.cu", "first + own < all", "first + own <= all", "attention_within", "by_distance", "any", "gradient"),
    M("attention stored: bits that stand for others", "attention/few.cuh", "(unsigned)b.bits << 16", "(unsigned)b.bits << 15", "attention_stored", "one_query_16_keys", "result"),
    M("attention stored: a key past the last", "attention/few.cuh", "min(key, look.keys - 1)", "key", "attention_stored", "one_query_15_keys", "any"),
    M("attention stored: a number past the last is widened", "attention/few_within.cu", "GRID_STRIDE(i, n)", "GRID_STRIDE(i, n + 1)", "attention_stored", "more_queries*", "out-of-bounds"),
    M("attention dropped: the numbers of the first head", "attention/dropped.cu", "(u64)head * sizes[0] * sizes[1]", "0", "attention_dropped", "keys16", "result"),
    M("attention dropped: sums of what is kept alone", "attention/attend.cuh", "s[i][j] *= look.kept(first + rank.y * R + i, key + rank.x * R + j);", "s[i][j] *= 1;", "attention_dropped", "keys7", "result"),
    M("attention dropped: slopes of what was dropped", "attention/slopes.cuh", "ds = p * (ds * kept - delta);", "ds = p * (ds - delta);", "attention_dropped", "keys7", "result", "gradient"),
    M("attention dropped: values' slopes of what was dropped", "attention/slopes.cuh", "p *= kept;", "", "attention_dropped", "keys7", "result", "gradient"),
    M("attention on tensor cores: the running sum is not scaled", "attention/tensor.cu",
      "fma(sum[i][half], share, part)", "sum[i][half] + part", "attention", "several_blocks",
      "result", real="bf16"),
    M("attention on tensor cores: a fragment's halves exchanged", "attention/tensor.cuh",
      "weights[i][k / 8 + q / 2][q % 2 * 2]", "weights[i][k / 8 + q % 2][q / 2 * 2]", "attention",
      "several_blocks", "result", real="f16"),
    M("reduction: every second chain dropped", "reduction/cuda.cu", "return R::join(a, b);", "return a;", "sum", "*", "result"),
    M("batch_norm: variance of the neighbour", "batch_norm/cuda.cu", "var[line] = all.variance();", "var[(line + 1) % lines] = all.variance();", "batch_norm_training", "*", "result"),
    M("channels last: the filter not turned round", "convolution/channels_last.cu",
      "(flip ? taps - 1 - tap : tap)", "tap", "conv", "depthwise", "result", "gradient",
      backend="channels-last"),
    M("channels last: the weights of the next output", "convolution/channels_last.cu",
      "weight + (i64)(i * KH * win.w.taps + k) * p.outputs",
      "weight + 1 + (i64)(i * KH * win.w.taps + k) * p.outputs",
      "conv", "depthwise_stride2", "any", backend="channels-last"),
    M("convolution: a transposed store", "convolution/packed.cuh", "(P)turn[threadIdx.x][i];", "(P)turn[i][threadIdx.x];", "conv", "*", "result"),
    M("weight gradient: a walk that misses the next sample", "convolution/weight_gradient.cuh",
      "if (++d == win.d.grid) d = 0, ++n;", "if (++d == win.d.grid) d = 0;",
      "conv", "1x1", "any", "gradient", precision="3xtf32"),
]
