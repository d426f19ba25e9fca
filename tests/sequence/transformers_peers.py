"""The package transformers as the independent implementation: tiny networks with the same random
weights, forward and backward."""
from __future__ import annotations

import contextlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")
with contextlib.suppress(ImportError):   # torchvision, which transformers imports, beside a CPU torch
    import pyops.bench.torchvision_schemas  # noqa: F401
transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def peer(model_class: str, config_class: str, **settings):
    """Their network in evaluation mode, every parameter drawn: zeros and ones hide what is
    swapped."""
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**settings)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return model


def ours(theirs, folder, architecture=None):
    """The same network here, by way of a folder."""
    from pyops import models
    theirs.save_pretrained(folder)
    return models.load_transformer(folder, architecture)


def close(found, wanted, bound):
    """Within `bound` of the largest."""
    found = np.asarray(getattr(found, "data", found))
    wanted = wanted.detach().numpy() if isinstance(wanted, torch.Tensor) else wanted
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= bound * np.abs(wanted).max()


def same_gradients(model, theirs, loss, their_loss, bound=1e-5, same_loss=1e-12, rename=("", "")):
    """Of two losses that were computed in float64; every parameter has one or none in both. rename:
    of our names to theirs."""
    close(loss.data, their_loss, same_loss)
    loss.backward()
    their_loss.backward()
    wanted = {name: p.grad for name, p in theirs.named_parameters()}
    largest = max(float(g.abs().max()) for g in wanted.values() if g is not None)
    for name, p in model.named_parameters():
        name = name.replace(*rename)
        if wanted[name] is None:
            assert p.grad is None, name
            continue
        found = np.asarray(getattr(p.grad, "data", p.grad))
        theirs_ = wanted[name].numpy()
        # a bias in front of a softmax has the gradient 0 but for rounding
        assert np.abs(found - theirs_).max() <= bound * max(np.abs(theirs_).max(), 1e-9 * largest), name
