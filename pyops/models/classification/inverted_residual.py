"""What MobileNets and EfficientNets are made of: normalised convolutions, squeeze and excitation,
the inverted residual block."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ... import functional as F, nn

Make = Callable[..., nn.Module]


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, not more than a tenth below it: vectors like
    whole blocks of channels."""
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * value else nearest + divisor


def conv_norm(channels: int, filters: int, kernel: int = 3, stride: int = 1, groups: int = 1,
              norm: Make = nn.BatchNorm2d, activation: Make | None = None,
              dilation: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the size (at stride 1), normalisation, and the
    activation if there is one."""
    layers = [nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2 * dilation,
                        dilation=dilation, groups=groups, bias=False), norm(filters)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that sees the means of all. Hu, Shen & Sun (2018)."""

    def __init__(self, channels: int, squeezed: int, activation: Make = nn.ReLU, gate: Make = nn.Sigmoid):
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.scale_activation = gate()

    def forward(self, input):
        gate = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(input)))))
        return F.mul(input, gate)


class InvertedResidual(nn.Module):
    """1x1 convolution to `expanded` channels, depthwise convolution, squeeze and excitation, 1x1
    convolution; beside a shortcut where shapes allow. excitation(expanded) makes the gate, None
    leaves it out; depth_drop is the probability that training drops all but the shortcut. Sandler
    et al. (2018), Howard et al. (2019), Tan & Le (2019).
    """

    def __init__(self, channels: int, expanded: int, filters: int, kernel: int, stride: int, norm: Make,
                 activation: Make, excitation: Make | None, depth_drop: float = 0.0, dilation: int = 1):
        # dilation stands for a stride: the resolution stays, what a value sees grows
        self.reduces, stride = stride > 1, 1 if dilation > 1 else stride
        wide = partial(conv_norm, norm=norm, activation=activation)
        self.block = nn.Sequential(*[
            *([wide(channels, expanded, 1)] if expanded != channels else []),
            wide(expanded, expanded, kernel, stride, groups=expanded, dilation=dilation),
            *([excitation(expanded)] if excitation else []),
            conv_norm(expanded, filters, 1, norm=norm)])
        self.stochastic_depth = nn.StochasticDepth(depth_drop, "row")
        self.shortcut = not self.reduces and channels == filters

    def forward(self, input):
        x = self.block(input)
        return F.add(self.stochastic_depth(x), input) if self.shortcut else x


def initialise(module: nn.Module) -> None:
    """He's normal for convolutions, a narrow normal for linear layers, zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        nn.init.zeros_(module.bias)
