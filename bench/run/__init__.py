"""Whole transfers by the real commands, on loopback and across laboratory links, beside other tools in the same run.

`python -m bench.run` measures every row, `--quick` a small version of each, `--only NAME` one. The octets of every
transfer are compared. `figures` keeps and prints, `rows` says what is measured.
"""
