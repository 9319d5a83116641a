"""The place of an object in the file system: its part, which is looked at and opened while kernels are compiled."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fountain.codes.api import Code
from fountain.codes.registry import code_by_name, code_by_profile, missing_code_error
from fountain.config import FetchConfig
from fountain.engine.receiving.assembly import check_cut
from fountain.engine.receiving.collector import BlockSink
from fountain.engine.receiving.failures import KEPT_HINT
from fountain.engine.runtime.clock import now_ns
from fountain.engine.runtime.warmup import WarmUp
from fountain.errors import IncompleteError, StorageError
from fountain.events import (
    Observer,
    Offered,
    Preparing,
    Resumed,
    Warned,
)
from fountain.sentences import Notice, sentence
from fountain.storage.destination import check_place, make_object_directory, object_directory
from fountain.storage.part import Part, PartRules, resolve_destination
from fountain.storage.parts import PendingPart, disk_size, kept_free, make_room
from fountain.storage.paths import is_typed, printable
from fountain.storage.workspace import has_part, other_workspaces, read_mark
from fountain.wire.control import OfferBody

if TYPE_CHECKING:
    from fountain.engine.receiving.vetting import Vetting

__all__ = ["Beginning", "ObjectPlace"]


@dataclass(frozen=True)
class Beginning:
    """What is known of a fetch once its part is open: `resumed_size` octets of it are no part of this fetch's rate.

    `release` is product and version, and `signer` the key, where only signed releases are taken.
    """

    offer: OfferBody
    start_ns: int
    resumed_size: int
    release: str
    signer: str


class ObjectPlace:
    """Where the object of one fetch goes; a `fountain.engine.receiving.object_fetch.Place`.

    `placing` is called with the offer and the files' digests, on a worker, before the object gets a directory of its
    own. `address` is that of the server that offers the object, where it is not the host that was asked. `vetting`
    learns what gets its place.
    """

    def __init__(
        self, config: FetchConfig, observer: Observer, stop: threading.Event, warm_up: WarmUp | None = None,
        placing: Callable[[OfferBody, Sequence[str]], None] | None = None, address: str = "",
        vetting: Vetting | None = None,
    ) -> None:  # fmt: skip
        self.address = address or config.host
        self.vetting = vetting
        self.part: Part | PendingPart | None = None
        self.beginning: Beginning | None = None
        self._config = config
        self._observer = observer
        self._stop = stop
        self._warm_up = WarmUp(code_by_name("raptorq")) if warm_up is None else warm_up
        self._placing = placing
        self._lock = threading.Lock()  # guards the part, for a worker may be opening it when this is closed
        self._is_closed = False
        self._offered: Offered | None = None  # what was reported last

    def open_sink(self, offer: OfferBody) -> tuple[Code, BlockSink]:
        """The code and the part for an offer.

        A worker calls this: it takes as long as looking at an earlier part, and compiling, take.
        """
        code = code_by_profile(offer.profile_id)
        if code is None:
            raise missing_code_error(offer.profile_id)
        check_cut(code, offer)
        self.beginning = None
        size_max = self._config.size_max
        if size_max is not None and offer.object_size > size_max:
            message = f"{printable(offer.name)} has {offer.object_size:,} bytes, more than `size_max` {size_max:,}."
            raise StorageError(message, "Raise `size_max` to take it.", field="size_max")
        beside = destination = self._destination(offer)
        if self._placing is not None and not self._is_list(offer):
            destination = object_directory(beside.parent, offer.object_id) / offer.name
        release, signer = ("", "") if self.vetting is None else self.vetting.names(offer)
        offered = Offered(
            name=offer.name,
            object_id=offer.object_id.hex(),
            size=offer.object_size,
            block_count=offer.geometry.block_count,
            address=self.address,
            destination=destination,
            sealed=not offer.open,
            release=release,
            signer=signer,
        )
        if offered != self._offered:  # An offer that finds no place here is asked for once more: it may be damaged.
            self._offered = offered
            self._observer.handle(offered)
        open_part = functools.partial(self._open_part, offer, destination, beside, release)
        if (self._config.listen or offer.identified) and not has_part(beside, offer.object_id):
            # Anybody may have announced or offered it: nothing is made for it before its manifest is here.
            overwrite = self._overwrites(offer, destination)
            check_place(destination, overwrite=overwrite)
            free = functools.partial(make_room, beside.parent) if self._config.listen else None
            part = self._hold(PendingPart(offer.object_id, offer.name, destination, open_part, free))
        else:
            part = self._hold(open_part())
        self._warn_of_other_parts(beside, offer.object_id)
        self._warm_up.add(code)
        self._warm_up.finish(self._observer, self._stop)
        verified_size = self.verified_size(offer)
        if verified_size:
            self._observer.handle(Resumed(verified_size, offer.object_size))
        # Last: from here on there is something to show.
        self.beginning = Beginning(offer, now_ns(), verified_size, release, signer)
        return code, part

    def opens_quickly(self, offer: OfferBody) -> bool:
        """Whether `open_sink` takes too little time to be worth a thread: nothing is to be looked at or compiled."""
        config = self._config
        code = code_by_profile(offer.profile_id)
        if not config.listen or code is None or not self._warm_up.is_over(code):
            return False
        return not has_part(self._destination(offer), offer.object_id)

    def _is_list(self, offer: OfferBody) -> bool:
        """Whether the object is the list of those who may publish: it is kept with the state, and has no hook."""
        return self.vetting is not None and self.vetting.is_list(offer)

    def _destination(self, offer: OfferBody) -> Path:
        """Where an object goes, unless it gets a directory of its own."""
        if self.vetting is not None and self._is_list(offer):
            return self.vetting.list_directory / offer.name
        return resolve_destination(self._config.out, offer.name)

    def _hold(self, part: Part | PendingPart) -> Part | PendingPart:
        """Keep the part, unless it comes too late: then it must not stay locked."""
        with self._lock:
            if not self._is_closed:
                self.part = part
                return part
        part.close()
        raise IncompleteError("The fetch was interrupted.", KEPT_HINT)

    def _open_part(self, offer: OfferBody, destination: Path, beside: Path, release: str) -> Part:
        config = self._config
        free_size_min, size_max = config.free_size_min, config.size_max
        if config.listen and free_size_min is None:
            free_size_min = kept_free(beside.parent)
        if config.listen and size_max is None:
            size_max = disk_size(beside.parent)  # Anybody may announce holes without end.
        part = Part.open(
            destination, offer.object_id, offer.name, offer.object_size,
            overwrite=self._overwrites(offer, destination), progress=self._checking,
            rules=PartRules(
                beside, free_size_min, size_max,
                functools.partial(self._place, offer),
                release,
            ),
        )  # fmt: skip
        if not part.is_locked:
            self._observer.handle(
                Warned(
                    f"The file system of {printable(str(destination.parent))} has no locks.",
                    "Do not start a second fetch of the same object there while this one runs: each would undo what "
                    "the other writes.",
                )
            )
        return part

    def _overwrites(self, offer: OfferBody, destination: Path) -> bool:
        """Whether to replace what the user chose: by name, or, with a listener, whatever has an object's name."""
        if self._is_list(offer):
            return True
        config = self._config
        if config.listen:
            is_chosen = not destination.name.startswith(".")  # Nobody who announces things may replace .profile.
        else:
            is_chosen = is_typed(destination, config.out, config.name)
        return config.overwrite and is_chosen

    def _place(self, offer: OfferBody, digests: Sequence[str], path: Path) -> None:
        """On a worker: all is here and verified, at `path`. The object gets a directory of its own where hooks are run.

        In this order, so that a kill between two steps loses nothing: first nothing older is taken any more, then the
        hook is expected, then the object stands.
        """
        if self.vetting is not None:
            self.vetting.take(offer, path)
        if self._placing is not None and not self._is_list(offer):
            make_object_directory(self.destination.parent)
            self._placing(offer, digests)

    def _warn_of_other_parts(self, destination: Path, object_id: bytes) -> None:
        """Report what is left of objects that had this name before: nothing that is fetched now can use it.

        A listener removes its own parts, and does not report them.
        """
        for path in other_workspaces(destination, object_id):
            if self._config.listen and read_mark(path) is not None:
                continue
            shown = printable(str(path))
            self._observer.handle(
                Warned(
                    f"A part of another object of this name is left in {shown}.", "Remove it if nobody fetches that."
                )
            )

    def _checking(self, done: int, total: int) -> None:
        if self._stop.is_set() or self._is_closed:
            raise IncompleteError("The fetch was interrupted.", KEPT_HINT)
        self._observer.handle(Preparing(sentence(Notice.CHECKING), done, total))

    @property
    def destination(self) -> Path:
        """Where the object stands, or will stand."""
        assert self.part is not None
        return self.part.destination

    def close(self) -> None:
        """Keep the part, if there is one; one that is being opened is closed by the thread that opens it."""
        with self._lock:
            self._is_closed = True
        if self.part is not None:
            self.part.close()

    def verified_size(self, offer: OfferBody) -> int:
        """Octets of the object that stand verified in the part."""
        if self.part is None:
            return 0
        verified, geometry = self.part.verified, offer.geometry
        if not len(verified):
            return 0
        size = int(verified.sum()) * geometry.block_symbols_max * geometry.symbol_size
        return min(size, geometry.object_size)
