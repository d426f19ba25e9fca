"""Every layer of torch.nn: how one is made and what it is called with (odd sizes), and which of
them a Program refuses, and why."""
import torch

nn = torch.nn
X1, X2, X3 = (2, 5, 11), (2, 5, 11, 7), (1, 5, 7, 6, 9)   # with 1, 2 and 3 spatial axes


def axes(name, *args, shapes=(X1, X2, X3), **kwargs):
    return {f"{name}{n}d": (args, kwargs, shapes[n - 1]) for n in (1, 2, 3)}


def attention(module, x):
    return module(x, x, x)


# name -> (arguments, keyword arguments, the input's shape or a function of the module and
# an input of shape X1)
LAYERS = {
    **axes("Conv", 5, 6, 3, padding=1), **axes("ConvTranspose", 5, 6, 3, stride=2),
    **axes("MaxPool", 3, stride=2, padding=1, ceil_mode=True),
    **axes("AvgPool", 3, stride=2, padding=1, ceil_mode=True), **axes("AdaptiveAvgPool", 4),
    **axes("AdaptiveMaxPool", 4), **axes("LPPool", 2, 3), **axes("BatchNorm", 5),
    **axes("InstanceNorm", 5, affine=True), **axes("LazyInstanceNorm", affine=True), **axes("LazyBatchNorm"),
    **axes("LazyConv", 6, 3), **axes("LazyConvTranspose", 6, 3), **axes("Dropout"),
    **{f"{kind}Pad{n}d": ((1, *rest), {}, (X1, X2, X3)[n - 1]) for kind, rest in
       (("Constant", (0.5,)), ("Zero", ()), ("Reflection", ()), ("Replication", ()), ("Circular", ())) for n in (1, 2, 3)},
    **{name: ((), {}, X2) for name in (
        "AlphaDropout", "CELU", "Dropout", "ELU", "FeatureAlphaDropout", "Flatten", "GELU", "GLU",
        "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity",
        "LeakyReLU", "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid",
        "Softmax2d", "Softplus", "Softshrink", "Softsign",
        "Tanh", "Tanhshrink")},
    "GLU": ((1,), {}, (2, 6, 7)), "Softmax": ((1,), {}, X2), "LogSoftmax": ((1,), {}, X2),
    "Softmin": ((1,), {}, X2), "Threshold": ((0.1, 20.0), {}, X2),
    "Linear": ((11, 4), {}, X1), "LazyLinear": ((4,), {}, X1),
    "Bilinear": ((11, 11, 4), {}, lambda m, x: m(x, x)),
    "LayerNorm": (((11, 7),), {}, X2), "RMSNorm": ((7,), {}, X2), "GroupNorm": ((5, 5), {}, X2),
    "LocalResponseNorm": ((3,), {}, X2),
    "CrossMapLRN2d": ((3,), {}, X2),
    "MaxPool2d with indices": ((3,), {"return_indices": True}, X2),
    "MaxPool1d with indices": ((3,), {"return_indices": True}, X1),
    "MaxPool3d with indices": ((2,), {"return_indices": True}, X3),
    "AdaptiveMaxPool2d with indices": ((4,), {"return_indices": True}, X2),
    "FractionalMaxPool2d": ((2,), {"output_size": 3}, X2),
    "FractionalMaxPool3d": ((2,), {"output_size": 3}, X3),
    **{f"MaxUnpool{n}d": ((2,), {}, lambda m, x, n=n: m(*getattr(torch.nn.functional, f"max_pool{n}d")(
        x.reshape(*x.shape, *[1] * (n - 1)).expand(*x.shape, *[4] * (n - 1)), 2, return_indices=True))) for n in (1, 2, 3)},
    "Unfold": ((3,), {"padding": 1, "stride": 2}, X2), "Fold": (((4, 5), 2), {}, (2, 12, 12)),
    "Unflatten": ((1, (5, 1)), {}, X1),
    "PixelShuffle": ((2,), {}, (2, 8, 5, 3)), "PixelUnshuffle": ((2,), {}, (2, 3, 6, 4)),
    "ChannelShuffle": ((3,), {}, (2, 6, 5, 3)),
    "Upsample": ((), {"scale_factor": 2.0}, X2), "UpsamplingBilinear2d": ((), {"scale_factor": 2}, X2),
    "UpsamplingNearest2d": ((), {"scale_factor": 2}, X2),
    "Upsample bicubic": ((), {"scale_factor": 1.5, "mode": "bicubic"}, X2),
    "Upsample linear": ((), {"size": 5, "mode": "linear"}, X1),
    "Upsample trilinear": ((), {"size": 5, "mode": "trilinear", "align_corners": True}, X3),
    "CosineSimilarity": ((1,), {}, lambda m, x: m(x, x * 2 + 1)),
    "PairwiseDistance": ((), {}, lambda m, x: m(x, x * 2 + 1)),
    "RNN": ((11, 6), {}, X1), "LSTM": ((11, 6), {}, X1), "GRU": ((11, 6), {}, X1),
    "LSTM in both directions": ((11, 6, 2), {"bidirectional": True, "batch_first": True}, X1),
    **{f"{kind}Cell": ((11, 6), {}, lambda m, x: m(x[0])) for kind in ("RNN", "LSTM", "GRU")},
    "MultiheadAttention": ((11, 1), {"batch_first": True}, attention),
    "Transformer": ((12, 2, 1, 1, 24), {"batch_first": True},
                    lambda m, x: m(x[..., :1].expand(2, 5, 12), x[..., 1:2].expand(2, 5, 12))),
    "TransformerEncoderLayer": ((11, 1, 24), {"batch_first": True}, X1),
    "TransformerEncoder": ((nn.TransformerEncoderLayer(11, 1, 24, batch_first=True), 2),
                           {"enable_nested_tensor": False}, X1),
    "TransformerDecoderLayer": ((11, 1, 24), {"batch_first": True}, lambda m, x: m(x, x + 1)),
    "TransformerDecoder": ((nn.TransformerDecoderLayer(11, 1, 24, batch_first=True), 2), {},
                           lambda m, x: m(x, x + 1)),
    "Sequential": ((nn.Linear(11, 3), nn.ReLU()), {}, X1),
    "Embedding": ((9, 6), {}, lambda m, x: m((x.abs() * 2).long().clamp(max=8))),
    "EmbeddingBag": ((9, 6), {}, lambda m, x: m((x[0].abs() * 2).long().clamp(max=8))),
    # losses, of an input and a target made from it
    **{name: ((), {}, lambda m, x: m(x, x * 0.5 + 0.1))
       for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss",
                    "SoftMarginLoss", "PoissonNLLLoss", "KLDivLoss")},
    "BCELoss": ((), {}, lambda m, x: m(torch.sigmoid(x), torch.sigmoid(x * 0.5))),
    "CrossEntropyLoss": ((), {}, lambda m, x: m(x[:, :, 0], torch.softmax(x[:, :, 1], 1))),
    "NLLLoss": ((), {}, lambda m, x: m(torch.log_softmax(x, 1), torch.zeros(2, 11, dtype=torch.long))),
    "NLLLoss2d": ((), {}, lambda m, x: m(
        torch.log_softmax(x[..., None], 1), torch.zeros(2, 11, 1, dtype=torch.long))),
    "GaussianNLLLoss": ((), {}, lambda m, x: m(x, x * 0.5, torch.ones(2, 5, 11))),
    "MultiLabelSoftMarginLoss": ((), {}, lambda m, x: m(x[..., 0], torch.sigmoid(x[..., 1]))),
    "MultiLabelMarginLoss": ((), {}, lambda m, x: m(x[..., 0], torch.zeros(2, 5, dtype=torch.long))),
    "MultiMarginLoss": ((), {}, lambda m, x: m(x[..., 0], torch.zeros(2, dtype=torch.long))),
    "MarginRankingLoss": ((), {}, lambda m, x: m(x[0], x[1], torch.ones(5, 11))),
    "HingeEmbeddingLoss": ((), {}, lambda m, x: m(x, torch.ones(2, 5, 11))),
    "CosineEmbeddingLoss": ((), {}, lambda m, x: m(x[0], x[1], torch.ones(5))),
    "TripletMarginLoss": ((), {}, lambda m, x: m(x[0], x[1], x[0] * 2)),
    "TripletMarginWithDistanceLoss": ((), {}, lambda m, x: m(x[0], x[1], x[0] * 2)),
    "CTCLoss": ((), {}, lambda m, x: m(torch.log_softmax(x, 2), torch.ones(5, 2, dtype=torch.long),
                                       torch.full((5,), 2), torch.full((5,), 2))),
    "AdaptiveLogSoftmaxWithLoss": ((11, 20, [5, 10]), {},
                                   lambda m, x: m(x[:, 0], torch.ones(2, dtype=torch.long))),
}

# Names in torch.nn that are no layers with a forward of their own
NO_LAYERS = {"Module": "the base class", "ModuleList": "has no forward", "ModuleDict": "has no forward",
             "ParameterList": "has no forward", "ParameterDict": "has no forward",
             "Container": "deprecated, has no forward", "DataParallel": "of several GPUs",
             "SyncBatchNorm": "of several GPUs", "RNNBase": "the base of RNN, LSTM and GRU",
             "RNNCellBase": "the base of their cells",
             "LinearCrossEntropyLoss": "a linear layer and CrossEntropyLoss"}

# What pyops.compile refuses, with what it says
NO_ROW = "no counterpart here for aten."
REFUSED = {
    **{f"MaxUnpool{n}d": NO_ROW + "index_put" for n in (1, 2, 3)},
    **{f"FractionalMaxPool{n}d": "which draws random numbers" for n in (2, 3)},  # in evaluation, too
}

# What torch.export itself does not take: how it goes depends on numbers
NOT_EXPORTED = {"CrossMapLRN2d", "GaussianNLLLoss", "CTCLoss", "AdaptiveLogSoftmaxWithLoss"}
