"""Which tests run when, what may be skipped, and what each one costs.

    quick   make quick, every Python of `make matrix`: some of every kind of test, chosen by their names
    slow    more of a kind of which `make test` has some, seconds each: `make test-slow`, and so `.ci/run`
    full    make test-all only: minutes, or gigabytes

A test says so by a mark of its own, or its file does in the tables below. `--skips FILE` lists the
skips that are expected, a line each, `path :: reason` with wildcards; any other fails the run.
`--resources FILE` writes what every test took.
"""
from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
from fnmatch import fnmatch
from pathlib import Path
from zlib import crc32

import pytest

TESTS = Path(__file__).parent
# file: one in so many of its tests is quick. Which ones follows from their names, so that a
# test stays where it is.
QUICK = {"rows/test_ops.py": 24, "rows/test_bad_input.py": 16, "rows/test_arithmetic.py": 1,
         "rows/test_tape.py": 1, "rows/test_simd_math.py": 6, "rows/test_random.py": 1,
         "rows/test_embedding.py": 1, "rows/test_normalisation.py": 1, "rows/test_attention.py": 8,
         "rows/test_winograd.py": 30, "rows/test_winograd_line.py": 60, "rows/test_winograd_grouped.py": 6,
         "rows/test_strassen.py": 6,
         "rows/test_cases.py": 1,
         "rows/test_traits.py": 1,
         "compiled/test_cases_compiled.py": 12, "compiled/test_compile.py": 4, "compiled/test_passes.py": 1,
         "compiled/test_blocked_*.py": 12, "compiled/test_picked_channels.py": 8,
         "cuda/test_cuda_host.py": 1, "doors/test_onnx.py": 24,
         "doors/test_torch.py": 20, "models/test_nn.py": 8, "train/test_optim.py": 6, "train/test_text.py": 1,
         "package/test_checkout.py": 1,
         "package/test_native_exit.py": 1, "package/test_readme.py": 1, "package/test_codebase.py": 1,}
# file: patterns of names whose tests take minutes or gigabytes. (pattern, n): of the names that
# match, a long list, all but one in n.
FULL: dict[str, tuple] = {
    # a step in float64 of more than 25 million parameters, beside another library's, takes two
    # gigabytes and more (VGG six)
    "models/test_classifier_gradients.py": (
        "*vgg*", "*alexnet*", "*resnet101*", "*resnet152*", "*densenet161*", "*efficientnet_b[567]*",
        "*efficientnet_v2_[ml]*", "*inception_v3*", "*inception_resnet_v2*", "*nasnet_large*",
        "*xception[67]?*"),
    "models/test_models.py": ("test_torchvisions_weights_give_torchvisions_answer[[]vgg*", "*[[]resnet152]",
                              "*[[]efficientnet_b[567]]"),
    "models/test_classifiers.py": ("*[[]efficientnet_v2_[ml]]", "*[[]resnet1*_v2]", "*eager_answer[[]vgg11]",
                                   "test_timms_vgg_is_renamed"),
    "models/test_keras_weights.py": ("test_a_network_with_keras_weights_answers_as_keras_does[[]inception_v3]",
                                     "test_efficientnets_of_fewer_blocks[[]2]", "test_nasnet_is_named[[]as large]"),
    # hundreds of megabytes of weights; a smaller network of the same family stays
    "compiled/test_compiled_models.py": ("*efficientnet_v2_[ml]*", "*efficientnet_b[567]*", "*vgg1[369]*",
                                         "*vgg1?_bn*", "*nasnet_large*",
                                         "*inception_resnet_v2*", "*net101*", "*net152*", "*xception[67]?*"),
    "compiled/test_compile.py": ("test_networks[[]vgg11*",),
    "compiled/test_lean.py": ("*[[]vgg11]",),
    "rows/test_batch_invariant.py": ("test_networks[[]vgg11]",),
    "doors/test_onnx.py": ("*test_vgg19_*", "*test_zfnet512_*"),
    # torch traces and exports each for seconds: of every kind of network one stays. pyops.compile
    # meets all layers, torch.compile a third
    "doors/test_torch_models.py": (
        *(f"test_torchvision[[]{name}]" for name in ("densenet121", "efficientnet_b0", "mnasnet0_5",
                                                     "regnet_y_400mf", "vgg11_bn", "vit_b_32")),
        *(f"test_zoo[[]{name}]" for name in ("mobilenet_v3_small", "shufflenet_v2_x0_5", "lraspp_*",
                                             "timm/ghostnet_050", "timm/convnext_atto_rms",
                                             "timm/tnt_s_legacy_patch16_224"))),
    "doors/test_torch_layers.py": (("test_by_backend*", 3),),
    # an epoch and its pictures take seconds each
    "generative/test_generative_measures.py": (("*every_command*", 3),),
    # nvdisasm takes a second and more for each
    "cuda/test_cuda_build.py": (("test_machine_code_has_what_is_promised*", 2),),
}

