"""The benchmark suite: named shapes, networks, peers, and the report. `pyops bench` drives it."""
