"""How many threads kernels use, and why."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import _C

MOST = 4096   # threads; more than machines have


def cgroup_quota() -> float | None:
    """CPUs that the container's quota allows (cgroup v2 cpu.max, v1 cfs_quota_us), or None where
    there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        base = Path("/sys/fs/cgroup/cpu")
        quota = int((base / "cpu.cfs_quota_us").read_text())
        return None if quota < 0 else quota / int((base / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def physical_cores() -> int | None:
    """Distinct (package, core) pairs among the CPUs this process may run on; None where
    /sys does not tell."""
    cores = set()
    for cpu in affinity():
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            cores.add(((topology / "physical_package_id").read_text(), (topology / "core_id").read_text()))
        except OSError:
            return None
    return len(cores)


def affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def whole_number(text: str, most: int) -> int | None:
    """The number that ASCII digits name, if it is at most `most`: int() takes other digits, signs,
    white space and underscores, too."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= most else None


def default_threads() -> tuple[int, str]:
    """The number of threads to start with, and the reason in words."""
    for name in ("PYOPS_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "").split(",")[0]
        if value:
            count = whole_number(value.strip(), MOST)
            if not count:
                raise ValueError(
                    f"{name}={os.environ[name][:80]!r} must be a positive integer, at most {MOST}")
            return count, name
    limits = {"CPU affinity": len(affinity())}
    if cores := physical_cores():
        limits["physical cores"] = cores
    if (quota := cgroup_quota()) is not None:
        limits["cgroup quota, rounded down"] = max(1, int(quota))
    why = min(limits, key=limits.get)
    return limits[why], why


def set_num_threads(n: int) -> None:
    """Kernels called from now on use at most `n` threads. Results do not depend on it."""
    if not isinstance(n, int) or not 1 <= n <= MOST:
        raise ValueError(f"set_num_threads: n must be a positive integer, at most {MOST}, got {repr(n)[:40]}")
    _C.set_num_threads(n)


def get_num_threads() -> int:
    return _C.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Within the block kernels use at most `n` threads."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        _C.set_num_threads(before)


_C.set_num_threads(default_threads()[0])
