"""One archive for a machine with a GPU, torch and CuPy, which then needs neither a compiler nor a
network: the wheel, machine code made ahead, the script, the commit."""
from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

from .machine import commit

MOST = 40 << 20   # bytes
SCRIPT = Path(__file__).resolve().parent.parent / "gpu.sh"


def bundle(file: Path, wheel: Path, cache: Path) -> int:
    """Writes `file` (.tar.xz) from a wheel and a cache folder that budget --sm90 filled. 1 where
    there is no machine code, or the archive is larger than MOST."""
    code = sorted(p for p in (cache / "emulator").glob("*") if p.suffix in (".cubin", ".log"))
    cubins = sum(p.suffix == ".cubin" for p in code)
    if not cubins:
        print(f"bundle: no machine code in {cache}; python -m pyops.cuda.budget --sm90 --cache {cache} "
              "makes it", file=sys.stderr)
        return 1
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:xz", preset=6) as archive:
        archive.add(SCRIPT, "gpu.sh")
        archive.add(wheel, wheel.name)
        text = commit().encode()
        entry = tarfile.TarInfo("commit.txt")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
        # alike forms side by side pack to a third of what they take apart
        for path in sorted(code, key=lambda p: (p.suffix, p.name)):
            archive.add(path, f"cache/emulator/{path.name}")
    size = file.stat().st_size
    print(f"{file}: {size / 2 ** 20:.1f} MB, {cubins} forms of machine code, {wheel.name}")
    if size > MOST:
        print(f"bundle: more than {MOST >> 20} MB", file=sys.stderr)
        return 1
    return 0
