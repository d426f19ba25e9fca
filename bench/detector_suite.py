"""Whole detectors from image to boxes, and training steps, beside their peers: what `pyops bench --detectors` runs,
each in a process of its own, so that one's weights are gone before the next.

    pyops bench --detectors --quick --threads 2        # at most four minutes: a row that takes too long is given up
    pyops bench --detectors yolov3,ssd300

Ctrl-C gives up the row at hand and goes on with the next; twice within a second ends the command.
"""
from __future__ import annotations

import subprocess
import sys
import time

QUICK = 230.0   # seconds of all rows with --quick
PLAN = (("detectors", "yolov3:416"), ("detectors", "yolov3:416", "--batch", "8"),
        ("detectors", "yolov4:416"), ("detectors", "yolov4:416", "--batch", "8"),
        ("detectors_torchvision", "ssd300_vgg16"), ("detectors_torchvision", "ssd300_vgg16", "--batch", "8"),
        ("detectors", "yolov5s:640"), ("detectors", "yolov6s:640"),
        ("detectors_torchvision", "retinanet_resnet50_fpn"), ("detectors_torchvision", "fasterrcnn_resnet50_fpn"),
        ("detection_step", "fasterrcnn_resnet50_fpn"), ("detection_step", "yolov3_tiny"))


def chosen(words: str) -> list[tuple[str, ...]]:
    """The measurements one of whose arguments holds one of the words, comma-separated; all without words. ValueError
    for a word that none holds."""
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted:
        if not any(word in part for plan in PLAN for part in plan):
            names = ", ".join(dict.fromkeys(plan[1].partition(":")[0] for plan in PLAN))
            raise ValueError(f"--detectors: nothing is called {word!r}; there are {names}")
    return [plan for plan in PLAN if not wanted or any(word in part for word in wanted for part in plan)]


def command(plan: tuple[str, ...], threads: int | None, quick: bool) -> list[str]:
    module, *arguments = plan
    return [sys.executable, "-W", "ignore", "-m", f"pyops.bench.{module}", *arguments,
            *(["--threads", str(threads)] if threads else []), *(["--quick"] if quick else [])]


def share(left: float, rows: int) -> float:
    """Seconds that the next of so many rows may take of those that are left: twice its share, but for the last."""
    return left / rows * min(2, rows)


def row(arguments: list[str], limit: float | None) -> str:
    """Why the row failed or was given up; nothing where it did not."""
    started = time.monotonic()
    process = subprocess.Popen(arguments, start_new_session=True)   # a Ctrl-C is this process's
    try:
        code = process.wait(limit)
        return f"ended with code {code}" if code else ""
    except subprocess.TimeoutExpired:
        return f"given up after {limit:.0f} s"
    except KeyboardInterrupt:
        time.sleep(1)   # another one in this second ends the command
        return f"given up after {time.monotonic() - started:.0f} s"
    finally:
        process.kill()
        process.wait()


def run(words: str = "", threads: int | None = None, quick: bool = False) -> int:
    """1 where a measurement failed; the others are made all the same."""
    failed, plans, end = 0, chosen(words), time.monotonic() + QUICK
    for i, plan in enumerate(plans):
        limit = share(max(1.0, end - time.monotonic()), len(plans) - i) if quick else None
        if why := row(command(plan, threads, quick), limit):
            print(f"{' '.join(plan[1:])}: {why}", flush=True)
            failed = 1
    return failed
