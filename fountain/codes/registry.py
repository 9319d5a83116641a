"""Codes by name (as a server's `code` takes it) and by profile id (as the wire carries it).

`raptorq` and `lt` are built in. A third-party package adds a code with an entry point in the group "fountain.codes":
the entry point's name is the code's name, its object a class or function without arguments that returns a `Code`. Entry
points are read when a code is asked for. A broken one is an error only for a caller that asks for that code.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import metadata
from typing import cast

from fountain.codes.api import Code
from fountain.codes.guard import GuardedCode
from fountain.codes.raptorq import RaptorQ
from fountain.errors import RefusedError, UsageError
from fountain.limits import BLOCK_SYMBOL_COUNT_MAX

__all__ = ["ENTRY_POINT_GROUP", "available", "code_by_name", "code_by_profile", "missing_code_error", "register"]

ENTRY_POINT_GROUP = "fountain.codes"
_PROFILE_ID_SIZE = 8


def _lt() -> Code:
    from fountain.codes.lt import LT  # Its kernels take milliseconds to load, which most transfers need not wait for.

    return LT()


_BUILT_IN: dict[str, Callable[[], Code]] = {"raptorq": RaptorQ, "lt": _lt}
_codes: dict[str, Code] = {}
_lock = threading.Lock()


def _entry_points() -> dict[str, metadata.EntryPoint]:
    # Built-in codes cannot be replaced: both sides must agree on what a name means.
    points = metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in points if point.name not in _BUILT_IN}


def _origin(point: metadata.EntryPoint) -> str:
    distribution = getattr(point, "dist", None)
    return f"{point.value} of the package {distribution.name}" if distribution is not None else point.value


def _load(point: metadata.EntryPoint) -> Code:
    try:
        code = cast(Code, point.load()())
    except Exception as error:  # A foreign package may raise anything; the error must say which package it was.
        raise UsageError(
            f"The code {point.name!r} could not be loaded from {_origin(point)}: {error!r}.",
            "Repair or uninstall the package that registers it, or choose another code.",
            field="code",
        ) from error
    return _guarded(code, point.name, _origin(point))


def _guarded(code: Code, name: str, origin: str) -> Code:
    wrong = _what_is_wrong(code, name)
    if wrong:
        raise UsageError(f"The code {name!r} of {origin} {wrong}.", "Its class must follow fountain.Code.")
    return GuardedCode(code, origin)


def _what_is_wrong(code: object, name: str) -> str:
    """Why a foreign object cannot be the code called `name`; empty when it can."""
    if getattr(code, "name", None) != name:
        return f"calls itself {getattr(code, 'name', None)!r}"
    profile_id = getattr(code, "profile_id", None)
    if not isinstance(profile_id, bytes) or len(profile_id) != _PROFILE_ID_SIZE:
        return f"has no profile_id of {_PROFILE_ID_SIZE} bytes"
    if profile_id in (make().profile_id for make in _BUILT_IN.values()):
        return "has the profile_id of a built-in code"
    if not isinstance(getattr(code, "systematic", None), bool):
        return "does not say whether it is systematic"
    largest = getattr(code, "symbol_count_max", None)
    if not isinstance(largest, int) or not 1 <= largest <= BLOCK_SYMBOL_COUNT_MAX:
        return f"has no symbol_count_max from 1 to {BLOCK_SYMBOL_COUNT_MAX}"
    missing = [method for method in ("prepare", "encoder", "decoder") if not callable(getattr(code, method, None))]
    return f"has no method {missing[0]}" if missing else ""


def available() -> list[str]:
    """Names of all codes that are installed, sorted; those of entry points have not been tried."""
    return sorted({*_BUILT_IN, *_codes, *_entry_points()})


def register(code: Code) -> None:
    """Add a code for this process alone, in place of an earlier one of its name: for experiments, without a package.

    Raises:
        UsageError: it does not follow `fountain.Code`, or has the name of a built-in code.
    """
    name = str(getattr(code, "name", ""))
    if not name or name in _BUILT_IN:
        raise UsageError(f"A code cannot be called {name!r}.", f"Choose another name than {', '.join(_BUILT_IN)}.")
    guarded = _guarded(code, name, type(code).__module__)
    with _lock:
        _codes[name] = guarded


def code_by_name(name: str) -> Code:
    """The code called `name`.

    Raises:
        UsageError: no such code is installed, or it cannot be loaded.
    """
    with _lock:
        if name in _BUILT_IN and name not in _codes:
            _codes[name] = _BUILT_IN[name]()
        if name not in _codes:
            point = _entry_points().get(name)
            if point is None:
                hint = f"Installed codes: {', '.join(available())}."
                raise UsageError(f"There is no code called {name!r}.", hint, field="code")
            _codes[name] = _load(point)
        return _codes[name]


def code_by_profile(profile_id: bytes) -> Code | None:
    """The code whose frozen profile is `profile_id`, or None: entry points that cannot be loaded do not count."""
    for code in list(_codes.values()):
        if code.profile_id == profile_id:
            return code
    for name in [*_BUILT_IN, *_entry_points()]:
        try:
            code = code_by_name(name)
        except UsageError:
            continue
        if code.profile_id == profile_id:
            return code
    return None


def missing_code_error(profile_id: bytes) -> RefusedError:
    """Why an object of a code that `code_by_profile` does not know cannot be fetched, and what to install.

    Nothing but its profile id is known of such a code. Many choose eight letters for it, which are then shown.
    """
    letters = profile_id.rstrip(b"\0 ")
    spoken = f"{letters.decode()!r}, " if letters and letters.isascii() and letters.decode().isprintable() else ""
    broken = []
    for name in _entry_points():
        try:
            code_by_name(name)
        except UsageError as error:
            broken.append(error.message)
    names = ", ".join(name for name in available() if name in {*_BUILT_IN, *_codes})
    hint = f"Install the package that has it here, too, or serve with a code that is here: {names}."
    return RefusedError(
        f"The server's code (profile {spoken}{profile_id.hex()}) is not installed here.", " ".join([*broken, hint])
    )