# as FULL: most are of the CUDA emulator, which follows every access of every thread
SLOW: dict[str, tuple] = {
    # over ResNet-18 stays
    "detection/test_faster_rcnn.py": ("test_forms*", "*different_sizes*"),
    # torch traces and exports each for seconds
    "detection/test_torch_door.py": ("*one_graph[[][fmk]*", "test_two_images*", "test_no_detections*"),
    "detection/test_ssd.py": ("*test_losses*", "*test_boxes*vgg16*", "test_lower_layers*ssd300*"),
    "detection/test_retinanet.py": ("test_resnet50s_forms*", "*different_sizes*"),
    # of each kind the smallest stays
    "segmentation/test_networks.py": ("*pspnet_resnet50]", "*aspp_s]", "*step*[[]fcn_resnet50]",
                                      "*step*[[]deeplabv3_resnet50]", "*are_the_papers*[[]16]"),
    "generative/test_generative_trainer.py": ("test_commands",),
    "generative/test_generative_measures.py": ("*every_command*", "*of_ones_own"),
    "models/test_networks_twice.py": ("*[[]resnet18]", "*[[]efficientnet_b0]", "*[[]mobilenet_v2]"),
    "cuda/test_cuda_ops.py": ("test_checked*-f64]", ("test_no_order*", 2)),
    "cuda/test_cuda_convolution_tensor.py": (("*", 4),),
    "cuda/test_cuda_attention.py": (("*", 3),),
    "cuda/test_cuda_mutants.py": (("*", 3),),
    "cuda/test_cuda_tensor.py": (("*", 3),),
    "cuda/test_cuda_channels_last.py": (("*", 3),),
    "cuda/test_cuda_hopper.py": (("*", 3),),
    "cuda/test_cuda_hopper_convolution.py": (("*", 3),),
    "cuda/test_cuda_statistics.py": (("*", 3),),
    # one whole run stays; each of these starts processes of its own
    "cuda/test_gpu_run.py": ("test_a_run_goes_on*", "test_a_case_that_hangs*", "test_what_the_time*",
                             "test_bfloat16_passes*", "test_dynamic_shared*"),
    "doors/test_torch_layers.py": (("test_by_program*", 2),),
    "doors/test_torch_models.py": (("*", 2),),
    "doors/test_torch_training.py": ("test_two_processes", ("test_operator*", 2)),
    "doors/test_torch_random.py": (("test_draws*", 2),),
    "models/test_classifier_gradients.py": (("*", 3),),
    "models/test_classifiers.py": (("*eager_answer*", 2),),
    "models/test_keras_weights.py": (("*", 2),),
    "models/test_models.py": (("*", 2),),
    "compiled/test_compiled_models.py": (("*", 2),),
    "rows/test_locality.py": (("test_one_pixel*", 2), ("test_weight_gradient*", 2)),
    "train/test_train.py": ("*98_percent[[]modern]",),
    "train/test_experiments.py": ("*[[]detection]", ("*", 2)),
    "train/test_detection_measures.py": ("*a_thousand_sets",),
    "train/test_detection_docs.py": ("*top_to_bottom",),
    "train/test_detection_trainer.py": ("*retinanet*",),
}


def place_of(item) -> str:
    return item.path.relative_to(TESTS).as_posix() if item.path.is_relative_to(TESTS) else ""


def chosen(item, one_in: int) -> bool:
    return crc32(item.name.encode()) % one_in == 0


