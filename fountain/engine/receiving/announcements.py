"""What is announced in a group beside the object that a fetch takes, and what is reported of that."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from fountain.config import FetchConfig
from fountain.engine.receiving.failures import other_object_error, preparing_error
from fountain.engine.receiving.servers_heard import ServersHeard
from fountain.errors import FountainError, NobodyAnsweredError, UntrustedError
from fountain.events import Observer, Warned
from fountain.limits import NS
from fountain.net.group import Group
from fountain.sentences import Notice, warning
from fountain.storage.paths import printable
from fountain.wire.control import OfferBody

__all__ = ["Announcements", "described"]

OTHERS_NS = 3 * NS  # After so long with other announcements only, a fetch that waits without limit prints them.
NAME_COUNT_MAX = 32  # Names that are reported to a fetch whose own name is not announced.


class Announcements:
    """The names that are heard by a fetch of one object, and whether that one is meant."""

    def __init__(self, config: FetchConfig, observer: Observer, now_ns: int) -> None:
        self.instead: OfferBody | None = None  # what is announced under the name of what was begun
        self._config = config
        self._observer = observer
        self._name = None if config.name is None else unicodedata.normalize("NFC", config.name)
        wanted = config.trust.object_id
        self._object_id = None if wanted is None else bytes.fromhex(wanted)
        self._other: OfferBody | None = None  # what was heard in place of the object of that id
        self._names: dict[str, None] = {}  # in order
        self._has_reported_other = self._has_reported_why = self._has_reported_preparing = False
        self._silent_ns = now_ns  # until then nothing was heard
        self._refusals: dict[str, None] = {}  # that were reported

    def wants(self, offer: OfferBody, taken: OfferBody | None) -> bool:
        """Whether to take an object; none but the one that was `taken` first, if there is one."""
        if len(self._names) < NAME_COUNT_MAX:
            self._names[offer.name] = None
        if taken is not None:
            self._report_other(offer, taken)
            return False
        is_named = self._name in (None, offer.name)
        if self._object_id not in (None, offer.object_id):
            if is_named or self._other is None:
                self._other = offer
            return False
        return is_named

    def report_why_nothing_comes(
        self, group: Group, servers: ServersHeard, refusal: UntrustedError | None, now_ns: int
    ) -> None:  # fmt: skip
        """Report once what is heard instead of what is waited for, where there is no limit of time."""
        if not self._names and not servers.foreign_count and refusal is None:
            self._silent_ns = now_ns
        elif not self._has_reported_why and now_ns - self._silent_ns >= OTHERS_NS:
            self._has_reported_why = True
            error = self.error(group, servers, refusal)
            self._observer.handle(Warned(error.message, error.hint))

    def report_preparing(self, servers: ServersHeard) -> None:
        """Report once that a server is not ready yet."""
        if servers.preparing_host and not self._has_reported_preparing:
            self._has_reported_preparing = True
            self._observer.handle(warning(Notice.SERVER_PREPARING, host=servers.preparing_host))

    def report_refusal(self, error: UntrustedError, may_show: Callable[[], bool]) -> None:
        """Report once why something that is announced may not be taken, as far as there `may_show` something be."""
        if error.message in self._refusals or not may_show():
            return
        self._refusals[error.message] = None
        if len(self._refusals) > NAME_COUNT_MAX:
            del self._refusals[next(iter(self._refusals))]
        self._observer.handle(Warned(error.message, error.hint))

    def error(self, group: Group, servers: ServersHeard, refusal: UntrustedError | None) -> FountainError:
        """The error of a fetch that nobody announced anything for, or of whose server `refusal` says what is wrong."""
        config = self._config
        if refusal is not None and self._other is None and not self._names:
            return refusal
        if self._other is not None:
            return other_object_error(f"Group {group.address}", self._other)
        if servers.foreign_count:
            return NobodyAnsweredError(
                f"Group {group.address} has a server, but it uses another key than this receiver, or only one of them "
                "uses any.",
                "Give both the same `group.key_path`, or none.",
            )
        if self._names:
            names = ", ".join(printable(name) for name in self._names)
            return NobodyAnsweredError(
                f"{printable(config.name or '')} is not announced in group {group.address}, port {group.port}.",
                f"This is: {names}.",
            )
        if servers.preparing_host:
            return preparing_error(servers.preparing_host)
        what = "anything" if config.name is None else printable(config.name)
        return NobodyAnsweredError(
            f"Nobody announced {what} in group {group.address}, port {group.port}, on {group.interface.name} within "
            f"{config.timeout_ns / NS:g} s.",
            f"Start fountain-serve with the same group, open UDP port {group.port} in this machine's firewall, choose "
            "the interface with `group.interface`, or wait longer with `wait`.",
        )

    def _report_other(self, offer: OfferBody, taken: OfferBody) -> None:
        """Where no name was given, the first object that was heard is taken; somebody may have meant another."""
        if offer.name == taken.name and self.instead is None:
            self.instead = offer
            hint = "It is another object. Still waiting for the one that was begun."
            self._observer.handle(Warned(described(offer), hint))
        if self._name is None and not self._has_reported_other and offer.name != taken.name:
            self._has_reported_other = True
            message = f"{printable(offer.name)} is announced here as well."
            self._observer.handle(Warned(message, "Name the one that you want."))


def described(offer: OfferBody) -> str:
    """A sentence on what is announced under the name of an object that was begun."""
    return f"The group now announces another '{printable(offer.name)}', of {offer.object_size:,} bytes."
