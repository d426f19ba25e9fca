"""LeNet-5. LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document
Recognition" (1998), section II-B.

`lenet5` is that network, its 60 000 trainable parameters, its distances to drawn digits and its
loss; `lenet5_modern` the form in which it is usually programmed today. Both take (N, 1, 32, 32),
paper at -0.1 and ink at 1.175, and offer

    loss(output, target)        the mean over the batch, a scalar; target: (N,) class indices
    scores(output)              (N, 10), larger is likelier
    probabilities(output)       (N, 10)
"""
from __future__ import annotations

import numpy as np

from ... import functional as F, nn
from ..registry import network
from . import bitmaps
from .classifier import Classifier

__all__ = ["LeNet5", "LeNet5Modern", "lenet5", "lenet5_modern"]

# Table I: the maps of S2 that each map of C3 sees. Six see three neighbours, six four, three see
# four others, one sees all.
C3_SEES = ((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
           (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
           (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
           (0, 1, 2, 3, 4, 5))

# Equation 9's j, the distance at which an image would rather be no digit at all: wrong classes
# are pushed away only while they are nearer than about this. The paper gives no value. Two
# pictures differ in 10 to 49 pixels, at a squared distance of 4 each; of 2, 5 and 40, five
# trained best on the UCI digits.
REJECTION = 5.0


def draw(weight, fan_in: int) -> None:
    """Section II-B's start: uniform within 2.4 / fan_in."""
    nn.init.uniform_(weight, -2.4 / fan_in, 2.4 / fan_in)


class Subsampling(nn.Module):
    """Each 2x2 window summed, times a trainable coefficient, plus a trainable bias,
    one of each a map."""

    def __init__(self, maps: int):
        self.coefficient = nn.Parameter(np.empty((maps, 1, 1), np.float32))
        self.bias = nn.Parameter(np.zeros((maps, 1, 1), np.float32))
        draw(self.coefficient, 4)

    def forward(self, input):
        return F.add(F.mul(F.avg_pool2d(input, 2, divisor_override=1), self.coefficient), self.bias)


class PartialConv2d(nn.Module):
    """A convolution whose output map i sees the input maps sees[i] only.

    weight holds a kernel for each connection, in the order of `sees`. A 0/1 matrix puts them in
    their places in a dense weight: exact, and of little cost beside the convolution.
    """

    def __init__(self, in_channels: int, sees: tuple[tuple[int, ...], ...], kernel_size: int):
        self.dense = (len(sees), in_channels, kernel_size, kernel_size)
        pairs = [(out, one) for out, maps in enumerate(sees) for one in maps]
        self.weight = nn.Parameter(np.empty((len(pairs), kernel_size ** 2), np.float32))
        self.bias = nn.Parameter(np.zeros(len(sees), np.float32))
        for row, (out, _) in zip(self.weight.data, pairs):
            draw(row, len(sees[out]) * kernel_size ** 2)
        place = np.zeros((len(sees) * in_channels, len(pairs)), np.float32)
        for connection, (out, one) in enumerate(pairs):
            place[out * in_channels + one, connection] = 1
        self.register_buffer("place", place, persistent=False)

    def forward(self, input):
        return F.conv2d(input, F.reshape(F.matmul(self.place, self.weight), self.dense), self.bias)


class LeNet5(Classifier):
    """The network of 1998. Returns squared distances to the ten digits' pictures, (N, 10): the
    nearest is the answer."""
    head_names = ("F6",)
    image = (1, 32, 32)

    def __init__(self):
        self.C1 = nn.Conv2d(1, 6, 5)
        self.S2 = Subsampling(6)
        self.C3 = PartialConv2d(6, C3_SEES, 5)
        self.S4 = Subsampling(16)
        self.C5 = nn.Conv2d(16, 120, 5)
        self.F6 = nn.Linear(120, 84)
        for layer in (self.C1, self.C5, self.F6):
            draw(layer.weight, layer.weight.size // layer.weight.shape[0])
            nn.init.zeros_(layer.bias)
        self.register_buffer("prototypes", bitmaps.digits())

    def maps(self, input):
        x = F.scaled_tanh(self.C1(input))
        x = F.scaled_tanh(self.S2(x))
        x = F.scaled_tanh(self.C3(x))
        x = F.scaled_tanh(self.S4(x))
        return F.scaled_tanh(self.C5(x))

    def classify(self, maps):
        x = F.scaled_tanh(self.F6(F.flatten(maps, 1)))
        return F.squared_euclidean(x, self.prototypes)

    def scores(self, distances):
        return F.neg(distances)

    def logits(self, distances):
        """Equation 9's exponents: minus the distances, and -j for an image that is no digit. (N,
        11)"""
        rubbish = np.full((distances.shape[0], 1), -REJECTION, distances.dtype)
        return F.cat([F.neg(distances), rubbish], 1)

    def loss(self, distances, target):
        """Equation 9, maximum a posteriori: y_target + log(exp(-j) + sum_i exp(-y_i))."""
        return F.lenet5_loss(distances, target, REJECTION)

    def probabilities(self, distances):
        """Of the ten digits; what is missing to a sum of 1 is the probability of no digit."""
        return F.softmax(self.logits(distances), 1)[:, :10]


class LeNet5Modern(Classifier):
    """ReLU, max pooling, every map seen, linear outputs. Returns logits (N, num_classes)."""
    head_names = ("fc1", "fc2", "fc3")
    image = (1, 32, 32)

    def __init__(self, num_classes: int = 10):
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def maps(self, input):
        x = F.max_pool2d(F.relu(self.conv1(input)), 2)
        return F.max_pool2d(F.relu(self.conv2(x)), 2)

    def classify(self, maps):
        x = F.relu(self.fc1(F.flatten(maps, 1)))
        return self.fc3(F.relu(self.fc2(x)))

    def scores(self, logits):
        return logits

    def loss(self, logits, target):
        return F.cross_entropy(logits, target)

    def probabilities(self, logits):
        return F.softmax(logits, 1)


@network(image=(1, 32, 32), published=60_000, source="LeCun et al. 1998, section II-B", smallest=(1, 32, 32))
def lenet5() -> LeNet5:
    """The network of 1998."""
    return LeNet5()


@network(image=(1, 32, 32), published=61_706, source="LeCun et al.'s layers of figure 2, all maps connected",
         smallest=(1, 32, 32))
def lenet5_modern(num_classes: int = 10) -> LeNet5Modern:
    """Today's usual form."""
    return LeNet5Modern(num_classes)
