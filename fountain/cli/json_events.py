"""--json: every event as one line of JSON on stdout; docs/reference/json.md has the tables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from fountain.cli.exit_status import ExitStatus
from fountain.cli.streams import OutputStream
from fountain.errors import FountainError
from fountain.events import Event, Fetched
from fountain.sentences import sentence

__all__ = ["JsonEvents", "event_name"]


def event_name(event_class: type[Event]) -> str:
    """The class's name in snake_case: `PeerJoined` is `peer_joined`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event_class.__name__).lower()


class JsonEvents:
    """Writes each event as a JSON object in ASCII, one a line, flushed at once."""

    def __init__(self, stdout: OutputStream, now_utc: Callable[[], datetime]) -> None:
        self._stdout = stdout
        self._now_utc = now_utc

    def handle(self, event: Event) -> None:
        """Write one event."""
        if isinstance(event, Fetched):
            event = replace(event, files=())  # `DigestComputed` has reported each of them.
        fields = asdict(event, dict_factory=_fields)
        fields.pop("files", None)
        self._write(event_name(type(event)), fields)

    def failed(self, error: FountainError, status: ExitStatus) -> None:
        """Write how the command fails: the only line that is no event of the engine."""
        self._write("failed", {"status": int(status), "message": error.message, "hint": error.hint})

    def _write(self, name: str, fields: dict[str, object]) -> None:
        record = {"event": name, "time": self._now_utc().isoformat(timespec="milliseconds"), **fields}
        self._stdout.write_line(json.dumps(record, default=_plain))


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an event, or of a part of it, with its reason in words."""
    fields = dict(pairs)
    if not isinstance(reason := fields.get("reason", ""), str):
        fields["reason"] = sentence(reason, **fields)
    return fields


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return str(value.value)
    raise TypeError(f"an event holds a {type(value).__name__}, which JSON lacks")
