"""Where to fetch from, in each form that people type: HOST, HOST:PORT, [IPv6]:PORT, fountain://HOST:PORT/NAME#ID."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, unquote

from fountain.cli.units import parse_integer
from fountain.config import check_port
from fountain.errors import UsageError
from fountain.limits import CONTROL_PORT_DEFAULT

__all__ = ["SCHEME", "HostPlace", "is_address", "object_url", "parse_place", "read_place"]

SCHEME = "fountain"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BRACKETS = re.compile(r"\[([^\[\]]*)\](?::(.*))?", re.DOTALL)
_FORMS = f"Forms are HOST, HOST:PORT, [2001:db8::1]:PORT and {SCHEME}://HOST:PORT/NAME#ID."


@dataclass(frozen=True)
class HostPlace:
    """A host, and the control port, the name and the id of the object where they were typed with it."""

    host: str
    port: int | None = None
    name: str | None = None
    object_id: str | None = None


def parse_place(text: str) -> HostPlace:
    """Parse what was typed as HOST; an IPv6 address without a port needs no brackets.

    Raises:
        UsageError: it has none of these forms, or names another protocol.
    """
    match = _SCHEME.fullmatch(text)
    if match is None:
        host, port = _split_port(text)
        return HostPlace(host, port)
    if match[1].lower() != SCHEME:
        raise UsageError(
            f"{text!r} is of another protocol.", f"fountain-fetch works with fountain-serve only. {_FORMS}"
        )
    where, mark, object_id = match[2].partition("#")
    authority, slash, path = where.partition("/")
    if "@" in authority or "?" in path or "#" in object_id:
        what = "has more than a host, a port, a name and the id of an object"
        raise UsageError(f"{text!r} {what}.", f"{_FORMS} In a NAME, ? is %3F and # is %23.")
    if mark and not object_id:
        hint = "Is a variable unset? Give the id that fountain-serve prints, or leave the # out to take any object."
        raise UsageError(f"{text!r} has no object id after its #.", hint, field="object_id")
    host, port = _split_port(authority)
    name = unquote(path, errors="surrogateescape").rstrip("/")
    return HostPlace(host, port, (name or None) if slash else None, object_id or None)


def object_url(host: str, port: int, name: str, object_id: str) -> str:
    """What fetches an object of a server, and takes nothing else."""
    where = f"[{host}]" if ":" in host else host
    if port != CONTROL_PORT_DEFAULT:
        where += f":{port}"
    return f"{SCHEME}://{where}/{quote(name, safe='', errors='surrogateescape')}#{object_id}"


def read_place(words: Sequence[str], port: int | None, object_id: str | None = None) -> HostPlace:
    """Where to ask, on which port, for what, of HOST [NAME], --port and --object.

    Raises:
        UsageError: one of them is typed twice, in HOST and beside it, or HOST has no form that is known.
    """
    place = parse_place(words[0])
    if place.port is not None and port is not None and place.port != port:
        raise UsageError(f"{words[0]!r} has another port than `port` {port}.", "Leave one of them out.")
    if place.name is not None and len(words) > 1:
        raise UsageError(f"{words[0]!r} names an object, and so does {words[1]!r}.", "Leave one of them out.")
    if place.object_id is not None and object_id is not None and place.object_id.lower() != object_id.lower():
        raise UsageError(f"{words[0]!r} has another id than `object_id`.", "Leave one of them out.")
    name = words[1] if len(words) > 1 else place.name
    return HostPlace(place.host, port if place.port is None else place.port, name, place.object_id or object_id)


def _split_port(text: str) -> tuple[str, int | None]:
    """(host, port) of `HOST:PORT`, `[HOST]:PORT`, or what has no port."""
    match = _BRACKETS.fullmatch(text)
    if match is not None:
        host, port = match[1], match[2]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, None  # Two colons and more are an IPv6 address, or nothing.
        if ":" in text and not is_address(text):
            raise UsageError(f"{text!r} is not a host with a port.", _FORMS)
    if not host:
        raise UsageError(f"{text!r} names no host.", _FORMS)
    if "/" in host or "/" in (port or ""):
        raise UsageError(f"{text!r} is more than a host and a port.", f"Give the name after it: HOST NAME. {_FORMS}")
    return host, _parse_port(port, text) if port is not None else None


def _parse_port(port: str, text: str) -> int:
    try:
        number = parse_integer(port)
        check_port("port", number)
    except UsageError:
        raise UsageError(f"{text!r} has no port from 1 to 65535 after its colon.", _FORMS) from None
    return number


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address in numbers."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
