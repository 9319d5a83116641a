"""What a receiver cannot have yet, by what it said before and by what was sent.

The rules
---------
1. Nobody has what was not sent. A receiver that lacked a part of the object when it last reported has all of it only
   after the stream has sent, in all its sessions, at least as many packets as that part has symbols. What went before
   it came counts too: a receiver keeps packets that come while it opens its part, and counts none of them.
2. A report without the manifest says nothing of the blocks that may be on its receiver's disk, nor of the part of the
   manifest that it has: there one packet has to be sent at least.
3. A receiver whose first report says that it has the object had it before. Nothing proves that in a group: a listener
   that took the object last week says the same as a liar.
"""

from __future__ import annotations

from fountain.protocol.base.served_object import ServedObject
from fountain.wire.group import FRACTION_UNIT, GroupReport

__all__ = ["lacking_count"]


def lacking_count(report: GroupReport, served: ServedObject) -> int:
    """How many packets have to be sent at least until a receiver that takes part, and says this, has the object."""
    if not report.has_manifest:
        return 1
    symbol_count = served.offer.geometry.symbol_count
    held_count = -(-(report.fraction + 1) * symbol_count // FRACTION_UNIT)  # A fraction is rounded down.
    return max(0, symbol_count - served.zero_symbol_count - held_count)
