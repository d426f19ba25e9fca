"""The example in README.md is true."""
import doctest
from pathlib import Path

import pytest


def test_the_example_gives_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)   # it saves a file
    result = doctest.testfile(str(Path(__file__).parents[2] / "README.md"), module_relative=False,
                              optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed


def test_the_examples_of_tensors_are_true():
    result = doctest.testfile(str(Path(__file__).parents[2] / "docs" / "tensor.md"), module_relative=False)
    assert result.attempted and not result.failed


def test_the_examples_of_recurrent_networks_are_true(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")   # the page trains a network and keeps it
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(Path(__file__).parents[2] / "docs" / "recurrent.md"), module_relative=False,
                              optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed


def test_the_examples_of_transformers_are_true():
    result = doctest.testfile(str(Path(__file__).parents[2] / "docs" / "transformers.md"), module_relative=False,
                              optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed
