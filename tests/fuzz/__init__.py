"""The fuzz harness. A target is a module here with one(seed); hunt.py runs it in children that may
die. docs/testing.md says how to use it.
"""
