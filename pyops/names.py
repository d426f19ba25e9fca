"""What each public function of pyops.functional is called elsewhere: at ATen, ONNX, torch.nn,
torch.ops.pyops and ncnn.

Every door reads this table, in either direction: importers from their names to ours (`ours`),
exporters the other way. How the arguments are ordered and spelt there stays with the door that
reads the name. A function without any name says why.
"""
from __future__ import annotations

from dataclasses import dataclass

from .ops.activation import NAMED


@dataclass(frozen=True)
class Names:
    """aten: overloads that compute the same. onnx: operators. module: classes of torch.nn. library:
    in torch.ops.pyops. ncnn: types of layers. why: there is no such name anywhere, because.
    """
    aten: tuple[str, ...] = ()
    onnx: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    library: str = ""
    ncnn: tuple[str, ...] = ()
    why: str = ""


def names(aten="", onnx="", module="", library="", ncnn="", why="") -> Names:
    """Several names of a kind stand in one text, with spaces between; an overload without a dot is
    the default one.
    """
    overloads = tuple(f"aten.{name}" if "." in name else f"aten.{name}.default" for name in aten.split())
    return Names(overloads, tuple(onnx.split()), tuple(module.split()), library, tuple(ncnn.split()), why)


LOSS = "torch takes its loss apart, or it stays torch's; there is no layer of it in an inference format"
INDEXING = "a way to index: ONNX's Slice, Gather and Squeeze by what the index is"
RANDOM = "it draws: a Program cannot, and doors drop it in inference"

