"""embedding in NumPy: the definition."""
import numpy as np


def embedding(index, weight, *, padding, by_frequency):
    return weight[index]


def embedding_backward(g, index, *, rows, padding, by_frequency):
    """The sum of g over the positions that hold a row's index; zero for the row `padding` (-1:
    none). by_frequency: their mean."""
    dw = np.zeros((rows, g.shape[-1]), g.dtype)
    kept = index.ravel() != padding
    np.add.at(dw, index.ravel()[kept], g.reshape(index.size, g.shape[-1])[kept])
    if by_frequency:
        dw /= np.maximum(np.bincount(index.ravel(), minlength=rows), 1)[:, None].astype(g.dtype)
    return dw
