"""Codes by name (as `--code` takes it) and by profile id (as the wire carries it).

`raptorq` is built in. A third-party package adds a code with an entry point in the group "fountain.codes": the entry
point's name is the code's name, its object a class or function without arguments that returns a `Code`. Entry points
are read when a code is asked for, and a broken one is an error for whoever asks for it, nobody else.
"""

from __future__ import annotations

import threading
from importlib import metadata
from typing import cast

from fountain.codes.api import Code
from fountain.codes.raptorq import RaptorQ
from fountain.errors import UsageError

__all__ = ["ENTRY_POINT_GROUP", "available", "code_by_name", "code_by_profile"]

ENTRY_POINT_GROUP = "fountain.codes"
_PROFILE_ID_SIZE = 8

_codes: dict[str, Code] = {RaptorQ.name: RaptorQ()}
_lock = threading.Lock()


def _entry_points() -> dict[str, metadata.EntryPoint]:
    found = {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    found.pop(RaptorQ.name, None)  # The built-in code cannot be replaced: both sides must agree on what a name means.
    return found


def _load(point: metadata.EntryPoint) -> Code:
    try:
        code = cast(Code, point.load()())
    except Exception as error:  # Whatever a foreign package raises, the person who named it must see which one it was.
        raise UsageError(
            f"The code {point.name!r} could not be loaded from {point.value}: {error!r}.",
            "Repair or uninstall the package that registers it, or choose another code.",
        ) from error
    profile_id = getattr(code, "profile_id", None)
    if (
        not isinstance(profile_id, bytes)
        or len(profile_id) != _PROFILE_ID_SIZE
        or getattr(code, "name", "") != point.name
    ):
        raise UsageError(
            f"The code {point.name!r} of {point.value} has no 8-octet profile_id or another name.",
            "Its class must follow fountain.codes.api.Code.",
        )
    return code


def available() -> list[str]:
    """Names of all codes that are installed, sorted; those of entry points have not been tried."""
    return sorted({*_codes, *_entry_points()})


def code_by_name(name: str) -> Code:
    """The code called `name`.

    Raises:
        UsageError: no such code is installed, or it cannot be loaded.
    """
    with _lock:
        if name not in _codes:
            point = _entry_points().get(name)
            if point is None:
                raise UsageError(f"There is no code called {name!r}.", f"Installed codes: {', '.join(available())}.")
            _codes[name] = _load(point)
        return _codes[name]


def code_by_profile(profile_id: bytes) -> Code | None:
    """The code whose frozen profile is `profile_id`, or None: entry points that cannot be loaded do not count."""
    for code in list(_codes.values()):
        if code.profile_id == profile_id:
            return code
    for name in _entry_points():
        try:
            code = code_by_name(name)
        except UsageError:
            continue
        if code.profile_id == profile_id:
            return code
    return None
