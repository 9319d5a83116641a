"""One sender to many receivers over a group, each with a loss of its own, beside UFTP, udpcast and NORM.

`python -m bench.fleet` measures; `place` makes the network and counts what the sender's host sends, `rows` and `alone`
say what is measured, `workplace` keeps files and compares every octet, `figures` and `tables` show it.
"""
