"""Grids of the optimiser steps. What follows from the settings alone is computed here,
in double precision."""
import math

import numpy as np

from ..elementwise.launch import BLOCK, blocks, lanes

__all__ = ["adam_step", "rmsprop_step", "sgd_step"]

FILE = "optim/cuda.cu"


def step(device, kernel, arrays, *settings):
    n = arrays[0].size
    if n:
        device.launch(FILE, kernel, blocks(device, -(-n // lanes(device))), (BLOCK,),
                      (*arrays, *settings, np.int64(n)))


def used(array):
    return array if array.size else None


def sgd_step(device, g, p, buffer, lr, momentum, dampening, weight_decay, nesterov, first, maximize):
    step(device, "sgd_step", (g, p, buffer if momentum else None), float(lr), float(momentum),
         float(1 - dampening), float(weight_decay), bool(nesterov), bool(first), bool(maximize))


def adam_step(device, g, p, mean, square, largest, lr, beta1, beta2, eps, weight_decay, decoupled,
              correction1, correction2, maximize):
    decay, shrink = (0.0, 1 - lr * weight_decay) if decoupled else (float(weight_decay), 1.0)
    step(device, "adam_step", (g, p, mean, square, used(largest)), float(lr / correction1), float(1 - beta1),
         float(beta2),
         float(1 - beta2), 1 / math.sqrt(correction2), float(eps), decay, float(shrink), bool(maximize))


def rmsprop_step(device, g, p, square, mean, buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    step(device, "rmsprop_step", (g, p, square, used(mean), buffer if momentum else None), float(lr),
         float(alpha), float(1 - alpha), float(eps), float(weight_decay), float(momentum), bool(maximize))
