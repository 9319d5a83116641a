"""The one place where names from the network meet this disk: what is allowed, what is refused, how names are shown.

A name is refused rather than repaired: two receivers that repaired differently would hold different trees.

* The name of an object is text that people type and see. It is one component of valid UTF-8 in NFC, with no control,
  format or private character, nothing invisible; the two joiners that Persian, Indic scripts and emoji are written with
  are allowed between the characters that they join. Characters that this Python does not know may be new ones: they
  pass.
* The names inside a tree are octets, and any that POSIX allows are taken (`fountain.wire.manifest` refuses the others:
  empty ones, `.` and `..`, slashes and zero octets). Whatever they hold, they are escaped where they are shown.
* On a system of other rules (Windows) both must fit those as well: valid text, none of its reserved characters and
  device names, no dot or space at the end.
* Whether two names of a directory are one name depends on the file system: it is asked (`fountain.storage.tree`), and
  where it folds case or composition, names that collide are refused before any data comes.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from fountain.errors import HostileNameError
from fountain.limits import NAME_SIZE_MAX

__all__ = [
    "HAS_POSIX_NAMES",
    "check_name",
    "fold",
    "is_encodable",
    "is_typed",
    "local_name",
    "name_flaw",
    "name_refusal",
    "printable",
    "printable_octets",
    "resolve_destination",
]

HAS_POSIX_NAMES = os.name == "posix"

_JOINERS = "\u200c\u200d"
_WITHOUT_JOINERS = str.maketrans("", "", _JOINERS)
# Letters, marks and symbols by category, yet nothing is drawn for them.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"]
    + [device + digit for device in ("COM", "LPT") for digit in "0123456789\u00b9\u00b2\u00b3"]
)
_RESERVED = frozenset('<>:"/\\|?*')
_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_HINT = "Ask the person who serves it to rename it."


def is_encodable(text: str) -> bool:
    """Whether a text can be the octets of a path: half a character (a lone surrogate) has none."""
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def check_name(name: str) -> str:
    """`name`, when it is a safe single component.

    Raises:
        HostileNameError: it breaks a rule of this module.
    """
    flaw = _component_flaw(name)
    if flaw:
        raise name_refusal(name, flaw)
    return name


def local_name(octets: bytes) -> str:
    """The name of an entry as this system's calls take it."""
    return os.fsdecode(octets)


def name_flaw(octets: bytes) -> str:
    """Why this system cannot have an entry of that name, as in "contains ':'"; empty when it may."""
    if HAS_POSIX_NAMES:
        return ""
    try:
        return _foreign_flaw(octets.decode())
    except UnicodeDecodeError:
        return "is not UTF-8"


def fold(path: str) -> str:
    """What two paths share when a file system may treat them as one."""
    folded = unicodedata.normalize("NFC", path).translate(_WITHOUT_JOINERS).casefold()
    return unicodedata.normalize("NFC", folded)


def printable(name: str) -> str:
    """`name` with everything escaped that could move a cursor, hide, or turn the direction of writing."""
    return "".join(
        character if _is_visible(name, at) else _escape(character) for at, character in enumerate(name)
    )  # fmt: skip


def printable_octets(octets: bytes) -> str:
    """A name or path of a tree, to be shown: what is no UTF-8 is escaped as well."""
    return printable(octets.decode("utf-8", "surrogateescape"))


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
        return "is empty, '.' or '..'"
    if len(component.encode("utf-8", "surrogatepass")) > NAME_SIZE_MAX:
        return f"is longer than {NAME_SIZE_MAX} bytes"
    for at, character in enumerate(component):
        if character == "/":
            return "contains '/'"
        if not _is_visible(component, at) and unicodedata.category(character) != "Cn":
            return f"contains the character {_escape(character)}"
    if not unicodedata.is_normalized("NFC", component):
        return "is not in normal form C"
    return "" if HAS_POSIX_NAMES else _foreign_flaw(component)


def _foreign_flaw(component: str) -> str:
    """Which rule of Windows a name breaks."""
    for character in component:
        if character in _RESERVED or character < " ":
            return f"contains '{_escape(character) if character < ' ' else character}'"
    if component[-1] in ". ":
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


def name_refusal(name: str, reason: str) -> HostileNameError:
    """The error of a name that must not be created here, or cannot."""
    shown = printable(name)
    return HostileNameError(f"The name '{shown}' {reason}.", _HINT, path=shown)
