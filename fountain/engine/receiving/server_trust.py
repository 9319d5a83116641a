"""What a fetch knows of its server: the key that it was given, or that stands in the file of known hosts.

There the server of a group has the name of the group: `[address]:port`. The file is the user's, for all fetches:
`fountain/known_hosts` in the directory of configurations.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fountain.config import TrustConfig
from fountain.errors import StorageError, UntrustedError
from fountain.events import ServerProved, Warned
from fountain.storage.files import read_limited
from fountain.storage.known_hosts_file import append_line, known_hosts_path
from fountain.storage.paths import printable
from fountain.trust.known_hosts import KnownHosts, known_line
from fountain.trust.server_keys import ServerKeys, parse_public_keys
from fountain.trust.sshsig import fingerprint, is_fingerprint

if TYPE_CHECKING:
    from fountain.engine.receiving.vetting import Vetting

__all__ = ["FetchTrust", "ServerTrust", "group_server"]

_SIZE_MAX = 1 << 22


class ServerTrust:
    """Knows the key of the server at `host` and `port`, and keeps the first one that it proves, if it `learns` one.

    Raises:
        StorageError: a file cannot be read.
        UsageError: a file has no key.
    """

    def __init__(self, config: TrustConfig, host: str, port: int, *, learns: bool = True) -> None:
        self._host, self._port = host, port
        self._path = known_hosts_path(os.environ)
        self._reported = ""
        given, known = [], None
        # An object's id, or a code, is all the trust that it needs. But a client shows itself to servers that it knows.
        is_enough = config.object_id is not None or config.pair is not None
        is_looked_up = not is_enough or config.strict or config.identity is not None
        self._is_kept = is_looked_up and not config.strict
        if config.server_key is not None:
            given, self._is_kept = _read_given(config.server_key), False
        has_file = is_looked_up or bool(given)  # What it revokes counts in any case.
        if has_file and self._path is not None and self._path.exists():
            known = KnownHosts.parse(read_limited(self._path, _SIZE_MAX))
        shown = "" if self._path is None else printable(str(self._path))
        self.keys = ServerKeys(host, port, given, known, shown, is_strict=config.strict or not learns)

    def refusal(self, key: bytes) -> UntrustedError | None:
        """Why the server of a group is not the right one: it has this key, or none where that is empty."""
        if not key:
            return UntrustedError(
                f"Group {self._host} has a server that proves no key, and only one that does is the right one.",
                "Somebody else may announce in its place. See whether fountain-serve runs there with its `identity`.",
            )
        return None if self.keys.accept(key) else self.keys.refusal

    def poll_event(self) -> ServerProved | Warned | None:
        """What should be reported: the server has proved a key that was not reported, or that could not be kept."""
        key, self.keys.learned = self.keys.learned, None
        if self.keys.latest == self._reported:
            return None
        self._reported = self.keys.latest
        kept = ""
        if key is not None and self._is_kept:
            line = known_line(self._host, self._port, key)
            try:
                if self._path is None or line is None:
                    raise StorageError("there is no place for it")
                append_line(self._path, line)
                kept = str(self._path)
            except StorageError as error:
                message = f"The key of {self._host}, {fingerprint(key)}, cannot be kept: {error.message}"
                return Warned(message, "The next fetch will not know it. Give it: `server_key`")
        return ServerProved(self._host, self._port, self.keys.latest, is_new=key is not None, kept_in=kept)


@dataclass(frozen=True)
class FetchTrust:
    """What a fetch believes: which objects, where only some may be taken, and which server, where not any will do."""

    vetting: Vetting | None
    servers: ServerTrust | None


def group_server(config: TrustConfig, address: str, port: int) -> ServerTrust | None:
    """What is known of the server of a group; None where any will do. In a group no key is learned.

    Raises:
        As `ServerTrust`.
    """
    servers = ServerTrust(config, address, port, learns=False)
    keys = servers.keys
    return servers if keys.is_known or keys.is_void or config.strict else None


def _read_given(text: str) -> list[str]:
    """The fingerprints that `server_key` stands for."""
    return [text] if is_fingerprint(text) else parse_public_keys(read_limited(Path(text), _SIZE_MAX, "server_key"))
