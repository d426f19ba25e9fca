"""One archive for a machine with a GPU, torch and CuPy, which then needs neither a compiler nor a
network: the wheel, machine code made ahead, the script, the commit.

Machine code is named by a digest of its sources, so that of a cache folder, which may be old, only
the forms of these sources are packed; and the wheel's sources must be the same.
"""
from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ...cuda.nvrtc import cubin_path
from ...cuda.source import Source, read_files
from .machine import commit

MOST = 40 << 20   # bytes
SCRIPT = Path(__file__).resolve().parent.parent / "gpu.sh"
Form = tuple[Source, str]   # and the architecture


def bundle(file: Path, wheel: Path, cache: Path, forms: Iterable[Form]) -> int:
    """Writes `file` (.tar.xz) from a wheel and a cache folder that budget --sm90 filled. 1 where
    machine code of a form is missing, the wheel has other sources, or the archive is larger than MOST."""
    forms = list(forms)
    found = [machine_code(cache, *form) for form in forms]
    missing = [source.name for (source, _), code in zip(forms, found) if code is None]
    if missing:
        return refuse(f"no machine code of {missing[0]}" + f" and {len(missing) - 1} more" * (len(missing) > 1)
                      + f" in {cache}; python -m pyops.cuda.budget --sm90 --cache {cache} makes it")
    if others := differing(wheel, {path for source, _ in forms for path in read_files(source.path)}):
        return refuse(f"{wheel.name} is of other sources: {others[0]} differs; build it again")
    code = sorted({path for path in found if path})
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:xz", preset=6) as archive:
        archive.add(SCRIPT, "gpu.sh")
        archive.add(wheel, wheel.name)
        text = commit().encode()
        entry = tarfile.TarInfo("commit.txt")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
        # alike forms side by side pack to a third of what they take apart
        for path in [*code, *(path.with_suffix(".log") for path in code)]:
            archive.add(path, f"cache/emulator/{path.name}")
    size = file.stat().st_size
    left = len(list((cache / "emulator").glob("*.cubin"))) - len(code)
    print(f"{file}: {size / 2 ** 20:.1f} MB, {len(code)} forms of machine code"
          + f" ({left} of other sources left out)" * bool(left) + f", {wheel.name}")
    return refuse(f"more than {MOST >> 20} MB") if size > MOST else 0


def refuse(why: str) -> int:
    print(f"bundle: {why}", file=sys.stderr)
    return 1


def machine_code(cache: Path, source: Source, arch: str) -> Path | None:
    """The form's file in that folder: of several NVRTCs the oldest's, which most drivers take."""
    name = cubin_path(source, arch, nvrtc="*").name
    return next((path for path in sorted((cache / "emulator").glob(name)) if path.with_suffix(".log").exists()),
                None)


def differing(wheel: Path, sources: Iterable[Path]) -> list[str]:
    """Of these files those that the wheel has not, or otherwise."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if name.endswith((".cu", ".cuh"))}
    return sorted(path.name for path in sources
                  if not any(text == path.read_bytes() for name, text in held.items()
                             if name.endswith("/".join(path.parts[-2:]))))
