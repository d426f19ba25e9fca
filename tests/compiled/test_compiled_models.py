"""Every network of create_model becomes one program of kernels: nothing is left to the eager
door."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, models, nn, no_grad
from pyops.models.classification.resnet_v2 import ResNetV2
from pyops.models.keras_layout import to_keras

TRAINING_ONLY = ("aux1.", "aux2.", "AuxLogits.")
OWN_SIZE = ("alexnet_2012",)   # its linear layers take maps of one size


@pytest.mark.parametrize("name", models.list_models(task="classification"))
def test_every_layer_is_a_step_of_the_program(name):
    """Compiling fails where a model would need Python; here also no layer may be missing,
    nor convolutions and linear layers left to the plain rule, which calls the kernels that
    an eager call would."""
    with nn.init.skip_draws():
        model = models.create_model(name).eval()
    for parameter in model.parameters():
        parameter.data.fill(0.01)   # what memory held before may overflow when norms are folded
    channels, height, width = model.image
    size = (height, width) if height <= 32 or name in OWN_SIZE else (96, 75)
    program = pyops.compile(model, np.zeros((1, channels, *size), np.float32))
    layers = {path for path, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))
              and not path.startswith(TRAINING_ONLY)}
    done = {path for step in program.steps for path in (step.module, *step.covers)}
    assert layers and layers <= done, sorted(layers - done)
    assert [step.module for step in program.steps if step.algorithm == "plain"
            and step.op in ("conv2d", "linear", "batch_norm")] == []


@pytest.mark.parametrize("make", [lambda: models.mobilenet_v1(width_mult=0.25, num_classes=5),
                                  lambda: ResNetV2((1, 2, 1, 1), num_classes=5),
                                  lambda: models.xception(num_classes=5)],
                         ids=["mobilenet_v1", "resnet_v2", "xception"])
def test_keras_layout_compiles_too(make):
    pyops.manual_seed(0)
    model, x = make(), np.random.default_rng(0).standard_normal((2, 3, 72, 64)).astype(np.float32)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    with no_grad():
        model(Tensor(x))   # the norms know the image: else little of it is left in the answer
        before = model.eval()(Tensor(x)).data
        to_keras(model)
        want = model(Tensor(x)).data
    assert np.abs(want - before).max() > 1e-3 * np.abs(want).max(), "the layouts differ"
    assert np.abs(pyops.compile(model, x)(x) - want).max() <= 1e-4 * np.abs(want).max()
