"""No memory, no threads, an interpreter that ends, arrays that change: a kernel raises or goes on,
and never ends the process."""
import subprocess
import sys
import textwrap

import numpy as np
import pytest

HEAD = """
import os, resource, sys, threading, time
import numpy as np, pyops, pyops.functional as F
def limit(room):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, resource.RLIM_INFINITY))
"""


def run(code, timeout=120, **kwargs):
    return subprocess.run([sys.executable, "-X", "faulthandler", "-c", HEAD + textwrap.dedent(code)],
                          capture_output=True, text=True, timeout=timeout, **kwargs)


def output(code, **kwargs):
    done = run(code, **kwargs)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    return done.stdout


def test_no_memory_for_workspace_is_a_memory_error_and_the_next_call_is_right():
    """In every step of the room that is left: on the calling thread and on others, in forward
    passes, gradients and programs."""
    text = output("""
        pyops.set_num_threads(3)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((1, 64, 128, 128)).astype("f")
        w = rng.standard_normal((64, 64, 3, 3)).astype("f")
        small = x[:, :, :8, :8].copy()
        calls = [lambda: F.conv2d(x, w, padding=1), lambda: F.conv2d(x, w[:, :1].copy(), groups=64),
                 lambda: pyops.core.registry.OPS["conv_weight_gradient"](
                     x, x, stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, kernel=(3, 3)),
                 lambda: F.batch_norm(x, None, None, training=True), lambda: F.max_pool2d(x, 3),
                 lambda: F.softmax(x, 1)]
        program = pyops.compile(lambda v: F.relu(F.conv2d(v, w, padding=1)), x)
        want = [F.conv2d(small, w), program(x).copy()]
        calls.append(lambda: program(x))
        pyops.memory.set_limit(0)
        from collections import Counter
        seen = Counter()
        for room in range(0, 48 << 20, 3 << 20):
            limit(room)
            for call in calls:
                try:
                    call(); seen["fine"] += 1
                except MemoryError as why:
                    seen[str(why).split(":")[0]] += 1
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        assert np.array_equal(F.conv2d(small, w), want[0]) and np.array_equal(program(x), want[1])
        print(dict(seen))
    """)
    assert "'fine'" in text and "'conv'" in text, text


def test_a_thread_that_finds_no_memory_does_not_end_the_process():
    """The workers' stacks and what they keep count too: many threads, little room."""
    output("""
        x = np.ones((8, 32, 64, 64), "f"); w = np.ones((32, 32, 3, 3), "f")
        F.conv2d(x[:1], w)
        limit(24 << 20)
        pyops.set_num_threads(64)
        for _ in range(20):
            try: F.conv2d(x, w, padding=1)
            except MemoryError: pass
        print("ok")
    """)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_NPROC")
def test_no_thread_to_be_had_leaves_the_work_to_those_there_are():
    text = output("""
        x = np.arange(1 << 22, dtype="f")
        with pyops.num_threads(1): want = F.relu(x).sum()
        pyops.set_num_threads(8)
        if os.getuid() == 0: os.setgid(65534); os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        print(F.relu(x).sum() == want)
    """)
    assert text.strip() == "True"


@pytest.mark.parametrize("call", ["F.conv2d(x, w, padding=1)", "program(x)", "F.softmax(x, 1)"])
def test_daemon_threads_in_kernels_when_the_interpreter_ends(call):
    for delay in (0.05, 0.2):
        output(f"""
            x = np.ones((2, 16, 64, 64), "f"); w = np.ones((32, 16, 3, 3), "f")
            program = pyops.compile(lambda v: F.conv2d(v, w, padding=1), x)
            def forever():
                while True: {call}
            for _ in range(3): threading.Thread(target=forever, daemon=True).start()
            time.sleep({delay})
        """)


def test_forked_children_of_a_team_at_work():
    """A child forked while another thread's kernel runs has a team of its own, of more than one
    thread, and gives the same bits."""
    text = output("""
        pyops.set_num_threads(3)
        rng = np.random.default_rng(0)
        x, w = rng.standard_normal((4, 32, 40, 40)).astype("f"), rng.standard_normal((32, 32, 3, 3)).astype("f")
        want = F.conv2d(x, w, padding=1)
        stop = threading.Event()
        def work():
            while not stop.is_set(): F.conv2d(x, w, padding=1)
        busy = threading.Thread(target=work); busy.start()
        fine = 0
        for _ in range(12):
            child = os.fork()
            if child == 0:
                same = all(np.array_equal(F.conv2d(x, w, padding=1), want) for _ in range(3))
                threads = len(os.listdir("/proc/self/task"))
                os._exit(0 if same and threads > 1 else 1)
            fine += os.waitpid(child, 0)[1] == 0
        stop.set(); busy.join()
        print(fine)
    """)
    assert text.strip() == "12"


def test_threads_that_call_ops_at_once_give_the_same_bits():
    """One of them has the workers, the others work alone; results do not depend on it."""
    from concurrent.futures import ThreadPoolExecutor

    import pyops
    import pyops.functional as F
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((2, 32, 33, 35)).astype(np.float32),
            rng.standard_normal((40, 32, 3, 3)).astype(np.float32))
    calls = [lambda: F.conv2d(x, w, padding=1), lambda: F.softmax(x, 1), lambda: F.layer_norm(x, (35,)),
             lambda: F.avg_pool2d(x, 3)]
    with pyops.num_threads(3):
        want = [call() for call in calls]
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda i: calls[i % len(calls)](), range(80)))
    assert all(np.array_equal(g, want[i % len(calls)]) for i, g in enumerate(got))


@pytest.mark.parametrize("setup, call", [
    ("i = np.zeros(200000, np.int64); w = np.ones((50, 4), 'f')", "F.embedding(i, w)"),
    ("i = np.zeros((1, 1, 256, 256), np.int64); x = np.ones((1, 1, 256, 256), 'f')", "F.max_unpool2d(x, i, 1)"),
    ("i = np.zeros(100000, np.int64); x = np.ones((100000, 4), 'f')", "F.cross_entropy(x, i)"),
    ("i = np.zeros(100000, np.int64); x = np.ones((100000, 4), 'f')", "F.nll_loss(x, i)"),
], ids=["embedding", "max_unpool", "cross_entropy", "nll_loss"])
def test_indices_that_another_thread_changes(setup, call):
    """Checked and used are one reading: wrong results or a refusal, no read outside."""
    output(f"""
        {setup}
        good = i.copy()
        stop = threading.Event()
        def change():
            while not stop.is_set():
                i[...] = 1 << 40; i[...] = -(1 << 40); i[...] = good
        thread = threading.Thread(target=change); thread.start()
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            try: {call}
            except (ValueError, IndexError, TypeError, KeyError): pass
        stop.set(); thread.join()
    """)