def named(item, rules: tuple) -> bool:
    """Whether one of these rules is for the test."""
    for rule in rules:
        pattern, one_in = (rule, 0) if isinstance(rule, str) else rule
        if fnmatch(item.name, pattern) and not (one_in and chosen(item, one_in)):
            return True
    return False


def pytest_addoption(parser):
    parser.addoption("--skips", metavar="FILE",
                     help="fail where a test is skipped that this file does not expect")
    parser.addoption("--resources", metavar="FILE",
                     help="write processor time and peak memory of every test as lines of JSON")


@pytest.hookimpl(tryfirst=True)   # before -m chooses
def pytest_collection_modifyitems(items):
    for item in items:
        place = place_of(item)
        if named(item, FULL.get(place, ())):
            item.add_marker("full")
        if "full" in item.keywords:
            continue
        if named(item, SLOW.get(place, ())):
            item.add_marker("slow")
        elif (any(fnmatch(place, p) and chosen(item, n) for p, n in QUICK.items())):
            item.add_marker("quick")


# ---- skips

_skipped: dict[tuple[str, str], int] = {}


def note_skip(nodeid: str, longrepr) -> None:
    reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    key = nodeid.split("::")[0], reason.removeprefix("Skipped: ").strip()
    _skipped[key] = _skipped.get(key, 0) + 1


def pytest_runtest_logreport(report):
    if report.skipped and not hasattr(report, "wasxfail"):
        note_skip(report.nodeid, report.longrepr)


def pytest_collectreport(report):
    if report.skipped:
        note_skip(report.nodeid, report.longrepr)


def expected(path: str) -> list[tuple[str, str]]:
    """(path's pattern, reason's pattern) of every line of a list of skips; # begins a comment."""
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text().splitlines())
    return [tuple(part.strip() for part in line.split("::", 1)) for line in lines if line]


def matches(text: str, pattern: str) -> bool:
    """Wildcards are `*` alone: reasons have brackets and question marks of their own."""
    return fnmatch(text, pattern.replace("[", "[[]").replace("?", "[?]"))


def unexpected(skips: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [key for key in _skipped
            if not any(matches(key[0], path) and matches(key[1], reason) for path, reason in skips)]


_peaks: list[float] = []   # gigabytes, of each process that ran tests


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if hasattr(session.config, "workeroutput"):   # one of pytest-xdist's processes: who started it reports
        session.config.workeroutput["peak"] = peak
        return
    if not _peaks:
        _peaks.append(peak)
    path = session.config.option.skips
    if path and exitstatus == 0 and unexpected(expected(path)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    _peaks.append(getattr(node, "workeroutput", {}).get("peak", 0.0))


def pytest_terminal_summary(terminalreporter, config):
    path = config.option.skips
    if not path:
        return
    strangers = unexpected(expected(path))
    terminalreporter.section("skipped")
    for (place, reason), count in sorted(_skipped.items()):
        known = ("" if (place, reason) not in strangers
                 else f"   NOT EXPECTED: say why in {path}, or let it run")
        terminalreporter.line(f"{count:6} {place}: {reason}{known}")
    terminalreporter.line(
        f"memory of the test processes at most {' + '.join(f'{peak:.2f}' for peak in _peaks)} GB")


# ---- memory: a program and the network it came from refer to each other, so that only the
# collector frees them, and it counts objects, not bytes. It is called when memory has grown; what
# collecting the tests made it no longer looks at.

GROWN = 100 << 20
_resident = 0


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


def resident() -> int:
    """Bytes; 0 where the system does not say so in Linux's way."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    global _resident
    if resident() > _resident + GROWN:
        gc.collect()
        # glibc keeps what was freed
        if sys.platform == "linux" and hasattr(trim := ctypes.CDLL(None), "malloc_trim"):
            trim.malloc_trim(0)
        _resident = resident()


# ---- what a test costs

def peak_memory() -> int:
    """KB, the most since the last reset."""
    line = next(line
                for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    path = item.config.option.resources
    if path:
        Path("/proc/self/clear_refs").write_text("5")   # the peak is counted from here
    before = os.times()
    yield
    if path:
        after = os.times()
        with open(path, "a") as file:
            print(json.dumps({"test": item.nodeid, "seconds": round(sum(after[:4]) - sum(before[:4]), 3),
                              "peak_mb": peak_memory() >> 10}),
                  file=file)
