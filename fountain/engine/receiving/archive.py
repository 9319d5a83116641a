"""The directory of a listener: which objects it has received, their hooks, and the parts that are left in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fountain.config import FetchConfig
from fountain.engine.receiving.hooks import Hooks
from fountain.engine.runtime.clock import wall_ns
from fountain.engine.runtime.workers import ThreadWorkers
from fountain.errors import StorageError
from fountain.events import Fetched, Observer, Warned
from fountain.limits import NS
from fountain.storage.parts import tidy_parts
from fountain.storage.paths import printable
from fountain.storage.received import PendingHook, ReceivedList, is_own_name
from fountain.wire.control import OfferBody
from fountain.wire.group import MemberState

if TYPE_CHECKING:
    from fountain.engine.receiving.vetting import Vetting

__all__ = ["Archive"]

TIDY_NS, TIDY_SOON_NS = 3600 * NS, 10 * NS  # Parts are looked at so often, and so soon when one is left.


class Archive:
    """What a listener remembers. `wake` is called when its thread has removed old parts.

    Raises:
        StorageError, LocalError: its list cannot be read, or another listener runs hooks of the same product.
    """

    def __init__(
        self, config: FetchConfig, observer: Observer, wake: Callable[[], None], now_ns: int,
        vetting: Vetting | None = None,
    ) -> None:  # fmt: skip
        self._observer = observer
        self._vetting = vetting
        self._received = ReceivedList(config.out or Path.cwd())
        self._hooks: Hooks | None = None
        self._hook_lock = -1
        if config.hook is not None:
            self._hook_lock = -1 if vetting is None else vetting.hold_hooks()
            variables = None if vetting is None else vetting.hook_variables
            self._hooks = Hooks(config.hook, self._received, observer, now_ns, variables)
        self._vetting = vetting
        self._tidier = ThreadWorkers(wake, 1)
        self._tidy_ns = now_ns

    def wants(self, offer: OfferBody) -> bool:
        """Whether an object is to be fetched."""
        return not is_own_name(offer.name) and offer.object_id not in self._received

    def has(self, object_id: bytes) -> MemberState | None:
        """How far an object is that was received; None where it was not."""
        if object_id not in self._received:
            return None
        return MemberState.DONE if self._hooks is None else self._hooks.state(object_id)

    @property
    def placing(self) -> Callable[[OfferBody, Sequence[str]], None] | None:
        """What a worker calls when an object, whose files have these digests, is about to get its place."""
        return None if self._hooks is None else self._expect_hook

    def add(self, offer: OfferBody, fetched: Fetched, now_ns: int) -> bool:
        """Remember an object that stands; whether its hook is to run. A list of signers has none."""
        self._tidy_ns = now_ns  # Parts of older releases may be left.
        is_list = self._vetting is not None and self._vetting.is_list(offer)
        if self._hooks is not None and not is_list:
            self._hooks.begin(_pending_hook(offer, [digest for digest, _ in fetched.files]), fetched.path, now_ns)
            return True
        try:
            self._received.add(offer.object_id)
        except StorageError as error:  # It is no reason to take nothing more.
            self._observer.handle(Warned(error.message, error.hint))
        return False

    def forget(self, object_id: bytes) -> None:
        """An object will not stand after all: no hook waits for it."""
        if self._hooks is not None:
            self._received.forget(object_id)

    def is_hook_open(self, object_id: bytes) -> bool:
        """Whether an object's hook runs, or will."""
        return self._hooks is not None and self._hooks.is_in_progress(object_id)

    def step_hooks(self, now_ns: int) -> list[tuple[bytes, bool]]:
        """Run the hooks that are due: as `Hooks.step`."""
        return [] if self._hooks is None else self._hooks.step(now_ns)

    def tidy(self, now_ns: int) -> None:
        """Have a thread remove the parts that are too old or too much, now and then."""
        while (gone := self._tidier.poll()) is not None:
            for name in gone if isinstance(gone, list) else ():
                message = f"The part {printable(name)} was removed: it was old, or all parts together were too large."
                hint = "You need not do anything, unless that transfer was to continue."
                self._observer.handle(Warned(message, hint))
        if now_ns >= self._tidy_ns and self._tidier.is_idle:
            self._tidy_ns = now_ns + TIDY_NS
            self._tidier.submit(self._tidy_parts)

    def tidy_soon(self, now_ns: int) -> None:
        """A part may have been left."""
        self._tidy_ns = min(self._tidy_ns, now_ns + TIDY_SOON_NS)

    def close(self) -> None:
        """Leave the hooks running that run."""
        if self._hooks is not None:
            self._hooks.close()
        if self._hook_lock >= 0:
            os.close(self._hook_lock)
            self._hook_lock = -1
        self._tidier.close()

    def _tidy_parts(self) -> list[str]:
        """On the thread of the tidier: the names of the parts that are gone."""
        vetting, directories = self._vetting, [self._received.directory]
        if vetting is None:
            return tidy_parts(directories[0], wall_ns())
        directories += vetting.list_directories
        return [name for each in directories for name in tidy_parts(each, wall_ns(), vetting.is_outdated)]

    def _expect_hook(self, offer: OfferBody, digests: Sequence[str]) -> None:
        """Should all end now that the object gets its place, the next start runs its hook."""
        with contextlib.suppress(StorageError):  # It is written again, and a failure reported, with the attempt.
            self._received.expect_hook(_pending_hook(offer, digests))


def _pending_hook(offer: OfferBody, digests: Sequence[str]) -> PendingHook:
    """What the hook of an object gets to know, whose files have these digests."""
    return PendingHook(offer.object_id, offer.name, digests[0] if len(digests) == 1 else "")
