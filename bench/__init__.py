"""Benchmarks: `make bench`, or `python -m bench`.

`bench.places` starts the databases, `bench.peers` contains this scheduler and the products to
compare with, `bench.parts` contains the measurements, and `bench.report` writes the results.
"""
