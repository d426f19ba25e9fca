"""pyops.torch.compile: torch.compile with the settings that suit this backend."""
from __future__ import annotations

import torch

from .capture import capture


def compile(model, *, precision: str = "default", threads: int | None = None, freeze: bool = False,
            guards: bool = False, **kwargs):
    """torch.compile(model, backend="pyops") with recurrent layers inside the graph and fewer
    checks in every call.

    precision, threads, freeze: options of the backend. guards: whether every call checks that no
    attribute of torch's own modules was changed since (torch's default; around 100 us for the 161
    parameters of ResNet-50); without, replace such modules only before the first call. Changed
    weights are seen in any case unless freeze is True: weights are then constants of the graph
    (torch's prepare_freezing), which calls neither pass nor check. kwargs: fullgraph, dynamic and
    others of torch.compile. Sets torch._dynamo.config.allow_rnn for the process, without which
    torch leaves nn.LSTM, nn.GRU, nn.RNN and all behind them uncompiled, and the two settings of
    capture() in capture.py.
    """
    torch._dynamo.config.allow_rnn = True
    capture()
    options = {"precision": precision, "freeze": freeze} | ({} if threads is None else {"threads": threads})
    if not guards:
        options["guard_filter_fn"] = torch.compiler.skip_guard_on_inbuilt_nn_modules_unsafe
    if freeze:
        from .backend import Freezing
        unknown = sorted(set(kwargs) - {"fullgraph", "dynamic"})
        if unknown:
            raise TypeError("pyops.torch.compile: with freeze=True takes fullgraph and dynamic, not "
                            f"{', '.join(unknown)}")
        return torch._dynamo.optimize(backend=Freezing(options_of_backend(options)),
                                      nopython=kwargs.get("fullgraph", False), dynamic=kwargs.get("dynamic"),
                                      guard_filter_fn=options.get("guard_filter_fn"))(model)
    return torch.compile(model, backend="pyops", options=options, **kwargs)


def options_of_backend(options: dict) -> dict:
    return {name: value for name, value in options.items() if name != "guard_filter_fn"}
