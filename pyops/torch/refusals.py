"""What a door cannot take is refused; anything else that goes wrong is a fault of ours, and is
never mistaken for a refusal.

Refusals are UnsupportedOp, TraceError, and the TypeError and ValueError of an op, whose sentences
begin with its name. A fault is raised where PYOPS_RAISE_FAULTS is set, as in the tests; elsewhere
it is a warning with its traceback, and torch runs what it met.
"""

from __future__ import annotations

import os
import re
import traceback
import warnings

from ..graph.trace import TraceError


class UnsupportedOp(TraceError):
    """The model calls an ATen op that has no counterpart here; names it and the line that called
    it.
    """


class Fault(RuntimeWarning):
    """The warning about a fault of ours that torch stood in for."""


def is_refusal(error: Exception) -> bool:
    if isinstance(error, (TraceError, NotImplementedError)):
        return True
    return isinstance(error, (TypeError, ValueError)) and re.match(r"\w+: ", str(error)) is not None


def fault(error: Exception, where: str) -> None:
    """Raises the error where faults are raised, and warns of it elsewhere."""
    if os.environ.get("PYOPS_RAISE_FAULTS"):
        raise error
    trace = "".join(traceback.format_exception(error))
    warnings.warn(
        f"pyops.torch: a fault of pyops, please report it: {where}; torch runs it instead\n{trace}",
        Fault,
        stacklevel=2,
    )
