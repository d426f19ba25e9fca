import numpy as np

import pyops
from pyops.core.random import default_generator


def test_the_same_seed_draws_the_same_numbers():
    first = pyops.manual_seed(3).random(4)
    pyops.manual_seed(3)
    assert np.array_equal(first, default_generator().random(4))
    assert not np.array_equal(first, default_generator().random(4))
