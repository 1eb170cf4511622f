"""Measurements that anyone can repeat: `make bench`, or `python -m bench`.

`bench.places` starts the databases, `bench.peers` are this scheduler and others, `bench.parts` are
the questions, and `bench.report` tells the answers.
"""
