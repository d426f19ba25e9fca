"""Batches of a dataset, made ahead of their use by worker threads.

The order of an epoch is a function of (seed, epoch), and a batch's augmentation of (seed, epoch,
number of the batch). So neither the number of threads nor an interruption changes a batch, and
resuming inside an epoch needs no state but three numbers.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

ORDER, BATCH = 0, 1   # what a generator is for; keeps their streams apart


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(count)."""
    return np.random.default_rng([seed, ORDER, epoch]).permutation(count)


def training_batches(dataset, size: int, seed: int, epoch: int, first: int = 0,
                     workers: int = 0) -> Iterator[tuple]:
    """(inputs, targets) of epoch `epoch`, from batch number `first` on. workers: threads that make
    batches ahead; 0 makes them here."""
    order = epoch_order(len(dataset), seed, epoch)

    def batch(number):
        return dataset.take(order[number * size:(number + 1) * size],
                            np.random.default_rng([seed, BATCH, epoch, number]))
    return ahead(batch, range(first, -(-len(dataset) // size)), workers)


def plain_batches(dataset, size: int, workers: int = 0) -> Iterator[tuple]:
    """(inputs, targets) in order, not augmented."""
    return ahead(lambda begin: dataset.take(np.arange(begin, min(begin + size, len(dataset)))),
                 range(0, len(dataset), size), workers)


def ahead(make, numbers, workers: int) -> Iterator:
    """make(number) for each number, in order; up to 2 * workers of them are under way or
    wait to be asked for.

    An exception in a worker is raised here, at its turn.
    """
    if workers < 0:
        raise ValueError(f"workers must not be negative, got {workers}")
    if not workers:
        yield from map(make, numbers)
        return
    pool = ThreadPoolExecutor(workers, "pyops-loader")
    try:
        waiting: deque = deque()
        for number in numbers:
            waiting.append(pool.submit(make, number))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
