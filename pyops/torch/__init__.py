"""Models of torch through our kernels.

compile(model) is torch.compile(model, backend="pyops") with settings that suit it;
pyops.compile(model, example) makes one Program without dynamo; replace_modules(model) swaps
the layers and needs no compiler; torch.ops.pyops has the single ops. compile_report() says
what was and was not ours.
"""
import torch as _torch

from ..core.front_ends import FRONT_ENDS as _FRONT_ENDS, FrontEnd as _FrontEnd
from . import library, sizes as _sizes
from .backend import pyops
from .door import compile
from .exported import as_function, exported
from .refusals import Fault, UnsupportedOp
from .replace import replace_modules, restore_modules
from .report import Report, compile_report
from .weights import refresh

__all__ = ["Fault", "Report", "UnsupportedOp", "as_function", "compile", "compile_report", "exported",
           "pyops", "refresh", "replace_modules", "restore_modules"]

_FRONT_ENDS.append(_FrontEnd(lambda model: isinstance(model, _torch.nn.Module),
                             lambda model, inputs: as_function(exported(model, inputs)), _sizes.of_module))
_FRONT_ENDS.append(_FrontEnd(lambda model: isinstance(model, _torch.export.ExportedProgram),
                             lambda model, inputs: _sizes.checked(model, inputs), _sizes.of_program,
                             _sizes.ranges))
