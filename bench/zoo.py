"""Models that nobody here wrote, through torch.compile(backend="pyops"): python -m pyops.bench.zoo
[NAMES] [--table FILE]

Every classification and segmentation model of torchvision, and one of each family of timm, with
random weights, batch 1 and 3. A line a model: graphs,
FLOPs and the part of them in our kernels, calls left to torch, the time of a call beside torch's,
and the greatest difference from torch over torch's greatest value. Exits with 1 if an answer is off
by more than 1e-4, unless torch in float32 is itself as far from float64. Names are torchvision's,
or timm's after "timm/".
"""
from __future__ import annotations

import argparse
import gc
import time
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

import pyops
from pyops.torch import compile_report

from .torchvision_schemas import torchvision

ALLOWED = 1e-4
BATCHES = (1, 3)
SIZES = {"inception_v3": 139, "vit_h_14": 224, "vit_l_16": 224, "vit_b_16": 224, "vit_b_32": 224,
         "vit_l_32": 224, "maxvit_t": 224}
SIZE = 96
SETTINGS = {"googlenet": {"aux_logits": False, "init_weights": False},
            "inception_v3": {"aux_logits": False, "init_weights": False}}
# The smallest of each of timm 1.0.31's files of models, but for those of more than 100 million
# parameters and those whose input is no image
TIMM = """beit_base_patch16_224 eca_botnext26ts_256 mobileone_s1 cait_xxs24_224 coat_tiny
convit_tiny convmixer_768_32 convnext_atto_rms cpubone_nano crossvit_tiny_240 csatv2
cs3darknet_focus_s cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121 dla46x_c dpn48b
edgenext_xx_small efficientformer_l1 efficientformerv2_s0 mixnet_s efficientvim_m1 efficientvit_b0
efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny
ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224 hrnet_w18_small iformer_t inception_next_atto
inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small levit_384_s8 lowformer_b0 mambaout_femto
coatnet_pico_rw_224 poolformerv2_s12 gmlp_ti16_224 mobilenetv3_small_050 mobilevit_xxs mvitv2_tiny
nasnetalarge nest_tiny nextvit_small nf_regnet_b0 pit_ti_224 pnasnet5large pvt_v2_b0 rdnet_tiny
regnetx_002 repghostnet_050 repvit_m0_9 res2net50_14w_8s resnest14d resnet18 resnetv2_18 rexnet_100
selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224
tnt_s_legacy_patch16_224 tresnet_m twins_svt_small visformer_tiny flexivit_small
vit_tiny_r_s16_p8_224 vit_srelpos_small_patch16_224 vitamin_small_224 volo_d1_224
ese_vovnet19b_slim_dw legacy_xception xception41p xcit_nano_12_p8_224""".split()


def models() -> list[str]:
    return [*torchvision.models.list_models(module=torchvision.models),
            *torchvision.models.list_models(module=torchvision.models.segmentation),
            *(f"timm/{name}" for name in TIMM)]


def made(name: str) -> tuple[torch.nn.Module, int]:
    """The model in evaluation, with batch norms that do something and no branch that its own
    initial weights switch off, and the side of its images."""
    torch.manual_seed(0)
    model, size = from_timm(name.removeprefix("timm/")) if name.startswith("timm/") else from_torchvision(
        name)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for key, parameter in model.named_parameters():
        if key.endswith(("head.weight", "layer_scale")) or (parameter.ndim > 1 and not parameter.any()):
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval(), size


def from_torchvision(name):
    settings = {**SETTINGS.get(name, {}),
                **({"weights_backbone": None}
                   if name in torchvision.models.list_models(module=torchvision.models.segmentation) else {})}
    return torchvision.models.get_model(name, weights=None, **settings), SIZES.get(name, SIZE)


def from_timm(name):
    import timm
    model = timm.create_model(name)
    wanted = model.default_cfg["input_size"][-1]
    whole = (any(isinstance(m, torch.nn.MultiheadAttention) for m in model.modules())
             or model.default_cfg.get("fixed_input_size") or "attn" in str(model).lower())
    return model, wanted if whole else 139 if wanted >= 299 else SIZE


def tensors(result) -> list[np.ndarray]:
    if isinstance(result, dict):
        return [a for v in result.values() for a in tensors(v)]
    if isinstance(result, (tuple, list)):
        return [a for v in result for a in tensors(v)]
    return [np.asarray(result)]


def shortest(call, seconds: float = 0.3) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > end:
            return best


