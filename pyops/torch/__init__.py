"""Models of torch through our kernels: pyops.compile(torch_module, example) and torch.compile(model, backend="pyops").

Both take a model in evaluation mode by way of torch.export, whose ATen calls become ops of pyops.functional (aten.py).
"""
from .backend import compile_report, pyops
from .exported import UnsupportedOp, as_function

__all__ = ["UnsupportedOp", "as_function", "compile_report", "pyops"]
