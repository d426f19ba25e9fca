"""LeNet-5's output layer and loss in NumPy: the definitions. LeCun, Bottou, Bengio & Haffner
(1998), equations 7 and 9."""
import numpy as np


def squared_euclidean(x, w):
    """(N, D), (K, D) -> (N, K)."""
    return ((x[:, None] - w) ** 2).sum(2)


def squared_euclidean_backward(g, x, w):
    """The gradient for x; that for w is the same with the arguments exchanged and g transposed."""
    return 2 * (g[:, :, None] * (x[:, None] - w)).sum(1)


def competition(y, j):
    """e^-j and e^-y_i as shares of their sum (the share of j first), and the log of the sum."""
    terms = np.concatenate([np.full((len(y), 1), -j, y.dtype), -y], 1)
    peak = terms.max(1, keepdims=True)
    shares = np.exp(terms - peak)
    total = shares.sum(1, keepdims=True)
    return shares / total, (peak + np.log(total))[:, 0]


def lenet5_loss(y, index, *, j, reduction):
    """Returns the loss and its divisor."""
    loss = y[np.arange(len(y)), index] + competition(y, j)[1]
    if reduction == "none":
        return loss, np.ones((), y.dtype)
    divisor = np.asarray(len(y) if reduction == "mean" else 1, y.dtype)
    with np.errstate(invalid="ignore"):
        return np.asarray(loss.sum() / divisor), divisor


def lenet5_loss_backward(g, y, index, divisor, *, j):
    dy = -competition(y, j)[0][:, 1:]
    dy[np.arange(len(y)), index] += 1
    g = g / divisor
    return dy * (g[:, None] if g.ndim else g)