NAMES: dict[str, Names] = {
    # products
    **{f"conv{n}d": names(f"conv{n}d conv{n}d.padding", "Conv", f"Conv{n}d", f"conv{n}d",
                          ("Convolution1D", "Convolution ConvolutionDepthWise", "Convolution3D")[n - 1])
       for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": names(f"conv_transpose{n}d{'' if n == 1 else '.input'}", "ConvTranspose",
                                    f"ConvTranspose{n}d", f"conv_transpose{n}d",
                                    ("Deconvolution1D", "Deconvolution DeconvolutionDepthWise",
                                     "Deconvolution3D")[n - 1]) for n in (1, 2, 3)},
    **{name: names(why="torchvision's own operator; in no format") for name in (
        "ps_roi_align", "ps_roi_pool")},
    "pyramid_roi_align": names(why="torchvision's MultiScaleRoIAlign spells it out by levels: where, roi_align, scatter"),
    "roi_pool": names(onnx="MaxRoiPool"),
    "roi_align": names(why="torchvision's own operator, which its door reads; ONNX's has boxes and samples apart"),
    "deform_conv2d": names("", "DeformConv"),
    "linear": names("linear", "Gemm", "Linear", "linear", "InnerProduct"),
    "matmul": names("matmul mm", "MatMul", ncnn="MatMul"), "bmm": names("bmm"),
    "bilinear": names("bilinear", "", "Bilinear"),
    "einsum": names("einsum", "Einsum"),
    "scaled_dot_product_attention": names("scaled_dot_product_attention", library="attention"),
    "permutohedral_filter": names(why="the filter of dense CRFs, in no other library"),
    "squared_euclidean": names(why="LeNet-5's output layer, in no other library"),
    # pooling
    **{f"max_pool{n}d": names(f"max_pool{n}d max_pool{n}d_with_indices", "MaxPool", f"MaxPool{n}d",
                              f"max_pool{n}d", ("Pooling1D", "Pooling", "Pooling3D")[n - 1])
       for n in (1, 2, 3)},
    **{f"avg_pool{n}d": names(f"avg_pool{n}d", "AveragePool", f"AvgPool{n}d", f"avg_pool{n}d",
                              ("Pooling1D", "Pooling", "Pooling3D")[n - 1])
       for n in (1, 2, 3)},
    **{f"lp_pool{n}d": names("", "LpPool", f"LPPool{n}d", f"lp_pool{n}d") for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": names(f"adaptive_avg_pool{n}d", "", f"AdaptiveAvgPool{n}d",
                                       f"adaptive_avg_pool{n}d") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": names(f"adaptive_max_pool{n}d", "", f"AdaptiveMaxPool{n}d",
                                       f"adaptive_max_pool{n}d") for n in (1, 2, 3)},
    **{f"max_unpool{n}d": names("", "MaxUnpool", f"MaxUnpool{n}d", f"max_unpool{n}d") for n in (1, 2, 3)},
    "global_avg_pool": names(onnx="GlobalAveragePool"), "global_max_pool": names(onnx="GlobalMaxPool"),
    # normalisation
    "batch_norm": names("batch_norm _native_batch_norm_legit_no_training", "BatchNormalization",
                        "BatchNorm1d BatchNorm2d BatchNorm3d", "batch_norm", "BatchNorm"),
    "instance_norm": names("instance_norm", "InstanceNormalization",
                           "InstanceNorm1d InstanceNorm2d InstanceNorm3d", "instance_norm"),
    "rotary_embedding": names(why="torch spells it out; onnx/ops/microsoft_attention.py has ONNX's forms"),
    "layer_norm": names("layer_norm", "LayerNormalization", "LayerNorm", "layer_norm"),
    "rms_norm": names("", "RMSNormalization", "RMSNorm", "rms_norm"),
    "group_norm": names("group_norm", "GroupNormalization", "GroupNorm", "group_norm"),
    "local_response_norm": names("", "LRN", "LocalResponseNorm", "local_response_norm", "LRN"),
    # activations
    "relu": names("relu", "Relu", "ReLU", "relu", "ReLU"), "relu6": names("relu6", "", "ReLU6", "", "Clip"),
    "hardtanh": names("hardtanh", "", "Hardtanh", "", "Clip"),
    "hardswish": names("hardswish", "HardSwish", "Hardswish", "hardswish", "HardSwish"),
    "hardsigmoid": names("hardsigmoid", "HardSigmoid", "Hardsigmoid", "hardsigmoid", "HardSigmoid"),
    "silu": names("silu", "Swish", "SiLU", "silu", "Swish"),
    "sigmoid": names("sigmoid", "Sigmoid", "Sigmoid", "", "Sigmoid"),
    "tanh": names("tanh", "Tanh", "Tanh", "", "TanH"),
    "scaled_tanh": names(why="LeNet-5's activation, in no other library"),
    "gelu": names("gelu", "Gelu", "GELU", "gelu"), "elu": names("elu", "Elu", "ELU", "elu"),
    "celu": names("celu", "Celu", "CELU"),
    "selu": names("selu", "Selu", "SELU"),
    "leaky_relu": names("leaky_relu", "LeakyRelu", "LeakyReLU", "leaky_relu"),
    "mish": names("mish", "Mish", "Mish", "mish"),
    "softplus": names("softplus", "Softplus", "Softplus", "softplus"),
    "softsign": names("", "Softsign", "Softsign", "softsign"),
    "logsigmoid": names("log_sigmoid", "", "LogSigmoid", "logsigmoid"),
    "threshold": names("threshold", "", "Threshold"), "prelu": names("prelu", "PRelu", "PReLU"),
    "softmax": names("softmax.int", "Softmax", "Softmax", "softmax", "Softmax"),
    "log_softmax": names("log_softmax.int", "LogSoftmax", "LogSoftmax", "log_softmax"),
    "softmin": names("", "", "Softmin"),
    "glu": names("glu", "", "GLU"), "hardshrink": names("hardshrink", "", "Hardshrink"),
    "softshrink": names("softshrink", "Shrink", "Softshrink"), "tanhshrink": names("", "", "Tanhshrink"),
    # distances
    "normalize": names(why="torch takes it apart"), "pdist": names("pdist"), "cdist": names("cdist"),
    "cosine_similarity": names("cosine_similarity", "", "CosineSimilarity"),
    "pairwise_distance": names("pairwise_distance", "", "PairwiseDistance"),
    # pointwise
    **{name: names(f"{name}.Tensor {name}.Scalar", onnx, "", "", "BinaryOp")
       for name, onnx in (("add", "Add"), ("sub", "Sub"), ("mul", "Mul"))},
    "div": names("div.Tensor div.Scalar div.Tensor_mode div.Scalar_mode", "Div", "", "", "BinaryOp"),
    "maximum": names("maximum", "Max"), "minimum": names("minimum", "Min"),
    "pow": names("pow.Tensor_Scalar", "Pow"), "clamp": names("clamp", "Clip"), "clip": names("clip"), "abs": names("abs", "Abs"),
    "neg": names("neg", "Neg"), "exp": names("exp", "Exp"), "log": names("log", "Log"),
    "sqrt": names("sqrt", "Sqrt"), "reciprocal": names("reciprocal", "Reciprocal"),
    "erf": names("erf", "Erf"), "rsqrt": names("rsqrt"), "square": names("square"),
    "log1p": names("log1p"), "expm1": names("expm1"), "where": names("where.self", "Where"),
    # comparisons, questions, logic
    **{name: names(f"{name}.Tensor {name}.Scalar", onnx) for name, onnx in (
        ("eq", "Equal"), ("ne", ""), ("lt", "Less"), ("le", "LessOrEqual"), ("gt", "Greater"), ("ge", "GreaterOrEqual"))},
    "logical_and": names("logical_and", "And"), "logical_or": names("logical_or", "Or"),
    "logical_xor": names("logical_xor", "Xor"), "logical_not": names("logical_not", "Not"),
    "isnan": names("isnan", "IsNaN"), "isinf": names("isinf"), "isfinite": names("isfinite"),
    # whole numbers, division with what is left, rounding, trigonometry
    **{f"bitwise_{name}": names(f"bitwise_{name}.Tensor bitwise_{name}.Scalar", f"Bitwise{name.title()}")
       for name in ("and", "or", "xor")},
    **{f"bitwise_{name}_shift": names(f"bitwise_{name}_shift.Tensor", "BitShift")
       for name in ("left", "right")},
    "bitwise_not": names("bitwise_not", "BitwiseNot"),
    "floor_divide": names("floor_divide floor_divide.Scalar"),
    "remainder": names("remainder.Tensor remainder.Scalar"), "fmod": names("fmod.Tensor fmod.Scalar"),
    **{name: names(name, name.title()) for name in ("sign", "floor", "ceil", "round", "sin", "cos", "tan",
                                                    "asin", "acos", "atan", "sinh", "cosh",
                                                    "asinh", "acosh", "atanh")},
    "trunc": names("trunc"),
    # by index, in order
    "gather": names("gather", "GatherElements"), "index_select": names("index_select"),
    "take_along_dim": names("take_along_dim"),
    "scatter": names("scatter.src scatter.value", "ScatterElements"), "scatter_add": names("scatter_add"),
    "scatter_reduce": names("scatter_reduce.two"),
    "nonzero": names(onnx="NonZero"), "nms": names(onnx="NonMaxSuppression"),
    **{name: names(why="torchvision's, in Python: graphs hold what it is made of") for name in (
        "box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou", "complete_box_iou_loss",
        "distance_box_iou", "distance_box_iou_loss", "generalized_box_iou", "generalized_box_iou_loss",
        "remove_small_boxes", "batched_nms")},
    "soft_nms": names(why="in no format"),
    "multiclass_nms": names(why="exporters spell it out by classes: NonMaxSuppression, TopK and gathers"),
    "masked_select": names(why="a length that depends on numbers: of one in the torch door, pyops/torch/counted/"),
    "slice_scatter": names("slice_scatter"), "select_scatter": names("select_scatter"),
    "masked_fill": names("masked_fill.Scalar masked_fill.Tensor"),
    "gather_nd": names("", "GatherND"), "scatter_nd": names("", "ScatterND"), "topk": names("topk", "TopK"),
    "fake_quantize_per_tensor_affine": names(why="both at once: the compiler finds them"),
    "quantize_linear": names("", "QuantizeLinear"), "dequantize_linear": names("", "DequantizeLinear"),
    "sort": names("sort"), "argsort": names("argsort"), "cumsum": names("cumsum", "CumSum"),
    "cumprod": names("cumprod", "CumProd"), "roll": names("roll"), "tile": names("tile repeat", "Tile"),
    "tril": names("tril", "Trilu"), "triu": names("triu"),
    "dft": names("", "DFT"), "stft": names("", "STFT"),
    "istft": names(why="torch's is of complex numbers, and stays torch's"),
    # reductions
    "sum": names("sum.dim_IntList sum", "ReduceSum"),
    "mean": names("mean.dim mean", "ReduceMean", ncnn="Reduction"), "prod": names("", "ReduceProd"),
    "amax": names("amax", "ReduceMax"), "amin": names("amin", "ReduceMin"),
    "argmax": names("argmax", "ArgMax"), "argmin": names("argmin", "ArgMin"),
    "any": names("any any.dim any.dims"), "all": names("all all.dim all.dims"),
    "logsumexp": names("", "ReduceLogSumExp"),
    "vector_norm": names("linalg_vector_norm", "ReduceL1 ReduceL2"),
    "max": names(why="two results: amax and argmax are its parts elsewhere"),
    "min": names(why="two results: amin and argmin are its parts elsewhere"),
    "norm": names(why="torch's old spelling of vector_norm"), "std": names("std.correction std.dim std"),
    "var": names("var.correction var.dim var"),
    # shapes
    "reshape": names("view reshape _unsafe_view", "Reshape", ncnn="Reshape"),
    "flatten": names("flatten.using_ints", "Flatten", "Flatten", "", "Flatten"),
    "unflatten": names("unflatten.int", "", "Unflatten"),
    "permute": names("permute", "Transpose", ncnn="Permute"), "transpose": names("transpose.int"),
    "movedim": names(why="a permute"), "unsqueeze": names("unsqueeze", "Unsqueeze"),
    "squeeze": names("squeeze squeeze.dim squeeze.dims", "Squeeze"),
    "broadcast_to": names("expand", "Expand"), "cat": names("cat", "Concat", ncnn="Concat"),
    "stack": names("stack"), "chunk": names("chunk"),
    "split": names("split.Tensor split_with_sizes", "Split"), "unbind": names("unbind.int"),
    "select": names("select.int"), "getitem": names("slice.Tensor", "Slice"), "narrow": names(why=INDEXING),
    "flip": names("flip"), "pad": names("pad constant_pad_nd", "Pad"),
    "pixel_shuffle": names("pixel_shuffle", "DepthToSpace", "PixelShuffle"),
    "pixel_unshuffle": names("pixel_unshuffle", "SpaceToDepth", "PixelUnshuffle"),
    "unfold": names("im2col", "", "Unfold", "unfold"), "fold": names("col2im", "Col2Im", "Fold", "fold"),
    "interpolate": names("upsample_linear1d.vec upsample_bilinear2d.vec upsample_trilinear3d.vec "
                         "upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec "
                         "upsample_bicubic2d.vec", "Resize", "Upsample", "interpolate", "Interp"),
    "grid_sample": names("grid_sampler grid_sampler_2d grid_sampler_3d", "GridSample"),
    "affine_grid": names("affine_grid_generator", "AffineGrid"),
    "channel_shuffle": names("channel_shuffle", "", "ChannelShuffle"),
    "upsample": names(why="interpolate's old name"), "clone": names("clone", "Identity"),
    # of whole numbers
    "embedding": names("", "Gather", "Embedding", "embedding"), "one_hot": names(onnx="OneHot"),
    "embedding_sum": names(why="gathers and sums, which doors take one by one"),
    "embedding_bag": names("embedding_bag embedding_bag.padding_idx", "", "EmbeddingBag"),
    # recurrent layers and single steps
    "lstm": names("lstm.input", "LSTM", "LSTM", "lstm"), "gru": names("gru.input", "GRU", "GRU", "gru"),
    "rnn": names("rnn_tanh.input rnn_relu.input", "RNN", "RNN", "rnn"),
    "lstm_cell": names("lstm_cell", "", "LSTMCell"), "gru_cell": names("gru_cell", "", "GRUCell"),
    "rnn_cell": names("rnn_tanh_cell rnn_relu_cell", "", "RNNCell"),
    # random
    "dropout": names("dropout", "Dropout", "Dropout", "", "Dropout"),
    **{f"dropout{n}d": names("feature_dropout" if n == 1 else "", "", f"Dropout{n}d") for n in (1, 2, 3)},
    "alpha_dropout": names("", "", "AlphaDropout"),
    "feature_alpha_dropout": names("", "", "FeatureAlphaDropout"), "stochastic_depth": names(why=RANDOM),
    # losses
    **{name: names(module=module) for name, module in (
        ("binary_cross_entropy", "BCELoss"), ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"),
        ("cross_entropy", "CrossEntropyLoss"), ("gaussian_nll_loss", "GaussianNLLLoss"),
        ("hinge_embedding_loss", "HingeEmbeddingLoss"), ("huber_loss", "HuberLoss"), ("kl_div", "KLDivLoss"),
        ("l1_loss", "L1Loss"), ("margin_ranking_loss", "MarginRankingLoss"), ("mse_loss", "MSELoss"),
        ("nll_loss", "NLLLoss"),
        ("poisson_nll_loss", "PoissonNLLLoss"), ("smooth_l1_loss", "SmoothL1Loss"), ("soft_margin_loss", "SoftMarginLoss"),
        ("cosine_embedding_loss", "CosineEmbeddingLoss"), ("multi_margin_loss", "MultiMarginLoss"),
        ("multilabel_margin_loss", "MultiLabelMarginLoss"),
        ("multilabel_soft_margin_loss", "MultiLabelSoftMarginLoss"),
        ("triplet_margin_loss", "TripletMarginLoss"),
        ("triplet_margin_with_distance_loss", "TripletMarginWithDistanceLoss"))},
    "ctc_loss": names("ctc_loss.IntList ctc_loss.Tensor", "", "CTCLoss"),
    "quality_focal_loss": names(why=LOSS), "distribution_focal_loss": names(why=LOSS),
    "linear_int8": names("_weight_int8pack_mm"),
    "linear_cross_entropy": names(module="LinearCrossEntropyLoss"),
    "sigmoid_focal_loss": names(why=LOSS), "lenet5_loss": names(why=LOSS),
    **{function: names(**given) for function, given in NAMED.items()},
}


def ours(kind: str) -> dict[str, str]:
    """The other way: a name of this kind (a field of Names) -> our function. Where several of ours
    bear it, the first.
    """
    found: dict[str, str] = {}
    for function, row in NAMES.items():
        theirs = getattr(row, kind)
        for name in (theirs,) if isinstance(theirs, str) else theirs:
            if name:
                found.setdefault(name, function)
    return found


def only(function: str, kind: str) -> str:
    """The one name of this kind that a function has."""
    theirs = getattr(NAMES[function], kind)
    name, = (theirs,) if isinstance(theirs, str) else theirs
    return name
