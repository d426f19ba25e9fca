"""The fuzz harness. A target is a module here with one(seed); hunt.py runs it in
children that may die.

The tests run every target by fixed seeds (test_fuzz.py), `make fuzz HOURS=n TARGET=name` by new
ones, and `make soak` what takes threads, forks and limits (soak.py).
"""
