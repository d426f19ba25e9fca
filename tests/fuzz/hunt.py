"""A loop over seeds that outlives what it finds: the work runs in forked children under a memory
limit, the parent watches for death, silence and exceptions of the wrong kind.

A target is a module of this package with

    one(seed)       makes an input from the seed and tries it. AssertionError: a wrong answer
    REFUSED         the exceptions that a refusal may be; any other is a fault
    make(seed)      where inputs are bytes: the input alone; what fails is written to a file
    attempt(data)   tries an input; what lies in corpus/<target>/ goes through it, too
    collect()       optional: run once in the parent, whose children have what it made
    prepare()       optional: run once in every child, before its limit
    MEMORY          optional: bytes of address space beyond what the child has after prepare()
    SILENCE         optional: seconds of a processor that one input may take; of a clock, eight
                    times as many, since a machine may be busy and a deadlock takes no processor

A target that calls ops says so by `called()`, so that a hunt can count calls beside inputs.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import resource
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
MEMORY, SILENCE, PREPARING = 2 << 30, 10.0, 120.0
PATIENCE = 8  # how many times SILENCE an input may take by the clock
SHARED = struct.Struct("<qdd")  # which input the child is at, since when, by the clock and its processors
REPORT = struct.Struct("<qqi")  # which input, calls it made, how many bytes of "kind\0text" follow


@dataclass
class Result:
    """What came of a hunt: how often each outcome was met, and the inputs behind every fault, as
    (kind, text) -> inputs.
    """

    tried: int = 0
    calls: int = 0
    outcomes: Counter = field(default_factory=Counter)
    faults: dict[tuple[str, str], list] = field(default_factory=dict)

    def fault(self, kind: str, text: str, item) -> None:
        self.outcomes[kind] += 1
        self.faults.setdefault((kind, text), []).append(item)

    def __str__(self):
        outcomes = ", ".join(f"{n} {kind}" for kind, n in self.outcomes.most_common())
        calls = f" ({self.calls} op calls)" if self.calls else ""
        lines = [f"{self.tried} inputs{calls}: {outcomes}"]
        lines += [
            f"  {kind}: {text} ({len(items)} times, first with {items[:5]})"
            for (kind, text), items in self.faults.items()
        ]
        return "\n".join(lines)


class Calls:
    """How many calls of ops the input at hand has made."""

    made = 0


def called(count: int = 1) -> None:
    """The target calls an op, `count` times: what is tried, not what says what is right."""
    Calls.made += count


def hunt(target, items: Sequence, seconds: float | None = None, work=None) -> Result:
    """Tries the items, one after the other, for at most `seconds`. work: what is done with an item,
    default target.one.
    """
    work = work or target.one
    getattr(target, "collect", lambda: None)()
    result, at, end = Result(), 0, time.monotonic() + (seconds or 1e9)
    with mmap.mmap(-1, 4096) as shared:
        while at < len(items) and time.monotonic() < end:
            at = watch(target, items, at, work, shared, result, end)
    return result


def watch(target, items, at: int, work, shared, result: Result, end: float) -> int:
    """Runs a child from item `at` on, until it is done, dies or has to be ended; returns the item
    to go on with.
    """
    shared[: SHARED.size] = SHARED.pack(-1, time.monotonic(), 0.0)
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(reader)
        run_child(target, items, at, work, shared, writer)
    os.close(writer)
    os.set_blocking(reader, False)
    received, silence = b"", getattr(target, "SILENCE", SILENCE)
    killed = status = None
    while status is None:
        try:
            piece = os.read(reader, 1 << 16)
        except BlockingIOError:
            piece = None
        if piece:
            received, at = reports(received + piece, items, at, result)
        done, how = os.waitpid(child, os.WNOHANG)
        if done:
            status = how
            break
        place, since, used = SHARED.unpack(shared[: SHARED.size])
        waited, allowed = time.monotonic() - since, PREPARING if place < 0 else silence
        if waited > allowed and (waited > PATIENCE * allowed or processor_time(child) - used > allowed):
            killed = "hang"
        elif time.monotonic() > end and place >= 0:
            killed = "time"
        if killed:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        if not piece:
            time.sleep(0.002)
    while piece := read_rest(reader):
        received, at = reports(received + piece, items, at, result)
    os.close(reader)
    place, *_ = SHARED.unpack(shared[: SHARED.size])
    if killed == "time":
        return len(items)
    if killed is None and status == 0:
        return max(at, place + 1)
    how = f"more than {silence:.0f} s" if killed else in_words(status)
    if place < 0:
        raise RuntimeError(f"{target.__name__}: prepare() failed: {how}")
    result.tried += 1
    result.fault("hang" if killed else "death", how, items[place])
    return place + 1


def processor_time(child: int) -> float:
    """Seconds that all threads of the process have computed; where there is no /proc, a clock's."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_rest(reader) -> bytes:
    try:
        return os.read(reader, 1 << 16)
    except BlockingIOError:
        return b""


def reports(received: bytes, items, at: int, result: Result) -> tuple[bytes, int]:
    """Takes whole reports from what was received; returns the rest and the item after the last."""
    while len(received) >= REPORT.size:
        place, calls, length = REPORT.unpack_from(received)
        if len(received) < REPORT.size + length:
            break
        kind, _, text = received[REPORT.size : REPORT.size + length].decode(errors="replace").partition("\0")
        received, at = received[REPORT.size + length :], place + 1
        result.tried += 1
        result.calls += calls
        if kind in ("right", "refused"):
            result.outcomes[kind] += 1
        else:
            result.fault(kind, text, items[place])
    return received, at


def in_words(status: int) -> str:
    return (
        signal.Signals(os.WTERMSIG(status)).name
        if os.WIFSIGNALED(status)
        else f"exit {os.WEXITSTATUS(status)}"
    )


def run_child(target, items, at: int, work, shared, writer) -> None:
    """Never returns."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        silent = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silent, stream)
        if "torch" in sys.modules:   # its threads stayed with the parent: a call that waited for them would hang
            sys.modules["torch"].set_num_threads(1)
        getattr(target, "prepare", lambda: None)()
        limit = address_space() + getattr(target, "MEMORY", MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        refused = tuple(getattr(target, "REFUSED", (ValueError,)))
        for place in range(at, len(items)):
            shared[: SHARED.size] = SHARED.pack(place, time.monotonic(), time.process_time())
            Calls.made = 0
            said = outcome(work, items[place], refused).encode(errors="replace")
            os.write(writer, REPORT.pack(place, Calls.made, len(said)) + said)
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def outcome(work, item, refused) -> str:
    """kind and text of what one input comes to."""
    try:
        work(item)
    except AssertionError as error:
        return f"wrong\0{str(error)[:300]} {place_of(error)}"
    except refused:
        return "refused\0"
    except BaseException as error:  # whatever it is, it is what the hunt looks for
        return f"exception\0{type(error).__name__}: {str(error)[:200]} {place_of(error)}"
    return "right\0"


def place_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if f"{os.sep}pyops{os.sep}" in f.filename] or frames
    return f"({Path(inside[-1].filename).name}:{inside[-1].lineno})"


def address_space() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def replay(target, name: str) -> Result:
    """Everything in corpus/<name>/ again."""
    files = sorted((CORPUS / name).glob("*"))
    return hunt(target, files, work=lambda file: target.attempt(file.read_bytes())) if files else Result()


def keep(target, name: str, result: Result, folder: Path) -> list[Path]:
    """Writes the inputs behind the faults of a target whose inputs are bytes; the smallest of five
    a fault.
    """
    kept = []
    for number, ((kind, text), items) in enumerate(result.faults.items()):
        if kind == "exception" and f"({Path(target.__file__).name}:" in text:
            continue   # of the target itself
        data = min((target.make(seed) for seed in items[:5] if isinstance(seed, int)), key=len, default=None)
        if data is not None:
            folder.mkdir(parents=True, exist_ok=True)
            kept.append(folder / f"{name}-{items[0]}-{number}")
            kept[-1].write_bytes(data)
    return kept
