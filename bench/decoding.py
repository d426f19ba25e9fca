"""Tokens a second of a language model that continues a text, beside transformers and CTranslate2.

    python -m pyops.bench.decoding [--context 256] [--steps 32] [--small]

Random weights of GPT-2 small (--small: a network for a try). Each round every engine takes a few
steps, in turn, in one process; the median of the rounds' ratios is printed. The floor is what
memory bandwidth allows: the bytes of the weights that a step must read, and of the cache, by the
bandwidth of reading a large array, the best of the same rounds.
"""
from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from statistics import median
from types import SimpleNamespace

import numpy as np

import pyops
from pyops import models
from pyops.core.backends import get_backend
from pyops.models.sequence.causal import Reading


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, default=256, help="tokens that are read first")
    parser.add_argument("--steps", type=int, default=8, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="two layers of 64 instead of GPT-2 small")
    args = parser.parse_args(arguments)
    pyops.manual_seed(0)
    settings = dict(n_embd=64, n_layer=2, n_head=4, vocab_size=500) if args.small else {}
    model = models.gpt2(**settings).eval()
    prompt = np.random.default_rng(0).integers(0, model.vocabulary, args.context)
    engines = {"pyops": ours(model, prompt)}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        models.save_transformer(model, folder)
        for name, make in (("transformers", of_transformers), ("ctranslate2", of_ctranslate2)):
            try:
                engines[name] = make(folder, prompt, stack)
            except ImportError as why:
                print(f"{name}: left out, {why}")
        report(engines, args, model)
    return 0


def report(engines, args, model) -> None:
    rounds, read, speeds = {name: [] for name in engines}, reader(), []
    for _ in range(args.rounds + 1):   # the first warms up
        speeds.append(read())
        for name, run in engines.items():
            rounds[name].append(run(args.steps) / args.steps)
    rounds = {name: seconds[1:] for name, seconds in rounds.items()}
    weights = sum(p.data.nbytes for p in model.parameters()) - model.transformer.wpe.weight.data.nbytes
    layers, heads, features = model.cache_shape
    cache = 2 * 4 * layers * heads * features * args.context
    speed = max(speeds)
    floor = (weights + cache) / speed
    print(f"{pyops.get_num_threads()} threads; reading {speed / 1e9:.1f} GB/s; a step reads "
          f"{(weights + cache) / 1e6:.0f} MB: at least {floor * 1e3:.1f} ms")
    for name, seconds in rounds.items():
        ratio = median(a / b for a, b in zip(seconds, rounds["pyops"]))
        own = median(seconds)
        print(f"{name:<14} {1 / own:8.1f} tokens/s {own * 1e3:8.2f} ms   {floor / own:5.2f} of the bandwidth   "
              f"{ratio:5.2f} x pyops' time")


def reader(size: int = 1 << 28):
    """A function that reads a large array once with all threads and returns bytes a second."""
    kernels = get_backend(None).sets["f32"]
    array, sums = np.ones(size // 4, np.float32), np.empty(pyops.get_num_threads(), np.float32)

    def read() -> float:
        start = time.perf_counter()
        kernels.machine_read(array, 1, sums)
        return size / (time.perf_counter() - start)
    return read


def ours(model, prompt):
    reading = Reading(model, [prompt], 1, True)
    lengths = reading.cache.lengths.copy()

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            reading.read(reading.scores.argmax(-1))
        seconds = time.perf_counter() - start
        # every round at the same context: what was appended is forgotten
        reading.cache.mask[..., lengths[0]:] = -np.inf
        reading.cache.lengths[:] = lengths
        return seconds
    return run


def of_transformers(folder, prompt, _):
    import torch
    with contextlib.suppress(ImportError):
        from pyops.bench import torchvision_schemas  # noqa: F401
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(pyops.get_num_threads())
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        first = model(torch.tensor(prompt[None]), use_cache=True)

    def run(steps: int) -> float:
        with torch.no_grad():
            cache, scores = first.past_key_values, first.logits
            start = time.perf_counter()
            for _ in range(steps):
                found = model(scores[:, -1:].argmax(-1), past_key_values=cache, use_cache=True)
                cache, scores = found.past_key_values, found.logits
            seconds = time.perf_counter() - start
            cache.crop(-steps)
        return seconds
    return run


def of_ctranslate2(folder, prompt, stack):
    import ctranslate2
    import transformers
    from ctranslate2.converters.transformers import GPT2Loader
    loader, theirs = GPT2Loader(), transformers.GPT2LMHeadModel.from_pretrained(folder)
    spec, words = loader.get_model_spec(theirs), [str(i) for i in range(theirs.config.vocab_size)]
    loader.set_vocabulary(spec, words)
    loader.set_config(spec.config, theirs, SimpleNamespace(bos_token="0", eos_token="1", unk_token="2"))
    spec.validate()
    spec.optimize()
    place = stack.enter_context(tempfile.TemporaryDirectory())
    spec.save(place)
    del spec, theirs
    generator = ctranslate2.Generator(place, device="cpu", compute_type="float32",
                                      intra_threads=pyops.get_num_threads(), inter_threads=1)
    text = [words[i] for i in prompt]

    def whole(steps: int) -> float:
        start = time.perf_counter()
        generator.generate_batch([text], max_length=steps, min_length=steps, include_prompt_in_result=False)
        return time.perf_counter() - start
    # its cache is not to be had: what more steps take beyond one
    return lambda steps: whole(steps + 1) - whole(1)


if __name__ == "__main__":
    raise SystemExit(main())
