"""How long a kernel can take at best on an H200: the longest of what memory, tensor cores, float32 units
and the issue of instructions take, as if nothing else ever waited, and the launch.

NOT MEASURED. A kernel that takes twice as long waits for something that is not in here: latency that
too few warps hide, the second-level cache, bank conflicts.
"""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of a device. bytes: a second, of a copy; tensor: multiply-adds counted as two, a second, by the
    type of the operands; clock: hertz; schedulers: warp instructions a clock and multiprocessor."""
    multiprocessors: int = 132
    schedulers: int = 4
    clock: float = 1.755e9
    bytes: float = 4.3e12
    half: float = 7.9e14
    tf32: float = 4.0e14
    f64: float = 6.0e13
    synchronous: float = 0.63   # of the tensor cores' speed, by mma.sync: only wgmma keeps them busy
    launch: float = 2e-6        # seconds from the end of a kernel to the begin of the next one, queued

    @property
    def issue(self) -> float:
        """Warp instructions a second."""
        return self.multiprocessors * self.schedulers * self.clock


H200 = Limits()


@dataclass(frozen=True)
class Work:
    """Of one launch: bytes that memory must move, flops of tensor cores in an operand's type ("half",
    "tf32", "f64", or "" where there are none), by wgmma or not, warp instructions, blocks."""
    bytes: float
    instructions: float
    blocks: int
    flops: float = 0.0
    unit: str = ""
    wgmma: bool = False


def parts(work: Work, limits: Limits = H200) -> dict[str, float]:
    """Seconds by what limits the launch. Where blocks are no multiple of multiprocessors, the last
    round leaves some idle."""
    rounds = -(-work.blocks // limits.multiprocessors)
    idle = rounds * limits.multiprocessors / max(1, work.blocks)
    found = {"memory": work.bytes / limits.bytes, "issue": idle * work.instructions / limits.issue}
    if work.unit:
        speed = getattr(limits, work.unit) * (1 if work.wgmma else limits.synchronous)
        found["tensor"] = idle * work.flops / speed
    return found


def seconds(launches: list[Work], limits: Limits = H200) -> tuple[float, str]:
    """Of launches one after the other, and what most of it goes to: memory, issue, tensor or launch."""
    total: dict[str, float] = {"launch": limits.launch * len(launches)}
    for work in launches:
        by, longest = max(parts(work, limits).items(), key=lambda part: part[1])
        total[by] = total.get(by, 0.0) + longest
    return sum(total.values()), max(total, key=lambda by: total[by])
