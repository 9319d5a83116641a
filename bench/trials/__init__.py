"""Trials: what a hostile or changing world does to real commands, with the figures that the documents quote.

Each module is one trial: `python -m bench.trials.NAME` plays it in network namespaces or on loopback, compares every
file that arrived with its source, and prints its figure beside what it is measured against; `--quick` plays less.
"""
