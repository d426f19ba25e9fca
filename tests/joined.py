"""Many small checks as one test: an item of its own costs pytest milliseconds and kilobytes, and
rows have 40 000 of them. `pyops validate` reports case by case.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

SHOWN = 20


def check_each(cases: Iterable[tuple], check: Callable[..., object]):
    """check(*values) for every (name, *values). All are tried; one AssertionError then names those
    that failed and what each said, and the first one's traceback stands above it."""
    tried, failed = 0, []
    for name, *values in cases:
        tried += 1
        try:
            check(*values)
        except (Exception, pytest.fail.Exception) as why:
            # the latter is what pytest.raises says of a call that raises nothing
            failed.append((name, why))
    assert tried, "no case to check"
    if failed:
        said = [f"{name}: {type(why).__name__}: {str(why).strip() or 'no message'}"[:400]
                for name, why in failed]
        more = [f"and {len(said) - SHOWN} more"] if len(said) > SHOWN else []
        raise AssertionError("\n".join([f"{len(failed)} of {tried} cases failed", *said[:SHOWN],
                                        *more])) from failed[0][1]
