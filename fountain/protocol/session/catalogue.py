"""What a server has: its objects by what a Hello may want, the Offers with its current key, the listing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fountain.integrity import derive
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.session.admission import KeyRing
from fountain.protocol.session.pairing import ServerPairing
from fountain.wire.control import Hello, Listing, OfferBody, Want
from fountain.wire.pairing import Pairing

__all__ = ["Catalogue"]


class Catalogue:
    """Any number of objects, of a server that `is_identified` or not, and that may have the code of a `pairing`.

    Looking one up does not depend on how many there are.
    """

    def __init__(
        self, objects: Sequence[ServedObject], secret: bytes, now_ns: int, *, is_identified: bool = False,
        pairing: ServerPairing | None = None,
    ) -> None:  # fmt: skip
        self.objects = list(objects)
        self._is_identified = is_identified
        self._pairing = pairing
        self._withdrawn: set[int] = set()
        self._by_id = {served.offer.object_id: index for index, served in enumerate(objects)}
        self._by_name = {served.name_digest: index for index, served in enumerate(objects)}
        self._ring = KeyRing(derive(secret, b"keys"), now_ns)
        self._offers: dict[int, OfferBody] = {}  # with the current key
        self._pages = Listing.pages([(served.offer.name, served.offer.object_size) for served in objects])

    def find(self, hello: Hello) -> int | None:
        """The index of the object that a Hello wants; None if there is none, or several and it has no wish."""
        if hello.want_kind is Want.ANY:
            return 0 if len(self.objects) == 1 else None
        return (self._by_id if hello.want_kind is Want.OBJECT else self._by_name).get(hello.want)

    def find_id(self, object_id: bytes) -> int | None:
        """The index of the object with this id."""
        return self._by_id.get(object_id)

    def withdraw(self, index: int) -> None:
        """The source of an object has changed: it cannot be served any more."""
        self._withdrawn.add(index)

    def is_withdrawn(self, index: int | None) -> bool:
        """Whether there was such an object."""
        return index in self._withdrawn

    def offer(self, index: int, now_ns: int) -> OfferBody:
        """What an Offer of an object says now."""
        key_index, public = self._ring.current(now_ns)
        offer = self._offers.get(index)
        if offer is None or offer.key_index != key_index or offer.pairing != self._shown:
            offer = self._offers[index] = self._with_key(index, key_index, public)
        return offer

    def offered(self, index: int, key_index: int, now_ns: int) -> tuple[OfferBody, X25519PrivateKey] | None:
        """What an Offer with that key said, and its private key; None when it is too old, or never was."""
        private = self._ring.private(key_index, now_ns)
        if private is None:
            return None
        return self._with_key(index, key_index, self._ring.public(key_index)), private

    def _with_key(self, index: int, key_index: int, public: bytes) -> OfferBody:
        offer = self.objects[index].offer
        return replace(
            offer, key_index=key_index, server_public=public, identified=self._is_identified, pairing=self._shown
        )  # fmt: skip

    @property
    def _shown(self) -> Pairing | None:
        return None if self._pairing is None else self._pairing.offered

    def listing(self, hello: Hello) -> Listing:
        """The page of the listing that a Hello without a wish asks for, or the last one."""
        page = min(int.from_bytes(hello.want, "big"), len(self._pages) - 1)
        return Listing(hello.nonce, page, len(self._pages), tuple(self._pages[page]))
