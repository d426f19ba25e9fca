"""How far convolution algorithms are from float64: python -m pyops.bench.precision

The greatest error of a layer over its greatest output, for inputs as they are inside networks:
rectified noise, weights scaled by He's rule. pyops.compile(precision=...) chooses among the
algorithms that keep its bound.
"""
from __future__ import annotations

import numpy as np

import pyops
from pyops import nn
from pyops.graph.compile import BOUNDS, Options, build

# and the first precision that may use it
ALGORITHMS = {"direct": "strict", "winograd2": "default", "winograd4": "default", "winograd6": "fast",
              "line2": "default", "line4": "default", "line6": "default", "strassen": "default"}
KERNELS = {"line2": (1, 7), "line4": (1, 7), "line6": (1, 5), "strassen": (1, 1)}   # others: 3x3
LAYERS = ((16, 112), (64, 56), (128, 28), (256, 14), (512, 7))   # channels in and out, height and width


def layer_error(algorithm: str, channels: int, size: int, seed: int, isa: str) -> float:
    """Of a padded convolution of fresh noise."""
    kernel = KERNELS.get(algorithm, (3, 3))
    padding = tuple(taps // 2 for taps in kernel)
    rng = np.random.default_rng((seed, channels, size))
    x = np.maximum(rng.standard_normal((1, channels, size, size), np.float32), 0)
    layer = nn.Conv2d(channels, channels, kernel, padding=padding).eval()
    layer.weight.data[...] = rng.standard_normal(layer.weight.shape) * np.sqrt(2 / (np.prod(kernel) * channels))
    program = build(layer, (x,), Options("fast", pyops.get_num_threads(), isa, algorithm))
    exact = pyops.functional.conv2d(
        *(np.asarray(a, np.float64) for a in (x, layer.weight.data, layer.bias.data)), padding=padding)
    return float(np.abs(program(x) - exact).max() / np.abs(exact).max())


def table(seeds: int, isa: str) -> dict[str, list[float]]:
    """algorithm -> the greatest error over the seeds, a number a layer of LAYERS."""
    return {a: [max(layer_error(a, *layer, seed, isa) for seed in range(seeds)) for layer in LAYERS]
            for a in ALGORITHMS}


def main() -> None:
    isa = pyops.get_backend().name
    print(f"greatest error over the greatest output, 10 draws, {isa}")
    print(f"{'algorithm':<12}" + "".join(f"{f'{c} at {s}x{s}':>14}" for c, s in LAYERS)
          + f"{'bound':>10}  allowed from")
    for algorithm, errors in table(10, isa).items():
        precision = ALGORITHMS[algorithm]
        print(f"{algorithm:<12}" + "".join(f"{e:>14.1e}" for e in errors)
              + f"{BOUNDS[precision]:>10.0e}  {precision}")


if __name__ == "__main__":
    main()
