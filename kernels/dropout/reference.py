"""Dropout in NumPy: the definition, with its random numbers: Philox 4x32-10 of Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3" (2011), so that number i of a seed is known
without those before it."""
import numpy as np

MULTIPLIERS, WEYL, LOW = (np.uint64(0xD2511F53),
                          np.uint64(0xCD9E8D57)), (0x9E3779B9, 0xBB67AE85), np.uint64(0xFFFFFFFF)
BLOCK, COUNTERS = 64, 16   # numbers, and counters, a block


def philox(counters, seed):
    """Four 32-bit words (as uint64) of each 64-bit counter, under a 64-bit seed."""
    c = [counters & LOW, counters >> np.uint64(32), np.zeros_like(counters), np.zeros_like(counters)]
    for r in range(10):
        k0, k1 = (np.uint64(((seed >> 32 * i) + r * WEYL[i]) & 0xFFFFFFFF) for i in (0, 1))
        p0, p1 = c[0] * MULTIPLIERS[0], c[2] * MULTIPLIERS[1]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ k0, p1 & LOW, (p0 >> np.uint64(32)) ^ c[3] ^ k1, p0 & LOW]
    return c


def words(n, seed):
    """The first n random numbers, 32 bits each. Block b holds word 0 of counters 16 b .. 16 b + 15,
    then word 1 of them, ..."""
    blocks = -(-n // BLOCK)
    c = philox(np.arange(blocks * COUNTERS, dtype=np.uint64), seed)
    return np.stack([w.reshape(blocks, COUNTERS) for w in c], 1).reshape(-1)[:n]


def dropout(x, *, seed, threshold, shared, scale, shift, fill):
    """x * scale + shift where the number is at least `threshold`, else `fill`. `shared` values in a
    row have one number."""
    n = x.size
    kept = np.repeat(words(-(-n // max(shared, 1)), seed) >= threshold, shared)[:n].reshape(x.shape)
    return np.where(kept, x * scale + shift, np.asarray(fill, x.dtype)).astype(x.dtype)
