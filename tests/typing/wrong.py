"""Mistakes that a type checker must find, each in a line that ends with `# error`.
Nothing here is run."""
import numpy as np
import numpy.typing as npt

import pyops
import pyops.functional as F
import pyops.nn as nn
import pyops.optim as optim
from pyops import Tensor

Floats = npt.NDArray[np.float32]


def no_arrays(x: Floats) -> None:
    F.relu("nonsense")  # error
    F.conv2d(x, 3)  # error
    F.linear(x, [[1.0]])  # error


def no_such_argument(x: Floats) -> None:
    F.softmax(x, dimension=1)  # error
    F.max_pool2d(x, kernel=2)  # error


def arguments_of_other_types(x: Floats) -> None:
    F.sum(x, dim="rows")  # error
    F.dropout(x, p="half")  # error
    F.conv2d(x, x, stride=(1, "2"))  # error


def missing_arguments(x: Floats) -> None:
    F.linear(x)  # error
    F.max_pool2d(x)  # error


def no_such_reduction(x: Floats) -> None:
    F.mse_loss(x, x, reduction="average")  # error


def no_such_function(x: Floats) -> None:
    F.max_pol2d(x, 2)  # error


def no_such_method(t: Tensor) -> None:
    t.softmaxx(dim=1)  # error


def no_such_operand(t: Tensor) -> None:
    t + "1"  # error
    t @ None  # error


def arrays_have_no_gradient(x: Floats) -> None:
    F.relu(x).backward()  # error


def tensors_are_no_arrays(t: Tensor) -> Floats:
    return F.relu(t)  # error


def no_layer_of_strings() -> None:
    nn.Conv2d("3", 4, 3)  # error
    nn.Linear(3)  # error


def no_optimiser_without_parameters() -> None:
    optim.SGD(lr=0.1)  # error


def no_program_of_nothing() -> None:
    pyops.compile()  # error


def wrong_settings() -> None:
    pyops.set_num_threads("four")  # error
    pyops.manual_seed("zero")  # error


def indices_are_asked_for(x: Floats) -> None:
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    F.max_unpool2d(values, kernel_size=2)  # error
