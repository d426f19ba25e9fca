"""The run that a GPU gets (python -m pyops.bench.gpu), with stand-ins for CuPy and torch over the
emulator: every stage, what a fault, a crash or a hang of a kernel leaves behind, and the report."""
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pyops.core.backends import BACKENDS
from pyops.cuda import emulator, nvrtc

pytestmark = [pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing() or "can run"),
              pytest.mark.skipif(not BACKENDS["cuda"].missing, reason="a GPU is here")]
pytest.importorskip("ml_dtypes")
FAKE = Path(__file__).parent / "fake"


def gpu(*arguments, fake="", toolkit="/nowhere", folder=None):
    """python -m pyops.bench.gpu, where CuPy and torch are the stand-ins; without NVRTC, unless a
    toolkit is named, so that it is CuPy that compiles."""
    path = os.pathsep.join(filter(None, (str(FAKE), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, "PYOPS_FAKE": fake, "PYOPS_CUDA_TOOLKIT": toolkit}
    return subprocess.run([sys.executable, "-W", "ignore", "-m", "pyops.bench.gpu", *arguments],
                          capture_output=True, text=True, env=env, cwd=folder, timeout=300)


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def by_stage(folder):
    found: dict = {}
    for line in lines(folder):
        found.setdefault(line["stage"], {})[line["case"]] = line
    return found


def test_a_whole_run(tmp_path):
    """All stages of a dry run pass, a line a case, and the report has them."""
    done = gpu("run", "--out", str(tmp_path), "--few", "--seconds", "250", "--parts", "1", "--patience", "5")
    logs = "\n".join(p.read_text() for p in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    found = by_stage(tmp_path)
    assert [name for name in found if name != "machine"] == [
        "smoke", "integers", "validate", "half", "ceilings", "rows", "hopper-integers", "hopper-rows"]
    assert not any("failed" in line or "not run" in line for line in lines(tmp_path))
    assert len(found["validate"]) == 8 and all(line["passed"] for line in found["validate"].values())
    assert len(found["half"]) == 8 and found["machine"]["machine"]["commit"]
    row = found["rows"]["relu 4x32x5x6 bf16"]
    assert row["error"] == 0 and row["ours"]["ms"] > 0 and row["torch"]["host us"] > 0
    told = gpu("report", str(tmp_path)).stdout
    assert "relu 4x32x5x6" in told and "8 of 8" in told


def test_the_hosts_time_for_launches_is_told():
    told = gpu("packing", "--rounds", "1").stdout.splitlines()
    counts = {line.rsplit(None, 3)[0]: int(line.rsplit(None, 3)[1]) for line in told[1:]}
    assert counts["relu"] == 1 and counts["conv2d 3x3"] >= 1 and len(counts) == 5


@pytest.mark.parametrize("fake, said", [("die-in=softmax_warp", "the process ended with 139"),
                                        ("sticky-in=softmax_warp", "cudaErrorIllegalAddress")])
def test_a_run_goes_on_after_the_case_that_killed_it(tmp_path, fake, said):
    done = gpu("run", "--out", str(tmp_path), "--stages", "validate", "--match",
               "^(softmax line(1|7|16)|relu n7) forward f32$", "--parts", "1", fake=fake)
    assert done.returncode == 1, done.stderr
    found = by_stage(tmp_path)["validate"]
    failed = {case for case, line in found.items() if "failed" in line}
    assert failed == {f"softmax line{n} forward f32" for n in (1, 7, 16)}
    assert all(said in found[case]["failed"] + found[case].get("device", "") for case in failed)
    assert found["relu n7 forward f32"]["passed"]


def test_a_case_that_hangs_is_given_up(tmp_path, monkeypatch):
    """The limits are those of stages.py: here the driver's own, in this process, with shorter ones."""
    from dataclasses import replace

    from pyops.bench.gpu import driver, stages
    path = os.pathsep.join(filter(None, (str(FAKE), os.environ.get("PYTHONPATH"))))
    for name, value in (("PYTHONPATH", path), ("PYOPS_FAKE", "hang-in=softmax_warp"),
                        ("PYOPS_CUDA_TOOLKIT", "/nowhere")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(driver, "FIRST", 8)
    quick = replace(stages.STAGES["validate"], each=1, parts=1)
    monkeypatch.setitem(driver.STAGES, "validate", quick)
    code = driver.run(tmp_path, 60, ["validate"], 1, "^(softmax line7|relu n7) forward f32$", False)
    found = by_stage(tmp_path)["validate"]
    assert code == 1 and found["softmax line7 forward f32"]["failed"] == "no answer in 1 s"
    assert found["relu n7 forward f32"]["passed"]


def test_what_the_time_does_not_suffice_for_is_counted(tmp_path):
    gpu("run", "--out", str(tmp_path), "--stages", "validate", "--match", "^relu ", "--seconds", "0.1")
    counted = [line["not run"] for line in lines(tmp_path) if "not run" in line]
    assert len(counted) == 4


def test_bfloat16_passes_where_dlpack_refuses_it(tmp_path):
    done = gpu("stage", "smoke", "--match", "bfloat16", fake="no-bfloat16")
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["error"] == 0 and line["DLPack takes it itself"] is False


def test_dynamic_shared_memory_of_several_sizes(tmp_path):
    """A limit that followed each launch would be too small for the next."""
    done = gpu("stage", "smoke", "--match", "shared memory")
    assert "failed" not in done.stdout and '"error"' in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(bool(nvrtc.missing()), reason=nvrtc.missing() or "can run")
def test_machine_code_made_ahead_is_what_is_loaded(tmp_path):
    """Of another version of NVRTC, and with none at hand."""
    from pyops.cuda.source import kernel_source
    source = kernel_source("activation/cuda.cu", "f32")
    code, log = nvrtc.compile_cubin(source, "sm_90")
    folder = tmp_path / "emulator"
    folder.mkdir(mode=0o700)
    name = nvrtc.cubin_path(source, "sm_90", nvrtc="13.0").name
    (folder / name).write_bytes(code)
    from pyops.files import cache
    cache.keep((folder / name).with_suffix(".log"), nvrtc.digest_line(code) + log.encode())
    script = ("import cupy, numpy as np, pyops.functional as F\nseen = []\nmade = cupy.RawModule\n"
              "cupy.RawModule = lambda **how: seen.append(how) or made(**how)\n"
              "F.relu(cupy.asarray(np.ones(3, np.float32)))\nprint(seen[0]['path'])")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(FAKE), os.getcwd()]),
                               "PYOPS_CACHE": str(tmp_path), "PYOPS_CUDA_TOOLKIT": "/nowhere"})
    assert done.stdout.strip().endswith(name), done.stdout + done.stderr


