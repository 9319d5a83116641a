"""The one place where names from the network meet this disk: what is allowed, what is refused, how names are shown.

A name is refused rather than repaired: two receivers that repaired differently would hold different trees. The rules
are the strictest of the common systems, so that a tree which one machine takes is taken by all of them:

* relative, no empty, `.` or `..` component, no backslash, no colon (volumes, alternate data streams);
* valid UTF-8 in NFC, at most NAME_SIZE_MAX octets a component and PATH_SIZE_MAX a path;
* no control, format, private or unassigned character, nothing invisible; the two joiners that Persian, Indic scripts
  and emoji are written with are allowed between the characters that they join, and do not make names different;
* no trailing dot or space, no name that Windows keeps for devices (`CON`, `nul.txt`, `COM1`, ...);
* no two paths that differ only in case, composition or joiners.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from fountain.errors import HostileNameError
from fountain.limits import NAME_SIZE_MAX, PATH_SIZE_MAX

__all__ = [
    "check_collisions",
    "check_name",
    "check_path",
    "fold",
    "is_typed",
    "path_flaw",
    "printable",
    "resolve_destination",
]

_JOINERS = "\u200c\u200d"
_WITHOUT_JOINERS = str.maketrans("", "", _JOINERS)
# Letters, marks and symbols by category, yet nothing is drawn for them.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"]
    + [device + digit for device in ("COM", "LPT") for digit in "0123456789\u00b9\u00b2\u00b3"]
)
_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_HINT = "Ask whoever serves it to rename it."


def check_name(name: str) -> str:
    """`name`, when it is a safe single component.

    Raises:
        HostileNameError: it breaks a rule of this module.
    """
    flaw = _component_flaw(name)
    if flaw:
        raise _refusal(name, flaw)
    return name


def check_path(path: str) -> tuple[str, ...]:
    """The components of the relative POSIX path `path`, when each is safe.

    Raises:
        HostileNameError: it breaks a rule of this module.
    """
    flaw = path_flaw(path)
    if flaw:
        raise _refusal(path, flaw)
    return tuple(path.split("/"))


def path_flaw(path: str) -> str:
    """Which rule of this module the relative POSIX path `path` breaks, as in "contains ':'"; empty when none."""
    if len(path) > PATH_SIZE_MAX or len(path.encode("utf-8", "surrogatepass")) > PATH_SIZE_MAX:
        return f"is longer than {PATH_SIZE_MAX} octets"
    if path.startswith("/"):
        return "is absolute"
    return next(filter(None, map(_component_flaw, path.split("/"))), "")


def check_collisions(paths: Iterable[str]) -> None:
    """Refuse paths that some file system would take for one another.

    Raises:
        HostileNameError: two of them differ only in case, composition or joiners.
    """
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(fold(path), path)
        if other is not path:
            raise _refusal(path, f"collides with '{printable(other)}'")


def fold(path: str) -> str:
    """What two paths share when a file system may not tell them apart."""
    folded = unicodedata.normalize("NFC", path).translate(_WITHOUT_JOINERS).casefold()
    return unicodedata.normalize("NFC", folded)


def printable(name: str) -> str:
    """`name` with everything escaped that could move a cursor, hide, or turn the direction of writing."""
    return "".join(
        character if _is_visible(name, at) else _escape(character) for at, character in enumerate(name)
    )  # fmt: skip


def resolve_destination(out: Path | None, name: str) -> Path:
    """Where the object `name` goes: into `out` when that is a directory, else to `out` itself; None is here.

    Raises:
        HostileNameError: `name` (from the network) is not safe.
    """
    check_name(name)
    if out is None:
        return Path.cwd() / name
    return Path(out).absolute() / name if out.is_dir() else Path(out).absolute()


def is_typed(destination: Path, out: Path | None, name: str | None) -> bool:
    """Whether the user typed what `destination` is called: as the NAME to fetch, or as `out` itself.

    Otherwise the server chose it, and what has that name here is no business of the server's.
    """
    return name is not None or (out is not None and destination == Path(out).absolute())


def _component_flaw(component: str) -> str:
    if component in ("", ".", ".."):
        return "has an empty, '.' or '..' component"
    if len(component.encode("utf-8", "surrogatepass")) > NAME_SIZE_MAX:
        return f"has a component longer than {NAME_SIZE_MAX} octets"
    for at, character in enumerate(component):
        if character in "/\\:":
            return f"contains '{character}'"
        if not _is_visible(component, at):
            return f"contains the character {_escape(character)}"
    if not unicodedata.is_normalized("NFC", component):
        return "is not in normal form C"
    if component[-1] == "." or component[-1].isspace():
        return "ends in a dot or a space"
    if component.partition(".")[0].rstrip().upper() in _DEVICES:
        return "is a device on Windows"
    return ""


def _is_visible(name: str, at: int) -> bool:
    character = name[at]
    if character.isascii():
        return character.isprintable()
    if character in _JOINERS:
        return 0 < at < len(name) - 1 and _is_joinable(name[at - 1]) and _is_joinable(name[at + 1])
    return unicodedata.category(character) not in _HIDDEN_CATEGORIES and character not in _INVISIBLE


def _is_joinable(character: str) -> bool:
    """Whether a joiner beside `character` can be ordinary writing: letters and marks beyond Latin, and emoji."""
    return character >= "\u0300" and unicodedata.category(character)[0] in "LMS"


_HIDDEN_CATEGORIES = frozenset(["Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"])


def _escape(character: str) -> str:
    code = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if 0xDC80 <= code <= 0xDCFF:  # How Python carries an octet of a file name that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _refusal(name: str, reason: str) -> HostileNameError:
    shown = printable(name)
    return HostileNameError(f"The name '{shown}' {reason}.", _HINT, path=shown)
