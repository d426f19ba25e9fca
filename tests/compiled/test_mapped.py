"""Saved programs are mapped: constants lie in the file, aligned, and what is odd is read or refused."""
import io
import mmap
import zipfile

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.files import bounded, mapped

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 300)).astype(np.float32)
W = RNG.standard_normal((400, 300)).astype(np.float32)
B = RNG.standard_normal(400).astype(np.float32)


@pytest.fixture
def program():
    return pyops.compile(lambda x: F.relu(F.linear(x, W, B)), X)


def lies_in_a_map(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(getattr(array, "obj", array), mmap.mmap)


def test_what_is_mapped_computes_the_same(program, tmp_path):
    program.save(tmp_path / "p.npz")
    for way in (True, False):
        loaded = pyops.Program.load(tmp_path / "p.npz", mapped=way)
        assert np.array_equal(loaded(X), program(X))
        large = max(loaded.plan.constants, key=lambda a: a.nbytes)
        assert large.__array_interface__["data"][0] % 64 == 0
        assert lies_in_a_map(large) == way
    with open(tmp_path / "p.npz", "rb") as file:
        assert np.array_equal(pyops.Program.load(file)(X), program(X))


def test_saving_over_a_mapped_file_leaves_the_program(program, tmp_path):
    program.save(tmp_path / "p.npz")
    loaded = pyops.Program.load(tmp_path / "p.npz")
    pyops.compile(F.relu, X).save(tmp_path / "p.npz")
    assert np.array_equal(loaded(X), program(X))
    (tmp_path / "p.npz").unlink()
    assert np.array_equal(loaded(X), program(X))


def test_files_are_npz(tmp_path):
    arrays = {"a": RNG.standard_normal((100, 300)), "b": np.arange(7), "c": np.asfortranarray(W), "d": np.zeros((0, 3))}
    with open(tmp_path / "a.npz", "wb") as out:
        mapped.save(out, arrays)
    stream = io.BytesIO()
    mapped.save(stream, arrays)
    assert stream.getvalue() == (tmp_path / "a.npz").read_bytes()
    for found in (np.load(tmp_path / "a.npz"), bounded.npz(tmp_path / "a.npz"), bounded.npz(tmp_path / "a.npz", True)):
        for name, array in arrays.items():
            assert np.array_equal(found[name], array)
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


def test_compressed_and_shifted_files_are_read(program, tmp_path):
    program.save(tmp_path / "p.npz")
    held = dict(np.load(tmp_path / "p.npz"))
    np.savez(tmp_path / "plain.npz", **held)
    np.savez_compressed(tmp_path / "small.npz", **held)
    (tmp_path / "behind.npz").write_bytes(b"x" * 100 + (tmp_path / "p.npz").read_bytes())
    for name in ("plain", "small", "behind"):
        assert np.array_equal(pyops.Program.load(tmp_path / f"{name}.npz")(X), program(X))


@pytest.mark.parametrize("length", [0.2, 0.7, 0.999])
def test_truncated_files_are_refused(program, tmp_path, length):
    program.save(tmp_path / "p.npz")
    content = (tmp_path / "p.npz").read_bytes()
    (tmp_path / "p.npz").write_bytes(content[:int(length * len(content))])
    with pytest.raises(ValueError, match="no saved program, or a damaged one"):
        pyops.Program.load(tmp_path / "p.npz")


def test_a_members_own_header_is_believed_by_neither(program, tmp_path):
    """Another name or another offset in it: the member is read, and refused."""
    program.save(tmp_path / "p.npz")
    content = bytearray((tmp_path / "p.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "p.npz") as archive:
        at = max(archive.infolist(), key=lambda m: m.file_size).header_offset
    content[at + mapped.LOCAL.size] ^= 1
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(ValueError, match="no saved program, or a damaged one"):
        pyops.Program.load(tmp_path / "p.npz")


def test_checksums_are_held_against_what_is_read(program, tmp_path):
    program.save(tmp_path / "p.npz")
    content = bytearray((tmp_path / "p.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(ValueError, match="no saved program, or a damaged one"):
        pyops.Program.load(tmp_path / "p.npz", mapped=False)


@pytest.mark.parametrize("code", ["<f4", "<f8", "<f2", "<i8", "|u1", "|b1", ">f4"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (2, 3, 1)])
def test_headers_are_read_as_numpy_reads_them(code, shape):
    for order in "CF":
        array, stream = np.asarray(np.ones(shape, code), order=order), io.BytesIO()
        np.save(stream, array)
        content = stream.getvalue()
        for found in (bounded.npy(content, "a"), bounded.npy(memoryview(content), "a")):
            assert np.array_equal(found, array) and found.dtype == array.dtype
            assert found.dtype.num == array.dtype.num   # kernels take no other one of 64 bits
            assert found.shape == array.shape and found.flags.f_contiguous == array.flags.f_contiguous
        for old, new in ((code, code[0] + "x" + code[2]), ("False", "Falsd"), ("descr", "desrc"),
                         ("NUMPY\x01", "NUMPY\x09")):
            damaged = content.replace(old.encode(), new.encode(), 1)
            if damaged != content:
                with pytest.raises(ValueError):
                    bounded.npy(damaged, "a")
