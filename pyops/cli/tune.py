"""pyops tune: what convolution algorithms cost on this machine, for pyops.compile to
choose between them."""
from __future__ import annotations

from dataclasses import fields

from . import UsageError, known


def add_arguments(parser):
    parser.add_argument("--backend", metavar="NAME",
                        help="an instruction set (default: every one with its own kernels here)")
    parser.add_argument("--dry-run", action="store_true", help="print what is measured and keep nothing")


def run(args) -> int:
    from ..core.backends import BACKENDS, ISAS
    from ..core.threads import get_num_threads
    from ..graph import costs, tune
    there = [name for name in ISAS if BACKENDS.get(name) and BACKENDS[name].sets]
    chosen = ([known(args.backend, there, "instruction set here")] if args.backend
              else [name for name in there if name != "scalar"] or there)
    measured = {}
    for isa in chosen:
        before = costs.DEFAULT.get(isa)
        measured[isa] = tune.measure(isa, get_num_threads())
        print(f"{isa}, nanoseconds"
              + (" (in brackets: those assumed where nothing was measured)" if before else ""))
        for field in fields(costs.Costs):
            print(f"  {field.name:<10} {text(getattr(measured[isa], field.name)):<24}"
                  + (f" ({text(getattr(before, field.name))})" if before else ""))
    if not args.dry_run:
        try:
            print(f"kept in {costs.keep(measured)}; pyops.compile uses them from now on")
        except OSError as error:
            raise UsageError(f"cannot keep the costs: {error}; PYOPS_COSTS names another file") from error
    return 0


def text(value) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