@pytest.fixture
def packed(tmp_path):
    """A wheel with the sources of one form, and a cache folder with its machine code and an older one's."""
    from pyops.cuda.source import PACKAGE, ROOT, kernel_source, read_files
    form = kernel_source("shape/cuda.cu", "f32"), "sm_90"
    wheel, code = tmp_path / "pyops-1-cp312-cp312-linux_x86_64.whl", tmp_path / "cache" / "emulator"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in read_files(form[0].path):
            archive.write(path, f"pyops/{path.relative_to(ROOT if path.is_relative_to(ROOT) else PACKAGE)}")
    code.mkdir(parents=True)
    name = nvrtc.cubin_path(*form, nvrtc="13.0").name
    for file in (name, name.replace(form[0].digest, "0" * 20)):
        for path in (code / file, (code / file).with_suffix(".log")):
            path.write_bytes(path.name.encode())
    return wheel, tmp_path / "cache", form


def test_a_bundle_holds_what_a_machine_needs(tmp_path, packed, capsys):
    from pyops.bench.gpu.bundle import bundle
    wheel, cache, form = packed
    assert bundle(tmp_path / "b.tar.xz", wheel, cache, [form]) == 0
    assert "1 forms of machine code (1 of other sources left out)" in capsys.readouterr().out
    name = nvrtc.cubin_path(*form, nvrtc="13.0").stem
    with tarfile.open(tmp_path / "b.tar.xz") as archive:
        assert set(archive.getnames()) == {"gpu.sh", wheel.name, "commit.txt", f"cache/emulator/{name}.cubin",
                                           f"cache/emulator/{name}.log"}


def test_a_bundle_is_refused_without_machine_code_of_a_form(tmp_path, packed, capsys):
    from pyops.bench.gpu.bundle import bundle
    from pyops.cuda.source import kernel_source
    wheel, cache, form = packed
    other = kernel_source("shape/cuda.cu", "f64"), "sm_90"
    assert bundle(tmp_path / "b.tar.xz", wheel, cache, [form, other]) == 1
    assert "no machine code of shape/cuda.cu f64 in" in capsys.readouterr().err


def test_a_bundle_is_refused_where_the_wheel_is_of_other_sources(tmp_path, packed, capsys):
    from pyops.bench.gpu.bundle import bundle
    wheel, cache, form = packed
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in held.items():
            archive.writestr(name, text + b" " * name.endswith("shape/cuda.cu"))
    assert bundle(tmp_path / "b.tar.xz", wheel, cache, [form]) == 1
    assert "is of other sources: cuda.cu differs" in capsys.readouterr().err
    assert not (tmp_path / "b.tar.xz").exists()


def test_a_report_says_what_to_do_next(tmp_path):
    """Faults before speed; ceilings that were measured before those that were published."""
    from pyops.bench.gpu.report import report
    row = {"row": "softmax 32768x1024", "precision": "f32", "error": 0.0, "ratio": 0.5,
           "ours": {"ms": 0.25, "median": 0.25, "host us": 900.0},
           "torch": {"ms": 0.125, "median": 0.125, "host us": 9}}
    said = [{"stage": "ceilings", "case": "copy", "GB/s": 2147.483648}, {"stage": "rows", "case": "x", **row},
            {"stage": "validate", "case": "conv ragged forward f32", "failed": "AssertionError: off"},
            {"stage": "validate", "case": "part 0", "not run": 3},
            {"stage": "hopper-integers", "case": "wgmma", "failed": "AssertionError: differs"}]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    text = report(tmp_path)
    assert "validate         0 of 1 passed, 3 not run" in text and "FAILED validate: conv ragged" in text
    # 2 x 32768 x 1024 x 4 bytes take 0.125 ms of that copy: half of what was measured
    line = next(t for t in text.splitlines() if t.startswith("softmax"))
    assert "50%" in line and "60-70%" in line
    steps = text[text.index("next:"):].splitlines()[1:]
    assert ["rows conv" in steps[0], "PYOPS_HOPPER stays off" in steps[1], "2.0 times torch's time" in steps[2],
            "1 rows take the host longer" in steps[3]] == [True] * 4
