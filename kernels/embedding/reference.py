"""embedding and embedding_bag in NumPy: the definitions."""
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


SUM, MEAN, MAX = 0, 1, 2


def embedding_bag(index, offsets, weight, factors, *, closed, mode, padding):
    """y (bags, width); the bag of each index, -1 where it counts in none; how many count in each; of
    mode max the row of each value, -1 of an empty bag."""
    ends = np.append(offsets, len(index))[1:len(offsets) + 1 - closed]
    bags, width = len(ends), weight.shape[1]
    y, count = np.zeros((bags, width), weight.dtype), np.zeros(bags, weight.dtype)
    bag = np.full(len(index), -1)
    greatest = np.full((bags if mode == MAX else 0, width), -1)
    for b, (begin, end) in enumerate(zip(offsets, ends)):
        places = np.arange(begin, end)
        places = places[index[places] != padding]
        rows, bag[places], count[b] = index[places], b, len(places)
        if not len(rows):
            continue
        if mode == MAX:
            first = weight[rows].argmax(0)
            y[b], greatest[b] = weight[rows].max(0), rows[first]
        else:
            y[b] = (weight[rows] * (1 if factors is None else factors[places, None])).sum(0)
            y[b] /= len(rows) if mode == MEAN else 1
    return y, bag, count, greatest


def embedding_bag_backward(g, index, factors, bag, count, greatest, *, rows, mode, by_frequency):
    dw = np.zeros((rows, g.shape[1]), g.dtype)
    if mode == MAX:
        b, i = np.nonzero(greatest >= 0)
        np.add.at(dw, (greatest[b, i], i), g[b, i])
        return dw
    kept = bag >= 0
    share = g[bag[kept]] * (1 if factors is None else factors[kept, None])
    np.add.at(dw, index[kept], share / (count[bag[kept], None] if mode == MEAN else 1))
    if by_frequency:
        dw /= np.maximum(np.bincount(index, minlength=rows), 1)[:, None].astype(g.dtype)
    return dw


def embedding_bag_factors(g, index, bag, weight):
    return np.where(bag >= 0, (g[bag] * weight[index]).sum(1), 0) if len(index) else np.zeros(0, g.dtype)


def embedding_sum(a, first, b, second, c, third, *, length, padding):
    """first[a] + second[b] + third[c]; an index left out of a table that is given counts the places of
    a's last axis."""
    y = first[a]
    for index, weight in ((b, second), (c, third)):
        if weight is not None:
            y = y + weight[np.arange(length) if index is None else index]
    return y
