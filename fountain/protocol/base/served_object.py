"""An object as the machines that send it know it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fountain.integrity import digest
from fountain.limits import DATA_OVERHEAD_SIZE
from fountain.wire.control import OfferBody
from fountain.wire.parts import part_size

__all__ = ["ServedObject"]

LINK_OVERHEAD_SIZE = 8 + 20 + 14  # UDP, IPv4 and Ethernet headers: a rate is what the wire carries.


@dataclass(frozen=True)
class ServedObject:
    """What the machine must know of an object: its offer, and whether its code is systematic."""

    offer: OfferBody  # with the key fields of no particular time
    systematic: bool
    zero_symbol_count: int = 0  # symbols of blocks of zeros: nobody needs to be sent them

    @property
    def needed_count(self) -> int:
        """Packets that a receiver that begins with nothing needs at least."""
        offer = self.offer
        return offer.geometry.symbol_count - self.zero_symbol_count + offer.manifest_geometry.symbol_count

    @property
    def packet_size(self) -> int:
        """Octets that one data packet takes on the wire."""
        return self.wire_size(1)

    def wire_size(self, part_count: int) -> int:
        """Octets that one data packet takes on the wire in so many parts."""
        return part_count * (part_size(self.offer.symbol_size + DATA_OVERHEAD_SIZE, part_count) + LINK_OVERHEAD_SIZE)

    @cached_property
    def name_digest(self) -> bytes:
        """What a Hello that wants this object by name carries."""
        return digest(self.offer.name.encode())
