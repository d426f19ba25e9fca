"""pyops.torch.replace_modules: torch's layers computed by our kernels, module by module, with no
compiler in between."""
from __future__ import annotations

import torch

from ..names import NAMES
from . import library  # noqa: F401  registers torch.ops.pyops

nn = torch.nn
ops = torch.ops.pyops


def many(value, n: int) -> list[int]:
    return list(value) if isinstance(value, (tuple, list)) else [value] * n


def conv(n):
    def forward(self, x):
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            return None
        return getattr(ops, f"conv{n}d")(x, self.weight, self.bias, self.stride, self.padding, self.dilation,
                                         self.groups)
    return forward


def conv_transpose(n):
    def forward(self, x, output_size=None):
        if output_size is not None:
            return None
        return getattr(ops, f"conv_transpose{n}d")(x, self.weight, self.bias, self.stride, self.padding,
                                                   self.output_padding, self.groups, self.dilation)
    return forward


def max_pool(n):
    def forward(self, x):
        if self.return_indices:
            return None
        return getattr(ops, f"max_pool{n}d")(
            x, *(many(v, n) for v in (self.kernel_size, self.stride, self.padding, self.dilation)),
            self.ceil_mode)
    return forward


def avg_pool(n):
    def forward(self, x):
        window = [many(v, n) for v in (self.kernel_size, self.stride, self.padding)]
        rest = () if n == 1 else (self.divisor_override,)
        return getattr(ops, f"avg_pool{n}d")(x, *window, self.ceil_mode, self.count_include_pad, *rest)
    return forward


def batch_norm(self, x):
    if self.training or self.running_mean is None:
        return None
    return ops.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)


def instance_norm(self, x):
    """A group norm of as many groups as channels. Those that keep statistics, or have no
    batch, are torch's."""
    batched = next(rank
                   for rank, kind in enumerate((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), 3)
                   if isinstance(self, kind))
    if self.track_running_stats or x.dim() != batched:
        return None
    return ops.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)


def recurrent(call, *kind):
    """Layers of torch's nn.LSTM, GRU or RNN; packed sequences, projections and dropout in
    training are torch's."""
    def forward(self, x, state=None):
        if isinstance(x, nn.utils.rnn.PackedSequence) or self.proj_size or (self.training and self.dropout
                                                                            and self.num_layers > 1):
            return None
        lstm = self.mode == "LSTM"
        if state is None:
            batch = () if x.dim() == 2 else (x.shape[0] if self.batch_first else x.shape[1],)
            zeros = x.new_zeros((self.num_layers * (2 if self.bidirectional else 1), *batch,
                                 self.hidden_size))
            state = (zeros, zeros) if lstm else zeros
        names = [self.nonlinearity] if self.mode.startswith("RNN") else []
        y, *ends = call(x, *(state if lstm else (state,)), self._flat_weights, *names, self.bias,
                        self.num_layers, self.bidirectional, self.batch_first)
        return y, tuple(ends) if lstm else ends[0]
    return forward


def activation(name, *attributes):
    return lambda self, x: getattr(ops, name)(x, *(getattr(self, a) for a in attributes))


# By our function; which classes of torch.nn it is, pyops/names.py says
LAYERS = {
    **{f"conv{n}d": conv(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": conv_transpose(n) for n in (1, 2, 3)},
    "linear": lambda self, x: ops.linear(x, self.weight, self.bias),
    **{f"max_pool{n}d": max_pool(n) for n in (1, 2, 3)}, **{f"avg_pool{n}d": avg_pool(n) for n in (1, 2, 3)},
    "batch_norm": batch_norm,
    "layer_norm": lambda self, x: ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps),
    "rms_norm": lambda self, x: ops.rms_norm(x, self.normalized_shape, self.weight, self.eps),
    "group_norm": lambda self, x: ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps),
    "instance_norm": instance_norm,
    "local_response_norm": lambda self, x: ops.local_response_norm(x, self.size, self.alpha,
                                                                   self.beta, self.k),
    **{name: activation(name)
       for name in ("silu", "mish", "hardswish", "hardsigmoid", "softsign", "logsigmoid")},
    "gelu": activation("gelu", "approximate"), "elu": activation("elu", "alpha"),
    "leaky_relu": activation("leaky_relu", "negative_slope"),
    "softplus": activation("softplus", "beta", "threshold"),
    "lstm": recurrent(ops.lstm), "gru": recurrent(ops.gru), "rnn": recurrent(ops.rnn),
}
FORWARD = {getattr(nn, module): forward for function, forward in LAYERS.items()
           for module in NAMES[function].module}


def ours(kind: type, forward) -> type:
    """A class like `kind` whose forward is ours where that returns something, torch's where it
    returns None or the tensor is not ours to take."""
    def either(self, x, *rest):
        tensor = getattr(x, "data", x)
        result = (forward(self, x, *rest) if tensor.device.type == "cpu"
                  and tensor.dtype in (torch.float32, torch.float64) else None)
        return kind.forward(self, x, *rest) if result is None else result
    return type(kind.__name__, (kind,),
                {"forward": either, "__module__": __name__, "__doc__": f"nn.{kind.__name__} by pyops."})


CLASSES = {kind: ours(kind, forward) for kind, forward in FORWARD.items()}


def replace_modules(model: nn.Module) -> nn.Module:
    """Makes torch's own layers in the model compute by our kernels, in place, and returns it.
    Parameters, buffers, hooks and names stay.

    Gradients are ours too. Layers of other classes, subclasses among them, are left alone, and a
    layer goes by torch where ours has no counterpart: other paddings than zeros, packed sequences,
    batch norm in training, other types than float32 and float64. restore_modules undoes it.
    """
    for module in model.modules():
        if type(module) in CLASSES:
            module.__class__ = CLASSES[type(module)]
    return model


def restore_modules(model: nn.Module) -> nn.Module:
    """Undoes replace_modules, in place, and returns the model."""
    original = {ours: kind for kind, ours in CLASSES.items()}
    for module in model.modules():
        if type(module) in original:
            module.__class__ = original[type(module)]
    return model
