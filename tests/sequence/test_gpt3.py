"""The table of GPT-3's sizes: counted as the paper says, and as the networks are."""
import pytest

from pyops import models, nn


def test_counts_are_of_the_networks():
    with nn.init.skip_draws():
        made = sum(p.data.size for p in models.gpt3("small").parameters())
    assert models.gpt3_parameters("small") == made


@pytest.mark.parametrize("size, published", [("small", 125e6), ("medium", 350e6), ("large", 760e6), ("xl", 1.3e9),
                                             ("2.7b", 2.7e9), ("6.7b", 6.7e9), ("13b", 13e9), ("175b", 175e9)])
def test_counts_are_the_papers(size, published):
    assert abs(models.gpt3_parameters(size) / published - 1) < 0.02


def test_an_unknown_size():
    with pytest.raises(ValueError, match="gpt3: size must be one of small"):
        models.gpt3("ada")
