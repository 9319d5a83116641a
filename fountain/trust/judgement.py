"""Whether an object that is offered may be taken: the one place where all that a signature must prove is looked at.

In this order: there is a release, of a product that is wanted; a key signed it; it is of the object that is offered;
a line of the allowed signers lets the key sign for the product now; the release has not expired and does not come from
the future; and it is no older than what was here. Nothing is read and no clock is looked at here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fountain.errors import UntrustedError
from fountain.limits import NS
from fountain.trust.floor import Floor
from fountain.trust.release import Release, namespace_of
from fountain.trust.signers import AllowedSigners
from fountain.trust.sshsig import fingerprint, parse_signature
from fountain.wire.control import OfferBody
from fountain.wire.signed import SignedText

__all__ = ["KNOWN_COUNT_MAX", "VERIFY_COUNT_MAX", "Judge", "Judgement"]

VERIFY_COUNT_MAX = 200  # Texts that are verified in a second: 4 % of a core. Those that are known cost nothing.
KNOWN_COUNT_MAX = 256  # Texts that are known: 400 KB.


@dataclass(frozen=True)
class Judgement:
    """What became of an offer: the release and the name of the key that may sign it, or why it is not taken.

    `is_foreign` says that it is of no product that is wanted, which is nobody's fault. Without a release and an error
    it was not looked at: too many others were.
    """

    release: Release | None = None
    signer: str = ""
    public_keys: tuple[bytes, ...] = ()  # all that signed it, whether they may or not
    error: UntrustedError | None = None
    is_foreign: bool = False

    @property
    def is_trusted(self) -> bool:
        """Whether the object may be taken."""
        return self.release is not None


@dataclass(frozen=True)
class _Authentic:
    """A release, and the keys that signed it."""

    release: Release
    public_keys: tuple[bytes, ...]


class Judge:
    """Judges offers of the products in `signers`, each with those who may sign for it."""

    def __init__(self, signers: Mapping[str, AllowedSigners]) -> None:
        self.signers = dict(signers)
        self._known: OrderedDict[SignedText, _Authentic | UntrustedError] = OrderedDict()
        self._left_count = VERIFY_COUNT_MAX
        self._refilled_ns = 0

    def judge(self, offer: OfferBody, floors: Mapping[str, Floor], clock: datetime, now_ns: int) -> Judgement:
        """The verdict on an offer at the time that the clock shows; `floors` are what was here of each product."""
        try:
            return self._judge(offer, floors, clock, now_ns)
        except UntrustedError as error:
            return Judgement(error=error)

    def _judge(self, offer: OfferBody, floors: Mapping[str, Floor], clock: datetime, now_ns: int) -> Judgement:
        if offer.release is None:
            hint = "Serve it with `releases`, or ask another server."
            raise UntrustedError(f"{offer.name!r} is offered without a signed release.", hint)
        claimed = Release.parse(offer.release.text)
        signers = self.signers.get(claimed.product)
        if signers is None:
            wanted = " or ".join(self.signers)
            error = UntrustedError(f"This is a release of {claimed.product}, not of {wanted}.", "Ask another server.")
            return Judgement(error=error, is_foreign=True)
        authentic = self._verify(offer.release, now_ns)
        if authentic is None:
            return Judgement()
        release, floor = authentic.release, floors.get(claimed.product)
        if release.object_id != offer.object_id:
            hint = "Somebody combined the release of one object with another object: ask another server."
            raise UntrustedError(f"The server offers {release} with an object that was not signed as such.", hint)
        now = clock if floor is None else floor.time(clock)
        signer = _allowed(authentic, signers, now)
        release.check_time(now)
        if floor is not None:
            floor.check(release)
        return Judgement(release, fingerprint(signer), authentic.public_keys)

    def _verify(self, signed: SignedText, now_ns: int) -> _Authentic | None:
        """The release with the keys that signed it; None where too many were looked at of late.

        Raises:
            UntrustedError: no key did.
        """
        known = self._known.get(signed)
        if known is None:
            self._refill(now_ns)
            if self._left_count == 0:
                return None
            self._left_count -= 1
            known = self._known[signed] = _verified(signed)
            if len(self._known) > KNOWN_COUNT_MAX:
                self._known.popitem(last=False)
        self._known.move_to_end(signed)
        if isinstance(known, UntrustedError):
            raise known
        return known

    def _refill(self, now_ns: int) -> None:
        if now_ns - self._refilled_ns >= NS:
            self._left_count, self._refilled_ns = VERIFY_COUNT_MAX, now_ns


def _verified(signed: SignedText) -> _Authentic | UntrustedError:
    release = Release.parse(signed.text)
    keys, errors = [], []
    for octets in signed.signatures:
        try:
            signature = parse_signature(octets)
            signature.verify(signed.text, namespace_of(release.product))
            keys.append(signature.public_key)
        except UntrustedError as error:
            errors.append(error)
    return _Authentic(release, tuple(keys)) if keys else errors[0]


def _allowed(authentic: _Authentic, signers: AllowedSigners, now: datetime) -> bytes:
    """The first of the keys that may sign for the product.

    Raises:
        UntrustedError: none may.
    """
    product, errors = authentic.release.product, []
    for key in authentic.public_keys:
        try:
            signers.check(key, product, namespace_of(product), int(now.timestamp()))
            return key
        except UntrustedError as error:
            errors.append(error)
    raise errors[0]
