"""ATen calls on values whose length along one axis a run decides (graph/counted.py), and those that
begin such lengths.

torch has proved that shapes fit, with a symbol for each such length. What has no rule here is
refused, and stays torch's. rules.py says what a rule is; the modules above it enter theirs.
"""

from . import index, layers, made, order, parts, reductions, shapes  # each enters its rules
from .begin import BEGIN, suppressed
from .lengths import Compared, Length, least_of, most_of
from .rules import RULES, Refused, called, filled, of_the_run, plain, same_length, takes

__all__ = ["BEGIN", "RULES", "Compared", "Length", "Refused", "called", "filled", "least_of", "most_of", "of_the_run",
           "plain", "same_length", "suppressed", "takes"]
