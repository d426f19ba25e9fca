"""Strassen's algorithm for 1x1 convolutions (kernels/convolution/blocked_strassen.cpp): an eighth fewer
multiplications, for sums of pixels and of filters in every run. No weights are kept beside the layer's own.
"""
from __future__ import annotations

import math

import numpy as np

from . import costs, packing
from .ir import Node, Value
from .shared import once

NAME = "strassen"
LEAST = 2 * packing.BLOCK   # channels and filters: a block for each half
PIXELS = 280                # that meet the same sums of filters
# Nanoseconds for a value of the image, of the result and of the weights, beside the products: sums,
# and more ways into registers and out. Most of it is memory's, so that vectors are of no account.
IMAGE, RESULT, WEIGHT = 0.09, 0.06, 0.03
MARGIN = 1.04               # what it must gain
LARGEST = 126               # exponent of a scale, a float too
FURTHEST = 60               # exponent of what a channel is multiplied by
TINY = 1e-300               # a norm that is none
ALIKE = 4                   # of two filters that are added up, how far their norms may lie apart


@once
def can(node: Node) -> str:
    """Why the algorithm does not take the layer, or an empty text."""
    weight, attrs = node.inputs[1], node.attrs
    if not isinstance(node.inputs[0], Value) or node.output.ndim > 4 or math.prod(weight.shape[2:]) != 1:
        return "not a 1x1 filter on images"
    if attrs["groups"] != 1 or set(attrs["stride"]) != {1} or any(attrs["padding"]):
        return "groups, strides or padding"
    if min(weight.shape[:2]) < LEAST:
        return "few channels or filters"
    if (node.normalised, node.gate) != (None, None) or len(node.outputs) != 1 or node.before:
        return "something before it, or several results"
    return ""


def cost(node: Node, known: costs.Costs) -> float:
    """Nanoseconds, beside those in which weights come: sums of filters wait for these."""
    K, C = node.inputs[1].shape[:2]
    pixels = node.output.size // K
    products = known.direct * pixels * C * -(-K // packing.BLOCK) * 7 / 8
    more = (IMAGE * C + RESULT * K) * pixels + WEIGHT * K * C * -(-pixels // PIXELS)
    return MARGIN * (products + more) / known.threads


@once
def filters(kernels, w: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """1x1 filters (K, C, 1, 1) packed as direct_conv has them, times powers of two that bring their norms
    together; what takes these back, for whole blocks, 0 for filters of zeros, or None where no two filters
    that are added up differ so much; and the balance of the channels."""
    K, half = len(w), packing.rounded(len(w)) // packing.BLOCK // 2 * packing.BLOCK
    norms = np.sqrt(np.einsum("kc,kc->k", *2 * [w.reshape(K, -1)], dtype=np.float64))
    first, second = norms[:max(0, min(half, K - half))], norms[half:2 * half]
    if (np.maximum(first, second) <= ALIKE * np.minimum(first, second)).all():
        return packing.direct(kernels, w), None, balance(w[:2 * half])
    halves = np.arange(K) < 2 * half   # an odd last block is not added up
    exponents = np.where(halves & (norms > 0), np.clip(np.frexp(norms)[1], -LARGEST, LARGEST), 0)
    scale = np.zeros(packing.rounded(K), np.float32)
    scale[:K] = np.where(halves & (norms == 0), 0, np.ldexp(np.float32(1), exponents))
    scaled = np.ldexp(w, -exponents[:, None, None, None])
    return packing.direct(kernels, scaled), scale, balance(scaled[:2 * half])


def balance(w: np.ndarray) -> np.ndarray:
    """Of filters that are added up, for each pair of channels: the power of two by which the second one's
    inputs are multiplied, so that its weights become like the first one's; its inverse; and the square of
    these weights, over those of the greatest pair."""
    K, half = len(w), w.shape[1] // packing.BLOCK // 2 * packing.BLOCK
    norms = np.sqrt(np.einsum("kc,kc->c", *2 * [w.reshape(K, -1)[:, :2 * half]], dtype=np.float64))
    first, second = norms.reshape(2, half)
    exponents = np.rint(np.log2(np.maximum(second, TINY) / np.maximum(first, TINY)))
    up = np.exp2(np.clip(exponents, -FURTHEST, FURTHEST))
    weights = np.maximum(first, second / up)
    seen = (weights / max(TINY, weights.max(initial=0))) ** 2
    return np.stack([up, 1 / up, np.maximum(seen, 2.0 ** (-2 * FURTHEST))]).astype(np.float32)
