"""What a receiver trusts: the file of those who may publish, and what it had last of its product.

Both are read again while it runs: a line that is removed from the file counts at once, and another process may have
taken a newer release. Methods may be called by several threads.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from fountain.config import TrustConfig
from fountain.engine.runtime.clock import now_ns, now_utc
from fountain.errors import StorageError, UntrustedError
from fountain.limits import NS
from fountain.storage.kept_state import KeptState, state_directory
from fountain.storage.paths import printable
from fountain.storage.release_files import read_limited
from fountain.trust.floor import FLOOR_SIZE_MAX, Floor
from fountain.trust.judgement import Judge, Judgement
from fountain.trust.release import Release
from fountain.trust.signers import AllowedSigners
from fountain.wire.control import OfferBody

__all__ = ["SIGNERS_SIZE_MAX", "Vetting"]

SIGNERS_SIZE_MAX = 1 << 20
_LOOK_NS = NS  # How often files are looked at again.
_TAKEN_COUNT_MAX = 64  # Objects of which the newest release is remembered.


class Vetting:
    """Judges what is offered, and keeps what was taken, as `config` says.

    Raises:
        StorageError: a file or a directory cannot be read, or is damaged.
    """

    def __init__(self, config: TrustConfig, clock: Callable[[], datetime] = now_utc) -> None:
        assert config.signers is not None
        assert config.product is not None
        self.refusal: UntrustedError | None = None  # of the latest offer that was refused
        self.product = config.product
        self._path = config.signers
        parent = state_directory(os.environ) if config.state is None else config.state
        self._state = KeptState(parent, config.product, FLOOR_SIZE_MAX)
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_ns = now_ns()
        self._judge = Judge({config.product: _read_signers(config.signers)})
        self._floors: Mapping[str, Floor] = self._read_floors()
        self._taken: OrderedDict[bytes, OfferBody] = OrderedDict()  # by object id, with the newest release

    def judge(self, offer: OfferBody, now: int) -> Judgement:
        """Whether an object may be taken."""
        with self._lock:
            self._look(now)
            verdict = self._judge.judge(offer, self._floors, self._clock(), now)
            if verdict.release is not None:
                self._renew(verdict.release, verdict.signer)
                self._taken[offer.object_id] = offer
                self._taken.move_to_end(offer.object_id)
                if len(self._taken) > _TAKEN_COUNT_MAX:
                    self._taken.popitem(last=False)
            elif verdict.error is not None:
                self.refusal = verdict.error
            return verdict

    def vet(self, offer: OfferBody, now: int) -> bool | None:
        """Whether an object may be taken; None where there was no time to look at it."""
        verdict = self.judge(offer, now)
        return None if verdict.release is None and verdict.error is None else verdict.is_trusted

    def take(self, offer: OfferBody) -> None:
        """An object is verified, and gets its place now: nothing older is taken from here on, whatever happens.

        Raises:
            UntrustedError: it may not be taken any more: its key was removed, it has expired, or a newer one is here.
            StorageError: the state cannot be written.
        """
        verdict = self.judge(self._taken.get(offer.object_id, offer), now_ns())
        if verdict.release is None:
            raise verdict.error or UntrustedError("The release could not be looked at.", "Try again later.")
        with self._lock:
            self._keep(Floor(verdict.release, verdict.signer))

    def hook_variables(self, object_id: bytes) -> Mapping[str, str] | None:
        """What a hook learns of the release of an object; None where the object is not what was taken last."""
        with self._lock:
            self._floors = self._read_floors()
            floor = self._floors.get(self.product)
        if floor is None or floor.release.object_id != object_id:
            return None
        return {
            "FOUNTAIN_PRODUCT": floor.release.product,
            "FOUNTAIN_VERSION": str(floor.release.version),
            "FOUNTAIN_SIGNER": floor.signer,
        }

    def hold_hooks(self) -> int:
        """As `KeptState.hold_hooks`."""
        return self._state.hold_hooks()

    # --- Inside --------------------------------------------------------------------------------------------

    def _renew(self, release: Release, signer: str) -> None:
        """What is here already was signed again: it is known to be good for longer, and the time to be later."""
        floor = self._floors.get(release.product)
        renewed = Floor(release, signer)
        is_here = floor is not None and floor.release.object_id == release.object_id
        if floor is not None and is_here and floor.raised(renewed) is renewed:
            self._keep(renewed)

    def _keep(self, taken: Floor) -> None:
        def change(before: bytes | None) -> bytes:
            if before is None:
                return taken.pack()
            floor = self._parse(before)
            floor.check(taken.release)
            return floor.raised(taken).pack()

        self._state.change(change)
        self._floors = self._read_floors()

    def _look(self, now: int) -> None:
        if now - self._looked_ns < _LOOK_NS:
            return
        self._looked_ns = now
        self._floors = self._read_floors()
        try:
            self._judge.signers[self.product] = _read_signers(self._path)
        except StorageError:
            self._judge.signers[self.product] = AllowedSigners.parse(b"")  # Nobody may, until it is there again.

    def _read_floors(self) -> Mapping[str, Floor]:
        octets = self._state.read()
        return {} if octets is None else {self.product: self._parse(octets)}

    def _parse(self, octets: bytes) -> Floor:
        floor = Floor.parse(octets)
        if floor is None or floor.release.product != self.product:
            shown = printable(str(self._state.path / "state"))
            hint = "Restore it. Without it older releases are taken: remove it only if you know what was here last."
            raise StorageError(f"{shown} is damaged.", hint, field="state", path=shown)
        return floor


def _read_signers(path: Path) -> AllowedSigners:
    return AllowedSigners.parse(read_limited(path, SIGNERS_SIZE_MAX, "signers"))
