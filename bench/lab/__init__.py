"""A network laboratory on one Linux machine: hosts that are namespaces, and links with the faults that one asks for.

    with Pair(Link(rate="100M", delay="25ms", loss=0.01)) as lab:
        lab.run("left", ["ping", "-c", "3", lab.address("right")])

Needs root, `ip`, `tc`, `nft` and `ethtool`. Everything it makes is inside namespaces of its own (and one file in
/run that says which), so it can neither disturb the machine's network nor leave anything behind on it.
"""

from __future__ import annotations

from bench.lab.link import LabError, Link
from bench.lab.topology import Lab, Pair, Star

__all__ = ["Lab", "LabError", "Link", "Pair", "Star"]
