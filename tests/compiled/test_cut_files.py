"""Files that are cut short while they are mapped: an error, where the system would end the process."""
import mmap
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.files.watched import Map, watch_of

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 300)).astype(np.float32)
W = RNG.standard_normal((400, 300)).astype(np.float32)
linux = pytest.mark.skipif(sys.platform != "linux", reason="signals are watched on Linux")


@linux
def test_a_program_whose_file_is_cut(tmp_path):
    whole = pyops.compile(lambda x: F.linear(x, W), X)
    want = whole(X)
    for name in "ab":
        whole.save(tmp_path / name)
    cut, other = (pyops.Program.load(tmp_path / name) for name in "ab")
    assert np.array_equal(cut(X), want)
    os.truncate(tmp_path / "a", 4096)
    for _ in range(2):
        with pytest.raises(OSError, match="cut short"):
            cut(X)
    with pytest.raises(OSError, match="cut short"):
        cut.run_timed(X)
    assert np.array_equal(other(X), want)
    with pytest.raises(ValueError):
        pyops.Program.load(tmp_path / "a")


@linux
def test_a_map_knows_of_itself(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 256)
    with open(tmp_path / "a", "rb") as file, Map(file, mmap.ACCESS_READ) as whole:
        part = np.frombuffer(whole, np.uint8)[1000:][::2]
        assert watch_of(part) is whole.watch and watch_of(W) is None
        os.truncate(tmp_path / "a", 5000)
        assert part[100] == (1200 % 256) and not whole.watch.cut
        assert part[-1] == 0 and whole.watch.cut
        watch = whole.watch
        del part
    assert watch.cut
    with open(tmp_path / "a", "rb") as file, Map(file, mmap.ACCESS_READ) as whole:
        assert not whole.watch.cut and watch.cut


def test_more_maps_than_are_watched(tmp_path):
    (tmp_path / "a").write_bytes(bytes(4096))
    with open(tmp_path / "a", "rb") as file:
        maps = [Map(file, mmap.ACCESS_READ) for _ in range(1100)]
        assert not any(one.watch.cut for one in maps)
        del maps
        assert Map(file, mmap.ACCESS_READ).watch.number >= 0


OTHERS = """
    import mmap, os, sys
    import numpy as np
    from pyops.files.watched import Map
    {setting}
    with open(sys.argv[1], "rb") as file:
        ours = Map(file, mmap.ACCESS_READ)
        {later}
        theirs = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        os.truncate(sys.argv[1], 0)
        print(ours[70000], flush=True)
        print(theirs[70000], flush=True)
"""


@linux
@pytest.mark.parametrize("setting,later", [
    ("", ""), ("import faulthandler; faulthandler.enable()", ""),
    ("import faulthandler; faulthandler.enable()", "one = Map(file, mmap.ACCESS_READ)"),
    ("", "import faulthandler; faulthandler.enable(); one = Map(file, mmap.ACCESS_READ)"),
    ("import signal; signal.signal(signal.SIGBUS, signal.SIG_IGN)", "")])
def test_others_maps_end_the_process_as_ever(tmp_path, setting, later):
    (tmp_path / "a").write_bytes(bytes(100000))
    code = textwrap.dedent(OTHERS.format(setting=setting, later=later))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n" and done.returncode == -signal.SIGBUS
    assert done.stderr.count("Fatal Python error: Bus error") == ("faulthandler" in setting + later)


@linux
def test_a_signal_that_is_sent_is_no_fault(tmp_path):
    code = ("import mmap, os, signal, sys; from pyops.files.watched import Map; "
            "one = Map(open(sys.executable, 'rb'), mmap.ACCESS_READ); os.kill(os.getpid(), signal.SIGBUS); print('on')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGBUS and not done.stdout


@linux
@pytest.mark.parametrize("at", ["parsed", "planned", "read"])
def test_an_onnx_file_that_is_cut(tmp_path, monkeypatch, at):
    onnx = pytest.importorskip("onnx")
    import pyops.onnx
    from pyops.onnx import apart, model, program
    helper, path = onnx.helper, tmp_path / "a.onnx"
    arrays = [onnx.numpy_helper.from_array(RNG.standard_normal((300, 300)).astype(np.float32), name) for name in "vw"]
    nodes = [helper.make_node("MatMul", ["x", "v"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("MatMul", ["b", "w"], ["y"])]
    given, made = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (2, 300)) for name in "xy")
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [given], [made], arrays)), path)
    assert pyops.onnx.load(path)(X).shape == (2, 300)

    def cut_before(owner, name):
        of = getattr(owner, name)

        def cut(*args, **named):
            os.truncate(path, 5000)
            return of(*args, **named)
        monkeypatch.setattr(owner, name, cut)
    cut_before(*{"parsed": (apart, "model"), "planned": (program.Maker, "program"), "read": (model, "graph_of")}[at])
    with pytest.raises(pyops.onnx.ModelError):
        pyops.onnx.load(path)
