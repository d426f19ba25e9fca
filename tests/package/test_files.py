"""Files: whole or not there, whoever else writes them; a cache that others may not write to; arrays
that claim no more than a file holds.
"""

import io
import json
import os
import subprocess
import sys
import threading
import warnings
import zipfile

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.files import bounded, cache, whole
from pyops.graph import choose, costs

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files to other users"
)


# ---- whole files


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    with whole.writing(path) as out:
        out.write(b"first")
        assert not path.exists()
    with pytest.raises(KeyError), whole.writing(path) as out:
        out.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    path = tmp_path / "fi[l]e"
    left = tmp_path / f".{path.name}.0123{whole.SUFFIX}"
    left.write_bytes(b"half")
    with whole.writing(path) as one:
        one.write(b"one")
        assert not left.exists()
        with whole.writing(path) as other:
            other.write(b"other")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"one" and os.listdir(tmp_path) == [path.name]


def test_many_writers_of_one_file(tmp_path):
    """Threads, as processes that know nothing of each other's numbers: none fails, and the file is
    always one of theirs.
    """
    path, failed = tmp_path / "file", []

    def write(number):
        try:
            for _ in range(30):
                with whole.writing(path) as out:
                    out.write(bytes([number]) * 10_000)
                content = path.read_bytes()
                assert len(content) == 10_000 and len(set(content)) == 1
        except BaseException as why:
            failed.append(why)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and os.listdir(tmp_path) == ["file"]


def test_a_writer_notices_that_its_file_was_taken_for_a_killed_ones(tmp_path, monkeypatch):
    """A process that looks for leftovers may come between the making of a file and its lock."""
    path, lock, taken = tmp_path / "file", whole.lock, []

    def late(descriptor, wait=True):
        if wait and not taken:
            taken.append(True)
            for beside in tmp_path.iterdir():
                beside.unlink()
        return lock(descriptor, wait)

    monkeypatch.setattr(whole, "lock", late)
    with whole.writing(path) as out:
        out.write(b"content")
    assert taken and path.read_bytes() == b"content"


def test_a_block_knows_whether_it_is_alone(tmp_path):
    with whole.alone(tmp_path) as first, whole.alone(tmp_path) as second:
        assert first and not second
    with whole.alone(tmp_path) as again:
        assert again
    assert os.listdir(tmp_path) == []


# ---- the cache


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PYOPS_CACHE", str(tmp_path / "cache"))
    return cache.folder("kind") / "file"


def test_a_cached_file_is_read_as_it_was_kept(kept):
    assert cache.read(kept) is None and not cache.is_whole(kept)
    cache.keep(kept, b"content")
    assert cache.read(kept) == b"content" and kept.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:3], lambda b: b"", lambda b: b"X" + b[1:], lambda b: b + b"X"]
)
def test_a_damaged_one_is_none(kept, damage):
    cache.keep(kept, b"content" * 100)
    kept.write_bytes(damage(kept.read_bytes()))
    assert cache.read(kept) is None


def test_what_others_may_write_to_is_refused(kept):
    cache.keep(kept, b"content")
    for place in (kept, kept.parent, kept.parent.parent):
        mode = place.stat().st_mode
        for more in (0o020, 0o002):
            place.chmod(mode | more)
            with pytest.raises(cache.UnsafeCache, match="may be written to by other users.*chmod"):
                cache.folder("kind") and cache.read(kept)
        place.chmod(mode)
    assert cache.folder("kind") and cache.read(kept) == b"content"


@as_root
def test_what_another_user_owns_is_refused(kept):
    cache.keep(kept, b"content")
    for place in (kept, kept.parent, kept.parent.parent):
        os.chown(place, 12345, -1)
        with pytest.raises(cache.UnsafeCache, match="belongs to user 12345"):
            cache.folder("kind") and cache.read(kept)
        os.chown(place, 0, -1)


# ---- arrays


def archive(**members) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(f"{name}.npy", content)
    return file


def npy(array=None, header=None) -> bytes:
    out = io.BytesIO()
    if header is None:
        np.save(out, array)
    else:
        np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()


def test_an_npz_is_read_as_numpy_reads_it():
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array(5, np.int64),
        "c": np.asfortranarray(np.arange(6).reshape(3, 2)),
        "d": np.empty((0, 4)),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    found = bounded.npz(file)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (
            np.array_equal(found[name], array)
            and found[name].dtype == array.dtype
            and found[name].shape == array.shape
        )


@pytest.mark.parametrize(
    "file, match",
    [
        (io.BytesIO(b""), "not an .npz file"),
        (io.BytesIO(b"PK\3\4" + bytes(100)), "not an .npz file"),
        (archive(a=npy(np.zeros(80 << 20, np.uint8))), "members claim 838"),
        (
            archive(a=npy(header={"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})),
            "needs 4398046511104 bytes, it has 0",
        ),
        (
            archive(a=npy(header={"descr": "<f4", "fortran_order": False, "shape": (-1, -4)}) + bytes(16)),
            "needs|shape",
        ),
        (
            archive(a=npy(header={"descr": "|O", "fortran_order": False, "shape": (1,)}) + bytes(8)),
            "holds object",
        ),
        (archive(a=npy(np.zeros(2, "c8"))), "holds complex64"),
        (archive(a=b"no header"), "magic|header"),
    ],
    ids=["empty", "no_zip", "bomb", "claims", "negative", "objects", "complex", "no_header"],
)
def test_an_npz_that_claims_or_holds_something_else_is_refused(file, match):
    with pytest.raises(ValueError, match=match):
        bounded.npz(file)


# ---- costs and the environment

GOOD = dict(
    threads=2, direct=0.3, winograd=0.3, transform=[40, 112, 232], cache=0.01, memory=0.03, kept=16 << 20
)


@pytest.mark.parametrize(
    "change",
    [
        {"direct": float("nan")},
        {"direct": "x"},
        {"direct": -1e300},
        {"direct": 0},
        {"winograd": None},
        {"direct": True},
        {"memory": [1]},
        {"memory": 1e400},
        {"threads": 0},
        {"threads": "a"},
        {"threads": 1.5},
        {"transform": [1]},
        {"transform": "abc"},
        {"transform": [1, 2, float("inf")]},
        {"kept": -1},
        {"kept": 1e400},
        {"more": 1},
    ],
    ids=str,
)
def test_costs_that_are_none_are_refused(tmp_path, monkeypatch, change):
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"cpu": costs.cpu_model(), "costs": {"avx512": GOOD | change, "avx2": GOOD}}))
    monkeypatch.setenv("PYOPS_COSTS", str(file))
    costs.of.cache_clear()
    with pytest.raises(
        ValueError, match="costs.json does not hold costs as pyops tune writes them.*remove it or tune again"
    ):
        costs.of("avx512")
    assert costs.of("avx2").transform == (40.0, 112.0, 232.0)
    costs.of.cache_clear()