@dataclass
class Row:
    """What came of a model: over all its graphs and both batches; seconds of batch 1."""
    name: str
    graphs: int
    flops: float
    share: float
    left: Counter
    ours: float
    theirs: float
    error: float
    why: str = ""
    # torch's own distance from float64, taken only where the error is greater than allowed
    rounding: float = 0.0

    @property
    def wrong(self) -> bool:
        return not self.error <= max(ALLOWED, 3 * self.rounding)   # two such roundings, and one to spare

    def __str__(self):
        left = ", ".join(f"{op.removeprefix('aten.').removesuffix('.default')} {count}"
                         for op, count in self.left.items())
        return (f"{self.name:<36} {self.graphs:>2} graphs {self.flops / 1e9:7.2f} GFLOP "
                f"{100 * self.share:6.2f} % ours {1e3 * self.ours:8.2f} ms, torch {1e3 * self.theirs:8.2f} "
                f"ms, error {self.error:.0e}{'  WRONG' if self.wrong else ''} "
                f"{f'torch: {left}' if left else ''}{self.why}")


def row(name: str, seconds: float = 0.3) -> Row:
    """seconds: spent on timing the model, ours and torch's each; 0 for one call."""
    model, size = made(name)
    torch._dynamo.reset()
    compile_report(clear=True)
    call, error, times = torch.compile(model, backend="pyops", dynamic=False), 0.0, []
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for batch in BATCHES:
            x = torch.randn(batch, 3, size, size)
            got, want = tensors(call(x)), tensors(model(x))
            error = max([error, *(np.abs(g - w).max() / max(np.abs(w).max(), 1e-30)
                                  for g, w in zip(got, want, strict=True))])
            call(x)   # some models keep tables from their first call, and are traced again
            times = times or [shortest(lambda: call(x), seconds), shortest(lambda: model(x), seconds)]  # noqa: B023
    reports = compile_report()
    flops, torchs = sum(r.flops for r in reports), sum(r.torch_flops for r in reports)
    left = sum((Counter(r.torch) for r in reports[:len(reports) // len(BATCHES)]), Counter())
    why = "; ".join(r.why for r in reports if r.kind == "torch")
    share = 0.0 if why and not flops else flops / max(flops + torchs, 1)
    rounding = rounding_of(model, x) if error > ALLOWED else 0.0
    return Row(name, len(reports) // len(BATCHES), flops / sum(BATCHES), share, left, *times, float(error),
               why, rounding)


def rounding_of(model, x) -> float:
    """How far torch in float32 is from torch in float64, over the greatest value."""
    with torch.inference_mode():
        rough, exact = tensors(model(x)), tensors(model.double()(x.double()))
    return float(max(np.abs(r - e).max() / max(np.abs(e).max(), 1e-30) for r, e in zip(rough, exact)))


def table(rows: list[Row]) -> str:
    lines = ["| model | graphs | GFLOP | in our kernels | left to torch | error |",
             "| --- | --- | --- | --- | --- | --- |"]
    for r in rows:
        left = ", ".join(f"{op.removeprefix('aten.').removesuffix('.default')} {count}"
                         for op, count in r.left.items()) or r.why or "-"
        lines.append(f"| {r.name} | {r.graphs} | {r.flops / 1e9:.2f} | {100 * r.share:.2f} % | {left} | "
                     f"{r.error:.0e} |")
    by_op = sum((r.left for r in rows), Counter())
    lines += ["", "| left to torch | calls | models |", "| --- | --- | --- |"]
    lines += [f"| {op.removeprefix('aten.').removesuffix('.default')} | {count} | "
              f"{sum(op in r.left for r in rows)} |" for op, count in by_op.most_common()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.zoo",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", help="models of torchvision, or timm/NAME (default: all)")
    parser.add_argument("--table", help="write the coverage as a table in Markdown")
    parser.add_argument("--seconds", type=float, default=0.3,
                        help="spent on timing each model, ours and torch's each (default: 0.3)")
    parser.add_argument("--threads", type=int, help="(default: as pyops info says)")
    arguments = parser.parse_args()
    pyops.set_num_threads(arguments.threads or pyops.get_num_threads())
    torch.set_num_threads(pyops.get_num_threads())
    rows, failed = [], []
    for name in arguments.names or models():
        try:
            rows.append(row(name, arguments.seconds))
            print(rows[-1], flush=True)
        except Exception as why:   # one model must not hide the others
            failed.append(name)
            print(f"{name:<36} FAILED {type(why).__name__}: {str(why).splitlines()[0][:200]}", flush=True)
        gc.collect()
    if arguments.table:
        with open(arguments.table, "w") as out:
            out.write(table(rows))
    wrong = [r.name for r in rows if r.wrong]
    print(f"{len(rows) + len(failed)} models: {sum(r.share >= 0.99 for r in rows)} with at least 99 % of "
          f"their FLOPs in our kernels, {sum(not r.left and not r.why for r in rows)} with every call; "
          f"{len(wrong)} wrong, {len(failed)} failed {' '.join(wrong + failed)}")
    return int(bool(wrong or failed))


if __name__ == "__main__":
    raise SystemExit(main())
