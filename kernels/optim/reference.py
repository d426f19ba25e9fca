"""One optimiser step on one parameter, in place: the definition, with torch.optim's rules
and order of operations.

p is the parameter, g its gradient (read only). State arrays that a setting does not use are empty.
`first` says that the momentum buffer holds nothing yet.
"""
import numpy as np


def direction(g, p, weight_decay, maximize):
    d = -g if maximize else g
    return d + weight_decay * p if weight_decay else d


def sgd_step(g, p, buffer, lr, momentum, dampening, weight_decay, nesterov, first, maximize):
    """Sutskever et al. (2013) as torch writes it: the learning rate is outside the momentum
    buffer."""
    d = direction(g, p, weight_decay, maximize)
    if momentum:
        buffer[...] = d if first else momentum * buffer + (1 - dampening) * d
        d = d + momentum * buffer if nesterov else buffer
    p -= lr * d


def adam_step(g, p, mean, square, largest, lr, beta1, beta2, eps, weight_decay, decoupled, correction1,
              correction2, maximize):
    """Kingma & Ba (2015); decoupled: Loshchilov & Hutter (2019); a largest that is not empty:
    AMSGrad, Reddi et al. (2018).

    correction1 and correction2 are 1 - beta^t.
    """
    if decoupled:
        p *= 1 - lr * weight_decay
    d = direction(g, p, 0 if decoupled else weight_decay, maximize)
    mean += (1 - beta1) * (d - mean)
    square[...] = beta2 * square + (1 - beta2) * d * d
    if largest.size:
        np.maximum(largest, square, out=largest)
    denominator = np.sqrt(largest if largest.size else square) / np.sqrt(correction2) + eps
    p -= lr / correction1 * (mean / denominator)


def rmsprop_step(g, p, square, mean, buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    """Hinton's lecture; a mean that is not empty: centred, Graves (2013)."""
    d = direction(g, p, weight_decay, maximize)
    square[...] = alpha * square + (1 - alpha) * d * d
    if mean.size:
        mean += (1 - alpha) * (d - mean)
    deviation = np.sqrt(square - mean * mean if mean.size else square) + eps
    if momentum:
        buffer[...] = momentum * buffer + d / deviation
        p -= lr * buffer
    else:
        p -= lr * (d / deviation)