@pytest.mark.parametrize("file", ["/", "/dev/zero", "/etc/passwd"])
def test_a_file_of_something_else_holds_no_costs(monkeypatch, file):
    monkeypatch.setenv("PYOPS_COSTS", file)
    costs.of.cache_clear()
    with pytest.raises(ValueError, match="does not hold costs"):
        costs.of("avx512")
    costs.of.cache_clear()


@pytest.mark.parametrize(
    "force", ["x", "winograd4,=,=", "=direct", "a=b", "conv0=winograd5", "direct,winograd"]
)
def test_a_forced_algorithm_is_checked_as_a_whole(monkeypatch, force):
    monkeypatch.setenv("PYOPS_FORCE_ALGO", force)
    with pytest.raises(ValueError, match="PYOPS_FORCE_ALGO.*must be one of direct"):
        pyops.compile(F.relu, np.ones((1, 4), np.float32))
    assert choose.entries("direct,a.b=winograd4") == (("", "direct"), ("a.b", "winograd4"))


@pytest.mark.parametrize(
    "name, value",
    [
        ("PYOPS_NUM_THREADS", "0"),
        ("PYOPS_NUM_THREADS", "-1"),
        ("PYOPS_NUM_THREADS", "²"),
        ("PYOPS_NUM_THREADS", "9" * 30),
        ("PYOPS_NUM_THREADS", "4294967297"),
        ("PYOPS_NUM_THREADS", "1_0"),
        ("OMP_NUM_THREADS", "abc"),
        ("PYOPS_POOL_BYTES", "9" * 40),
        ("PYOPS_POOL_BYTES", "²"),
        ("PYOPS_POOL_BYTES", "-5"),
        ("PYOPS_POOL_BYTES", "1e9"),
        ("PYOPS_MAX_ISA", "x"),
        ("PYOPS_BACKEND", "x"),
        ("PYOPS_PRECISION", "x"),
    ],
)
def test_the_environment_is_refused_in_a_sentence(name, value):
    done = subprocess.run(
        [sys.executable, "-c", "import pyops"],
        capture_output=True,
        text=True,
        env={**os.environ, name: value},
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ValueError") and (name in last or "backend" in last), (
        last
    )


def test_numbers_that_fit_no_register_are_refused():
    for call in (
        lambda: pyops.set_num_threads(10**30),
        lambda: pyops.set_num_threads(0),
        lambda: pyops.core.memory.set_limit(10**30),
        lambda: pyops.core.memory.set_limit(-1),
    ):
        with pytest.raises(ValueError, match="whole number|positive integer"):
            call()


# ---- two trainings


def test_two_trainings_in_one_folder_both_go_on_and_the_second_is_told(tmp_path):
    pytest.importorskip("safetensors")
    from pyops import nn
    from pyops.train import ArrayDataset, Split, Trainer

    def trainer():
        data = ArrayDataset(
            np.random.default_rng(0).standard_normal((8, 1, 4, 4)).astype(np.float32), np.arange(8) % 2
        )
        return Trainer(
            nn.Sequential(nn.Flatten(), nn.Linear(16, 2)),
            Split(data, data, "noise"),
            tmp_path,
            epochs=2,
            batch_size=4,
            seed=1,
            draw_curve=False,
        )

    first, told = trainer(), []

    def meanwhile(epoch):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer().fit()
        told.extend(str(w.message) for w in caught)

    first.report = meanwhile
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first.fit()
    assert (
        len(first.history) == 2
        and len(told) == 2
        and all(f"another training is at work in {tmp_path}" in t for t in told)
    )
    assert os.listdir(tmp_path) == ["checkpoint.safetensors"]


def test_safetensors_types_and_shapes_are_those_that_were_saved(tmp_path):
    """A number of bfloat16 without axes was no array."""
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    from pyops.files import safetensors

    types = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8,
             torch.bool)
    saved = {f"{kind} {shape}": torch.full(shape, 3).to(kind) for kind in types for shape in ((), (0, 2), (2, 3))}
    files.save_file(saved, tmp_path / "a.safetensors")
    found, _ = safetensors.load(tmp_path / "a.safetensors")
    assert found.keys() == saved.keys()
    for name, want in saved.items():
        want = (want.float() if want.dtype == torch.bfloat16 else want).numpy()
        assert isinstance(found[name], np.ndarray) and found[name].dtype == want.dtype, name
        np.testing.assert_array_equal(found[name], want, err_msg=name, strict=True)
