"""python -m fuzz (from tests/): the targets for some time each, with fresh seeds or given ones;
exit status 1 if anything was found.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from . import hunt

FOUND = Path(__file__).parents[2] / "build" / "fuzz"


def targets() -> list[str]:
    """The modules and packages here that have one(seed)."""
    names = [
        module.name
        for module in iter_modules([str(Path(__file__).parent)])
        if not module.name.startswith(("_", "test_"))
    ]
    return [name for name in names if hasattr(import_module(f"{__package__}.{name}"), "one")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help="default: all of them")
    parser.add_argument("--hours", type=float, default=1.0, help="for all targets together")
    parser.add_argument("--count", type=int, help="this many inputs a target instead")
    parser.add_argument(
        "--seed", type=int, help="the first seed; default: from the clock, so that every hunt is a new one"
    )
    asked = parser.parse_args()
    names = asked.target or targets()
    first = time.time_ns() // 1_000_000 * 1000 if asked.seed is None else asked.seed
    failed = False
    for name in names:
        target = import_module(f"{__package__}.{name}")
        result = hunt.replay(target, name)
        if not result.faults:
            many, seconds = (
                (asked.count, None) if asked.count else (10_000_000, asked.hours * 3600 / len(names))
            )
            result = hunt.hunt(target, range(first, first + many), seconds)
        print(f"[{name}] {result}", flush=True)
        if result.faults:
            failed = True
            for file in hunt.keep(target, name, result, FOUND) if hasattr(target, "make") else ():
                print(f"  kept as {file}; once mended, it belongs into {hunt.CORPUS / name}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
