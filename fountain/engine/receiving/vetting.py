"""What a receiver trusts: the file of those who may publish, and what it had last of its product.

Both are read again while it runs: a line that is removed from the file counts at once, and another process may have
taken a newer release. Methods may be called by several threads.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from fountain.config import TrustConfig
from fountain.engine.runtime.clock import now_ns, now_utc
from fountain.errors import StorageError, UntrustedError
from fountain.limits import NS
from fountain.storage.destination import make_object_directory
from fountain.storage.files import read_limited
from fountain.storage.kept_state import KeptState, state_directory
from fountain.storage.paths import printable
from fountain.trust.floor import Floor, split_floor, state_size_max
from fountain.trust.judgement import Judge, Judgement
from fountain.trust.release import SIGNERS_PRODUCT, Release
from fountain.trust.signer_list import check_list, read_resets, read_roots
from fountain.trust.signers import SIGNERS_SIZE_MAX, AllowedSigners
from fountain.wire.control import OfferBody

__all__ = ["Vetting"]

_LOOK_NS = NS  # How often files are looked at again.
_LISTS = "received"
_TAKEN_COUNT_MAX = 64  # Objects of which the newest release is remembered.


@dataclass(frozen=True)
class _Known:
    """An offer that may be taken, and how good its record is."""

    offer: OfferBody
    issued: datetime
    key_count: int


class Vetting:
    """Judges what is offered, and keeps what was taken, as `config` says.

    With `root_signers` it takes lists of signers as well. The file `signers` then counts until the first of them comes;
    from there on the newest list does, which is kept with its floor, so that both change in one step.

    Raises:
        StorageError: a file or a directory cannot be read, or is damaged.
    """

    def __init__(self, config: TrustConfig, clock: Callable[[], datetime] = now_utc) -> None:
        assert config.product is not None
        self.refusal: UntrustedError | None = None  # of the latest offer that was refused
        self._config = config
        self._product = config.product
        self._parent = state_directory(os.environ) if config.state is None else config.state
        products = [config.product] if config.root_signers is None else [config.product, SIGNERS_PRODUCT]
        self._states = {each: KeptState(self._parent, each, state_size_max(each)) for each in products}
        if config.root_signers is not None:
            make_object_directory(self.list_directory)
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_ns = now_ns()
        self._floors = self._read_floors()
        self._judge = Judge({product: self._read_signers(product) for product in products})
        self._overdue: Floor | None = None  # whose end was reported
        self._best: OrderedDict[bytes, _Known] = OrderedDict()  # by object id

    def judge(self, offer: OfferBody, now: int) -> Judgement:
        """Whether an object may be taken."""
        with self._lock:
            self._look(now)
            judgement = self._judge.judge(offer, self._floors, self._clock(), now)
            if judgement.release is not None:
                self._renew(judgement.release, judgement.signer)
                self._remember(offer, judgement.release, judgement.public_keys)
            elif judgement.error is not None:
                self.refusal = judgement.error
            return judgement

    def vet(self, offer: OfferBody, now: int) -> bool | None:
        """Whether an object may be taken; None where there was no time to look at it."""
        judgement = self.judge(offer, now)
        return None if judgement.release is None and judgement.error is None else judgement.is_trusted

    @staticmethod
    def release_of(offer: OfferBody) -> Release | None:
        """The release of an object, which may be taken."""
        return None if offer.release is None else Release.parse(offer.release.text)

    def is_list(self, offer: OfferBody) -> bool:
        """Whether an object, which may be taken, is a list of signers."""
        release = None if self._config.root_signers is None else self.release_of(offer)
        return release is not None and release.product == SIGNERS_PRODUCT

    def names(self, offer: OfferBody) -> tuple[str, str]:
        """Product and version of an object that may be taken, and the key that signed it."""
        judgement = self.judge(offer, now_ns())
        return ("", "") if judgement.release is None else (str(judgement.release), judgement.signer)

    @property
    def list_directory(self) -> Path:
        """Where lists of signers are put."""
        return self._states[SIGNERS_PRODUCT].path / _LISTS

    def take(self, offer: OfferBody, path: Path) -> None:
        """An object is verified, lies at `path`, and gets its place now.

        Nothing older is taken from here on, whatever happens. A list of signers counts from here on.

        Raises:
            UntrustedError: it may not be taken any more: its key was removed, it has expired, or a newer one is here.
            StorageError: the state cannot be written.
        """
        self.judge(offer, now_ns())
        best = self._best.get(offer.object_id)
        judgement = self.judge(offer if best is None else best.offer, now_ns())
        if judgement.release is None:
            raise judgement.error or UntrustedError("The release could not be checked.", "Try again later.")
        taken = Floor(judgement.release, judgement.signer)
        content = b""
        if self.is_list(offer):
            content, seconds = read_limited(path, SIGNERS_SIZE_MAX), int(taken.time(self._clock()).timestamp())
            check_list(taken.release, content, judgement.public_keys, self._kept_list(), seconds)
        with self._lock:
            self._keep(taken, content)

    def poll_overdue(self, now: int) -> UntrustedError | None:
        """That what is here has expired, and nothing newer has come; once for each release, and again at each start."""
        with self._lock:
            self._look(now)
            floor = self._floors.get(self._product)
        if floor is None or floor == self._overdue:
            return None
        error = floor.expiry(self._clock())
        if error is not None:
            self._overdue = floor
        return error

    def hook_variables(self, object_id: bytes) -> Mapping[str, str] | None:
        """What a hook learns of the release of an object; None where the object is not what was taken last."""
        with self._lock:
            self._floors = self._read_floors()
            floor = self._floors.get(self._product)
        if floor is None or floor.release.object_id != object_id:
            return None
        return {
            "FOUNTAIN_PRODUCT": floor.release.product,
            "FOUNTAIN_VERSION": str(floor.release.version),
            "FOUNTAIN_SIGNER": floor.signer,
        }

    def is_outdated(self, release: str) -> bool:
        """Whether a release, `PRODUCT VERSION`, is older than what was here last, so that it is never taken."""
        product, _, version = release.partition(" ")
        with self._lock:
            floor = self._floors.get(product)
        return floor is not None and version.isdecimal() and int(version) < floor.release.version

    @property
    def list_directories(self) -> list[Path]:
        """Where lists of signers are put; empty where none is taken."""
        return [self.list_directory] if SIGNERS_PRODUCT in self._states else []

    def hold_hooks(self) -> int:
        """As `KeptState.hold_hooks`."""
        return self._states[self._product].hold_hooks()

    # --- Inside --------------------------------------------------------------------------------------------

    def _remember(self, offer: OfferBody, release: Release, public_keys: Sequence[bytes]) -> None:
        """Keep the best record of an object: signed last, and by most keys. Anybody may offer one of the others."""
        known, before = _Known(offer, release.issued, len(public_keys)), self._best.get(offer.object_id)
        if before is None or (known.issued, known.key_count) >= (before.issued, before.key_count):
            self._best[offer.object_id] = known
        self._best.move_to_end(offer.object_id)
        if len(self._best) > _TAKEN_COUNT_MAX:
            self._best.popitem(last=False)

    def _renew(self, release: Release, signer: str) -> None:
        """What is here already was signed again: it is known to be good for longer, and the time to be later."""
        floor = self._floors.get(release.product)
        renewed = Floor(release, signer)
        is_here = floor is not None and floor.release.object_id == release.object_id
        if floor is not None and is_here and floor.raised(renewed) is renewed:
            self._keep(renewed)

    def _keep(self, taken: Floor, content: bytes = b"") -> None:
        """Raise the floor of a product, and put a list of signers in the place of the one that is kept."""
        product = taken.release.product

        def change(before: bytes | None) -> bytes:
            if before is None:
                self._lower(taken.release, content, b"")
                return taken.pack() + content
            floor, kept = self._parse(product, before)
            floor.check(taken.release)
            if taken.release.version > floor.release.version:
                self._lower(taken.release, content, kept)  # Before the list is kept: a kill here lowers them once more.
            return floor.raised(taken).pack() + (content or kept)

        self._states[product].change(change)
        self._floors = self._read_floors()
        self._judge.signers.update({each: self._read_signers(each) for each in self._states})

    def _lower(self, release: Release, content: bytes, kept: bytes) -> None:
        """Lower what the list `content` resets and the one before it did not: each line counts once.

        It counts for what was issued before the list alone, so that an old list lowers nothing that came after it.
        """
        earlier = read_resets(kept)
        for product, version in read_resets(content).items():
            if product == SIGNERS_PRODUCT or earlier.get(product) == version or not (self._parent / product).is_dir():
                continue
            state = KeptState(self._parent, product, state_size_max(product))
            if state.read() is not None:
                state.change(partial(self._lowered, product, version, release.issued))

    def _lowered(self, product: str, version: int, issued: datetime, before: bytes | None) -> bytes:
        assert before is not None
        floor, kept = self._parse(product, before)
        return before if floor.release.issued > issued else floor.lowered(version).pack() + kept

    def _kept_list(self) -> bytes:
        """The list of signers that came last; empty where none did."""
        state = self._states.get(SIGNERS_PRODUCT)
        octets = state.read() if state is not None and self._config.root_signers is not None else None
        return b"" if octets is None else self._parse(SIGNERS_PRODUCT, octets)[1]

    def _look(self, now: int) -> None:
        if now - self._looked_ns < _LOOK_NS:
            return
        self._looked_ns = now
        with contextlib.suppress(StorageError):  # What was known holds on; `take` needs the state itself.
            self._floors = self._read_floors()
        for product in self._states:
            try:
                self._judge.signers[product] = self._read_signers(product)
            except StorageError:
                self._judge.signers[product] = AllowedSigners.parse(b"")  # Nobody may, until it is there again.

    def _read_signers(self, product: str) -> AllowedSigners:
        """Who may sign for a product: by the list that came last, if one did, or by the file."""
        roots, signers = self._config.root_signers, self._config.signers
        if product == SIGNERS_PRODUCT and roots is not None:
            if (named := read_roots(self._kept_list())) is not None:
                return named
            return AllowedSigners.parse(read_limited(roots, SIGNERS_SIZE_MAX, "root_signers"))
        if kept := self._kept_list():
            return AllowedSigners.parse(kept)
        assert signers is not None
        return AllowedSigners.parse(read_limited(signers, SIGNERS_SIZE_MAX, "signers"))

    def _read_floors(self) -> Mapping[str, Floor]:
        found = {}
        for product, state in self._states.items():
            octets = state.read()
            if octets is not None:
                found[product], _ = self._parse(product, octets)
        return found

    def _parse(self, product: str, octets: bytes) -> tuple[Floor, bytes]:
        found = split_floor(octets, product)
        if found is None:
            shown = printable(str(self._parent / product / "state"))
            hint = "Restore it. Without it older releases are taken: remove it only if you know what was here last."
            raise StorageError(f"{shown} is damaged.", hint, field="state", path=shown)
        return found
